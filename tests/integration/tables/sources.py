"""Bring a table of items up to a source, as a command that asks does."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from pipeline.store.database import Connection, Store
from pipeline.tables.items import ItemsSpec, items_table, make_items
from pipeline.tables.items_file import ItemsFile
from pipeline.tables.items_fill import ItemsFill, ItemsReport
from tests.progress import NullProgress

TABLE = "reviews_items"
AT = datetime(2026, 1, 1, tzinfo=UTC)


class Items:
    """A table of items in a database, with the record of it."""

    def __init__(self, store: Store, *, key: Sequence[str] = ("id",), asked: Sequence[str] = ("text",)) -> None:
        """Begin without a table."""
        self.store = store
        self.key = tuple(key)
        self.asked = asked
        self.spec: ItemsSpec | None = None

    def take(self, source: Any, *, at: datetime = AT, **options: Any) -> ItemsReport:
        """Make the table hold what a source says."""
        with self.store.write() as tx:
            self.spec = make_items(tx, ItemsSpec(TABLE, self.key, source.columns), was=self.spec)
        return ItemsFill(self.store, self.spec, self.asked, at, **options).run(source, NullProgress())

    def take_file(self, path: Path, **options: Any) -> ItemsReport:
        """Make the table hold what a file says."""
        return self.take(ItemsFile(path), **options)

    def rows(self) -> list[dict[str, Any]]:
        """Return what stands in the table, in the order of first sight."""
        assert self.spec is not None
        table = items_table(self.spec)
        with self.store.read() as tx:
            return [dict(row) for row in tx.execute(select(table).order_by(table.c.findable_row)).mappings()]

    def values(self) -> dict[str, dict[str, Any]]:
        """Return the source's columns of the rows that are not gone, by key."""
        return {
            row["findable_key"]: {name: value for name, value in row.items() if not name.startswith("findable_")}
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
