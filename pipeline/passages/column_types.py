"""What the columns of the two tables are, ours or somebody else's, and which of them can hold what is ours.

A value that is written must come back the same: a column that would round it, cut it, or keep it in a form of its own
is refused before anything is written. SQLite's columns take anything but for the type of an id.
"""

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, text

WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")  # as a database gives it back: no sign of plus, no leading noughts
DIGITS = "[0-9a-fA-F]"
UUID = re.compile(rf"{DIGITS}{{8}}(-{DIGITS}{{4}}){{3}}-{DIGITS}{{12}}")
LARGEST = {"int2": 2**15 - 1, "int4": 2**31 - 1, "int8": 2**63 - 1}
WORDS = ("text", "varchar")
JSON = ("jsonb", "json", *WORDS)
ALLOWED: Mapping[str, tuple[tuple[str, ...], str]] = {  # PostgreSQL's names; what is not here is text
    "metadata": (JSON, "JSON or text"),
    "aliases": (JSON, "JSON or text"),
    "evidence": (JSON, "JSON or text"),
    "confidence": (("float8", "float4", "numeric", *WORDS), "numbers or text"),
    "created_at": (("timestamptz", "timestamp", *WORDS), "times or text"),
}
PLACES = 3  # behind the point, that a column of confidences must keep
_UNIQUE = (
    """
    SELECT i.name, s.sql, k.name FROM pragma_index_list(:table) AS i, pragma_index_info(i.name) AS k
    LEFT JOIN sqlite_master AS s ON s.type = 'index' AND s.name = i.name WHERE i."unique"
    """,
    """
    SELECT i.indexrelid::bigint, pg_get_indexdef(i.indexrelid), c.attname FROM pg_index AS i
    JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(at, place) ON k.place <= i.indnkeyatts
    LEFT JOIN pg_attribute AS c ON c.attrelid = i.indrelid AND c.attnum = k.at
    WHERE i.indrelid = to_regclass(:table) AND i.indisunique ORDER BY i.indexrelid, k.place
    """,
)
_CONDITION = re.compile(r"\bWHERE\b", re.IGNORECASE)
_AFTER_KEYS = re.compile(r"\b(?:INCLUDE|WHERE)\b", re.IGNORECASE)
_COLUMNS = """
SELECT a.attname, coalesce(b.typname, t.typname), format_type(a.atttypid, a.atttypmod),
CASE WHEN b.oid IS NULL THEN a.atttypmod ELSE t.typtypmod END - 4,
NOT a.attnotnull, a.atthasdef OR a.attidentity <> '', a.attgenerated <> ''
FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid LEFT JOIN pg_type AS b ON b.oid = t.typbasetype
WHERE a.attrelid = to_regclass(:table) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""


class Kind(StrEnum):
    """What a column of ids holds."""

    TEXT = "text"
    WHOLE = "whole numbers"
    UUID = "UUIDs"
    ANY = "values of any type"


@dataclass(frozen=True)
class Ids:
    """What ids a column takes: their kind, the largest number, and the most characters where there is a bound.

    `folds` tells whether the column gives a UUID back in its usual form, however it was written; `pads` whether blanks
    at the end are nothing to it.
    """

    kind: Kind = Kind.TEXT
    largest: int = 2**63 - 1
    length: int | None = None
    folds: bool = False
    pads: bool = False

    @property
    def numbers(self) -> range:
        """Return the whole numbers that fit in."""
        return range(-self.largest - 1, self.largest + 1)

    def key(self, value: str) -> str | None:
        """Return an id as the column gives it back, as text; None where it does not fit in."""
        if self.kind is Kind.WHOLE:
            return value if WHOLE.fullmatch(value) and int(value) in self.numbers else None
        if self.kind is Kind.UUID:
            return (str(uuid.UUID(value)) if self.folds else value) if UUID.fullmatch(value) else None
        if self.pads and value.endswith(" "):
            return None
        return value if self.length is None or len(value) <= self.length else None

    def native(self, ids: Iterable[str]) -> list[Any]:
        """Return ids as the column may hold them; a column without a type holds a number, a text, or both."""
        if self.kind is Kind.TEXT:
            return list(ids)
        if self.kind is Kind.UUID:
            return [one for one in ids if UUID.fullmatch(one)]
        ids = list(ids)
        within = self.numbers
        numbers: list[Any] = [number for one in ids if WHOLE.fullmatch(one) and (number := int(one)) in within]
        return numbers if self.kind is Kind.WHOLE else [*numbers, *ids]

    def stored(self, value: str) -> Any:
        """Return an id as it is written into the column."""
        return int(value) if self.kind is Kind.WHOLE else value


@dataclass(frozen=True)
class Found:
    """One column as the database has it: PostgreSQL's name of its type, and the type in the database's own words.

    `type` is empty on SQLite. `length` is the most characters where it is above 0, and of a number PostgreSQL's own
    mix of digits and places; `fills` tells whether a row that says nothing of this column gets a value.
    """

    name: str
    type: str
    told: str
    length: int
    nullable: bool
    fills: bool
    computed: bool

    @property
    def misfit(self) -> str | None:
        """Return what the column would have to hold to hold what is ours; None where it does."""
        if self.computed:
            return "values of its own, not computed ones"
        if self.name == "confidence" and self.type == "numeric" and self.length > 0:
            digits, places = self.length >> 16, ((self.length & 0x7FF) ^ 0x400) - 0x400
            if places < PLACES or digits <= places:
                return f"numbers from 0 to 1 with {PLACES} places or more"
        allowed, wanted = ALLOWED.get(self.name, (WORDS, "text"))
        return None if not self.type or self.type in allowed else wanted

    @property
    def ids(self) -> Ids | None:
        """Return which ids the column holds; None where it can hold none."""
        if self.computed:
            return None
        return _server_ids(self.type, self.length) if self.type else _declared_ids(self.told)


def columns_of(tx: Connection, table: str) -> dict[str, Found]:
    """Return the columns of a table by name, in their order; SQLite's names know no case. Empty where there is none."""
    if tx.dialect.name != "sqlite":
        quoted = tx.dialect.identifier_preparer.quote(table)
        return {row[0]: Found(*row) for row in tx.execute(text(_COLUMNS), {"table": quoted})}
    query = text('SELECT name, type, "notnull", dflt_value, hidden FROM pragma_table_xinfo(:table)')
    return {
        name.lower(): Found(name.lower(), "", told, 0, not needed, default is not None, hidden > 1)
        for name, told, needed, default, hidden in tx.execute(query, {"table": table})
    }


