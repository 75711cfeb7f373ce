"""Keep counts of rows by state and by value in files, so that they are not counted again.

Counting reads all rows of a task, which takes two seconds for 500,000 rows. Counts are kept only of
tables that no other program changes.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, Table
from sqlalchemy.sql import visitors

from askrows.pipeline.core import files
from askrows.pipeline.rows.row_state import StateCounts
from askrows.pipeline.rows.task_rows import TaskRows
from askrows.pipeline.store.workspace import read_change_id

KEPT_COUNTS_FOLDER = "counts"
# Fewer rows are counted in less than 0.1 s.
MIN_KEPT_ROWS = 20_000


def reuse_or_count_states(tx: Connection, rows: TaskRows, data: Path) -> StateCounts:
    """Return the number of all rows by state; unchanged rows are not counted again.

    Counts of many rows are stored in a file of the workspace, see `reuse_or_store_counts`.

    Args:
        tx: A snapshot of `Store.read`.
        rows: The rows of a task.
        data: The folder of the workspace.
    """

    def count_by_state() -> tuple[int, dict[str, Any]]:
        """Return the number of rows in the source, and the counts by state."""
        counts = rows.count_all_rows_by_state(tx)
        return counts.total, vars(counts)

    return StateCounts(
        **reuse_or_store_counts(
            tx, rows.select_state_counts(), data, f"{rows.task}.json", count_by_state
        )
    )


def reuse_or_store_counts(
    tx: Connection,
    query: Select[Any],
    data: Path,
    file_name: str,
    count: Callable[[], tuple[int, dict[str, Any]]],
) -> dict[str, Any]:
    """Return the counts of a file if they are of the same rows, else those of `count`.

    Counts of MIN_KEPT_ROWS rows or more are written to the file, but never those of a table that
    another program may change. A file that cannot be read or written is ignored.

    Args:
        tx: A snapshot of `Store.read`.
        query: A query of all that is counted.
        data: The folder of the workspace.
        file_name: Name of the file in the folder KEPT_COUNTS_FOLDER.
        count: Returns the number of rows, and the counts as JSON members.
    """
    key = _make_counts_key(tx, query)
    path = data / KEPT_COUNTS_FOLDER / file_name
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        kept = json.loads(path.read_bytes())
        if kept["key"] == key:
            return dict(kept["counts"])

    row_count, counts = count()
    if key and row_count >= MIN_KEPT_ROWS:
        content = json.dumps({"key": key, "counts": counts})
        with contextlib.suppress(OSError):
            files.seal_bytes(path, content.encode())
    return counts


def _make_counts_key(tx: Connection, query: Select[Any]) -> str:
    """Return a key that differs if the counts may differ; "" if they cannot be kept.

    It has the content of the database, and the query with all its values.
    """
    for element in visitors.iterate(query):
        if isinstance(element, Table) and not element.name.startswith("askrows_"):
            return ""
    compiled = query.compile(dialect=tx.dialect)
    content = f"{read_change_id(tx)} {compiled} {sorted(compiled.params.items())}"
    return hashlib.sha256(content.encode()).hexdigest()
