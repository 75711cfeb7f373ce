"""Write columns of many rows at once, each row by its id and under conditions: of any table, on any database."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Table,
    Text,
    bindparam,
    cast,
    column,
    func,
    text,
    update,
)

from pipeline.store.database import run_many
from pipeline.store.table_base import AsTheColumn

_TYPES = text(
    "SELECT attname, format_type(atttypid, -1) FROM pg_attribute"
    " WHERE attrelid = to_regclass(:name) AND NOT attisdropped"
)


def update_rows(
    tx: Connection,
    table: Table,
    names: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *conditions: ColumnElement[bool],
    same: Mapping[str, Any] | None = None,
) -> int:
    """Write some columns of rows by their `id`, which is each one's last value; return how many rows took them.

    They are written where all conditions hold. Values are text, numbers or None, each id stands once, and `same` is
    what all rows get. A server takes all of them in one statement, an SQLite file one after the other.
    """
    if not rows:
        return 0
    written = update(table).values(same) if same else update(table)
    if tx.dialect.name != "postgresql":
        places = {name: f"new_{name}" for name in names}
        written = written.where(table.c.id == bindparam("row"), *conditions)
        written = written.values({name: bindparam(place) for name, place in places.items()})
        return run_many(tx, written, [*places.values(), "row"], rows)
    quoted = tx.dialect.identifier_preparer.quote(table.name)
    known = {row[0]: row[1] for row in tx.execute(_TYPES, {"name": quoted})}
    places = {name: f"c{place}" for place, name in enumerate([*names, "id"])}
    listed = json.dumps([dict(zip(places.values(), row, strict=True)) for row in rows], default=str)  # of a UUID
    told = func.json_to_recordset(cast(bindparam(None, listed, Text, unique=True), JSON))
    given = told.table_valued(*(column(place, AsTheColumn(known[name])) for name, place in places.items()))
    new = given.render_derived(name="told", with_types=True).c
    written = written.where(table.c.id == new[places["id"]], *conditions)
    return tx.execute(written.values({name: new[places[name]] for name in names})).rowcount
