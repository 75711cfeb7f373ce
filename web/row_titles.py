"""How the page calls rows: by their names, or by their numbers if their keys are hashes."""

from collections.abc import Sequence

from pipeline.core.declaration import HASH_KEY
from pipeline.engine.task import Task
from pipeline.store.database import Connection
from pipeline.tables.stored_rows import ROW_NUMBER_COLUMN


def read_row_titles(tx: Connection, task: Task, row_ids: Sequence[str]) -> dict[str, str]:
    """Return the titles of the existing rows with these ids, by id.

    A row whose key is a hash, and that has no label, is called by its number in the table, such as
    "row 17".
    """
    table = task.make_row_table(tx)
    if table.name_columns or list(task.key_columns) != [HASH_KEY]:
        return table.read_names(tx, row_ids)
    rows = table.read_rows(tx, row_ids, [ROW_NUMBER_COLUMN])
    return {row_id: f"row {row[ROW_NUMBER_COLUMN]:,}" for row_id, row in rows.items()}
