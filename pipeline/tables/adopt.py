"""Make a table, or adopt one that another program made, by what a subject says of it in a `TableSpec`.

No cell that is there changes, and doing it again changes nothing. The other program may go on using the table. Its ids
stay what they are there and are text for the engine: a CAST reads them, and a text that is bound takes its type from
the column.
"""

import re
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from sqlalchemy import (
    JSON,
    NUMERIC,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Date,
    DateTime,
    DefaultClause,
    Double,
    Float,
    Identity,
    Integer,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Table,
    Text,
    Uuid,
    cast,
    distinct,
    exc,
    func,
    literal,
    literal_column,
    select,
    text,
)
from sqlalchemy import Enum as OneOf
from sqlalchemy.types import CHAR, NullType, TypeEngine

from pipeline.core.errors import ConfigurationError
from pipeline.store.database import describe_error
from pipeline.store.schema import has_index
from pipeline.tables.reflect import columns_of, is_found_by, is_sqlite, kind_of, quoted

Columns = Mapping[str, Column[Any]]
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")  # as a database gives it back: no sign of plus, no leading zeros
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_PLACES = 3  # of a confidence


class Holds(Enum):
    """What a column must be able to hold, in words, and the types of a server that do; SQLite's take all but ids."""

    ID = "text, whole numbers or UUIDs", (String, Integer, Uuid)
    NAME = "text that is not filled up with blanks, such as VARCHAR", (String,)
    TEXT = "text", (String,)
    NUMBER = "numbers or text", (Numeric, Float, Integer, String)
    SHARE = f"numbers from 0 to 1 with {_PLACES} places or more, or text", (Numeric, Float, String)
    DOUBLE = "double precision", (Double,)
    WHOLE = "whole numbers", (Integer,)
    JSON = "JSON or text", (JSON, String)
    TIME = "times or text", (DateTime, String)
    DATE = "dates or text", (Date, String)
    TRUTH = "true and false", (Boolean,)

    def takes(self, kind: TypeEngine[Any]) -> bool:
        """Return whether a type of a server holds it: a value must come back the same."""
        kind = getattr(kind, "data_type", kind)  # that of a domain
        if type(kind) is String or isinstance(kind, OneOf):  # what holds some names alone, or cuts them
            return False
        if self in {Holds.ID, Holds.NAME} and isinstance(kind, CHAR):
            return False
        if self is Holds.SHARE and isinstance(kind, Numeric) and (places := kind.scale) is not None:
            return _PLACES <= places < (kind.precision or 0)
        return isinstance(kind, self.value[1])


@dataclass(frozen=True)
class Ids:
    """What ids a column holds: "text", "whole numbers" or "UUIDs", the largest number, the most characters.

    A server's column is `typed`, and holds nothing else; one of SQLite may hold text beside numbers.
    """

    kind: str = "text"
    largest: int = 2**63 - 1
    length: int | None = None
    typed: bool = False

    def key(self, value: str) -> str | None:
        """Return an id as the column gives it back; None where it does not fit in."""
        if self.kind == "whole numbers":
            is_one = _WHOLE.fullmatch(value) and -self.largest - 1 <= int(value) <= self.largest
            return value if is_one else None
        if self.kind == "UUIDs":
            return str(uuid.UUID(value)) if _UUID.fullmatch(value) else None
        return value if self.length is None or len(value) <= self.length else None

    def native(self, ids: Iterable[str]) -> list[str]:
        """Return those of some ids that the column can be asked for."""
        return [one for one in ids if self.key(one) is not None] if self.typed else list(ids)


def ids_in(tx: Connection, own: Column[Any] | None) -> Ids:
    """Return which ids a reflected column holds; text where it is not there."""
    kind, typed = None if own is None else own.type, not is_sqlite(tx)
    if isinstance(kind, Uuid):
        return Ids("UUIDs", typed=typed)
    if isinstance(kind, Integer):
        bits = 15 if isinstance(kind, SmallInteger) else 63 if isinstance(kind, BigInteger) or not typed else 31
        return Ids("whole numbers", 2**bits - 1, typed=typed)
    return Ids(length=getattr(kind, "length", None) if typed else None, typed=typed)


