"""Looking for words in every byte of a folder: the proof that something was forgotten.

A text may stand in a file as it is, or as JSON writes it. One with line ends or quotes is looked for by its longest
plain pieces, because formats write those signs in ways of their own.
"""

import contextlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

PIECE = 1 << 20  # bytes read at a time
LEAST = 5  # bytes of a needle below which any file may hold it by chance: a gigabyte of vectors, once in 1,000
PLAIN = re.compile(r"[\w .,;:()'-]{24,}")  # pieces of a long text that every format writes as they are
MOST_PIECES = 4


def needles(texts: Iterable[str], *, tells: Callable[[str], bool] = bool) -> list[bytes]:
    """Return what to look for: each text, or the longest plain pieces of it, in UTF-8 and as JSON.

    Only what `tells` something is looked for: of the pieces of a text the longest that do, and where none does the
    text in one. A very short text is looked for as JSON and a question's tags have it, with a sign before and after;
    one of less than three letters not at all.
    """
    found: dict[bytes, None] = {}
    for text in map(str.strip, texts):
        pieces = list(itertools.islice(filter(tells, _pieces(text)), MOST_PIECES))
        pieces = pieces or [one for one in (text,) if one and tells(one)]
        if len(text.encode("utf-8", "surrogatepass")) < LEAST:
            pieces = [f'"{piece}"' for piece in pieces] + [f">{piece}<" for piece in pieces]
        for piece in pieces:
            found |= dict.fromkeys(form.encode("utf-8", "surrogatepass") for form in forms(piece))
    return [needle for needle in found if len(needle) >= LEAST]


def forms(piece: str) -> list[str]:
    """Return a text as it is and as JSON writes it, in ASCII and not."""
    return list(dict.fromkeys((piece, json.dumps(piece)[1:-1], json.dumps(piece, ensure_ascii=False)[1:-1])))


def holding(root: Path, wanted: Sequence[bytes]) -> Iterator[Path]:
    """Yield every file below `root` that holds one of the needles, by name, but links and what goes away meanwhile."""
    if not wanted:
        return
    for path in sorted(root.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            if not path.is_symlink() and path.is_file() and is_holding(path, wanted):
                yield path


def is_holding(path: Path, wanted: Sequence[bytes]) -> bool:
    """Return whether one file holds one of the needles, at flat memory; a needle may lie across pieces."""
    if not wanted:
        return False
    longest_first = sorted(wanted, key=len, reverse=True)
    pattern, overlap = re.compile(b"|".join(map(re.escape, longest_first))), len(longest_first[0]) - 1
    kept = b""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            if pattern.search(kept + piece):
                return True
            kept = (kept + piece)[-overlap:] if overlap else b""
    return False


def _pieces(text: str) -> list[str]:
    """Return a text by itself, or its plain pieces, longest first, where it is not all plain."""
    if not text or PLAIN.fullmatch(text) or len(text) < 2 * LEAST:
        return [text] if text else []
    plain = dict.fromkeys(piece.strip() for piece in PLAIN.findall(text))
    return sorted(plain, key=len, reverse=True) or [text]
