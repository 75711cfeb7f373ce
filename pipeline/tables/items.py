"""The table that holds the items of a task of one's own: a key, what findable keeps of each row, and its columns.

It is made from what stands in the record of the task, so that no source need be there to read it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Connection, Double, Index, MetaData, Table, Text, quoted_name
from sqlalchemy.types import TypeEngine

from pipeline.core.declaration import MADE_KEY, MAX_COLUMN
from pipeline.core.errors import ConfigurationError, InputError
from pipeline.core.text import UNSOUND
from pipeline.store.column_types import UtcTime
from pipeline.tables.findings import excerpt
from pipeline.tables.item_values import WORDS, compact_json
from pipeline.tables.reflect import add_column, kind_of, missing_columns

OWN = "findable_"  # begins the names of the columns that are not the source's
MAX_COLUMNS = 1_500  # PostgreSQL has room for 1,600
MAX_KEY = 2_000  # bytes of a key, which an index of PostgreSQL takes
_KEY = Text().with_variant(Text(collation="C"), "postgresql")  # so that keys compare by bytes on both databases
_TYPES: Mapping[str, TypeEngine[Any]] = {
    "text": Text(),
    "integer": BigInteger(),
    "real": Double(),
    "boolean": Boolean(),
    "json": Text(),
}
SEEN = ("findable_seen", "findable_unusable")
KEY_KINDS = frozenset({"text", "integer"})  # of columns that tell rows apart


class BadKeyError(ValueError):
    """A row has no key that can be kept; the message says why, and `column` which one is meant."""

    def __init__(self, reason: str, *, column: str) -> None:
        """Keep the column's name beside the reason."""
        super().__init__(reason)
        self.column = column


@dataclass(frozen=True)
class ItemsSpec:
    """What stands in the record of a task about its items: the table's full name, the key's columns, and all columns.

    A key of `("row",)` is made of each row's hash. `columns` are the source's, by name, each "text", "integer",
    "real", "boolean" or "json". `images` are those of them that name an image.
    """

    table: str
    key: tuple[str, ...]
    columns: Mapping[str, str]
    images: tuple[str, ...] = ()

    @property
    def has_made_key(self) -> bool:
        """Return whether a hash of each row is its key."""
        return self.key == (MADE_KEY,)


def items_table(spec: ItemsSpec) -> Table:
    """Return the table; the columns of findable come first, then the source's in the order of the record."""
    return Table(
        spec.table,
        MetaData(),
        Column("findable_key", _KEY, primary_key=True),
        Column("findable_row", BigInteger, nullable=False, unique=True),  # the order of first sight
        Column("findable_hash", Text, nullable=False),  # of the values that are asked about
        Column("findable_empty", Boolean, nullable=False),  # these are blank, or what must be quoted
        Column("findable_gone_at", UtcTime),  # vanished from the source
        Column("findable_changed_at", UtcTime),  # when the hash last changed
        # where rows have images: what a look at them saw, and why the row cannot be asked about with them
        *(Column(name, Text) for name in (SEEN if spec.images else ())),
        # always between quotes: a database has more words of its own than a library knows
        *(Column(quoted_name(name, quote=True), _TYPES[kind]) for name, kind in spec.columns.items()),
        Index(f"{spec.table}_asking", "findable_hash"),  # rows that ask the same
    )


def make_items(tx: Connection, spec: ItemsSpec, *, was: ItemsSpec | None) -> ItemsSpec:
    """Make the table, or add the columns that it lacks, and return what it is now.

    `was` is what the record says; its columns keep their kinds, and those that the source has no more stay.

    Raises:
        ConfigurationError: something of this name is there that is not this task's.
        InputError: a column has a name that no table can have, or the key is none.
    """
    known = {} if was is None else was.columns
    new = {name: kind for name, kind in spec.columns.items() if name not in known}
    check_names([*known, *new])
    _check_key(spec)
    made = replace(spec, columns={**known, **new})
    kind = kind_of(tx, spec.table)
    if kind is not None and (was is None or kind != "table"):
        raise ConfigurationError(
            f"there is a {kind if kind == 'view' else 'table'} `{spec.table}` in this database that is not this "
            "task's; nothing was changed",
            hint='give the task other tables with table="…", or rename that one',
        )
    table = items_table(made)
    if kind is None:
        table.create(tx)
        return made
    for column in missing_columns(tx, table):
        add_column(tx, column)
    return made


