"""Put people into the table of a workspace, without a file."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, text

from askrows.pipeline.batch.run import Run
from askrows.pipeline.rows.database_table import insert_table_rows, read_table_rows_by_key
from askrows.pipeline.rows.row_sync import RowSync
from askrows.pipeline.store.workspace import record_row_change
from askrows.pipeline.tasks.derived_values import update_derived_values
from askrows.pipeline.tasks.other_values import sync_values_of_other_programs


def insert_person(run: Run, tx: Connection, username: str, values: Mapping[str, Any]) -> str:
    """Insert a person into the table and the stored rows of the task; return the id."""
    task = run.task
    cells = {name: value for name, value in values.items() if name != "tags"}
    insert_table_rows(tx, task.record, [{"username": username, **cells}])
    if "tags" in values:
        # As another program writes them.
        statement = text("UPDATE experts SET tags = :tags WHERE username = :username")
        tx.execute(statement, {"tags": values["tags"], "username": username})
    row = read_table_rows_by_key(tx, task.record, [username])[username]
    RowSync(run.workspace.store, task.record, run.workspace.now()).store_inserted_row(tx, row, {})
    row_id = str(row["id"])
    sync_values_of_other_programs(tx, task, now=run.workspace.now(), row_ids=[row_id])
    update_derived_values(tx, task, [row_id])
    record_row_change(tx, task.name)
    return row_id
