"""The one row that says which workspace this is, which backend it is bound to, and how often its rows have changed."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, insert, select, update

from pipeline.errors import ConfigurationError
from pipeline.store import events
from pipeline.store.tables import workspace


@dataclass(frozen=True)
class Workspace:
    """The workspace's random id, the backend it is bound to (None before the first batch), and its position."""

    workspace_id: str
    backend: str | None
    position: int


def create(tx: Connection) -> None:
    """Give a new workspace its random id; an id that is there stays."""
    if tx.execute(select(workspace.c.one)).first() is None:
        row = {"one": 1, "workspace_id": secrets.token_hex(8), "created_at": datetime.now(UTC)}
        tx.execute(insert(workspace).values(row))


def get(tx: Connection) -> Workspace:
    """Return the workspace's row."""
    row = tx.execute(select(workspace.c.workspace_id, workspace.c.backend, workspace.c.position)).one()
    return Workspace(*row)


def bind(tx: Connection, backend: str, *, at: datetime) -> None:
    """Bind the workspace to the backend that is about to answer, in the transaction that keeps its first trace.

    Raises:
        ConfigurationError: it is bound to the other one already.
    """
    moved = tx.execute(update(workspace).where(workspace.c.backend.is_(None)).values(backend=backend))
    if moved.rowcount == 1:
        events.record(tx, "workspace", "backend", old=None, new=backend, why="first use", at=at)
    bound = get(tx).backend
    if bound != backend:
        raise ConfigurationError(
            f"this workspace is bound to the {bound} backend, not to {backend}; nothing was changed",
            hint=f"set BACKEND={bound}, or take another DATA= directory",
        )


def unbind(tx: Connection, *, at: datetime, why: str) -> None:
    """Let the workspace be bound anew."""
    old = get(tx).backend
    tx.execute(update(workspace).values(backend=None))
    events.record(tx, "workspace", "backend", old=old, new=None, why=why, at=at)


def touch(tx: Connection) -> None:
    """Count one more change of a subject's rows; a build knows by this number how old its snapshot is."""
    tx.execute(update(workspace).values(position=workspace.c.position + 1))
