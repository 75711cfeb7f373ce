"""Measure an image: how large it is, and its main colours by name. Nothing is seen or recognised."""

import io
from dataclasses import dataclass

MOST_PIXELS = 50_000_000
"""A larger image is not opened; ours, the live service scales any size down."""
_TYPES = ("JPEG", "PNG", "WEBP")
"""What is opened, by Pillow's names."""
_SIDE = 128
"""The longest side of the copy that is measured (pixels)."""
_HUES = ((10, "red"), (28, "orange"), (46, "yellow"), (115, "green"), (178, "blue"), (240, "purple"), (256, "red"))
"""Up to which hue (of 256) a colour has which name."""
_GREY, _BLACK, _WHITE = 36, 40, 200
"""Below these a colour is grey (saturation, of 255) or black (brightness), and above the last one a grey is white."""
_SHARE, _MOST = 0.08, 4
"""The share of the picture that a colour must have to be named, and how many are."""


@dataclass(frozen=True)
class Look:
    """What is measured of one image."""

    width: int
    """Pixels."""
    height: int
    colours: tuple[str, ...]
    """The largest first, at least one."""

    def words(self) -> list[str]:
        """Return the measures as words of their own: the colours, and which way the image is longer."""
        ways = {True: "landscape", False: "portrait"}
        return [*self.colours, "square" if self.width == self.height else ways[self.width > self.height]]


def told(seen: Look | None) -> str:
    """Return what there is to tell of an image; of one that was not opened, that."""
    if seen is None:
        return "Not seen, only counted, by the local engine: an image that is not opened here."
    *colours, way = seen.words()
    size = f"{seen.width} pixels wide, {seen.height} high"
    return f"Not seen, only measured, by the local engine: {way}, {size}, mainly {', '.join(colours)}."


def look(data: bytes) -> Look | None:
    """Return what is measured of an image's bytes; None where they are no image that can be opened whole."""
    import numpy as np
    from PIL import Image

    Image.init()
    try:
        with Image.open(io.BytesIO(data), formats=_TYPES) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                return None
            image.draft("RGB", (_SIDE, _SIDE))
            image.load()
            image.thumbnail((_SIDE, _SIDE))
            clear = image.convert("RGBA")
    except Exception:  # noqa: BLE001 - decoders raise whatever broken bytes lead them to
        return None
    flat = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    hue, saturation, value = np.asarray(flat.convert("HSV"), dtype=np.int32).reshape(-1, 3).T
    bounds = np.array([below for below, _ in _HUES])
    names = np.array([name for _, name in _HUES])[np.searchsorted(bounds, hue, side="right")]
    names = np.where(saturation < _GREY, np.where(value > _WHITE, "white", "grey"), names)
    found, counts = np.unique(np.where(value < _BLACK, "black", names), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    large = [place for place in order if counts[place] >= _SHARE * len(names)][:_MOST] or [order[0]]
    return Look(width, height, tuple(str(found[one]) for one in large))