def new_ids(
    tx: Connection, own: Column[Any], wanted: int, *, above: Callable[[], int] = lambda: 0
) -> Sequence[int | str] | None:
    """Return ids for new rows of a reflected table: UUIDs where ids are text, else numbers that none ever had.

    None where the database gives such. `above` finds the highest number that a row ever had, where those that are there
    do not tell.
    """
    kind = ids_in(tx, own).kind
    if kind == "whole numbers" and (own.server_default is not None or _counts_on(tx, own.table)):
        return None
    newest = None if kind != "whole numbers" else tx.execute(select(func.max(own))).scalar()
    if kind != "whole numbers" or isinstance(newest, str):
        return [str(uuid.uuid4()) for _ in range(wanted)]
    first = max(int(newest or 0), above()) + 1
    return range(first, first + wanted)


def _counts_on(tx: Connection, table: Table) -> bool:
    """Return whether SQLite numbers new rows, and gives no number again, also not that of the newest row."""
    if not is_sqlite(tx):
        return False
    made = text("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = :name")
    return "AUTOINCREMENT" in str(tx.execute(made, {"name": table.name}).scalar()).upper()


def for_nothing(tx: Connection, found: Columns, names: Iterable[str]) -> dict[str, Any]:
    """Return what stands for nothing in those of some columns that take no NULL: their defaults, the empty text, 0."""
    return {name: _for_nothing(tx, found[name]) for name in names if not found[name].nullable}


def _for_nothing(tx: Connection, one: Column[Any]) -> Any:
    if isinstance(one.server_default, DefaultClause):
        return tx.execute(select(literal_column(str(one.server_default.arg)))).scalar()
    return "" if isinstance(one.type, String) else 0


@dataclass(frozen=True)
class TableSpec:
    """What a subject needs of a table.

    `made` is the table as findable makes it; its columns are added to one that lacks them where `adds`, but for those
    that it `needs`. `judged` says what columns must hold; `refers` names one with the ids of another table. Where it
    `tells_apart`, ids must tell rows apart, none of them the empty text where `names_all`. `prefix` begins the names of
    the indexes that are added for the columns in `found_by`. `mark` is the name and the rest of an index that is made
    last: where it is, the table was adopted. `refuses` raises where something else stands against the table. `holds`
    and `elsewhere` are words for messages.
    """

    made: Table
    needs: tuple[str, ...]
    judged: Mapping[str, Holds]
    holds: str
    elsewhere: str = "use another database"
    adds: bool = False
    prefix: str = ""
    found_by: tuple[str, ...] = ()
    mark: tuple[str, str] | None = None
    refers: tuple[str, Ids] | None = None
    tells_apart: bool = False
    names_all: bool = False
    refuses: Callable[[Connection, Columns], None] = field(default=lambda _tx, _columns: None)

    @property
    def name(self) -> str:
        """Return the table's name."""
        return self.made.name

    @property
    def own_ids(self) -> str:
        """Return the name of the index that is there where the ids were given by findable."""
        return f"{self.prefix}_own_id"

    @property
    def item_id(self) -> ColumnElement[str]:
        """Return a row's id as text."""
        return cast(self.made.c.id, Text)

    def missing(self, found: Columns) -> list[str]:
        """Return the columns that the table lacks."""
        return [name for name in (self.made.c.keys() if self.adds else self.needs) if name not in found]

    def lacks_index(self, tx: Connection, found: Columns) -> list[str]:
        """Return by which columns no row is found without reading the table."""
        return [name for name in self.found_by if name not in found or not is_found_by(tx, found[name])]


@dataclass(frozen=True)
class _Adopted:
    """What was done to a table: `first` where it was there and not adopted before; `lines` say what was done."""

    made: bool = False
    first: bool = False
    lines: tuple[str, ...] = ()


