"""Sync the rows of a task with a source, as a command does."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from askrows.pipeline.rows.cells import merge_kinds
from askrows.pipeline.rows.row_sync import RowSync, RowSyncReport
from askrows.pipeline.rows.source import QuerySource, check_column_names
from askrows.pipeline.rows.stored_rows import (
    VALUES_COLUMN,
    make_rows_subquery,
    parse_stored_values,
)
from askrows.pipeline.store import schema
from askrows.pipeline.store.database import Store
from askrows.pipeline.store.task_record import TaskRecord
from tests.progress import NullProgress

TASK = "reviews"
SYNCED_AT = datetime(2026, 1, 1, tzinfo=UTC)


def record_of(name: str, **members: Any) -> TaskRecord:
    """Return the record of a task; missing members get defaults."""
    defaults = {
        "path": "",
        "prefix": name,
        "items": "",
        "key": (),
        "columns": {},
        "fields": (),
        "version": 1,
        "fingerprint": "",
        "at": SYNCED_AT,
    }
    return TaskRecord(**{"name": name, **defaults, **members})


class SyncedRows:
    """The rows of a task in a database, with the record of the task."""

    def __init__(
        self,
        store: Store,
        *,
        key: Sequence[str] = ("id",),
        prompt_columns: Sequence[str] = ("text",),
    ) -> None:
        """Start without rows."""
        self.store = store
        self.key = tuple(key)
        self.prompt_columns = prompt_columns
        self.spec: TaskRecord | None = None
        schema.ensure_schema_and_adopt_tables(store, ())

    def sync(
        self, source: Any, *, synced_at: datetime = SYNCED_AT, **options: Any
    ) -> RowSyncReport:
        """Sync the rows with a source."""
        known_columns = dict(self.spec.columns) if self.spec else {}
        # A column keeps a kind that fits old and new values.
        kinds = {
            name: merge_kinds(known_columns.get(name), source.columns.get(name))
            for name in {**known_columns, **source.columns}
        }
        columns = {name: kind or "text" for name, kind in kinds.items()}
        keys = tuple((name, columns.get(name, "text")) for name in self.key)
        items = "SELECT 1" if isinstance(source, QuerySource) else ""
        self.spec = record_of(
            TASK, key=keys, columns=columns, asked_columns=self.prompt_columns, items=items
        )
        check_column_names(list(self.spec.columns))
        return RowSync(self.store, self.spec, synced_at, **options).sync_rows(
            source, NullProgress()
        )

    def rows(self) -> list[dict[str, Any]]:
        """Return the stored rows in the order of their first sync, with their values by column."""
        table = make_rows_subquery(TASK)
        columns = self.spec.columns if self.spec else ()
        with self.store.read() as tx:
            stored_rows = tx.execute(select(table).order_by(table.c.askrows_row)).mappings()
            return [
                {**dict.fromkeys(columns), **row, **parse_stored_values(row[VALUES_COLUMN])}
                for row in stored_rows
            ]
