"""Keep the workspace's own row (its id, its backend, its revision), its journal of moves, and promoted builds.

The rows of builds follow `index/current`, which alone decides. From the first build on, the items of its task that
change are listed, so that a build is compared with those alone. The list says since which position it is complete,
which only grows; what was built before is compared with everything.
"""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, text, update

from pipeline.core.errors import ConfigurationError
from pipeline.store.tables import builds, change_lists, changes, events, workspace

_LIST = text(
    "INSERT INTO findable_changes (task, item_id, position) VALUES (:task, :item_id, :position) "
    "ON CONFLICT (task, item_id) DO UPDATE SET position = excluded.position"
)


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


def numbers_with_event(tx: Connection, kind: str) -> set[int]:
    """Return the numbers of the batches that have a line of this kind in the journal."""
    query = select(events.c.name).where(events.c.kind == kind)
    return {int(name) for name in tx.execute(query).scalars() if name.isdecimal()}


@dataclass(frozen=True)
class WorkspaceRow:
    """The workspace's random id, the backend it is bound to (None before the first batch), and its position."""

    workspace_id: str
    backend: str | None
    position: int


def create_workspace(tx: Connection) -> None:
    """Give a new workspace its random id; an id that is there stays."""
    if tx.execute(select(workspace.c.one)).first() is None:
        row = {"one": 1, "workspace_id": secrets.token_hex(8), "created_at": datetime.now(UTC)}
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


def touch_revision(tx: Connection, task: str | None = None, changed: Collection[str] | None = None) -> None:
    """Count one more change of a subject's rows; a build knows by this number how old its snapshot is.

    `changed` are the items of a task whose text or answer is not what it was; None where that is not known, and then
    every build before is compared with everything.
    """
    tx.execute(update(workspace).values(position=workspace.c.position + 1))
    if changed is not None and not changed:
        return
    position = get_workspace(tx).position
    lists = tx.execute(select(change_lists.c.task)).scalars().all()
    if changed is None:
        for one in lists:
            if task in {None, one}:
                _list_since(tx, one, position)
    elif task in lists:
        tx.execute(_LIST, [{"task": task, "item_id": one, "position": position} for one in changed])


def begin_list(tx: Connection, task: str) -> None:
    """List what changes of a task from now on, if that is not done already."""
    if tx.execute(select(change_lists.c.task).where(change_lists.c.task == task)).first() is None:
        position = get_workspace(tx).position
        newest = tx.execute(select(func.max(builds.c.position))).scalar() or 0
        since = position if newest <= position else newest + 1  # a build of another copy of the database is there
        tx.execute(insert(change_lists).values(task=task, since=since))


def changed_since(tx: Connection, task: str, *, build: int, position: int) -> list[str] | None:
    """Return the items of a task that changed since a build was read at a position, in no order.

    None where that is not known: the list began later, or the database knows of no such build.
    """
    here = get_workspace(tx).position
    known = select(builds.c.number).where(builds.c.number == build, builds.c.position == position)
    if here < position or tx.execute(known).first() is None:
        return None
    since = tx.execute(select(change_lists.c.since).where(change_lists.c.task == task)).scalar()
    if here > position if since is None else since > position:
        return None
    listed = select(changes.c.item_id).where(changes.c.task == task, changes.c.position > position)
    return list(tx.execute(listed).scalars())


def _list_since(tx: Connection, task: str, position: int) -> None:
    """Forget what of a task changed up to a position; from there on its list is complete."""
    tx.execute(update(change_lists).where(change_lists.c.task == task).values(since=position))
    tx.execute(delete(changes).where(changes.c.task == task, changes.c.position <= position))


def add_build(
    tx: Connection,
    task: str,
    *,
    number: int,
    count: int,
    model: str,
    dim: int,
    position: int,
    oldest: int,
    at: datetime,
) -> None:
    """Keep that a build of a task's items was promoted; one of the same number from a removed index gives way.

    What changed is listed on from `oldest`, the position of the oldest build that may be put back in service. A build
    of a later position than the database's is of another copy of it: then nothing is known of what changed until now.
    """
    tx.execute(delete(builds).where(builds.c.number == number))
    row = {"number": number, "count": count, "model": model, "dim": dim, "position": position, "promoted_at": at}
    tx.execute(insert(builds).values(row))
    wanted = position + 1 if position > get_workspace(tx).position else oldest
    begun_before = select(change_lists.c.task).where(change_lists.c.task == task, change_lists.c.since < wanted)
    if tx.execute(begun_before).first() is not None:
        _list_since(tx, task, wanted)
    note_build_in_service(tx, number, why=f"promoted with {count} entries", at=at)


def note_build_in_service(tx: Connection, number: int, *, why: str, at: datetime) -> None:
    """Add to the journal that a build is in service now."""
    record_event(tx, "build", number, old=None, new="in service", why=why, at=at)
