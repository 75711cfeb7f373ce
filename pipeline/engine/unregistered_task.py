"""Tasks with rows in memory: a task before its first use, or before a newer table is stored."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.core.command_hint import OptionHint
from pipeline.core.declaration import Declaration
from pipeline.core.progress import Progress
from pipeline.core.settings import Settings
from pipeline.engine.task_registry import make_record
from pipeline.engine.task_sync import format_refused_row_message, print_sync_report
from pipeline.engine.task_values import RowsById
from pipeline.engine.user_task import UserTask
from pipeline.store.database import Connection, Store
from pipeline.store.rows import NO_HASH
from pipeline.tables.row_findings import Finding
from pipeline.tables.row_sync import RowSync, RowSyncReport
from pipeline.tables.source import RowSource
from pipeline.tables.stored_rows import HASH_COLUMN, KEY_COLUMN, VALUES_COLUMN


class MemoryTask(UserTask):
    """A user's task with rows in memory."""

    @cached_property
    def row_by_id(self) -> dict[str, Mapping[str, Any]]:
        """Return the rows by id; none at first."""
        return {}

    def add_row(self, row_id: str, input_hash: str, values_json: str) -> None:
        """Add a row, or replace the row of this id."""
        cells = {KEY_COLUMN: row_id, HASH_COLUMN: input_hash, VALUES_COLUMN: values_json}
        self.row_by_id[row_id] = self.map_row(cells)

    def read_rows(
        self,
        tx: Connection,  # noqa: ARG002 - they are in memory
        row_ids: Sequence[str],
    ) -> RowsById:
        """Return those of the rows in memory that have one of these ids, by id."""
        return {row_id: self.row_by_id[row_id] for row_id in row_ids if row_id in self.row_by_id}


def with_rows_in_memory(
    task: UserTask,
    row_by_id: Mapping[str, Mapping[str, Any]],
    changed_rows: Sequence[tuple[str, str, str]],
) -> tuple[MemoryTask, Sequence[str]]:
    """Return a user's task that has only the given rows, in memory, and the ids of these rows.

    Args:
        task: The task.
        row_by_id: Stored rows.
        changed_rows: Id, input hash and values as JSON of rows that are not stored yet.
    """
    declaration = task.user_file.declaration
    memory_task = MemoryTask(task.record, task.settings, task.provider, declaration=declaration)
    memory_task.row_by_id.update(row_by_id)
    for changed_row in changed_rows:
        memory_task.add_row(*changed_row)
    return memory_task, list(memory_task.row_by_id)


def load_unregistered_task(
    declaration: Declaration,
    path: Path,
    source: RowSource,
    settings: Settings,
    *,
    store: Store,
    max_rows: int,
    now: datetime,
    display: Progress,
    should_list_refused: bool,
) -> tuple[MemoryTask, Sequence[str], int, RowSyncReport]:
    """Read a source to its end, and return a task about its first rows, which are in memory.

    Empty and refused rows are left out. A report about the source is printed. Nothing is written.
    Without a key, the id of a row is its number in the source.

    Args:
        declaration: The declaration of the task.
        path: The task's file, or `<Python: name>`.
        source: The rows of the task's file or query.
        store: The workspace's store; it is only read.
        max_rows: Maximum number of rows in memory.
        display: Prints the report.
        should_list_refused: Print each refused row while reading; otherwise the first ones at the
            end.

    Returns:
        The task, the ids of the rows in memory, the number of all rows of the source that are not
        left out, and a report on the rows that are; repeated rows without a key are not left out.

    Raises:
        InputError: The source cannot be read.
    """
    record = make_record(declaration, path, source.columns, recorded_at=now)
    task = MemoryTask(record, settings, declaration=declaration)

    def print_refused(finding: Finding) -> None:
        display.warn(format_refused_row_message(finding, record))

    sync = RowSync(
        store,
        record,
        now,
        on_refused=print_refused if should_list_refused else None,
    )
    row_count = 0
    for row in sync.convert_rows(source):
        if row["input_hash"] == NO_HASH:
            continue
        if row["is_empty"]:
            sync.report.empty += 1
            continue
        row_count += 1
        row_id = row["item_id"]
        if declaration.has_made_key:
            row_id = str(row_count + sync.report.empty + sync.report.refused)
        if row_id not in task.row_by_id and len(task.row_by_id) < max_rows:
            task.add_row(row_id, row["input_hash"], row["row"])

    list_hint = f"{OptionHint(refused=True)} lists all"
    # Refused rows that were printed must not be printed again.
    if should_list_refused:
        sync.report.findings.clear()
        list_hint = "all are above"
    print_sync_report(sync.report, record, display, list_hint=list_hint)
    return task, list(task.row_by_id), row_count, sync.report
