"""Tell which of very many texts come for the first time, at flat memory."""

import sqlite3
from types import TracebackType
from typing import Self


class SeenTexts:
    """Texts that came before, in a file that is gone with them; for the length of a `with` block."""

    def __init__(self) -> None:
        """Begin with none."""
        self._file = sqlite3.connect("")  # SQLite keeps it in memory while it is small
        self._file.execute("PRAGMA synchronous = OFF")
        self._file.execute("CREATE TABLE seen (text TEXT PRIMARY KEY) WITHOUT ROWID")

    def is_new(self, text: str) -> bool:
        """Return whether a text did not come before."""
        return self._file.execute("INSERT OR IGNORE INTO seen VALUES (?)", (text,)).rowcount == 1

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forget all of them."""
        self._file.close()
