"""Read and write the workspace's row, its journal, promoted builds, folder marker and task records.

- The journal is the table `askrows_events`: a line for each change of a state.
- The backend is what answers and embeds: a provider, or the local engine for trials without a key.
- The position is a counter that grows with every change of a task's rows.
- The build that was promoted last is in service; `index/current` follows its row. A build is
  compared with the database only if its task changed since.
- All commands except those that ask or judge use the record of a task. So a missing or broken task
  file disturbs no other command.
- A folder contains the random id of its workspace. A database that does not know the folder's files
  would delete them as litter, use their numbers again and put an older index in service. So a
  command with another database (for example without its ASKROWS_DATABASE_URL) is refused before it
  writes.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, text, update

from askrows.pipeline.core import files
from askrows.pipeline.core.command_hint import CommandHint, OptionHint
from askrows.pipeline.core.declaration import NAME
from askrows.pipeline.core.errors import ConfigurationError, InconsistentError
from askrows.pipeline.store.database import cached_in_snapshot
from askrows.pipeline.store.schema import (
    UtcTime,
    builds,
    events,
    read_workspace_row,
    tasks,
    workspace,
)
from askrows.pipeline.store.task_record import TaskRecord

__all__ = ["TaskRecord"]
MARKER_FILE = "workspace.json"
# Folders whose files only their own database knows.
SEALED_FOLDERS = ("batches", "index/builds")
# Each opening runs these statements, so they are constants.
_SELECT_EVENTS = text(
    "SELECT at, name, old, new, why FROM askrows_events WHERE kind = :kind "
    "AND (CAST(:name AS TEXT) IS NULL OR name = CAST(:name AS TEXT)) ORDER BY id"
).columns(at=UtcTime)
# Transactions have ascending numbers as long as the server runs. The snapshot names those that it
# sees.
_SERVER_SNAPSHOT = text("SELECT concat(pg_postmaster_start_time(), ' ', pg_current_snapshot())")
_SELECT_TASKS = text("SELECT name, path, words FROM askrows_tasks ORDER BY name")


def record_event(
    tx: Connection,
    kind: str,
    name: object,
    *,
    old: str | None,
    new: str | None,
    reason: str,
    now: datetime,
) -> None:
    """Add one line to the journal, in the transaction of the change that it describes."""
    # A file name may have bytes that are not UTF-8.
    name_text = str(name).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    tx.execute(
        insert(events).values(at=now, kind=kind, name=name_text, old=old, new=new, why=reason),
    )


def list_events(tx: Connection, kind: str, name: object = None) -> list[dict[str, Any]]:
    """Return the journal's lines of a kind, oldest first: `at`, `name`, `old`, `new`, `why`.

    Args:
        name: Only lines about this name; None means all names.
    """
    parameters = {"kind": kind, "name": None if name is None else str(name)}
    return [dict(row) for row in tx.execute(_SELECT_EVENTS, parameters).mappings()]


def is_newest_event(
    tx: Connection,
    kind: str,
    name: object,
    *,
    old: str | None,
    new: str | None,
) -> bool:
    """Return whether a journal line is the newest one, so that nothing was recorded after it."""
    columns = (events.c.kind, events.c.name, events.c.old, events.c.new)
    newest = select(*columns).order_by(events.c.id.desc()).limit(1)
    return tx.execute(newest).first() == (kind, str(name), old, new)


@dataclass(frozen=True)
class WorkspaceRow:
    """The workspace's row."""

    # Random.
    workspace_id: str
    # None before the first batch, answer or vector.
    backend: str | None
    # The address of the backend; None before, and "" with the local engine.
    address: str | None
    # Grows with every change of a task's rows.
    position: int


def read_workspace(tx: Connection) -> WorkspaceRow:
    """Return the workspace's row."""
    row = read_workspace_row(tx)
    return WorkspaceRow(row["workspace_id"], row["backend"], row["address"], row["position"])


def read_change_id(tx: Connection) -> str:
    """Return an id of the database's content that differs after each committed change of a row.

    A server's id also differs after changes of its other databases. Changes that another program
    makes in a file are not seen.

    Args:
        tx: A snapshot of `Store.read`.
    """
    if tx.dialect.name == "sqlite":
        return str(read_workspace_row(tx)["change_id"])
    return str(tx.execute(_SERVER_SNAPSHOT).scalar_one())


