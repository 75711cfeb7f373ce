"""Write one field of the answers into a column of the user's own table, in the rows where that is NULL.

A row is an item's where its key has the same bytes, whatever case or zeros the table's own comparison overlooks.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, Text, and_, bindparam, cast, collate, column, select, tuple_, update
from sqlalchemy import table as table_of

from pipeline.core.errors import InputError, RefusedRowError
from pipeline.store.column_types import AsTheColumn
from pipeline.store.database import pages, run_many
from pipeline.tables.adopt import Holds, Ids, ids_in, misfit
from pipeline.tables.answer_fields import fields_in, stored_cell
from pipeline.tables.reflect import columns_of, folded, is_sqlite, kind_of, unique_keys
from pipeline.tables.rows import refusals
from pipeline.tables.view import AnswersSpec

PAGE = 200  # rows in one statement; SQLite is given two parameters and more for each
FORM = 'it is written "table.column=field"'
HOLDS: Mapping[str, Holds] = {
    "text": Holds.TEXT,
    "integer": Holds.WHOLE,
    "real": Holds.DOUBLE,
    "boolean": Holds.TRUTH,
    "date": Holds.DATE,
    "time": Holds.TIME,
    "json": Holds.JSON,
}
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
    column: Column[Any]
    field: str
    kind: str
    keys: tuple[tuple[str, Ids], ...]


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
    found, own = columns_of(tx, table), [key for key, _ in spec.key]
    for one in (name, *own):
        if folded(tx, one) not in found:
            raise InputError(f"write_to={write_to!r}: `{table}` has no column `{one}`", hint=FORM)
    to, keys = found[folded(tx, name)], {one: found[folded(tx, one)] for one in own}
    if wrong := misfit(tx, to, HOLDS[kind]):
        raise InputError(f"write_to={write_to!r}: `{table}.{name}` must hold {wrong}", hint="name another column")
    if strange := next((one for one in own if misfit(tx, keys[one], Holds.ID)), None):
        raise InputError(f"write_to={write_to!r}: `{table}.{strange}` is no column for a key")
    if not any(key and key <= {folded(tx, one) for one in own} for key in unique_keys(tx, to.table)):
        raise InputError(
            f"write_to={write_to!r}: the key of the task ({', '.join(own)}) is no unique key of `{table}`",
            hint="make it one: CREATE UNIQUE INDEX …",
        )
    return ColumnTarget(table, to, field, kind, tuple((one, ids_in(tx, keys[one])) for one in own))


def write_column(tx: Connection, spec: AnswersSpec, target: ColumnTarget, rows: Sequence[GivenAnswer]) -> None:
    """Write answers into the column where it is NULL; a NULL of an answer is not written.

    Raises:
        RefusedRowError: a rule of the table refuses a row, or a cell stays NULL.
    """
    wanted = dict[tuple[str, ...], Any]()
    for row in rows:
        key = (row.item_id,) if len(spec.key) == 1 else tuple(map(str, json.loads(row.item_id)))
        value = stored_cell(target.kind, fields_in(row.answer_json).get(target.field))
        fits = all(ids.key(part) == part for (_, ids), part in zip(target.keys, key, strict=True))
        if fits and value is not None:
            wanted[key] = value
    for some in pages(list(wanted)):
        _write(tx, target, {key: wanted[key] for key in some})


def _write(tx: Connection, target: ColumnTarget, wanted: Mapping[tuple[str, ...], Any]) -> None:
    names = dict.fromkeys((*(name for name, _ in target.keys), target.column.name))
    table = table_of(target.table, *(column(name, AsTheColumn()) for name in names))
    to, keys = table.c[target.column.name], [table.c[name] for name, _ in target.keys]
    told = [collate(cast(one, Text), "BINARY" if is_sqlite(tx) else "C") for one in keys]
    here = [one == bindparam(f"k{place}") for place, one in enumerate(keys)]
    bytes_too = [one == bindparam(f"t{place}") for place, one in enumerate(told)]
    writing = update(table).where(and_(*here, *bytes_too, to.is_(None))).values({to: bindparam("new")})
    parameters = [f"{kind}{place}" for kind in "kt" for place, _ in enumerate(keys)]
    with refusals(target.table):
        run_many(
            tx,
            writing,
            [{"new": value, **dict(zip(parameters, key * 2, strict=True))} for key, value in wanted.items()],
        )
    still_empty = select(*(cast(one, Text) for one in keys)).where(tuple_(*keys).in_([*wanted]), to.is_(None))
    if tx.execute(still_empty.limit(1)).first() is not None:
        declared = target.column.type.compile(tx.dialect)
        raise RefusedRowError(
            f"{target.table}.{target.column.name} ({declared}) stays NULL: a trigger or a rule of the database keeps "
            "it so",
            hint="give it room, or take the trigger or rule away",
        )
