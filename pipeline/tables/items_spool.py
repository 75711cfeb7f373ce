"""What was read of a source of items, on disk until it is written: the first row of each key, in order.

A temporary file without a name; about the size of the source.
"""

import contextlib
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import orjson

from pipeline.core.errors import ConfigurationError

PAGE = 1_000  # rows in memory
_REST = "hash TEXT, empty, cells, seen TEXT, unusable TEXT"


class SpooledItem(NamedTuple):
    """One row that was read: its key, the hash of what is asked about, whether that is blank, and its values.

    Of a row with images also what a look at them saw, and why it cannot be asked about with them.
    """

    key: str
    hash: str
    empty: bool
    cells: list[Any]
    seen: str | None = None
    unusable: str | None = None


class ItemsSpool(AbstractContextManager["ItemsSpool"]):
    """The rows so far; `count` of them."""

    def __init__(self) -> None:
        """Start with none."""
        self.count = 0
        self._file = sqlite3.connect("", isolation_level=None)
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            f"CREATE TABLE items (number INTEGER PRIMARY KEY, key TEXT UNIQUE, line INTEGER, {_REST})",
            "BEGIN",
        ):
            self._file.execute(statement)

    def add(self, line: int, item: SpooledItem) -> tuple[int, bool] | None:
        """Keep a row; where its key came before, return that row's line and whether its values were the same."""
        cells = orjson.dumps(item.cells)
        row = (item.key, line, item.hash, item.empty, cells)
        statement = "INSERT INTO items (key, line, hash, empty, cells) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
        with room_needed():
            is_first = self._file.execute(statement, row).rowcount
        if is_first:
            self.count += 1
            return None
        found = self._file.execute("SELECT line, cells FROM items WHERE key = ?", (item.key,)).fetchone()
        return found[0], found[1] == cells

    def pages(self) -> Iterator[list[SpooledItem]]:
        """Yield the rows in the order in which they were added, some at a time."""
        rows = self._file.execute("SELECT key, hash, empty, cells, seen, unusable FROM items ORDER BY number")
        while page := rows.fetchmany(PAGE):
            yield [
                SpooledItem(key, hash_, bool(empty), orjson.loads(cells), *seen)
                for key, hash_, empty, cells, *seen in page
            ]

    def note(self, items: Sequence[SpooledItem]) -> None:
        """Keep the hashes of some rows, and what was seen of their images, in the place of what was kept of them."""
        rows = [(one.hash, one.seen, one.unusable, one.key) for one in items]
        with room_needed():
            self._file.executemany("UPDATE items SET hash = ?, seen = ?, unusable = ? WHERE key = ?", rows)

    def missing(self, keys: Sequence[str]) -> set[str]:
        """Return those of some keys that no row has."""
        listed = orjson.dumps(list(keys)).decode()
        query = "SELECT key FROM items WHERE key IN (SELECT value FROM json_each(?))"
        return {*keys} - {key for (key,) in self._file.execute(query, (listed,))}

    def __exit__(self, *_: object) -> None:
        """Remove what was kept."""
        self._file.close()


@contextlib.contextmanager
def room_needed() -> Iterator[None]:
    """Say where there is no room for what is read, for the length of a block.

    Raises:
        ConfigurationError: there is none.
    """
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        raise ConfigurationError(
            f"the items cannot be kept in {tempfile.gettempdir()} while they are read: {error}; nothing was written",
            hint="free some room there, or set TMPDIR= to a folder that has some",
        ) from error