def bind_workspace_or_check_backend(
    tx: Connection, backend: str, address: str, *, now: datetime
) -> None:
    """Bind the workspace to a provider or to the local engine, if it is not bound yet.

    So real answers and vectors are never mixed with placeholders. The binding is journaled. Nothing
    is written if the workspace is bound already. Runs in the caller's transaction.

    Args:
        backend: See the setting BACKEND.
        address: The address of the backend, without a password.

    Raises:
        ConfigurationError: The workspace is bound to another backend.
    """
    bind = update(workspace).where(workspace.c.backend.is_(None))
    bind = bind.values(backend=backend, address=address)
    if tx.execute(bind).rowcount == 1:
        record_event(tx, "workspace", "backend", old=None, new=backend, reason="first use", now=now)

    bound_backend = read_workspace(tx).backend
    if bound_backend != backend:
        raise ConfigurationError(
            f"this workspace is bound to the {bound_backend} backend, not to {backend};"
            " nothing was changed",
            hint=f"set {OptionHint(backend=bound_backend)}, or use another {OptionHint('data')}",
        )


def unbind_workspace(tx: Connection, *, now: datetime) -> None:
    """Remove the backend of a workspace, so that the next use binds it again; journal this.

    The caller has checked that the workspace has no requests.
    """
    old = read_workspace(tx).backend
    reason = "no request of the local engine is left"
    tx.execute(update(workspace).values(backend=None, address=None))
    record_event(tx, "workspace", "backend", old=old, new=None, reason=reason, now=now)


def record_row_change(tx: Connection, task: str) -> None:
    """Record a change of a task's rows: the workspace's position grows by 1.

    A build compares the position with its own to see whether it is behind.
    """
    position, changes = tx.execute(select(workspace.c.position, workspace.c.changes)).one()
    new_changes = json.dumps({**json.loads(changes), task: position + 1})
    tx.execute(update(workspace).values(position=position + 1, changes=new_changes))


def read_last_row_change(tx: Connection, task: str) -> int:
    """Return the position of the last recorded change of a task's rows; 0 if there was none."""
    changes = json.loads(tx.execute(select(workspace.c.changes)).scalar_one())
    return int(changes.get(task, 0))


def has_changed_since_build(tx: Connection, task: str, *, build_number: int, position: int) -> bool:
    """Return whether rows of a task may have changed since a build was read at a position.

    The result is True if the database does not know the build with this position.
    """
    if read_last_row_change(tx, task) > position:
        return True
    query = select(builds.c.number).where(
        builds.c.number == build_number,
        builds.c.position == position,
    )
    return tx.execute(query).first() is None


def insert_build(tx: Connection, number: int, *, position: int, reason: str, now: datetime) -> None:
    """Insert a build that is in service from now on, and journal that.

    A build of the same number is replaced. Its time is later than that of all other builds, even if
    the clock was set back. Runs in the caller's transaction.

    Args:
        position: The position of the workspace at which the build was read.
    """
    tx.execute(delete(builds).where(builds.c.number == number))
    # The new build must be the last, even if the clock was set back.
    newest = tx.execute(select(func.max(builds.c.promoted_at))).scalar()
    promoted_at = max(now, newest + timedelta(microseconds=1)) if newest else now
    tx.execute(insert(builds).values(number=number, position=position, promoted_at=promoted_at))
    record_event(tx, "build", number, old=None, new="in service", reason=reason, now=promoted_at)


@dataclass(frozen=True)
class FolderMarker:
    """The content of a folder's marker file."""

    workspace_id: str
    # The URL of the workspace's database without its password.
    database: str


