"""The engine's state: one SQLite file that several hosts may share, and a folder for file bytes beside it.

Every host is one process with one connection, used by its threads in turn under a lock; between processes SQLite
itself takes turns. What is committed is on disk (WAL, `synchronous=FULL`).
"""

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

VERSION = 1
"""The version of the tables below, kept as SQLite's `user_version`."""

_WAIT_S = 30.0
_TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, name TEXT, display_name TEXT NOT NULL, mime_type TEXT NOT NULL,
    declared INTEGER, received INTEGER NOT NULL DEFAULT 0, lost INTEGER NOT NULL DEFAULT 0, created_ns INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS files (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, display_name TEXT NOT NULL,
    mime_type TEXT NOT NULL, size_bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, created_ns INTEGER NOT NULL,
    expires_ns INTEGER NOT NULL, state TEXT NOT NULL, source TEXT NOT NULL, looks INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS batches (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, model TEXT NOT NULL,
    kind TEXT NOT NULL, display_name TEXT NOT NULL, input_file TEXT NOT NULL, state TEXT NOT NULL,
    created_ns INTEGER NOT NULL, updated_ns INTEGER NOT NULL, ended_ns INTEGER NOT NULL DEFAULT 0,
    requests INTEGER NOT NULL, tokens INTEGER NOT NULL, read_bytes INTEGER NOT NULL DEFAULT 0,
    succeeded INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0, has_output INTEGER NOT NULL DEFAULT 0,
    looks INTEGER NOT NULL DEFAULT 0, looks_needed INTEGER NOT NULL DEFAULT 0, due_ns INTEGER NOT NULL DEFAULT 0,
    listed_ns INTEGER NOT NULL DEFAULT 0, fate TEXT NOT NULL, error TEXT NOT NULL DEFAULT '',
    deleted INTEGER NOT NULL DEFAULT 0, host TEXT NOT NULL DEFAULT '', host_pid INTEGER NOT NULL DEFAULT 0,
    lease_until REAL NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS batches_waiting ON batches (state, number);
CREATE TABLE IF NOT EXISTS results (
    batch INTEGER NOT NULL, position INTEGER NOT NULL, key TEXT, failed INTEGER NOT NULL, line BLOB NOT NULL,
    PRIMARY KEY (batch, position)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS quota_calls (
    owner TEXT NOT NULL, model TEXT NOT NULL, at_ns INTEGER NOT NULL, requests INTEGER NOT NULL, tokens INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS quota_calls_by_time ON quota_calls (owner, model, at_ns, requests, tokens);
CREATE TABLE IF NOT EXISTS quota_days (
    owner TEXT NOT NULL, model TEXT NOT NULL, day TEXT NOT NULL, requests INTEGER NOT NULL, tokens INTEGER NOT NULL,
    PRIMARY KEY (owner, model, day)
) WITHOUT ROWID;
"""


class Database:
    """One connection to the state file, shared by the threads of this process."""

    def __init__(self, root: Path) -> None:
        """Open `root`/local-engine.sqlite, making it, its tables and the folder for file bytes where absent.

        Raises:
            RuntimeError: the file was written by a version of the engine that this one does not know.
        """
        self.folder = root / "local-engine-files"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._depth = 0
        path = root / "local-engine.sqlite"
        self._connection = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        try:
            self._prepare(path)
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self, path: Path) -> None:
        """Set the journal and make the tables; two hosts that start at once take turns."""
        deadline = time.monotonic() + _WAIT_S
        while True:
            # Switching to WAL is the one statement that does not wait for another opener by itself.
            with suppress(sqlite3.OperationalError):
                self._connection.execute("PRAGMA journal_mode=WAL")
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"cannot open {path.name!r}: another process holds it")
            time.sleep(0.01)
        self._connection.execute("PRAGMA synchronous=FULL")
        with self.transaction():
            found = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, VERSION):
                raise RuntimeError(f"{path.name!r} has version {found}, expected {VERSION}")
            for statement in _TABLES.split(";\n"):
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version={VERSION}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the lock and one write transaction; the outermost block commits, an exception rolls back all."""
        with self._lock:
            if self._depth == 0:
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._connection.execute("ROLLBACK")
                raise
            self._depth -= 1
            if self._depth == 0:
                self._connection.execute("COMMIT")

    @contextmanager
    def light_transaction(self) -> Iterator[None]:
        """Hold a transaction as `transaction` does that does not wait for the disk.

        What it commits outlives this process, but not a loss of power. It cannot stand inside another one.
        """
        with self._lock:
            self._connection.execute("PRAGMA synchronous=NORMAL")
            try:
                with self.transaction():
                    yield
            finally:
                self._connection.execute("PRAGMA synchronous=FULL")

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Return what a SELECT finds, each row by column name."""
        with self._lock:
            return [dict(row) for row in self._connection.execute(statement, values)]

    def change(self, statement: str, values: Sequence[object] = ()) -> int:
        """Run one writing statement, durable on return outside a transaction, and return how many rows it touched."""
        with self._lock:
            return self._connection.execute(statement, values).rowcount

    def change_many(self, statement: str, values: Sequence[Sequence[object]]) -> None:
        """Run one writing statement for each of `values`, inside the caller's transaction."""
        with self._lock:
            self._connection.executemany(statement, values)

    def fact(self, name: str, *, default: str) -> str:
        """Return one shared fact, `default` where it was never set."""
        found = self.rows("SELECT value FROM facts WHERE name = ?", (name,))
        return str(found[0]["value"]) if found else default

    def set_fact(self, name: str, value: str) -> None:
        """Keep one shared fact."""
        self.change(
            "INSERT INTO facts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value)
        )

    def close(self) -> None:
        """Close the connection; calls after this raise `sqlite3.ProgrammingError`."""
        with self._lock:
            self._connection.close()
