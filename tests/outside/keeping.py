"""The state of the outside server in an SQLite file, so that the server may stop at any time."""

import json
import secrets
import sqlite3
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from tests.outside.answers import Json, RefusedLine, member

TABLES = """
CREATE TABLE IF NOT EXISTS sessions (
  id TEXT PRIMARY KEY, owner TEXT, label TEXT, mime TEXT, declared INT, data BLOB);
CREATE TABLE IF NOT EXISTS files (
  id TEXT PRIMARY KEY, owner TEXT, label TEXT, mime TEXT, data BLOB, made REAL, generated INT,
  number INTEGER);
CREATE TABLE IF NOT EXISTS batches (
  number INTEGER PRIMARY KEY, id TEXT UNIQUE, owner TEXT, model TEXT, label TEXT, input TEXT,
  made REAL, runs REAL, ends REAL, over TEXT DEFAULT '', ended REAL, failed INT DEFAULT 0,
  hidden INT DEFAULT 0);
CREATE TABLE IF NOT EXISTS lines (batch INT, place INT, key TEXT, question TEXT, request TEXT);
CREATE TABLE IF NOT EXISTS answered (key TEXT, question TEXT, batch TEXT, refused INT);
"""
STATES_WITHOUT_RESULT = ("FAILED", "CANCELLED")
# An expired batch has the answers of the requests that were processed in time.
STATES_WITH_RESULT = ("SUCCEEDED", "EXPIRED")
FINAL_STATES = STATES_WITH_RESULT + STATES_WITHOUT_RESULT


class Created(NamedTuple):
    """A batch that was created, even if the client never received the reply."""

    name: str
    label: str
    lines: tuple[Json, ...]
    final_state: str


class Line(NamedTuple):
    """A request of a batch."""

    key: str
    question: str
    request: Json


class Keeping:
    """The state of the server. Each method is a transaction, and calls run one at a time."""

    def __init__(self, folder: Path) -> None:
        """Open the state in a folder, or create it."""
        folder.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(
            folder / "kept.sqlite", check_same_thread=False, isolation_level=None
        )
        self._connection.row_factory = sqlite3.Row
        # The state must survive a stop of the server, but no loss of power.
        self._connection.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;" + TABLES
        )
        self._lock = threading.RLock()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run a block in a transaction; blocks may be nested."""
        with self._lock:
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """Run a statement and return its rows."""
        with self.transaction():
            return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, *values: Any) -> sqlite3.Row | None:
        """Run a statement and return its first row."""
        return next(iter(self.rows(sql, *values)), None)

    def begin_upload(self, owner: str, *, label: str, mime: str, declared: int) -> str:
        """Begin an upload and return its secret."""
        secret = secrets.token_urlsafe(24)
        self.rows(
            "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, x'')", secret, owner, label, mime, declared
        )
        return secret

    def keep_file(
        self, name: str, owner: str, data: bytes, *, label: str, mime: str, generated: bool
    ) -> None:
        """Store a file, or replace it."""
        number = "(SELECT coalesce(max(number), 0) + 1 FROM files)"
        values = f"?, ?, ?, ?, ?, ?, ?, {number}"
        statement = f"INSERT OR REPLACE INTO files VALUES ({values})"  # noqa: S608 - constants
        self.rows(statement, name, owner, label, mime, data, time.time(), generated)

    def make_batch(
        self, lines: Sequence[tuple[str, Json]], *, runs_s: float, ends_s: float, **columns: str
    ) -> str:
        """Create a batch and return its id; `columns` are owner, model, label and input."""
        name = str(uuid.uuid4())
        now = time.time()
        column_names = ", ".join(["id", "made", "runs", "ends", *columns])
        marks = "?, ?, ?, ?, ?, ?, ?, ?"
        statement = f"INSERT INTO batches ({column_names}) VALUES ({marks})"  # noqa: S608
        with self.transaction():
            self.rows(statement, name, now, now + runs_s, now + ends_s, *columns.values())
            number = self.rows("SELECT number FROM batches WHERE id = ?", name)[0][0]
            self._connection.executemany(
                "INSERT INTO lines VALUES (?, ?, ?, ?, ?)",
                [
                    (number, line_index, key, question(request), json.dumps(request))
                    for line_index, (key, request) in enumerate(lines)
                ],
            )
        return name

    def lines_of(self, number: int) -> list[Line]:
        """Return the requests of a batch, in the order of a hash of their keys."""
        lines = [
            Line(row["key"], row["question"], json.loads(row["request"]))
            for row in self.rows("SELECT * FROM lines WHERE batch = ? ", number)
        ]
        return sorted(lines, key=lambda line: sha256(line.key.encode()).digest())

    def note_answer(
        self, key: str, question_hash: str, batch: str, *, refused: bool = False
    ) -> None:
        """Record that a question was answered by batch or live, or that its line was refused."""
        self.rows("INSERT INTO answered VALUES (?, ?, ?, ?)", key, question_hash, batch, refused)

    def created(self) -> list[Created]:
        """Return every batch that was ever created, oldest first."""
        with self.transaction():
            batches = []
            for batch in self.rows("SELECT * FROM batches ORDER BY number"):
                line_rows = self.rows(
                    "SELECT key, request FROM lines WHERE batch = ? ORDER BY place", batch["number"]
                )
                lines = tuple(
                    {"key": row["key"], "request": json.loads(row["request"])} for row in line_rows
                )
                batches.append(Created(batch["id"], batch["label"], lines, batch["over"]))
            return batches

    def answered(self, *, refused: bool = False) -> Counter[str]:
        """Count the answers, or the refused lines, of each key; live calls have no key."""
        rows = self.rows("SELECT key FROM answered WHERE key <> '' AND refused = ?", refused)
        return Counter(row[0] for row in rows)

    def questions(self) -> Counter[str]:
        """Count the answers to each question, by batch and live, by a hash of its contents."""
        return Counter(
            row[0] for row in self.rows("SELECT question FROM answered WHERE NOT refused")
        )


def read_lines(data: bytes) -> list[tuple[str, Json]]:
    """Return (key, request) of each line of an uploaded file."""
    documents = [json.loads(line) for line in data.split(b"\n") if line.strip()]
    return [(document["key"], document["request"]) for document in documents]


def question(request: Json) -> str:
    """Return a hash of the contents, which is equal for a line and a live call."""
    contents = member(request, "contents") or member(request, "content")
    return sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def error_line(key: str, error: RefusedLine) -> Json:
    """Return the result line of a request that was refused."""
    return {
        "key": key,
        "error": {"code": error.code, **({"message": error.message} if error.message else {})},
    }
