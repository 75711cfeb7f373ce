"""Keep the counts of rows by state in files, so that unchanged rows are not counted again.

Counting reads all rows of a task, which takes two seconds for 500,000 rows. Counts are kept only of
tables that no other program changes.
"""

import contextlib
import hashlib
import json
from pathlib import Path

from sqlalchemy import Connection, Table
from sqlalchemy.sql import visitors

from askrows.pipeline.core import files
from askrows.pipeline.rows.row_state import StateCounts
from askrows.pipeline.rows.task_rows import TaskRows
from askrows.pipeline.store.workspace import read_change_id

KEPT_COUNTS_FOLDER = "counts"
# Fewer rows are counted in less than 0.1 s.
MIN_KEPT_ROWS = 20_000


def count_states(tx: Connection, rows: TaskRows, data: Path) -> StateCounts:
    """Return the number of all rows by state; unchanged rows are not counted again.

    A file that cannot be read or written is ignored.

    Args:
        tx: A snapshot of `Store.read`.
        rows: The rows of a task.
        data: The folder of the workspace.
    """
    key = _make_key(tx, rows)
    path = data / KEPT_COUNTS_FOLDER / f"{rows.task}.json"
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        kept = json.loads(path.read_bytes())
        if kept["key"] == key:
            return StateCounts(**kept["counts"])

    counts = rows.count_states(tx)
    if key and counts.total >= MIN_KEPT_ROWS:
        content = json.dumps({"key": key, "counts": vars(counts)})
        with contextlib.suppress(OSError):
            files.seal_bytes(path, content.encode())
    return counts


def _make_key(tx: Connection, rows: TaskRows) -> str:
    """Return a key that differs if the counts may differ; "" if they cannot be kept.

    It has the content of the database, and the query with all its values.
    """
    query = rows.select_counts()
    for element in visitors.iterate(query):
        if isinstance(element, Table) and not element.name.startswith("askrows_"):
            return ""
    compiled = query.compile(dialect=tx.dialect)
    content = f"{read_change_id(tx)} {compiled} {sorted(compiled.params.items())}"
    return hashlib.sha256(content.encode()).hexdigest()
