"""What the outside server keeps, in one SQLite file: it may die at any moment and come back to it."""

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
CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, owner TEXT, label TEXT, mime TEXT, declared INT, data BLOB);
CREATE TABLE IF NOT EXISTS files (
  id TEXT PRIMARY KEY, owner TEXT, label TEXT, mime TEXT, data BLOB, made REAL, generated INT, number INTEGER);
CREATE TABLE IF NOT EXISTS batches (
  number INTEGER PRIMARY KEY, id TEXT UNIQUE, owner TEXT, model TEXT, label TEXT, input TEXT, made REAL,
  runs REAL, ends REAL, over TEXT DEFAULT '', ended REAL, failed INT DEFAULT 0, hidden INT DEFAULT 0);
CREATE TABLE IF NOT EXISTS lines (batch INT, place INT, key TEXT, question TEXT, request TEXT);
CREATE TABLE IF NOT EXISTS answered (key TEXT, question TEXT, batch TEXT, refused INT);
"""
FRUITLESS = "FAILED", "CANCELLED"
FRUITFUL = "SUCCEEDED", "EXPIRED"  # an expired batch has what was done until then
ENDED = *FRUITFUL, *FRUITLESS


class Created(NamedTuple):
    """A batch that was made, whether the client ever heard of it or not."""

    name: str
    label: str
    lines: tuple[Json, ...]
    over: str


class Line(NamedTuple):
    """One request of a batch."""

    key: str
    question: str
    request: Json


class Keeping:
    """The state of the server. Every method is whole or not done at all; calls wait for one another."""

    def __init__(self, folder: Path) -> None:
        """Open what is kept in a folder, or begin."""
        folder.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(
            folder / "kept.sqlite", check_same_thread=False, isolation_level=None
        )
        self._connection.row_factory = sqlite3.Row
        self._connection.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;" + TABLES
        )
        self._lock = threading.RLock()

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Do what is in a block as one thing; blocks may stand in one another."""
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
        """Return the rows that a statement gives."""
        with self.whole():
            return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, *values: Any) -> sqlite3.Row | None:
        """Return the first row that a statement gives."""
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
        """Keep a file, or put another in its place."""
        number = "(SELECT coalesce(max(number), 0) + 1 FROM files)"
        self.rows(
            f"INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, {number})",  # noqa: S608 - a constant
            *(name, owner, label, mime, data, time.time(), generated),
        )

    def make_batch(
        self, lines: Sequence[tuple[str, Json]], *, runs_s: float, ends_s: float, **facts: str
    ) -> str:
        """Make a batch and return its id; `facts` are owner, model, label and input."""
        name = str(uuid.uuid4())
        now = time.time()
        with self.whole():
            columns = ", ".join(facts)
            self.rows(
                f"INSERT INTO batches (id, made, runs, ends, {columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - our names
                *(name, now, now + runs_s, now + ends_s, *facts.values()),
            )
            number = self.rows("SELECT number FROM batches WHERE id = ?", name)[0][0]
            self._connection.executemany(
                "INSERT INTO lines VALUES (?, ?, ?, ?, ?)",
                [
                    (number, place, key, question(request), json.dumps(request))
                    for place, (key, request) in enumerate(lines)
                ],
            )
        return name

    def lines_of(self, number: int) -> list[Line]:
        """Return the requests of a batch, in the order of a hash of their keys."""
        found = [
            Line(row["key"], row["question"], json.loads(row["request"]))
            for row in self.rows("SELECT * FROM lines WHERE batch = ? ", number)
        ]
        return sorted(found, key=lambda line: sha256(line.key.encode()).digest())

    def note_answer(self, key: str, asked: str, batch: str, *, refused: bool = False) -> None:
        """Note that a question was answered, with a batch or live, or that its line was refused."""
        self.rows("INSERT INTO answered VALUES (?, ?, ?, ?)", key, asked, batch, refused)

    def created(self) -> list[Created]:
        """Return every batch that was ever made, oldest first."""
        with self.whole():
            found = []
            for batch in self.rows("SELECT * FROM batches ORDER BY number"):
                kept = self.rows(
                    "SELECT key, request FROM lines WHERE batch = ? ORDER BY place", batch["number"]
                )
                lines = tuple(
                    {"key": row["key"], "request": json.loads(row["request"])} for row in kept
                )
                found.append(Created(batch["id"], batch["label"], lines, batch["over"]))
            return found

    def asked(self) -> Counter[str]:
        """Return how often each key stood in a batch that was made and did not come to nothing as a whole."""
        return Counter(
            one["key"]
            for batch in self.created()
            if batch.over not in FRUITLESS
            for one in batch.lines
        )

    def answered(self, *, refused: bool = False) -> Counter[str]:
        """Return how often each key was answered with a batch, or its line refused; a live call has no key."""
        found = self.rows("SELECT key FROM answered WHERE key <> '' AND refused = ?", refused)
        return Counter(row[0] for row in found)

    def questions(self) -> Counter[str]:
        """Return how often each question was answered, with a batch or live, by a hash of its contents."""
        return Counter(
            row[0] for row in self.rows("SELECT question FROM answered WHERE NOT refused")
        )


def question(request: Json) -> str:
    """Return a hash of what is asked, which is the same in a line and in a live call."""
    asked = member(request, "contents") or member(request, "content")
    return sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def error_line(key: str, error: RefusedLine) -> Json:
    """Return the result line of a request that was refused."""
    return {
        "key": key,
        "error": {"code": error.code, **({"message": error.message} if error.message else {})},
    }