def is_marked(tx: Connection, spec: TableSpec) -> bool:
    """Return whether a table with a mark was adopted."""
    return spec.mark is not None and has_index(tx, spec.name, spec.mark[0])


def is_whole(tx: Connection, spec: TableSpec) -> bool:
    """Return whether a table is there with all that was added, and has the ids of the table it refers to."""
    found = columns_of(tx, spec.name)
    return (
        bool(found)
        and not spec.missing(found)
        and not spec.lacks_index(tx, found)
        and not _strange_ids(tx, spec, found)
    )


def adopt_table(tx: Connection, spec: TableSpec, *, first: bool) -> _Adopted:
    """Make the table, or add to an existing one what it lacks; `first` tells that its ids were not looked at before.

    Raises:
        ConfigurationError: what is called so cannot be adopted; nothing was changed.
    """
    found = _judged(tx, spec)
    if not found:
        spec.made.create(tx)
        _make_mark(tx, spec)
        return _Adopted(made=True)
    added, lacking = spec.missing(found), spec.lacks_index(tx, found)
    try:
        _add_columns(tx, spec, added)
        if spec.tells_apart and (first or spec.adds):
            _settle_ids(tx, spec)
        for name in lacking:
            _run(tx, f"DROP INDEX IF EXISTS {spec.prefix}_{name}")  # that of a table which was named before this one
            _run(tx, f"CREATE INDEX {spec.prefix}_{name} ON {quoted(tx, spec.name)} ({name})")
        _make_mark(tx, spec)
    except exc.DBAPIError as error:
        why = f"cannot be adopted: {describe_error(error)}"
        raise unfit(spec.name, why, hint=f"make it a plain table, or {spec.elsewhere}") from error
    return _Adopted(first=first, lines=(_said(tx, spec, added),) if first or added else ())


def planned(tx: Connection, spec: TableSpec) -> list[str]:
    """Return what `adopt_table` would add to a table that another program made; nothing where there is no table.

    Raises:
        ConfigurationError: what is called so cannot be adopted.
    """
    found = _judged(tx, spec)
    if not found:
        return []
    missing = spec.missing(found)
    columns = f"the {'column' if len(missing) == 1 else 'columns'} {', '.join(missing)}" if missing else ""
    index = "an index" if spec.mark is not None or spec.lacks_index(tx, found) else ""
    added = " and ".join(filter(None, (columns, index)))
    return [f"{added} to `{spec.name}`"] if added else []


@dataclass(frozen=True)
class Pair:
    """A table of items and one of what is said of them, which are adopted together.

    `said_of` returns what is needed of the second, whose rows name the items by their ids; its
    mark tells that both were adopted.
    """

    items: TableSpec
    said_of: Callable[[Connection, Column[Any]], TableSpec]

    def adopt(self, tx: Connection) -> tuple[_Adopted, _Adopted]:
        """Make the tables, or add what is missing to existing ones.

        Raises:
            ConfigurationError: what is there under their names cannot be adopted; nothing was changed.
        """
        found = columns_of(tx, self.items.name)
        first = not is_marked(tx, self.said_of(tx, found.get("id", self.items.made.c.id)))
        items = adopt_table(tx, self.items, first=first or bool(self.items.lacks_index(tx, found)))
        return items, adopt_table(tx, self._said(tx), first=first)

    def planned(self, tx: Connection) -> list[str]:
        """Return what would be added to tables of another program, in words; nothing where they were adopted.

        Raises:
            ConfigurationError: one cannot be adopted.
        """
        found = columns_of(tx, self.items.name)
        if self.is_adopted(tx):
            return []
        plan = planned(tx, self.items)
        return [*plan, *planned(tx, self.said_of(tx, found["id"]))] if found else plan

    def is_adopted(self, tx: Connection) -> bool:
        """Return whether there is nothing to do; as quick for a million rows as for one."""
        found = columns_of(tx, self.items.name)
        if "id" not in found or misfit(tx, found["id"], Holds.ID) or not is_whole(tx, self.items):
            return False
        said = self.said_of(tx, found["id"])
        return is_marked(tx, said) and is_whole(tx, said)

    def moved(self, tx: Connection) -> list[Table]:
        """Return the tables of an SQLite file as they are to be on a server; see `as_moved`."""
        return [_as_moved(tx, one) for one in (self.items, self._said(tx))]

    def _said(self, tx: Connection) -> TableSpec:
        return self.said_of(tx, columns_of(tx, self.items.name)["id"])


