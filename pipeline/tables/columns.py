"""Judge which columns of a table, whichever program made it, can hold what findable writes.

A value must come back the same: a column that would round or cut it is refused before anything is written. SQLite's
columns take any value; there a column is refused only where it is computed, or for the type of its ids.
"""

import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import REAL, BigInteger, Dialect, Float, Text

from pipeline.store.column_types import AsTheColumn

WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")  # as a database gives it back: no sign of plus, no leading zeros
_WHOLES = re.compile(rf"(?:{WHOLE.pattern})(?:\n(?:{WHOLE.pattern}))*+")
UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
LARGEST = {"int2": 2**15 - 1, "int4": 2**31 - 1, "int8": 2**63 - 1}
INSTEAD = {  # types that change what they are given -> what the column would have to hold
    "bpchar": "text that is not filled up with blanks, such as VARCHAR",
    "name": "text of any length",
    "char": "text of any length",
}
NUMBER = Float().with_variant(REAL(), "sqlite")  # REAL is the one name that STRICT tables take


class AnyNumber(AsTheColumn):
    """What a column of numbers or of text gives; numbers of any kind are floats."""

    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:  # noqa: ARG002 - its own
        """Return what turns the driver's numbers into floats."""
        return lambda cell: cell if cell is None or isinstance(cell, str) else float(cell)


class IdKind(StrEnum):
    """What a column of ids holds."""

    TEXT = "text"
    WHOLE = "whole numbers"
    UUID = "UUIDs"


@dataclass(frozen=True)
class Ids:
    """What ids a column takes: their kind, the largest number, and the most characters where there is a bound.

    A `typed` column holds nothing else, and gives a UUID back in its usual form; one of SQLite may hold text beside
    numbers. `pads` tells whether blanks at the end are nothing to it.
    """

    kind: IdKind = IdKind.TEXT
    largest: int = 2**63 - 1
    length: int | None = None
    pads: bool = False
    typed: bool = False

    def key(self, value: str) -> str | None:
        """Return an id as the column gives it back, as text; None where it does not fit in."""
        if self.kind is IdKind.WHOLE:
            return None if self._number(value) is None else value
        if self.kind is IdKind.UUID:
            if not UUID.fullmatch(value):
                return None
            return str(uuid.UUID(value)) if self.typed else value
        if self.pads and value.endswith(" "):
            return None
        return value if self.length is None or len(value) <= self.length else None

    def native(self, ids: Iterable[str]) -> list[Any]:
        """Return ids as the column may hold them, for a condition: as numbers, as text, or as both."""
        ids = list(ids)
        if self.kind is not IdKind.WHOLE:
            return [one for one in ids if UUID.fullmatch(one)] if self.kind is IdKind.UUID and self.typed else ids
        told = "\n".join(ids)  # one look at all of them takes a fifth of one at each
        are_whole = _WHOLES.fullmatch(told) and told.count("\n") == len(ids) - 1
        numbers = list(map(int, ids if are_whole else filter(WHOLE.fullmatch, ids)))
        if numbers and not (self._fits(min(numbers)) and self._fits(max(numbers))):
            numbers = list(filter(self._fits, numbers))
        return numbers if self.typed or len(numbers) == len(ids) else [*numbers, *ids]

    def stored(self, value: str) -> Any:
        """Return an id as it is written into the column."""
        number = self._number(value) if self.kind is IdKind.WHOLE else None
        return value if number is None else number

    def _number(self, value: str) -> int | None:
        if not WHOLE.fullmatch(value):
            return None
        number = int(value)
        return number if self._fits(number) else None

    def _fits(self, number: int) -> bool:
        return -self.largest - 1 <= number <= self.largest


@dataclass(frozen=True)
class Accepts:
    """What a column must be to hold what is written: one of PostgreSQL's types, in `words` for messages.

    On SQLite only the `kinds` of ids count; None accepts all. A number must keep as many decimal `places`.
    """

    types: tuple[str, ...] = ("text", "varchar")
    words: str = "text"
    kinds: frozenset[IdKind] | None = None
    places: int = 0


