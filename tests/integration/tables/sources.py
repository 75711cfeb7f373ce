"""Bring the rows of a task up to a source, as a command that asks does."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from pipeline.store import schema
from pipeline.store.database import Connection, Store
from pipeline.store.schema import TaskRecord
from pipeline.tables.cells import merge_kinds
from pipeline.tables.row_sync import (
    VALUES_COLUMN,
    RowSync,
    RowSyncReport,
    make_rows_subquery,
    parse_stored_values,
)
from pipeline.tables.source import FileSource, check_column_names
from tests.progress import NullProgress

TASK = "reviews"
AT = datetime(2026, 1, 1, tzinfo=UTC)


def record_of(name: str, **given: Any) -> TaskRecord:
    """Return the record of a task, of which only some is given."""
    told = {
        "path": "",
        "prefix": name,
        "items": "",
        "is_query": False,
        "items_sha256": None,
        "key": (),
    }
    told |= {"columns": {}, "fields": (), "version": 1, "fingerprint": "", "words": {}, "at": AT}
    return TaskRecord(**{"name": name, **told, **given})


class Items:
    """The rows of a task in a database, with the record of it."""

    def __init__(
        self, store: Store, *, key: Sequence[str] = ("id",), asked: Sequence[str] = ("text",)
    ) -> None:
        """Begin without rows."""
        self.store = store
        self.key = tuple(key)
        self.asked = asked
        self.spec: TaskRecord | None = None
        schema.ensure_schema(store, ())

    def take(self, source: Any, *, at: datetime = AT, **options: Any) -> RowSyncReport:
        """Make the rows what a source says."""
        known = dict(self.spec.columns) if self.spec else {}
        kinds = {
            name: merge_kinds(known.get(name), source.columns.get(name))
            for name in {**known, **source.columns}
        }
        columns = {name: kind or "text" for name, kind in kinds.items()}
        keys = tuple((name, columns.get(name, "text")) for name in self.key)
        words = {"asked": self.asked, "quoted": []}
        self.spec = record_of(
            TASK, key=keys, columns=columns, words=words, is_query=source.sha256 is None
        )
        check_column_names(list(self.spec.columns))
        return RowSync(self.store, self.spec, at, **options).run(source, NullProgress())

    def take_file(self, path: Path, **options: Any) -> RowSyncReport:
        """Make the rows what a file says."""
        return self.take(FileSource(path), **options)

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows that are kept, in the order of first sight, with their values by column."""
        table = make_rows_subquery(TASK)
        columns = self.spec.columns if self.spec else ()
        with self.store.read() as tx:
            found = tx.execute(select(table).order_by(table.c.findable_row)).mappings()
            return [
                {**dict.fromkeys(columns), **row, **parse_stored_values(row[VALUES_COLUMN])}
                for row in found
            ]

    def values(self) -> dict[str, dict[str, Any]]:
        """Return the source's columns of the rows that are not gone, by key."""
        return {
            row["findable_key"]: {
                name: value for name, value in row.items() if not name.startswith("findable_")
            }
            for row in self.rows()
            if row["findable_gone_at"] is None
        }


def exists(tx: Connection, table: str) -> bool:
    """Return whether there is a table."""
    return tx.dialect.has_table(tx, table)


def write_csv(path: Path, rows: Iterable[Sequence[str]]) -> Path:
    """Write a CSV file; the first row is its header."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write a file of JSON lines."""
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path