def _as_moved(tx: Connection, spec: TableSpec) -> Table:
    """Return a table of an SQLite file as it is to be on a server: those of our columns that are there.

    Ids that are no whole numbers become text.
    """
    found, columns = columns_of(tx, spec.name), list[Column[Any]]()
    for one in spec.made.columns:
        if (there := found.get(one.name)) is None:
            continue
        is_id = spec.judged.get(one.name) is Holds.ID or (spec.refers is not None and spec.refers[0] == one.name)
        is_whole = ids_in(tx, there).kind == "whole numbers"
        kind = one.type if not is_id else BigInteger() if is_whole else Text()
        counts = [Identity()] if one.identity is not None and is_whole else []
        is_key = one.primary_key
        nullable = there.nullable and not is_key
        columns.append(
            Column(one.name, kind, *counts, primary_key=is_key, nullable=nullable, autoincrement=bool(counts))
        )
    return Table(spec.name, MetaData(), *columns)


def unfit(name: str, why: str, *, hint: str) -> ConfigurationError:
    """Return the error for a table that cannot be adopted."""
    return ConfigurationError(f"`{name}` in this database {why}; nothing was changed", hint=hint)


def check_demands(name: str, found: Columns, *, known: Collection[str]) -> None:
    """Pass when a row needs no column that is not written.

    Raises:
        ConfigurationError: it does.
    """
    demanding = (one for key, one in found.items() if key not in known and not one.nullable)
    if unknown := [f"`{one.name}`" for one in demanding if one.server_default is None]:
        why = f"demands columns that are not ours: {', '.join(unknown)}"
        raise unfit(name, why, hint="give them defaults, or let them be NULL")


def _judged(tx: Connection, spec: TableSpec) -> Columns:
    """Return the columns of the table that is there, none where nothing is; refuse what cannot be adopted."""
    if (kind := kind_of(tx, spec.name)) not in {None, "table"}:
        whys = {"view": f"is a view here, and a view cannot hold {spec.holds}", "virtual": "is a virtual table here"}
        why = whys.get(str(kind), "is kept by another server or a query")
        raise unfit(spec.name, why, hint=f"make it a table, or {spec.elsewhere}")
    found = columns_of(tx, spec.name)
    if not found:
        return {}
    for name in spec.needs:
        if name not in found:
            why = f"has no `{name}` column, without which it cannot hold {spec.holds}"
            raise unfit(spec.name, why, hint=f"add it, or {spec.elsewhere}")
    if wrong := [*_misfits(tx, spec, found)]:
        mended = "make the table anew" if is_sqlite(tx) else "ALTER TABLE … TYPE …"
        raise unfit(spec.name, f"has columns of other types: {', '.join(wrong)}", hint=f"{mended}, or {spec.elsewhere}")
    spec.refuses(tx, found)
    return found


def _misfits(tx: Connection, spec: TableSpec, found: Columns) -> Iterator[str]:
    """Yield a line for each judged column that cannot hold what is written."""
    for name, holds in spec.judged.items():
        if (one := found.get(name)) is not None and (wanted := misfit(tx, one, holds)):
            yield _mismatch(tx, one, wanted)
    yield from _strange_ids(tx, spec, found)


