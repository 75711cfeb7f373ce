"""Images and other media inside a request: checked, counted, and measured; nothing is seen or recognised.

What is refused is what the live service refuses: a type that it does not take, an image that cannot be opened, too
much at once. Files and addresses are refused, too: bytes belong into the request.
"""

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from emulator.catalogue import Model
from emulator.messages import decode_base64, invalid

MOST_PIXELS = 50_000_000
"""A larger image is not opened; ours, the live service scales any size down."""
_TYPES = ("JPEG", "PNG", "WEBP")
"""What is opened, by Pillow's names."""
_SIDE = 128
"""The longest side of the copy that is measured (pixels)."""
_HUES = (
    (10, "red"),
    (28, "orange"),
    (46, "yellow"),
    (115, "green"),
    (178, "blue"),
    (240, "purple"),
    (256, "red"),
)
"""Up to which hue (of 256) a colour has which name."""
_GREY = 36
_BLACK = 40
_WHITE = 200
"""Below these a colour is grey (saturation, of 255) or black (brightness), and above the last one a grey is white."""
_SHARE = 0.08
_MOST = 4
"""The share of the picture that a colour must have to be named, and how many are."""


@dataclass(frozen=True)
class ImageFeatures:
    """What is measured of one image."""

    width: int
    """Pixels."""
    height: int
    colours: tuple[str, ...]
    """The largest first, at least one."""

    def words(self) -> list[str]:
        """Return the measures as words of their own: the colours, and which way the image is longer."""
        ways = {True: "landscape", False: "portrait"}
        return [
            *self.colours,
            "square" if self.width == self.height else ways[self.width > self.height],
        ]


def told(seen: ImageFeatures | None) -> str:
    """Return what there is to tell of an image; of one that was not opened, that."""
    if seen is None:
        return "Not seen, only counted, by the local engine: an image that is not opened here."
    *colours, way = seen.words()
    size = f"{seen.width} pixels wide, {seen.height} high"
    return (
        f"Not seen, only measured, by the local engine: {way}, {size}, mainly {', '.join(colours)}."
    )


def look(data: bytes) -> ImageFeatures | None:
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
    return ImageFeatures(width, height, tuple(str(found[one]) for one in large))


OPENED = ("image/png", "image/jpeg", "image/webp")
"""Images that are opened here."""
_OTHERS = re.compile(
    r"image/hei[cf]|(?:audio|video|text)/[\w.+-]+|application/(?:pdf|json|x-javascript|x-python)"
)
"""What else the models take (image understanding guide, read 2026-11), which is counted and not looked at."""
MOST_INLINE = 100 * 1024**2
"""Bytes of all media inside one request (Gemini API, input methods, read 2026-11)."""

_TOKENS = {
    "UNSPECIFIED": (258, 1_120),
    "LOW": (64, 280),
    "MEDIUM": (256, 560),
    "HIGH": (256, 1_120),
}
_TOKENS["ULTRA_HIGH"] = (258, 2_240)
"""Tokens of an image by how closely the 2.5 models look, and later ones (guides to media and tokens, read 2026-11)."""


def parts_of(request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the parts of a request: of its contents and of its system instruction."""
    for content in [
        *request.get("contents", []),
        request.get("content", {}),
        request.get("systemInstruction", {}),
    ]:
        yield from content.get("parts", [])


def looked_at(request: Mapping[str, Any]) -> list[ImageFeatures | None]:
    """Return what is measured of the media of a request, in order: of an image that is opened here, else None."""
    if any("fileData" in part for part in parts_of(request)):
        raise invalid(
            "Cannot fetch content from the provided URL. The local engine takes media inside a request only."
        )
    blobs = [part["inlineData"] for part in parts_of(request) if "inlineData" in part]
    if sum(len(blob.get("data", "")) * 3 // 4 for blob in blobs) > MOST_INLINE:
        raise invalid(f"Request payload size exceeds the limit: {MOST_INLINE} bytes.")
    return [_look(blob.get("mimeType", ""), blob.get("data", "")) for blob in blobs]


def _look(mime_type: str, data: str) -> ImageFeatures | None:
    if mime_type not in OPENED:
        if not _OTHERS.fullmatch(mime_type):
            raise invalid(f"Unsupported MIME type: {mime_type}")
        return None
    seen = look(decode_base64(data) or b"")
    if seen is None:
        raise invalid(
            "Unable to process input image. Please retry or report in https://developers.generativeai.google/"
        )
    return seen


def tokens_of(request: Mapping[str, Any], model: Model) -> int:
    """Return the tokens of a request's media, by the model and the resolution asked for."""
    usual = request.get("generationConfig", {}).get("mediaResolution")
    tokens = 0
    for part in parts_of(request):
        own = part.get("mediaResolution")
        level = (
            (own.get("level") if isinstance(own, Mapping) else None)
            or usual
            or "MEDIA_RESOLUTION_UNSPECIFIED"
        )
        if (word := str(level).removeprefix("MEDIA_RESOLUTION_")) not in _TOKENS:
            raise invalid(f"Invalid value at 'generation_config.media_resolution': {level!r}")
        old, new = _TOKENS[word]
        tokens += (old if "-2.5-" in model.name else new) if "inlineData" in part else 0
    return tokens
