"""Keep the workspace's own row (its id, backend and position), its journal, promoted builds, folder and tasks.

The row of the build that was promoted last decides which is in service, and `index/current` follows it. A build is
compared with the database only where its task changed since. The record of a task is enough for everything but asking
and judging, so that a file that is gone or broken harms no other command. A folder keeps the random id of its
workspace: a database that does not know the files there would take them for litter, give their numbers again and put an
older index in service, so a command with another one, as where FINDABLE_DATABASE_URL was forgotten, is refused before
it writes anything.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy import Connection, delete, func, insert, inspect, select, update

from pipeline.core import files
from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.declaration import NAME
from pipeline.core.errors import ConfigurationError, InconsistentError
from pipeline.store.database import cached_in_snapshot
from pipeline.store.schema import TaskRecord, builds, events, tasks, workspace

__all__ = ["TaskRecord"]


def record_event(
    tx: Connection,
    kind: str,
    name: object,
    *,
    old: str | None,
    new: str | None,
    why: str,
    at: datetime,
) -> None:
    """Add one line to the journal, in the transaction that makes the move."""
    shown = (
        str(name).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    )  # a file's may be no UTF-8
    row = {"at": at, "kind": kind, "name": shown, "old": old, "new": new, "why": why}
    tx.execute(insert(events).values(row))


def events_of(tx: Connection, kind: str, name: object = None) -> list[dict[str, Any]]:
    """Return what the journal has of a kind, or about one thing of it, oldest first: at, name, old, new, why."""
    columns = (events.c.at, events.c.name, events.c.old, events.c.new, events.c.why)
    query = select(*columns).where(events.c.kind == kind).order_by(events.c.id)
    if name is not None:
        query = query.where(events.c.name == str(name))
    return [dict(row) for row in tx.execute(query).mappings()]


def is_unchanged_since(
    tx: Connection, kind: str, name: object, *, old: str | None, new: str | None
) -> bool:
    """Return whether a journal line is the newest one, so that nothing was recorded after it."""
    columns = (events.c.kind, events.c.name, events.c.old, events.c.new)
    newest = select(*columns).order_by(events.c.id.desc()).limit(1)
    row = tx.execute(newest).first()
    return row == (kind, str(name), old, new)


def numbers_with_event(tx: Connection, kind: str) -> set[int]:
    """Return the numbers of the batches that have a line of this kind in the journal."""
    return {int(one["name"]) for one in events_of(tx, kind) if one["name"].isdecimal()}


UNTAGGED = "index_untagged"  # of those on whether people without a tag are in the index
LAG = "list_lag"  # the kind of the journal's lines on how late the API was seen to list a new batch
LAGS = 2  # ours: what was seen once may be longer another time


def list_lag(tx: Connection) -> float:
    """Return how late a new batch may be listed by what was ever seen, in seconds; 0.0 where none was late."""
    return LAGS * max((float(one["new"]) for one in events_of(tx, LAG)), default=0.0)


@dataclass(frozen=True)
class WorkspaceRow:
    """The workspace's random id, the backend it is bound to (None before the first batch), and its position."""

    workspace_id: str
    backend: str | None
    position: int


@cached_in_snapshot
def get_workspace(tx: Connection) -> WorkspaceRow:
    """Return the workspace's row."""
    row = tx.execute(
        select(workspace.c.workspace_id, workspace.c.backend, workspace.c.position)
    ).one()
    return WorkspaceRow(*row)