def misfits(columns: Mapping[str, Found], names: Sequence[str]) -> list[str]:
    """Return a line for each of `names` that is there and cannot hold what is ours."""
    found = (columns[name] for name in names if name in columns)
    return [f"`{one.name}` ({one.told}), which must hold {one.misfit}" for one in found if one.misfit]


def unique_keys(tx: Connection, table: str) -> list[set[str]]:
    """Return the columns of each key that no two rows of a table may share; of an expression, the words in it.

    What a key holds for only some rows, by a condition on the version, is left out.
    """
    is_file = tx.dialect.name == "sqlite"
    name = table if is_file else tx.dialect.identifier_preparer.quote(table)
    found: dict[Any, set[str]] = {}
    for key, told, column in tx.execute(text(_UNIQUE[0 if is_file else 1]), {"table": name}):
        keys, condition = _AFTER_KEYS.split(told or "")[0], _CONDITION.split(told or "", maxsplit=1)[1:]
        if any("extractor_version" in one.lower() for one in condition):
            continue
        parts = re.findall(r"\w+", keys.partition("(")[2].lower()) if column is None else [column]
        found.setdefault(key, set()).update(one.lower() if is_file else one for one in parts)
    return list(found.values())


def _declared_ids(told: str) -> Ids | None:
    """Return which ids an SQLite column holds, by the rules that SQLite itself has for the words of its type."""
    words = told.upper()
    if "INT" in words:
        return Ids(Kind.WHOLE)
    if any(word in words for word in ("CHAR", "CLOB", "TEXT")):
        return Ids(Kind.TEXT)
    if "UUID" in words or "GUID" in words:  # to SQLite a number where it looks like one, which no UUID does
        return Ids(Kind.UUID)
    if any(word in words for word in ("REAL", "FLOA", "DOUB")):
        return None
    return Ids(Kind.ANY)


def _server_ids(kind: str, length: int) -> Ids | None:
    """Return which ids a column of PostgreSQL holds."""
    if kind in LARGEST:
        return Ids(Kind.WHOLE, LARGEST[kind])
    if kind in {*WORDS, "bpchar"}:
        return Ids(Kind.TEXT, length=length if length > 0 else None, pads=kind == "bpchar")
    return Ids(Kind.UUID, folds=True) if kind == "uuid" else None
