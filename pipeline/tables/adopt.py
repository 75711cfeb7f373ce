"""Make a table, or adopt one that another program made, by what a subject says of it in a `TableSpec`.

No cell that is there changes, and doing it again changes nothing. The other program may go on using the table.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    ColumnClause,
    ColumnElement,
    Connection,
    Table,
    Text,
    bindparam,
    cast,
    column,
    distinct,
    func,
    literal,
    select,
    text,
    update,
)

from pipeline.core.errors import ConfigurationError
from pipeline.store.schema import has_index
from pipeline.tables.columns import Accepts, ReflectedColumn, misfits
from pipeline.tables.reflect import (
    columns_of,
    counts_up,
    has_row_numbers,
    is_found_by,
    is_sqlite,
    kind_of,
    named,
    primary_key,
    quoted,
)

Columns = Mapping[str, ReflectedColumn]


@dataclass(frozen=True)
class TableSpec:
    """What a subject needs of a table.

    `made` is the table as findable makes it; its columns are added to one that lacks them where `adds`, but for those
    that it `needs`. `judged` tells which columns are looked at, and what they must be; where `id` is among them, ids
    must tell rows apart. `prefix` begins the names of the indexes that are added for the columns in `found_by`.
    `mark` is the name and the rest of an index that is made last: where it is, the table was adopted. `refuses` raises
    where something else stands against the table. `holds` and `elsewhere` are words for messages.
    """

    made: Table
    needs: tuple[str, ...]
    judged: Mapping[str, Accepts]
    holds: str
    elsewhere: str = "use another database"
    adds: bool = False
    prefix: str = ""
    found_by: tuple[str, ...] = ()
    mark: tuple[str, str] | None = None
    takes_empty_id: bool = False
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


@dataclass(frozen=True)
class Adopted:
    """What was done to a table: `first` where it was there and not adopted before; `lines` say what was done."""

    made: bool = False
    first: bool = False
    lines: tuple[str, ...] = ()


def is_marked(tx: Connection, spec: TableSpec) -> bool:
    """Return whether a table with a mark was adopted."""
    return spec.mark is not None and has_index(tx, named(tx, spec.name), spec.mark[0])


def adopt_table(tx: Connection, spec: TableSpec, *, first: bool) -> Adopted:
    """Make the table, or add to an existing one what it lacks; `first` tells that its ids were not looked at before.

    Raises:
        ConfigurationError: what is called so cannot be adopted; nothing was changed.
    """
    _check_is_table(tx, spec)
    found = columns_of(tx, spec.name)
    if not found:
        spec.made.create(tx)
        _make_mark(tx, spec)
        return Adopted(made=True)
    _judge(tx, spec, found)
    added = _add_columns(tx, spec, found)
    if "id" in spec.judged and (first or spec.adds):
        _settle_ids(tx, spec)
    for name in spec.found_by:
        if not is_found_by(tx, spec.name, name):
            _run(tx, f"DROP INDEX IF EXISTS {spec.prefix}_{name}")  # that of a table which was named before this one
            _run(tx, f"CREATE INDEX {spec.prefix}_{name} ON {quoted(tx, spec.name)} ({name})")
    _make_mark(tx, spec)
    return Adopted(first=first, lines=(_said(tx, spec, added),) if first or added else ())


def planned(tx: Connection, spec: TableSpec) -> list[str]:
    """Return what `adopt_table` would add to a table that another program made; nothing where there is no table.

    Raises:
        ConfigurationError: what is called so cannot be adopted.
    """
    _check_is_table(tx, spec)
    found = columns_of(tx, spec.name)
    if not found:
        return []
    _judge(tx, spec, found)
    missing = spec.missing(found)
    columns = f"the {'column' if len(missing) == 1 else 'columns'} {', '.join(missing)}" if missing else ""
    has_index_to_make = spec.mark is not None or any(not is_found_by(tx, spec.name, name) for name in spec.found_by)
    added = " and ".join(filter(None, (columns, "an index" if has_index_to_make else "")))
    return [f"{added} to `{spec.name}`"] if added else []


def unfit(name: str, why: str, *, hint: str) -> ConfigurationError:
    """Return the error for a table that cannot be adopted."""
    return ConfigurationError(f"`{name}` in this database {why}; nothing was changed", hint=hint)


def check_demands(tx: Connection, name: str, found: Columns, *, known: Collection[str]) -> None:
    """Pass when a row needs no column that is not written.

    Raises:
        ConfigurationError: it does.
    """
    demanding = (one for one in found.values() if not one.nullable and one.name not in known)
    if unknown := [f"`{one.name}`" for one in demanding if not one.fills and not counts_up(tx, name, one)]:
        why = f"demands columns that are not ours: {', '.join(unknown)}"
        raise unfit(name, why, hint="give them defaults, or let them be NULL")


def _check_is_table(tx: Connection, spec: TableSpec) -> None:
    kind = kind_of(tx, spec.name)
    whys = {
        "view": f"is a view here, and a view cannot hold {spec.holds}",
        "virtual": "is a virtual table here, which takes no columns",
    }
    if kind not in {None, "table"}:
        why = whys.get(str(kind), "is kept by another server or a query")
        raise unfit(spec.name, why, hint=f"make it a table, or {spec.elsewhere}")


def _judge(tx: Connection, spec: TableSpec, found: Columns) -> None:
    for name in spec.needs:
        if name not in found:
            why = f"has no `{name}` column, without which it cannot hold {spec.holds}"
            raise unfit(spec.name, why, hint=f"add it, or {spec.elsewhere}")
    if wrong := misfits(found, spec.judged):
        mended = "make the table anew" if is_sqlite(tx) else "ALTER TABLE … TYPE …"
        raise unfit(spec.name, f"has columns of other types: {', '.join(wrong)}", hint=f"{mended}, or {spec.elsewhere}")
    spec.refuses(tx, found)


def _add_columns(tx: Connection, spec: TableSpec, found: Columns) -> list[str]:
    table, missing = quoted(tx, spec.name), spec.missing(found)
    for name in missing:
        _run(tx, f"ALTER TABLE {table} ADD COLUMN {name} {spec.made.c[name].type.compile(tx.dialect)}")
    if "id" in missing:
        _run(tx, f"CREATE UNIQUE INDEX {spec.own_ids} ON {table} (id)")
    return missing


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
    if not spec.takes_empty_id and _has(tx, spec, spec.item_id == ""):
        raise unfit(spec.name, "has a row whose `id` is an empty text", hint="give every row an id of its own")


def _number(tx: Connection, spec: TableSpec) -> None:
    """Give every row of an SQLite table that has no id the next number, in the order of rows."""
    own = spec.made.c.id
    names = ["rowid"] if has_row_numbers(tx, spec.name) else primary_key(tx, spec.name)
    columns: list[ColumnClause[Any]] = [column(name) for name in names]
    waiting = select(*columns).select_from(spec.made).where(own.is_(None)).order_by(*columns)
    newest = tx.execute(select(func.max(own))).scalar() or 0
    rows = [
        {"new": number, **{f"key{place}": cell for place, cell in enumerate(row)}}
        for number, row in enumerate(tx.execute(waiting), start=newest + 1)
    ]
    here = [one == bindparam(f"key{place}") for place, one in enumerate(columns)]
    if rows:
        tx.execute(update(spec.made).where(*here).values(id=bindparam("new")), rows)


def _said(tx: Connection, spec: TableSpec, added: list[str]) -> str:
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
