"""Remember which keys of a file came before, and on which line: on disk, at flat memory, about 60 bytes a key."""

import sqlite3
from contextlib import AbstractContextManager


class SeenIds(AbstractContextManager["SeenIds"]):
    """The keys so far."""

    def __init__(self) -> None:
        """Start with none."""
        self._file = sqlite3.connect("", isolation_level=None)
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "CREATE TABLE seen (key TEXT PRIMARY KEY, line INTEGER NOT NULL, more TEXT NOT NULL) WITHOUT ROWID",
            "BEGIN",
        ):
            self._file.execute(statement)

    def first(self, key: str, line: int, more: str = "") -> tuple[int, str] | None:
        """Return the line where a key came first and what was kept with it then; None where this is its first line."""
        added = self._file.execute("INSERT INTO seen VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (key, line, more))
        if added.rowcount:
            return None
        found: tuple[int, str] = self._file.execute("SELECT line, more FROM seen WHERE key = ?", (key,)).fetchone()
        return found

    def __exit__(self, *_: object) -> None:
        """Remove what was kept."""
        self._file.close()
