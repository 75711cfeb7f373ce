"""What passes between the rooms: a person, and what is told of a row when a file is read, and a budget."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

EXCERPT = 80  # characters of a value that a finding shows


class Kind(StrEnum):
    """What a finding means for its row."""

    REJECTED = "rejected"  # the row does not go in
    CHANGED = "changed"  # the row goes in; one of its values was dropped or altered
    NOTED = "noted"  # the row goes in as it is, and something about it is worth a look
    KEPT = "kept"  # the row goes in; the answer there is to an older text and stays


@dataclass(frozen=True)
class Finding:
    """One thing wrong with one row of a file.

    `line` is the physical line where the row's bytes start, from 1; `column` is the header's name for the column, or
    empty when the whole row is meant; `value` is what stood there, as an excerpt that is safe to print.
    """

    line: int
    column: str
    reason: str
    value: str
    kind: Kind
    username: str | None = None


class Told(NamedTuple):
    """One thing told of one line of a file of passages, from 1.

    `field` is empty where the whole line is meant; `value` is an excerpt that is safe to print; `id` is the passage's,
    where it has one.
    """

    line: int
    field: str
    reason: str
    value: str
    kind: Kind
    id: str = ""


@dataclass(frozen=True)
class Person:
    """One person as a file gives them, ready to be written.

    `values` holds only the columns that the file has, by their names in the table and without the username; an empty
    cell is None. A column that is not in `values` leaves an existing row's value alone. `changes` are the findings
    that do not keep the row out, of the kinds "changed" and "noted".
    """

    username: str
    values: Mapping[str, str | float | None]
    line: int
    changes: tuple[Finding, ...] = ()


def excerpt(value: object) -> str:
    """Return at most 80 characters of a value on one line, with everything unprintable escaped."""
    text = value if isinstance(value, str) else repr(value)
    shown: list[str] = []
    room = EXCERPT
    for character in text[:EXCERPT]:
        piece = character if character.isprintable() else _escaped(character)
        room -= len(piece)
        if room < 0:
            break
        shown.append(piece)
    whole = len(shown) == len(text)
    cut = "".join(shown)
    return cut if whole else f"{cut[: EXCERPT - 1]}…"


def _escaped(character: str) -> str:
    r"""Return `\xe9` for a byte that did not decode (kept as U+DCE9), else Python's own escape."""
    code = ord(character)
    if 0xDC00 <= code <= 0xDCFF:  # noqa: PLR2004 - the range in which `pipeline.experts.encoding` keeps bad bytes
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


@dataclass(frozen=True)
class Budget:
    """How much may be spent, in USD, from when on (aware, UTC); `name` is the variable that a person set."""

    usd: float
    since: datetime
    name: str
