"""Take a part out of a long text, round one of its slices, for a person to read."""

from collections.abc import Iterable

from pipeline.core.fold import is_boundary

LONGEST_WORD = 40  # characters; one that is longer is cut through


def context_of(text: str, start: int, end: int, *, most: int) -> str:
    """Return at most so many characters of a text round text[start:end], whole words where possible."""
    spare = most - (end - start)
    if spare <= 0:
        return _shrunk(text, start, start + most, least=start + most - LONGEST_WORD)
    first = max(start - max(spare // 2, spare - (len(text) - end)), 0)
    while first < start and not is_boundary(text, first):
        first += 1
    return _shrunk(text, first, min(first + most, len(text)), least=end).strip()


def _shrunk(text: str, start: int, end: int, *, least: int) -> str:
    """Return text[start:end], cut before a word that would be cut through, but not before `least`."""
    whole = end
    while whole > least and not is_boundary(text, whole):
        whole -= 1
    return text[start:whole] if is_boundary(text, whole) else text[start:end]


def marked_part(text: str, spans: Iterable[tuple[int, int]], *, around: int) -> tuple[str, list[tuple[int, int]]]:
    """Return the part of a text round the first of some slices, and where those slices that stand in it whole are now.

    The slices come in order; of two that overlap the first is marked.
    """
    spans = list(spans)
    last = spans[0][1] + around
    shown, moved = cut_part(text, spans[0][0] - around, last)
    marks: list[tuple[int, int]] = []
    for start, end in spans:
        if start + moved >= (marks[-1][1] if marks else 0) and end <= last:
            marks.append((start + moved, end + moved))
    return shown, marks


def cut_part(text: str, start: int, end: int) -> tuple[str, int]:
    """Return a part of a text with signs where it was cut, and by how much its offsets moved."""
    start, end = max(0, start), min(len(text), end)
    front, back = "… " if start else "", " …" if end < len(text) else ""
    return f"{front}{text[start:end]}{back}", len(front) - start
