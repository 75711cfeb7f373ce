"""Store the cells of imported files that have no column in the table of a task.

The cells of a row are stored with its id, and with its name: if another program gives the id to a
row of another name, they are not the cells of that row.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, select

from askrows.pipeline.store.database import make_insert, read_matching_rows, run_for_each_row
from askrows.pipeline.store.schema import extra_cells


class RowExtraCells(NamedTuple):
    """All cells of a row that have no column in the table of its task."""

    row_id: str
    # The row's key in files.
    name: str
    # Cells by column.
    cells: Mapping[str, Any]


def read_extra_cells(
    tx: Connection, task: str, names_by_id: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Return the stored cells of rows by id; rows without cells, or of another name, are left out.

    Args:
        names_by_id: The present names of the rows by id.
    """
    columns = extra_cells.c
    query = select(columns.row_id, columns.name, columns.cells).where(columns.task == task)
    return {
        row_id: json.loads(cells)
        for row_id, name, cells in read_matching_rows(tx, query, columns.row_id, list(names_by_id))
        if name == names_by_id[row_id]
    }


def replace_extra_cells(tx: Connection, task: str, rows: Sequence[RowExtraCells]) -> None:
    """Store the cells of rows in place of their former cells."""
    statement = make_insert(extra_cells, tx.dialect.name)
    statement = statement.on_conflict_do_update(
        index_elements=["task", "row_id"],
        set_={name: statement.excluded[name] for name in ("name", "cells")},
    )
    records = [
        {
            "task": task,
            "row_id": row.row_id,
            "name": row.name,
            "cells": json.dumps(row.cells, ensure_ascii=False, separators=(",", ":")),
        }
        for row in rows
    ]
    run_for_each_row(tx, statement, records)


def delete_extra_cells(tx: Connection, task: str, row_id: str) -> None:
    """Delete the cells of a row."""
    columns = extra_cells.c
    tx.execute(delete(extra_cells).where(columns.task == task, columns.row_id == row_id))
