"""Measure an image: its colours by name, how bright, which way up, how busy, and whether lettering stands out.

Nothing is seen or recognised. The measures are taken of a small copy, and are the same for the same bytes.
"""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emulator.models.looks import Look

MOST_PIXELS = 50_000_000
"""A larger image is not opened; ours, the live service scales any size down."""
_TYPES = ("JPEG", "PNG", "WEBP")
"""What is opened, by Pillow's names."""
_SIDE = 128
"""The longest side of the copy that is measured (pixels)."""
_FINE_SIDE = 512
"""The longest side of the copy in which lettering is looked for."""
_HUES = (  # up to which hue (of 256) -> its name
    *((10, "red"), (28, "orange"), (46, "yellow"), (115, "green"), (138, "turquoise"), (178, "blue")),
    *((205, "purple"), (240, "pink"), (256, "red")),
)
_GREY, _PALE, _BLACK, _DARK, _WHITE = 36, 110, 40, 140, 200
"""Bounds of saturation and of brightness, of 255: below the first two a colour is grey or pale."""
_SHARE = 0.08
"""The share of the picture that a colour must have to be named."""
_MOST_COLOURS = 4
_LEVELS = ((70, "dark"), (115, "dim"), (175, "bright"), (256, "light"))
_BUSY = ((3.0, "plain"), (9.0, "calm"), (18.0, "busy"), (256.0, "crowded"))
_VIVID = 90
_FLAT = 0.5
"""The share of neighbours of one brightness from which a picture looks drawn."""
_SMALLEST_PAGE = 160
"""The longest side of an image in which lettering can be told from anything else (pixels)."""
_EDGE, _EDGE_SHARE = 16, 0.25
"""How much neighbours must differ for an edge: of 255, and of what the image ranges over."""
_BINS, _FULL, _BARE = 16, 8, 2
"""Parts of a row, those of them that have edges in a line of lettering at least, and in a gap at most."""
_LINE, _LINES = range(3, 24), 3
"""How high a line of lettering is (pixels of the copy), and how many there must be, with as many gaps."""
_GAPS = 0.2
"""The share of rows that must be gaps."""


def look(data: bytes) -> Look | None:
    """Return what is measured of an image's bytes; None where they are no image that can be opened whole."""
    Image.init()
    try:
        with Image.open(io.BytesIO(data), formats=_TYPES) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                return None
            image.draft("RGB", (_FINE_SIDE, _FINE_SIDE))
            fine = _flat(image)
    except Exception:  # noqa: BLE001 - decoders raise whatever broken bytes lead them to
        return None
    fine.thumbnail((_FINE_SIDE, _FINE_SIDE))
    small = fine.copy()
    small.thumbnail((_SIDE, _SIDE))
    return _measured(width, height, small, fine)


def _flat(image: Image.Image) -> Image.Image:
    """Return an image in red, green and blue, what shows through it white."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        clear = image.convert("RGBA")
        ground = Image.new("RGBA", clear.size, "white")
        return Image.alpha_composite(ground, clear).convert("RGB")
    return image.convert("RGB")


def _measured(width: int, height: int, small: Image.Image, fine: Image.Image) -> Look:
    """Return the measures of an image of that size, by two copies of it."""
    hsv = np.asarray(small.convert("HSV"), dtype=np.int32).reshape(-1, 3)
    grey = np.asarray(small.convert("L"), dtype=np.int32)
    return Look(
        width,
        height,
        *_colours(hsv),
        _level(float(grey.mean()), _LEVELS),
        _level(_change(grey), _BUSY),
        is_vivid=bool(hsv[:, 1].mean() > _VIVID),
        is_drawn=grey.shape[1] == 1 or bool((np.diff(grey, axis=1) == 0).mean() >= _FLAT),
        has_text=_has_text(np.asarray(fine.convert("L"), dtype=np.int32)),
    )


def _level(value: float, levels: tuple[tuple[float, str], ...]) -> str:
    return next(name for below, name in levels if value < below)


def _change(grey: NDArray[Any]) -> float:
    """Return how much neighbours differ on average, of 255; 0 for a single pixel."""
    steps = [np.abs(np.diff(grey, axis=axis)) for axis in (0, 1) if grey.shape[axis] > 1]
    return float(np.mean([step.mean() for step in steps])) if steps else 0.0


def _colours(hsv: NDArray[Any]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the names of the colours and their shares in percent, the largest first, at least one."""
    hue, saturation, value = hsv[:, 0], hsv[:, 1], hsv[:, 2]
    bounds = np.array([below for below, _ in _HUES])
    names = np.array([name for _, name in _HUES], dtype=object)[np.searchsorted(bounds, hue, side="right")]
    warm = np.isin(names, ("orange", "yellow", "red"))
    names = np.where(warm & (value < _DARK) & (hue < _HUES[2][0]), "brown", names)
    names = np.where((saturation < _PALE) & (value > _WHITE) & (names == "red"), "pink", names)
    names = np.where(saturation < _GREY, "grey", names)
    names = np.where((saturation < _GREY) & (value > _WHITE), "white", names)
    names = np.where(value < _BLACK, "black", names)
    found, counts = np.unique(names.astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    large = [place for place in order if counts[place] >= _SHARE * len(hsv)][:_MOST_COLOURS] or [order[0]]
    return tuple(str(found[one]) for one in large), tuple(round(100 * int(counts[one]) / len(hsv)) for one in large)


def _has_text(grey: NDArray[Any]) -> bool:
    """Return whether there are lines of lettering: rows with edges all along, between rows with hardly any."""
    if max(grey.shape) < _SMALLEST_PAGE or grey.shape[1] <= _BINS:
        return False
    low, high = np.percentile(grey, (1, 99))
    edges = np.abs(np.diff(grey, axis=1)) > max(_EDGE, _EDGE_SHARE * (high - low))
    spread = np.sum([part.any(axis=1) for part in np.array_split(edges, _BINS, axis=1)], axis=0)
    lines = [length for length in _runs(spread >= _FULL) if length in _LINE]
    bare = spread <= _BARE
    return min(len(lines), len(_runs(bare))) >= _LINES and bool(bare.mean() >= _GAPS)


def _runs(rows: NDArray[Any]) -> list[int]:
    """Return the lengths of the runs of rows that are so."""
    ends = np.flatnonzero(np.diff(np.concatenate(([0], rows.astype(np.int8), [0]))))
    return [int(end - start) for start, end in zip(ends[::2], ends[1::2], strict=True)]
