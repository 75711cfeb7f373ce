"""How the page calls rows: by their names, or by their numbers if their keys are hashes."""

from collections.abc import Sequence

from pipeline.core.declaration import HASH_KEY
from pipeline.engine.task import Task
from pipeline.store.database import Connection
from pipeline.tables.stored_rows import PLACE_COLUMN


def read_row_titles(tx: Connection, task: Task, row_ids: Sequence[str]) -> dict[str, str]:
    """Return the titles of the existing rows with these ids, by id.

    A row whose key is a hash, and that has no label, is called by its place in the newest table,
    such as "row 17", or "gone row".
    """
    table = task.make_row_table(tx)
    if table.name_columns or list(task.key_columns) != [HASH_KEY]:
        return table.read_names(tx, row_ids)
    rows = table.read_rows(tx, row_ids, [PLACE_COLUMN])
    places = {row_id: row[PLACE_COLUMN] for row_id, row in rows.items()}
    return {
        row_id: "gone row" if place is None else f"row {place:,}"
        for row_id, place in places.items()
    }
