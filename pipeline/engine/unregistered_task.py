"""A task before its first use, with the first rows of its source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.core.command_hint import OptionHint
from pipeline.core.declaration import Declaration
from pipeline.core.progress import Progress
from pipeline.core.settings import Settings
from pipeline.engine import task_file
from pipeline.engine.task_parts import RowsById
from pipeline.engine.task_registry import make_record
from pipeline.engine.task_sync import format_refused_row, print_sync_report
from pipeline.engine.user_rows import UserRows
from pipeline.engine.user_task import UserTask
from pipeline.store.database import Connection, Store
from pipeline.tables.row_findings import Finding
from pipeline.tables.row_sync import RowSync
from pipeline.tables.source import RowSource
from pipeline.tables.stored_values import HASH_COLUMN, KEY_COLUMN, VALUES_COLUMN


@dataclass(eq=False, kw_only=True)
class _MemoryRows(UserRows):
    """Rows in memory."""

    row_by_id: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def read(
        self,
        tx: Connection,  # noqa: ARG002 - they are in memory
        ids: Sequence[str],
    ) -> RowsById:
        """Return those of the rows in memory that have one of these ids, by id."""
        return {row_id: self.row_by_id[row_id] for row_id in ids if row_id in self.row_by_id}


class UnregisteredTask(UserTask):
    """A task that is not registered, about some rows in memory."""

    rows: _MemoryRows
    rows_class = _MemoryRows

    def __init__(
        self,
        declaration: Declaration,
        path: Path,
        columns: Mapping[str, str],
        settings: Settings,
        *,
        now: datetime,
    ) -> None:
        """Make the task of a declaration; it has no rows before `load_rows`.

        Args:
            path: The task's file, or `<Python: name>`.
            columns: Kinds of the source's columns, by name.
        """
        record = make_record(declaration, path, columns, recorded_at=now)
        # Many tasks of Python code have the same name, but answers of different lengths. The label
        # separates them in estimates.
        version_label = None
        if task_file.parse_python_path(path):
            version_label = f"{record.name}@{record.fingerprint[:8]}"
        super().__init__(record, settings, version_label=version_label)
        self.user_file.declaration = declaration
        # Rows of the source that are not empty; repeated rows count too.
        self.row_count = 0

    def load_rows(
        self,
        source: RowSource,
        *,
        store: Store,
        max_rows: int,
        now: datetime,
        display: Progress,
        should_list_refused: bool,
    ) -> Sequence[str]:
        """Read a source to its end, hold its first rows in memory, and return the ids of held rows.

        Empty and refused rows are not held. The attribute `row_count` grows by all other rows of
        the source, held or not. A report about the source is printed. Nothing is written.

        Args:
            source: The rows of the task's file or query.
            store: The workspace's store; it is only read.
            max_rows: Maximum number of rows to hold.
            display: Prints the report.
            should_list_refused: Print each refused row while reading; otherwise the first ones at
                the end.

        Raises:
            InputError: The source cannot be read.
        """

        def print_refused(finding: Finding) -> None:
            display.warn(format_refused_row(finding, self.record))

        sync = RowSync(
            store,
            self.record,
            now,
            on_refused=print_refused if should_list_refused else None,
        )
        row_by_id = self.rows.row_by_id
        for row in sync.convert_rows(source):
            if row["is_empty"]:
                continue
            self.row_count += 1
            row_id = row["item_id"]
            if row_id not in row_by_id and len(row_by_id) < max_rows:
                cells = {
                    KEY_COLUMN: row_id,
                    HASH_COLUMN: row["input_hash"],
                    VALUES_COLUMN: row["row"],
                }
                row_by_id[row_id] = self.rows.map_row(cells)

        # Refused rows that were printed must not be printed again.
        if should_list_refused:
            sync.report.findings.clear()
        list_hint = f"{OptionHint(refused=True)} lists all"
        print_sync_report(sync.report, self.record, display, list_hint=list_hint)
        return list(row_by_id)
