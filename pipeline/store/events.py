"""The journal of moves: what went from which state to which, when and why."""

from datetime import datetime

from sqlalchemy import Connection, insert

from pipeline.store.tables import events


def record(
    tx: Connection, kind: str, name: object, *, old: str | None, new: str | None, why: str, at: datetime
) -> None:
    """Add one line to the journal, in the transaction that makes the move."""
    row = {"at": at, "kind": kind, "name": str(name), "old": old, "new": new, "why": why}
    tx.execute(insert(events).values(row))