TEXT = Accepts()


@dataclass(frozen=True)
class ReflectedColumn:
    """One column as the database has it: PostgreSQL's name of its type, and the type in the database's own words.

    `type` is empty on SQLite. `length` is the most characters where it is above 0, and of a number PostgreSQL's own
    mix of digits and places. `default` is in SQL; an `identity` counts up by itself.
    """

    name: str
    type: str
    declared: str
    length: int
    nullable: bool
    default: str | None
    identity: bool
    computed: bool

    @property
    def fills(self) -> bool:
        """Return whether a row that says nothing of this column gets a value."""
        return self.default is not None or self.identity

    @property
    def ids(self) -> Ids | None:
        """Return which ids the column holds; None where it can hold none."""
        if self.computed:
            return None
        if self.type:
            return _server_ids(self.type, self.length)
        kind = _declared_kind(self.declared)
        return None if kind is None else Ids(kind)

    @property
    def places(self) -> int | None:
        """Return to how many places behind the point PostgreSQL rounds numbers here; None where it does not."""
        if self.type == "numeric" and self.length > 0:
            return ((self.length & 0x7FF) ^ 0x400) - 0x400
        return 0 if self.type in LARGEST else None

    def misfit(self, accepts: Accepts) -> str | None:
        """Return what the column would have to hold to hold what is written; None where it does."""
        if self.computed:
            return "values of its own, not computed ones"
        if not self.type:
            fits = accepts.kinds is None or _declared_kind(self.declared) in accepts.kinds
            return None if fits else accepts.words
        if self.type not in accepts.types:
            return INSTEAD.get(self.type, accepts.words)
        if accepts.places and self.places is not None and not accepts.places <= self.places < self.length >> 16:
            return f"numbers from 0 to 1 with {accepts.places} places or more"
        return None


def ids_of(*kinds: IdKind, words: str) -> Accepts:
    """Return what a column of ids of these kinds must be."""
    typed = {IdKind.TEXT: (*TEXT.types, "bpchar"), IdKind.WHOLE: tuple(LARGEST), IdKind.UUID: ("uuid",)}
    return Accepts(tuple(name for kind in kinds for name in typed.get(kind, ())), words, frozenset(kinds))


def misfits(columns: Mapping[str, ReflectedColumn], judged: Mapping[str, Accepts]) -> list[str]:
    """Return a line for each judged column that is there and cannot hold what is written."""
    found = [(columns[name], accepts) for name, accepts in judged.items() if name in columns]
    wrong = [(one, wanted) for one, accepts in found if (wanted := one.misfit(accepts))]
    return [
        f"`{one.name}`{f' ({one.declared})' if one.declared else ''}, which must hold {wanted}" for one, wanted in wrong
    ]


def ids_in(column: ReflectedColumn | None) -> Ids:
    """Return which ids a column holds; text where it is not there."""
    return (column and column.ids) or Ids()


def id_type(column: ReflectedColumn | None) -> type[BigInteger] | type[Text]:
    """Return as what ids are kept in PostgreSQL after a move: ids that are no whole numbers become text."""
    return BigInteger if ids_in(column).kind is IdKind.WHOLE else Text


def _declared_kind(declared: str) -> IdKind | None:
    """Return what ids an SQLite column holds, by the words of its type; None where these say none that come back."""
    words = declared.upper()
    if "INT" in words:
        return IdKind.WHOLE
    if any(word in words for word in ("CHAR", "CLOB", "TEXT")):
        return IdKind.TEXT
    # to SQLite a number where it looks like one, which no UUID does
    return IdKind.UUID if "UUID" in words or "GUID" in words else None


def _server_ids(kind: str, length: int) -> Ids | None:
    if kind in LARGEST:
        return Ids(IdKind.WHOLE, LARGEST[kind], typed=True)
    if kind in {*TEXT.types, "citext", "bpchar"}:
        return Ids(IdKind.TEXT, length=length if length > 0 else None, pads=kind == "bpchar", typed=True)
    return Ids(IdKind.UUID, typed=True) if kind == "uuid" else None
