"""Which ids of a file came before, and on which line: on disk, so that a file of any length takes no memory for it.

A private SQLite database that has no name and is gone with its process, whichever database holds the passages. A line
takes about 60 bytes of disk there.
"""

import contextlib
import sqlite3
from collections.abc import Sequence
from types import TracebackType
from typing import Self

PAGE = 500  # ids in one statement


class Seen:
    """The ids so far."""

    def __init__(self) -> None:
        """Start with none."""
        self._file = sqlite3.connect("", isolation_level=None)
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "CREATE TABLE seen (id TEXT PRIMARY KEY, line INTEGER NOT NULL) WITHOUT ROWID",
        ):
            self._file.execute(statement)

    def add(self, rows: Sequence[tuple[str, int]]) -> dict[int, int]:
        """Add (id, line) in their order, and return for each line whose id came before the line where it did."""
        known = self._known([key for key, _ in rows])
        again: dict[int, int] = {}
        new: dict[str, int] = {}
        for key, line in rows:
            first = known.get(key, new.get(key))
            if first is None:
                new[key] = line
            else:
                again[line] = first
        with contextlib.closing(self._file.cursor()) as cursor:
            cursor.execute("BEGIN")
            cursor.executemany("INSERT INTO seen VALUES (?, ?)", new.items())
            cursor.execute("COMMIT")
        return again

    def _known(self, keys: Sequence[str]) -> dict[str, int]:
        """Return the lines of those ids that came before."""
        found: dict[str, int] = {}
        for start in range(0, len(keys), PAGE):
            some = keys[start : start + PAGE]
            places = ",".join("?" * len(some))
            found.update(self._file.execute(f"SELECT id, line FROM seen WHERE id IN ({places})", some))  # noqa: S608 - question marks
        return found

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what was kept."""
        self._file.close()
