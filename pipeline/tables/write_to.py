"""Write one field of the answers into a column of the user's own table, in the rows where that is NULL.

A row is an item's where its key has the same bytes, whatever case or zeros the table's own comparison overlooks.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnClause,
    ColumnElement,
    Connection,
    Text,
    and_,
    bindparam,
    cast,
    collate,
    column,
    func,
    select,
    tuple_,
    type_coerce,
    update,
)
from sqlalchemy import table as table_of

from pipeline.core.errors import InputError, RefusedRowError
from pipeline.store.column_types import AsTheColumn
from pipeline.store.database import pages, run_many
from pipeline.tables.answer_fields import TYPES, fields_in, same_cell, stored_cell
from pipeline.tables.columns import LARGEST, TEXT, Accepts, Ids, ReflectedColumn
from pipeline.tables.reflect import columns_of, folded, is_sqlite, kind_of, primary_key, unique_keys
from pipeline.tables.rows import refusals
from pipeline.tables.view import AnswersSpec

PAGE = 200  # rows in one statement; SQLite is given two parameters and more for each
FORM = 'it is written "table.column=field"'
KEPT = "a trigger or a rule of the database keeps it so"
ACCEPTS: Mapping[str, Accepts] = {
    "text": TEXT,
    "integer": Accepts(tuple(LARGEST), "whole numbers"),
    "real": Accepts(("float8",), "floating-point numbers of 64 bits"),
    "boolean": Accepts(("bool",), "true and false"),
    "date": Accepts(("date", *TEXT.types), "dates, or text"),
    "time": Accepts(("timestamptz", *TEXT.types), "times with their zone, or text"),
    "json": Accepts(("jsonb", "json", *TEXT.types), "JSON, or text"),
}
_MOMENT = 'YYYY-MM-DD HH24:MI:SS.US"+00:00"'  # in PostgreSQL's words, as `stored_cell` gives a time
_PARTS = re.compile(r"\s*(.+)\.([^.=]+?)\s*=\s*([^=]+?)\s*")


class GivenAnswer(NamedTuple):
    """One answer on its way: `answer_json` is the answer by the names of its fields, `at` is aware."""

    item_id: str
    extractor: str
    answer_json: str
    at: datetime


@dataclass(frozen=True)
class ColumnTarget:
    """The column that a field goes to: of which table, and what ids the key's columns of that table hold."""

    table: str
    column: ReflectedColumn
    field: str
    kind: str
    keys: tuple[tuple[str, Ids], ...]

    def takes(self, value: Any) -> bool:
        """Return whether a value fits into the column."""
        if isinstance(value, str):
            return self.column.length <= 0 or self.column.type != "varchar" or len(value) <= self.column.length
        most = LARGEST.get(self.column.type)
        return most is None or -most - 1 <= value <= most


def column_target(tx: Connection, spec: AnswersSpec, write_to: str) -> ColumnTarget:
    """Return what `write_to=` of a task names.

    Raises:
        InputError: there is no such table, column or field; the column cannot hold the field; or the columns of the
            task's key are no unique key of the table.
    """
    parts = _PARTS.fullmatch(write_to)
    if parts is None:
        raise InputError(f"write_to={write_to!r} names no column", hint=FORM)
    table, name, field = parts.groups()
    kind = dict(spec.fields).get(field)
    if kind is None:
        raise InputError(f"write_to={write_to!r}: the answer has no field `{field}`", hint=FORM)
    if table.startswith("findable_") or table in {*spec.views, spec.items}:
        raise InputError(f"write_to={write_to!r}: `{table}` is findable's own", hint="name a table of your own")
    if kind_of(tx, table) != "table":
        raise InputError(f"write_to={write_to!r}: this database has no table `{table}`", hint=FORM)
    columns = columns_of(tx, table)
    to = _found(tx, columns, name, table, write_to)
    if wrong := to.misfit(ACCEPTS[kind]):
        raise InputError(f"write_to={write_to!r}: `{table}.{name}` must hold {wrong}", hint="name another column")
    keys = tuple((one, _ids(_found(tx, columns, one, table, write_to), table, write_to)) for one, _ in spec.key)
    own = {folded(tx, one) for one, _ in keys}
    unique = [*unique_keys(tx, table, version=""), *([set(primary_key(tx, table))] if is_sqlite(tx) else [])]
    if not any(one and one <= own for one in unique):
        said = ", ".join(name for name, _ in keys)
        raise InputError(
            f"write_to={write_to!r}: the key of the task ({said}) is no unique key of `{table}`",
            hint="make it one: CREATE UNIQUE INDEX …",
        )
    return ColumnTarget(table, to, field, kind, keys)