def bind_workspace(tx: Connection, backend: str, *, at: datetime) -> None:
    """Bind the workspace to the backend that is about to answer, or refuse: it may be bound to the other one."""
    moved = tx.execute(
        update(workspace).where(workspace.c.backend.is_(None)).values(backend=backend)
    )
    if moved.rowcount == 1:
        record_event(tx, "workspace", "backend", old=None, new=backend, why="first use", at=at)
    bound = get_workspace(tx).backend
    if bound != backend:
        raise ConfigurationError(
            f"this workspace is bound to the {bound} backend, not to {backend}; nothing was changed",
            hint=f"set {OptionHint(backend=bound)}, or take another {OptionHint('data')} directory",
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


def add_build(tx: Connection, facts: Mapping[str, Any], *, why: str, at: datetime) -> None:
    """Keep that a build is in service from now on, with what is told of it; a row of the same number gives way."""
    tx.execute(delete(builds).where(builds.c.number == facts["number"]))
    if newest := tx.execute(select(func.max(builds.c.promoted_at))).scalar():
        at = max(at, newest + timedelta(microseconds=1))  # whatever the clock says, it is the last
    tx.execute(insert(builds).values(**facts, promoted_at=at))
    record_event(tx, "build", facts["number"], old=None, new="in service", why=why, at=at)


MARKER = "workspace.json"
SEALED = ("batches", "index/builds")  # what stands there is known by one database alone


@dataclass(frozen=True)
class FolderMarker:
    """The id of the workspace whose files a folder holds, and where its database was (a URL without its password)."""

    workspace_id: str
    database: str


def find_marker(data: Path) -> FolderMarker | None:
    """Return the mark of a folder, if there is one."""
    path = data / MARKER
    try:
        return FolderMarker(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        message = f"{path} cannot be read, which says which database knows the files there; nothing was changed"
        hint = (
            "where FINDABLE_DATABASE_URL is set as it always was, remove that file; it is made anew"
        )
        raise InconsistentError(message, hint=hint) from error


def holds_sealed_files(data: Path) -> bool:
    """Return whether anything was ever sealed in a folder; until then it may go to another database."""
    return any(True for name in SEALED for _ in (data / name).glob("*"))


def check_marker(data: Path, mark: FolderMarker, tx: Connection, *, shown: str) -> None:
    """Refuse to work in a folder with the database of another workspace, or with an empty one."""
    found = (
        tx.execute(select(workspace.c.workspace_id)).scalar()
        if inspect(tx).has_table(workspace.name)
        else None
    )
    if found != mark.workspace_id:
        why = "is another workspace's" if found else "holds no workspace yet"
        refuse_folder(data, mark, f"{shown} {why}")


def refuse_folder(data: Path, mark: FolderMarker, why: str) -> NoReturn:
    """Say that the database which is set is not the one of a folder."""
    raise ConfigurationError(
        f"the files in {data} belong to workspace {mark.workspace_id} in {mark.database}, and {why}; "
        "nothing was changed",
        hint=f"set FINDABLE_DATABASE_URL as it was, or take another {OptionHint('data')} directory; "
        "is that database lost for good, "
        f"restore a backup, or remove {data / MARKER} to begin anew, which gives up the files there",
    )


def write_marker(data: Path, mark: FolderMarker) -> None:
    """Mark a folder, durable when this returns; one that this user may not write to stays without."""
    with contextlib.suppress(OSError):
        files.seal_bytes(data / MARKER, json.dumps(asdict(mark), indent=1).encode() + b"\n")


_AS_JSON = ("key", "columns", "fields", "words")


@cached_in_snapshot
def list_tasks(tx: Connection) -> list[TaskRecord]:
    """Return every task that was used here, by name.

    Raises:
        InconsistentError: A stored name is not valid.
    """
    query = select(*(tasks.c[one.name] for one in fields(TaskRecord))).order_by(tasks.c.name)
    found = []
    for row in tx.execute(query).mappings():
        values = dict(row) | {name: json.loads(row[name]) for name in _AS_JSON}
        # The name is a part of paths.
        if not NAME.fullmatch(row["name"]):
            raise InconsistentError(
                f"the database has a task with the invalid name {row['name']!r}; "
                "nothing was read or changed",
                hint=f"restore a backup: {CommandHint('restore', from_='…')}",
            )
        pairs = {
            name: tuple((one[0], one[1]) for one in values[name]) for name in ("key", "fields")
        }
        found.append(TaskRecord(**values | pairs))
    return found


def get_task(tx: Connection, name: str) -> TaskRecord | None:
    """Return the task of that name, None where none was ever used here."""
    return next((one for one in list_tasks(tx) if one.name == name), None)


def put_task(tx: Connection, record: TaskRecord) -> None:
    """Keep a task as it is now, in the place of what it was; what its versions were asked with stays."""
    row = {one.name: getattr(record, one.name) for one in fields(record)}
    row |= {name: json.dumps(row[name], ensure_ascii=False) for name in _AS_JSON}
    if not tx.execute(update(tasks).where(tasks.c.name == record.name).values(row)).rowcount:
        tx.execute(insert(tasks).values(row))


def update_task(tx: Connection, name: str, **values: Any) -> None:
    """Replace some of what is kept of a task, by the names of its columns."""
    tx.execute(update(tasks).where(tasks.c.name == name).values(**values))


def keep_fingerprint(
    tx: Connection,
    fingerprint: str,
    *,
    task: str,
    version: int,
    document: Mapping[str, Any],
    at: datetime,
) -> None:
    """Keep the document behind a fingerprint, once a version, and that it is what the version is asked with."""
    others = [
        one
        for one in _asked(tx, task)
        if (one["fingerprint"], one["version"]) != (fingerprint, version)
    ]
    mine = {
        "fingerprint": fingerprint,
        "version": version,
        "at": at.isoformat(),
        "document": document,
    }
    update_task(tx, task, asked=json.dumps([*others, mine], ensure_ascii=False))


def accepted_question(tx: Connection, task: str, version: int) -> tuple[str, dict[str, Any]] | None:
    """Return the fingerprint that a version is asked with, the last accepted, and its document; None before any."""
    mine = [one for one in _asked(tx, task) if one["version"] == version]
    return (str(mine[-1]["fingerprint"]), mine[-1]["document"]) if mine else None


def _asked(tx: Connection, task: str) -> list[dict[str, Any]]:
    found = tx.execute(select(tasks.c.asked).where(tasks.c.name == task)).scalar()
    return list(json.loads(found or "[]"))
