"""Provide the required values of a batch's row, and a table of notes."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, text

from askrows.pipeline.core.states import Mode
from askrows.pipeline.store.database import Store

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
_TEXTS = (
    "task",
    "version",
    "model",
    "request_file",
    "request_sha256",
    "backend",
    "address",
    "priced_on",
)
_NUMBERS = ("requests", "request_size", "estimated_in", "estimated_out", "estimated_cost")
BATCH: dict[str, Any] = {
    "mode": Mode.BATCH,
    **dict.fromkeys(_TEXTS, "some"),
    **dict.fromkeys(_NUMBERS, 1),
}


@contextmanager
def open_notes(url: str) -> Iterator[Store]:
    """Open a database with a table of a single note, for the length of a block."""
    store = Store(url)
    with store.write() as tx:
        tx.execute(text("CREATE TABLE notes (note TEXT UNIQUE)"))
        add_note(tx, "one")
    yield store
    store.close()


def add_note(tx: Connection, note: str) -> None:
    """Add a note."""
    tx.execute(text("INSERT INTO notes VALUES (:note)"), {"note": note})


def notes(store: Store) -> list[str]:
    """Return every note."""
    with store.read() as tx:
        return [row[0] for row in tx.execute(text("SELECT note FROM notes ORDER BY note"))]