def write_column(tx: Connection, spec: AnswersSpec, target: ColumnTarget, rows: Sequence[GivenAnswer]) -> set[str]:
    """Write answers into the column where it is NULL; return the ids of the items whose row now holds their value.

    A NULL of an answer is not written.

    Raises:
        RefusedRowError: a rule of the table refuses a row, or a cell stays NULL.
    """
    newest = {one.item_id: one for one in rows}
    return {one for some in pages(list(newest.values()), PAGE) for one in _write(tx, spec, target, some)}


def _write(tx: Connection, spec: AnswersSpec, target: ColumnTarget, rows: Sequence[GivenAnswer]) -> list[str]:
    wanted: dict[tuple[str, ...], tuple[str, Any]] = {}
    for row in rows:
        value = stored_cell(target.kind, fields_in(row.answer_json).get(target.field))
        key = (row.item_id,) if len(spec.key) == 1 else tuple(map(str, json.loads(row.item_id)))
        fits = all(ids.key(part) == part for (_, ids), part in zip(target.keys, key, strict=True))
        if fits and value is not None:
            wanted[key] = (row.item_id, value)
    if not wanted:
        return []
    keys: list[ColumnClause[Any]] = [column(name, AsTheColumn()) for name, _ in target.keys]
    to: ColumnClause[Any] = column(target.column.name, AsTheColumn())
    table = table_of(target.table, *keys, *([] if to.name in {one.name for one in keys} else [to]))
    told = [collate(cast(one, Text), "BINARY" if is_sqlite(tx) else "C") for one in keys]
    here = [one == bindparam(f"k{place}") for place, one in enumerate(keys)]
    bytes_too = [one == bindparam(f"t{place}") for place, one in enumerate(told)]
    native = {key: [ids.stored(part) for (_, ids), part in zip(target.keys, key, strict=True)] for key in wanted}
    names = ["new", *(f"{kind}{place}" for kind in "kt" for place, _ in enumerate(keys))]
    writing = update(table).where(and_(*here, *bytes_too, to.is_(None))).values({to: bindparam("new")})
    with refusals(target.table):
        # a server refuses what does not fit also where no row is to take it
        fitting = [(key, value) for key, (_, value) in wanted.items() if target.takes(value)]
        given = ((value, *native[key], *key) for key, value in fitting)
        run_many(tx, writing, [dict(zip(names, row, strict=True)) for row in given])
    is_native = target.column.type not in TEXT.types
    written = _as_written(tx, column(to.name, TYPES[target.kind] if is_native else Text()))
    found = select(*(cast(one, Text) for one in keys), written).select_from(table)
    held = tx.execute(found.where(tuple_(*keys).in_([tuple(native[key]) for key in wanted]))).all()
    cells = {tuple(row)[:-1]: tuple(row)[-1] for row in held}
    if empty := [value for key, (_, value) in wanted.items() if cells.get(key, "") is None]:
        why = KEPT if target.takes(empty[0]) else "it has no room for the answer"
        said = f"{target.table}.{target.column.name} ({target.column.declared}) stays NULL: {why}"
        raise RefusedRowError(said, hint="give it room, or take the trigger or rule away")
    return [
        item_id for key, (item_id, value) in wanted.items() if key in cells and _holds(target.kind, cells[key], value)
    ]


def _as_written(tx: Connection, to: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a column as what was written into it, whatever is in it now."""
    declared = str(to.type.compile(tx.dialect))
    if is_sqlite(tx) or declared in {"BIGINT", "FLOAT", "BOOLEAN"}:
        return type_coerce(to, AsTheColumn())
    if declared.startswith("TIMESTAMP"):
        return func.to_char(func.timezone("UTC", to), _MOMENT)
    return cast(to, Text)


def _holds(kind: str, cell: Any, value: Any) -> bool:
    """Return whether a cell says a value; SQLite turns text into a number where the column is one of numbers."""
    return cell is not None and (same_cell(kind, cell, value) or str(cell) == str(value))


def _found(
    tx: Connection, columns: Mapping[str, ReflectedColumn], name: str, table: str, write_to: str
) -> ReflectedColumn:
    """Return a column of a table."""
    found = columns.get(folded(tx, name))
    if found is None:
        raise InputError(f"write_to={write_to!r}: `{table}` has no column `{name}`", hint=FORM)
    return found


def _ids(key: ReflectedColumn, table: str, write_to: str) -> Ids:
    """Return what ids a column of the key holds."""
    if key.ids is None:
        raise InputError(f"write_to={write_to!r}: `{table}.{key.name}` ({key.declared}) is no column for a key")
    return key.ids
