"""The rows of a task as their source has them: the key, what is asked about, and which columns there may be.

They stand in `findable_rows`, each as one JSON object; nothing of the source need be there to read them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Subquery, select

from pipeline.core.declaration import MADE_KEY, MAX_COLUMN
from pipeline.core.errors import InputError
from pipeline.core.text import UNSOUND
from pipeline.store.tables import rows
from pipeline.tables.findings import excerpt
from pipeline.tables.item_values import WORDS, compact_json

OWN = "findable_"  # begins the names of the columns that are not the source's
MAX_COLUMNS = 1_500  # a view of PostgreSQL has room for 1,600
MAX_KEY = 2_000  # bytes of a key, which an index of PostgreSQL takes
KEY, HASH, VALUES, UNUSABLE = "findable_key", "findable_hash", "findable_values", "findable_unusable"
_COLUMNS = {
    KEY: rows.c.item_id,
    "findable_row": rows.c.n,
    VALUES: rows.c.row,
    HASH: rows.c.input_hash,
    "findable_empty": rows.c.is_empty,
    "findable_gone_at": rows.c.gone_at,
    "findable_changed_at": rows.c.changed_at,
    UNUSABLE: rows.c.unusable,
}
KEY_KINDS = frozenset({"text", "integer"})  # of columns that tell rows apart


class BadKeyError(ValueError):
    """A row has no key that can be kept; the message says why, and `column` which one is meant."""

    def __init__(self, reason: str, *, column: str) -> None:
        """Keep the column's name beside the reason."""
        super().__init__(reason)
        self.column = column


@dataclass(frozen=True)
class ItemsSpec:
    """What stands in the record of a task about its items: its name, the key's columns, and all columns.

    A key of `("row",)` is made of each row's hash. `columns` are the source's, by name, each "text", "integer",
    "real", "boolean" or "json". `images` are those of them that name an image.
    """

    task: str
    key: tuple[str, ...]
    columns: Mapping[str, str]
    images: tuple[str, ...] = ()

    @property
    def has_made_key(self) -> bool:
        """Return whether a hash of each row is its key."""
        return self.key == (MADE_KEY,)


def items_table(task: str) -> Subquery:
    """Return the rows of a task: what findable keeps of each, and its values as JSON."""
    columns = (column.label(name) for name, column in _COLUMNS.items())
    return select(*columns).where(rows.c.task == task).subquery("items")


def values_in(row: str) -> dict[str, Any]:
    """Return the values of a row that was kept, by column; those that are none are left out."""
    found: dict[str, Any] = orjson.loads(row)
    return found


def check_spec(spec: ItemsSpec) -> None:
    """Refuse columns that no view could show, and a key whose columns are not there, or hold what tells no rows apart.

    Raises:
        InputError: the message names the first column at fault.
    """
    check_names(list(spec.columns))
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


def check_names(names: Sequence[str], *, source: object = "", hint: str = "rename it in the source") -> None:
    """Refuse names of columns that a view cannot have; the message begins with the `source`.

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


def key_of(values: Mapping[str, Any], spec: ItemsSpec) -> str:
    """Return the id of an item by its values.

    One column: its text, a whole number in decimal. Several: a JSON array. A made key: the first half of a hash of all
    values that are there.

    Raises:
        BadKeyError: a part of it is missing or blank, or it is too long.
    """
    if spec.has_made_key:
        there = {name: value for name, value in values.items() if value is not None}
        return hashlib.sha256(compact_json(there, sort=True).encode()).hexdigest()[:32]
    for name in spec.key:
        part = values.get(name)
        if part is None or not str(part).strip():
            raise BadKeyError("the key is missing" if part is None else "the key is blank", column=name)
    key = str(values[spec.key[0]])
    if len(spec.key) > 1:
        key = compact_json([str(values[one]) if spec.columns[one] == "text" else values[one] for one in spec.key])
    if len(key) * 4 > MAX_KEY and len(key.encode()) > MAX_KEY:
        raise BadKeyError(f"the key is longer than {MAX_KEY:,} bytes", column=spec.key[0])
    return key


def hash_of(values: Mapping[str, Any], asked: Sequence[str]) -> str:
    """Return the SHA-256 of the values that a prompt names."""
    filled = {name: values.get(name) for name in asked}
    return hashlib.sha256(orjson.dumps(filled, option=orjson.OPT_SORT_KEYS)).hexdigest()


def is_empty(values: Mapping[str, Any], asked: Sequence[str]) -> bool:
    """Return whether all values of some columns are blank; not where there are no columns."""
    found = (values.get(name) for name in asked)
    return bool(asked) and all(value is None or (isinstance(value, str) and not value.strip()) for value in found)
