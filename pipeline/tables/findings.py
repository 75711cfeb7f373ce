"""What is wrong with a row of a file, in one form for all."""

from enum import StrEnum
from itertools import accumulate
from typing import NamedTuple

EXCERPT = 80  # characters of a value that a finding shows
SHOWN = 1000  # findings kept in memory to be shown; the report in a file has all of them


class FindingKind(StrEnum):
    """What a finding means for its row."""

    REJECTED = "rejected"  # the row does not go in
    CHANGED = "changed"  # the row goes in; one of its values was dropped or altered
    NOTED = "noted"  # the row goes in as it is, and something about it is worth a look
    KEPT = "kept"  # the row goes in; the answer there is to an older text and stays


class Finding(NamedTuple):
    """One thing wrong with one row of a file.

    `line` is the physical line where the row's bytes start, from 1 (in Parquet the row); `column` is empty when the
    whole row is meant; `value` is an excerpt that is safe to print; `key` is the row's username or id, if it has one.
    """

    line: int
    column: str
    reason: str
    value: str
    kind: FindingKind
    key: str | None = None


def rejected(line: int, reason: str, value: object, *, column: str = "", key: str | None = None) -> Finding:
    """Return the finding that keeps a row out."""
    return Finding(line, column, reason, excerpt(value), FindingKind.REJECTED, key)


def excerpt(value: object) -> str:
    """Return at most 80 characters of a value on one line, with everything unprintable escaped."""
    text = value if isinstance(value, str) else repr(value)
    pieces = [character if character.isprintable() else _escaped(character) for character in text[:EXCERPT]]
    fit = sum(size <= EXCERPT for size in accumulate(map(len, pieces)))
    shown = "".join(pieces[:fit])
    return shown if fit == len(text) else f"{shown[: EXCERPT - 1]}…"


def _escaped(character: str) -> str:
    r"""Return `\xe9` for a byte that did not decode (kept as U+DCE9), else Python's own escape."""
    code = ord(character)
    if 0xDC00 <= code <= 0xDCFF:  # noqa: PLR2004 - the range in which `pipeline.tables.read` keeps bad bytes
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")