def _strange_ids(tx: Connection, spec: TableSpec, found: Columns) -> list[str]:
    """Return a line for a column that cannot hold the ids of the table that it refers to."""
    name, ids = spec.refers or ("", Ids())
    if (one := found.get(name)) is None:
        return []
    fits = misfit(tx, one, Holds.ID) is None and ids_in(tx, one).kind in {ids.kind, "text"}
    return [] if fits else [_mismatch(tx, one, ids.kind)]


def misfit(tx: Connection, one: Column[Any], holds: Holds) -> str | None:
    """Return what a reflected column would have to hold to hold what is written; None where it does."""
    if one.computed is not None:
        return "values of its own, not computed ones"
    if is_sqlite(tx):
        takes = holds is not Holds.ID or isinstance(one.type, String | Integer | NUMERIC)
    else:
        takes = holds.takes(one.type)
    return None if takes else str(holds.value[0])


def _mismatch(tx: Connection, one: Column[Any], wanted: str) -> str:
    declared = one.type.compile(tx.dialect).lower() if not isinstance(one.type, NullType) else ""
    return f"`{one.name}`{f' ({declared})' if declared else ''}, which must hold {wanted}"


def _add_columns(tx: Connection, spec: TableSpec, missing: Sequence[str]) -> None:
    table = quoted(tx, spec.name)
    for name in missing:
        _run(tx, f"ALTER TABLE {table} ADD COLUMN {name} {spec.made.c[name].type.compile(tx.dialect)}")
    if "id" in missing:
        _run(tx, f"CREATE UNIQUE INDEX {spec.own_ids} ON {table} (id)")


def _settle_ids(tx: Connection, spec: TableSpec) -> None:
    """Number rows without an id where SQLite has ids of findable's; then check that ids are unique and come back."""
    if is_sqlite(tx) and has_index(tx, spec.name, spec.own_ids):
        _number(tx, spec)
    rows, hint = spec.made, "use ids that are whole numbers or text"
    count, apart = tx.execute(select(func.count(), func.count(distinct(spec.item_id))).select_from(rows)).one()
    if count != apart:
        why = f"has rows whose `id` is missing or not theirs alone ({count - apart:,} of {count:,})"
        raise unfit(spec.name, why, hint="give every row an id of its own")
    if is_sqlite(tx) and _has(tx, spec, func.typeof(rows.c.id).in_(("blob", "real"))):
        raise unfit(spec.name, "has ids that are bytes or floating-point numbers", hint=hint)
    if spec.names_all and _has(tx, spec, spec.item_id == ""):
        raise unfit(spec.name, "has a row whose `id` is an empty text", hint="give every row an id of its own")


def _number(tx: Connection, spec: TableSpec) -> None:
    """Give every row of an SQLite table that has no id the next number, in the order of its rows."""
    table, newest = quoted(tx, spec.name), tx.execute(select(func.max(spec.made.c.id))).scalar() or 0
    waiting = f"SELECT rowid AS at, row_number() OVER (ORDER BY rowid) AS place FROM {table} WHERE id IS NULL"  # noqa: S608 - quoted
    _run(tx, f"UPDATE {table} SET id = {newest} + place FROM ({waiting}) WHERE {table}.rowid = at")  # noqa: S608


def _said(tx: Connection, spec: TableSpec, added: Sequence[str]) -> str:
    count = tx.execute(select(func.count()).select_from(spec.made)).scalar_one()
    rows = f"{count:,} {'row' if count == 1 else 'rows'}"
    return f"adopted the {spec.name} table ({rows})" + (f": added {', '.join(added)}" if added else "")


def _make_mark(tx: Connection, spec: TableSpec) -> None:
    if spec.mark is not None:
        name, columns = spec.mark
        _run(tx, f"CREATE INDEX IF NOT EXISTS {name} ON {quoted(tx, spec.name)} {columns}")


def _has(tx: Connection, spec: TableSpec, condition: ColumnElement[bool]) -> bool:
    return tx.execute(select(literal(1)).select_from(spec.made).where(condition).limit(1)).first() is not None


def _run(tx: Connection, statement: str) -> None:
    tx.execute(text(statement))
