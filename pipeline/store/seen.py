"""Tell which of very many numbers come for the first time, at flat memory."""

import sqlite3
from types import TracebackType
from typing import Self

FEW = 100_000  # in a set of about 10 MB, nine times as fast as the file


class SeenNumbers:
    """Numbers of at most 63 bits that came before, for the length of a `with` block; their file goes with it."""

    def __init__(self) -> None:
        """Begin with none."""
        self._few = set[int]()
        self._file = sqlite3.connect("")  # SQLite keeps it in memory while it is small
        self._file.execute("CREATE TABLE seen (number INTEGER PRIMARY KEY)")

    def is_new(self, number: int) -> bool:
        """Return whether a number did not come before."""
        if number in self._few:
            return False
        if len(self._few) < FEW:
            self._few.add(number)
            return True
        return self._file.execute("INSERT OR IGNORE INTO seen VALUES (?)", (number,)).rowcount == 1

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forget all of them."""
        self._file.close()