def check_names(names: Sequence[str], *, source: object = "", hint: str = "rename it in the source") -> None:
    """Refuse names of columns that a table cannot have; the message begins with the `source`.

    Raises:
        InputError: the message names the first column at fault.
    """
    where = f"{source}: " if source else ""
    folded: dict[str, str] = {}
    for name in names:
        why = _why_not(name)
        other = folded.get(name.casefold())
        if not why and other is not None:
            why = "is there twice" if other == name else f"differs from {excerpt(other)!r} only by case"
        if why:
            raise InputError(f"{where}the column {excerpt(name)!r} {why}; nothing was changed", hint=hint)
        folded[name.casefold()] = name
    if len(names) > MAX_COLUMNS:
        raise InputError(
            f"{where}there are {len(names):,} columns, and a table holds {MAX_COLUMNS:,}; nothing was changed",
            hint="leave out those that the prompt does not need",
        )


def _why_not(name: str) -> str:
    """Return why no column can be called so; empty where one can."""
    if not name.strip():
        return "has no name"
    if UNSOUND.search(name):
        return "has a name that is no text"
    if len(name.encode()) > MAX_COLUMN:
        return f"has a name of {len(name.encode())} bytes, and {MAX_COLUMN} are the most"
    return f"begins with {OWN}, as findable's own columns do" if name.casefold().startswith(OWN) else ""


def _check_key(spec: ItemsSpec) -> None:
    """Refuse a key whose columns are not there, or hold what tells no rows apart."""
    for name in () if spec.has_made_key else spec.key:
        if name not in spec.columns:
            found = excerpt(", ".join(spec.columns))
            raise InputError(
                f"the items have no column {name!r}, which is the key; nothing was changed. Found: {found}",
                hint='name the key\'s column with key="…", or key="row" where there is none',
            )
        kind = spec.columns[name]
        if kind not in KEY_KINDS:
            raise InputError(
                f"the key's column {name!r} holds {WORDS[kind]}, and a key is text or a whole number; "
                "nothing was changed",
                hint='name another with key="…", or use key="row"',
            )


def key_of(values: Mapping[str, Any], spec: ItemsSpec) -> str:
    """Return the id of an item by its values as the table holds them.

    One column: its text, a whole number in decimal. Several: a JSON array. A made key: the first half of a hash of all
    values that are there.

    Raises:
        BadKeyError: a part of it is missing or blank, or it is too long.
    """
    if spec.has_made_key:
        there = {name: value for name, value in values.items() if value is not None}
        return hashlib.sha256(compact_json(there, sort=True).encode()).hexdigest()[:32]
    parts = [values.get(name) for name in spec.key]
    for name, part in zip(spec.key, parts, strict=True):
        if part is None or not str(part).strip():
            raise BadKeyError("the key is missing" if part is None else "the key is blank", column=name)
    key = str(parts[0]) if len(parts) == 1 else compact_json(parts)
    if len(key.encode()) > MAX_KEY:
        raise BadKeyError(f"the key is longer than {MAX_KEY:,} bytes", column=spec.key[0])
    return key


def hash_of(values: Mapping[str, Any], asked: Sequence[str]) -> str:
    """Return the SHA-256 of the values that a prompt names, as the table holds them."""
    filled = {name: values.get(name) for name in asked}
    return hashlib.sha256(compact_json(filled, sort=True).encode()).hexdigest()


def is_empty(values: Mapping[str, Any], asked: Sequence[str]) -> bool:
    """Return whether all values of some columns are blank; not where there are no columns."""
    found = (values.get(name) for name in asked)
    return bool(asked) and all(value is None or (isinstance(value, str) and not value.strip()) for value in found)
