"""Keep the workspace's own row (its id, its backend, its position), its journal of moves, and promoted builds.

The rows of builds follow `index/current`, which alone decides. A build is compared with the database only where its
task changed since.
"""

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from pipeline.core.errors import ConfigurationError
from pipeline.store.tables import builds, events, workspace


def record_event(
    tx: Connection, kind: str, name: object, *, old: str | None, new: str | None, why: str, at: datetime
) -> None:
    """Add one line to the journal, in the transaction that makes the move."""
    shown = str(name).encode("utf-8", "surrogateescape").decode("utf-8", "replace")  # a file's may be no UTF-8
    row = {"at": at, "kind": kind, "name": shown, "old": old, "new": new, "why": why}
    tx.execute(insert(events).values(row))


def events_about(tx: Connection, kind: str, name: object) -> list[dict[str, Any]]:
    """Return what the journal has about one thing, oldest first: at, old, new, why."""
    columns = (events.c.at, events.c.old, events.c.new, events.c.why)
    query = select(*columns).where(events.c.kind == kind, events.c.name == str(name)).order_by(events.c.id)
    return [dict(row) for row in tx.execute(query).mappings()]


def events_of_kind(tx: Connection, kind: str) -> list[dict[str, Any]]:
    """Return all lines of a kind, oldest first: at, name, old, new, why."""
    columns = (events.c.at, events.c.name, events.c.old, events.c.new, events.c.why)
    return [
        dict(row) for row in tx.execute(select(*columns).where(events.c.kind == kind).order_by(events.c.id)).mappings()
    ]


def numbers_with_event(tx: Connection, kind: str) -> set[int]:
    """Return the numbers of the batches that have a line of this kind in the journal."""
    return {int(one["name"]) for one in events_of_kind(tx, kind) if one["name"].isdecimal()}


@dataclass(frozen=True)
class WorkspaceRow:
    """The workspace's random id, the backend it is bound to (None before the first batch), and its position."""

    workspace_id: str
    backend: str | None
    position: int


def create_workspace(tx: Connection, schema: str) -> None:
    """Give a new workspace its random id, and keep the number of its schema."""
    row = {"one": 1, "schema": schema, "workspace_id": secrets.token_hex(8), "created_at": datetime.now(UTC)}
    tx.execute(insert(workspace).values(row))


def get_workspace(tx: Connection) -> WorkspaceRow:
    """Return the workspace's row."""
    row = tx.execute(select(workspace.c.workspace_id, workspace.c.backend, workspace.c.position)).one()
    return WorkspaceRow(*row)


def bind_workspace(tx: Connection, backend: str, *, at: datetime) -> None:
    """Bind the workspace to the backend that is about to answer.

    Raises:
        ConfigurationError: it is bound to the other one already.
    """
    moved = tx.execute(update(workspace).where(workspace.c.backend.is_(None)).values(backend=backend))
    if moved.rowcount == 1:
        record_event(tx, "workspace", "backend", old=None, new=backend, why="first use", at=at)
    bound = get_workspace(tx).backend
    if bound != backend:
        raise ConfigurationError(
            f"this workspace is bound to the {bound} backend, not to {backend}; nothing was changed",
            hint=f"set BACKEND={bound}, or take another DATA= directory",
        )


def unbind_workspace(tx: Connection, *, at: datetime, why: str) -> None:
    """Let the workspace be bound anew."""
    old = get_workspace(tx).backend
    tx.execute(update(workspace).values(backend=None))
    record_event(tx, "workspace", "backend", old=old, new=None, why=why, at=at)


def touch_revision(tx: Connection, task: str) -> None:
    """Count one more change of a task's items; a build knows by this number how old its snapshot is."""
    position, changes = tx.execute(select(workspace.c.position, workspace.c.changes)).one()
    changed = json.dumps({**json.loads(changes), task: position + 1})
    tx.execute(update(workspace).values(position=position + 1, changes=changed))


def has_changed(tx: Connection, task: str, *, build: int, position: int) -> bool:
    """Return whether items of a task changed since a build was read at a position; true where that is not known."""
    known = select(builds.c.number).where(builds.c.number == build, builds.c.position == position)
    changes = json.loads(tx.execute(select(workspace.c.changes)).scalar_one())
    return changes.get(task, 0) > position or tx.execute(known).first() is None


def add_build(tx: Connection, *, number: int, count: int, model: str, dim: int, position: int, at: datetime) -> None:
    """Keep that a build was promoted; one of the same number from a removed index gives way."""
    tx.execute(delete(builds).where(builds.c.number == number))
    row = {"number": number, "count": count, "model": model, "dim": dim, "position": position, "promoted_at": at}
    tx.execute(insert(builds).values(row))
    note_build_in_service(tx, number, why=f"promoted with {count} entries", at=at)


def note_build_in_service(tx: Connection, number: int, *, why: str, at: datetime) -> None:
    """Add to the journal that a build is in service now."""
    record_event(tx, "build", number, old=None, new="in service", why=why, at=at)