def read_folder_marker(data: Path) -> FolderMarker | None:
    """Read the marker of a folder; None if the folder has no marker file.

    Raises:
        InconsistentError: The marker cannot be read, or its members are wrong.
    """
    path = data / MARKER_FILE
    try:
        return FolderMarker(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise InconsistentError(
            f"{path}, which names the database of the files in {data}, cannot be read;"
            " nothing was changed",
            hint="if ASKROWS_DATABASE_URL is the same as before, delete that file; "
            "it is written again",
        ) from error


def check_folder_belongs_to_database(
    data: Path,
    workspace_id: str | None,
    *,
    database_name: str,
    absence: str = "has no workspace yet",
) -> None:
    """Check that a database knows the sealed files of a folder, whose marker names the workspace.

    Nothing happens if the folder has no sealed files or no marker: another database may use it.

    Args:
        workspace_id: The workspace of the database; None if it has none.
        database_name: The name of the database in messages.
        absence: Why the database has no workspace.

    Raises:
        ConfigurationError: The database has another workspace, or none.
        InconsistentError: The marker cannot be read.
    """
    has_sealed_files = any(any((data / name).glob("*")) for name in SEALED_FOLDERS)
    marker = read_folder_marker(data) if has_sealed_files else None
    if marker is None or workspace_id == marker.workspace_id:
        return

    reason = absence if workspace_id is None else "has another workspace"
    raise ConfigurationError(
        f"the files in {data} belong to workspace {marker.workspace_id} in {marker.database},"
        f" but {database_name} {reason}; nothing was changed",
        hint=f"set ASKROWS_DATABASE_URL as before, or use another {OptionHint('data')};"
        " if that database is lost, restore a backup, or give up these files and"
        f" delete {data / MARKER_FILE}",
    )


def write_folder_marker(data: Path, marker: FolderMarker) -> None:
    """Write the marker of a folder; it is on disk at the return.

    A folder in which the user may not write gets none.
    """
    with contextlib.suppress(OSError):
        content = json.dumps(asdict(marker), indent=1).encode() + b"\n"
        files.seal_bytes(data / MARKER_FILE, content)


@cached_in_snapshot
def list_task_records(tx: Connection) -> list[TaskRecord]:
    """Return every registered task, sorted by name.

    Raises:
        InconsistentError: A stored name is invalid.
        ValueError: A stored document is malformed.
    """
    records = []
    for name, path, document in tx.execute(_SELECT_TASKS):
        # The name is a part of paths.
        if not NAME.fullmatch(name):
            raise InconsistentError(
                f"the database has a task with the invalid name {name!r}; "
                "nothing was read or changed",
                hint=f"restore a backup: {CommandHint('restore', from_='…')}",
            )
        members = {**json.loads(document), "name": name, "path": path}
        records.append(TaskRecord.from_document(members))
    return records


def find_task_record(tx: Connection, name: str) -> TaskRecord | None:
    """Return the registered task of a name; None if there is none."""
    return next((record for record in list_task_records(tx) if record.name == name), None)


def store_task_record(tx: Connection, record: TaskRecord) -> None:
    """Insert or replace the record of a task; the documents of its versions stay."""
    row = {"name": record.name, "path": record.path, "words": record.to_json()}
    if not tx.execute(update(tasks).where(tasks.c.name == record.name).values(row)).rowcount:
        tx.execute(insert(tasks).values(row))


def update_task_record(tx: Connection, name: str, **members: Any) -> None:
    """Set members of a task's record; the others stay. Does nothing if the task is unknown."""
    record = find_task_record(tx, name)
    if record is not None:
        store_task_record(tx, replace(record, **members))


def store_newest_fingerprint(
    tx: Connection,
    fingerprint: str,
    *,
    task: str,
    version: int,
    document: Mapping[str, Any],
    now: datetime,
) -> None:
    """Record a fingerprint and its document as the newest of a task's version.

    An earlier entry of the same fingerprint and version is removed.
    """
    key = (fingerprint, version)
    entries = [
        entry
        for entry in _read_fingerprints(tx, task)
        if (entry["fingerprint"], entry["version"]) != key
    ]
    entries.append(
        {
            "fingerprint": fingerprint,
            "version": version,
            "at": now.isoformat(),
            "document": document,
        },
    )
    asked = json.dumps(entries, ensure_ascii=False)
    tx.execute(update(tasks).where(tasks.c.name == task).values(asked=asked))


def read_newest_fingerprint(
    tx: Connection,
    task: str,
    version: int,
) -> tuple[str, dict[str, Any]] | None:
    """Return the newest fingerprint of a task's version with its document; None without any."""
    for entry in reversed(_read_fingerprints(tx, task)):
        if entry["version"] == version:
            return entry["fingerprint"], entry["document"]
    return None


def _read_fingerprints(tx: Connection, task: str) -> list[dict[str, Any]]:
    """Return all recorded fingerprints of a task with their documents, oldest first."""
    document = tx.execute(select(tasks.c.asked).where(tasks.c.name == task)).scalar()
    return list(json.loads(document or "[]"))
