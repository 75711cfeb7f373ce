"""Guess which name in a file means a column: by likeness of the names, or of what stands in the cells."""

import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from statistics import median

from pipeline.tables.findings import excerpt
from pipeline.tables.layout import CellKind, ColumnSpec
from pipeline.tables.names import fold

_ALIKE = 0.82  # ratio of letters in common, of which 1 is the same name
_PART = 0.6  # of a name's letters that a known name within it must have
_SHORTEST, _LONGEST = 4, 60  # letters of a name that is compared with others
_LONG = 60  # characters of half the cells of a long text
_SHOWN = 40  # characters of a cell in a reason
_CELLS = {
    CellKind.EMAIL: re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+"),
    CellKind.URL: re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE),
    CellKind.NUMBER: re.compile(r"\D{0,6}\d[\d.,' ]*\D{0,12}"),
}
_NUMERIC = re.compile(r"[\d.,+\-%\s]*")


def alike(spec: ColumnSpec, cells: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Return (name, why) of the names that may mean a column, the likeliest first; `cells` are some of each name."""
    known = set(map(fold, spec.names))
    scores = {name: max(_likeness(fold(name), one) for one in known) for name in cells}
    by_name = sorted((name for name, score in scores.items() if score), key=lambda name: -scores[name])
    found = [(name, "its name is like it") for name in by_name if _fits(spec.kind, cells[name])]
    if found or not spec.sought:
        return found
    sizes = {name: _size(spec.kind, texts) for name, texts in cells.items()}
    by_cells = sorted((name for name, size in sizes.items() if size), key=lambda name: -sizes[name])
    return [(name, f"it has {spec.kind}, such as {_shown(cells[name])}") for name in by_cells]


def nearest(name: str, names: Sequence[str]) -> str:
    """Return the name that is most like another one."""
    return max(names, key=lambda one: SequenceMatcher(None, fold(name), fold(one)).ratio(), default=name)


def _likeness(name: str, known: str) -> float:
    """Return how alike two folded names are; 0 where they are not alike enough."""
    short, long = sorted((len(name), len(known)))
    if short < _SHORTEST or long > _LONGEST:
        return 0.0
    if known in name or name in known:
        return short / long if short >= _PART * long else 0.0
    letters = SequenceMatcher(None, name, known)
    ratio = letters.ratio() if min(letters.real_quick_ratio(), letters.quick_ratio()) >= _ALIKE else 0.0
    return ratio if ratio >= _ALIKE else 0.0


def _fits(kind: CellKind, cells: Sequence[str]) -> bool:
    """Return whether cells do not speak against a kind."""
    texts = [text for cell in cells if (text := cell.strip())]
    if not texts:
        return True
    if (pattern := _CELLS.get(kind)) is not None:
        return 2 * sum(bool(pattern.fullmatch(text)) for text in texts) >= len(texts)
    return not all(_NUMERIC.fullmatch(text) for text in texts)


def _size(kind: CellKind, cells: Sequence[str]) -> float:
    """Return how well cells are of a kind: for long texts how long half of them are at least, 0 for not at all."""
    texts = [text for cell in cells if (text := cell.strip())]
    if not texts:
        return 0.0
    if kind is CellKind.LONG:
        long = [text for text in texts if " " in text or not text.isascii()]
        half = median(map(len, texts))
        return half if half >= _LONG and 2 * len(long) >= len(texts) else 0.0
    pattern = _CELLS.get(kind)
    return float(_fits(kind, texts)) if pattern is not None else 0.0


def _shown(cells: Sequence[str]) -> str:
    """Return one cell for a reason."""
    return repr(excerpt(next(text for cell in cells if (text := cell.strip()))[:_SHOWN]))
