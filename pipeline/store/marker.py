"""Mark which database knows the files of a folder, and that an SQLite file was moved to a server.

A database that does not know the files would take them for litter, give their numbers again and put an older index in
service. So a folder keeps the random id of its workspace, and a command with another database, as where
FINDABLE_DATABASE_URL was forgotten, is refused before it writes anything.

One workspace in two databases would send the same batch twice under the same name. So the mark beside a moved SQLite
file is made before the copy is committed, while no other process can write, and is looked at inside every transaction
that writes. The file itself stays as it was, to be read.
"""

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, inspect, select

from pipeline.core import files
from pipeline.core.errors import ConfigurationError, InconsistentError
from pipeline.store.tables import workspace

MARKER = "workspace.json"
MOVED = ".moved"  # the ending of the mark beside an SQLite file
M = TypeVar("M")
SEALED = ("batches", "index/builds")  # what stands there is known by one database alone


@dataclass(frozen=True)
class FolderMarker:
    """The id of the workspace whose files a folder holds, and where its database was (a URL without its password)."""

    workspace_id: str
    database: str


@dataclass(frozen=True)
class MovedMarker:
    """Where a database was moved to (a URL without its password), which workspace it is of, and when."""

    to: str
    workspace_id: str
    at: str


def find_marker(data: Path) -> FolderMarker | None:
    """Return the mark of a folder, if there is one.

    Raises:
        InconsistentError: it cannot be read.
    """
    hint = "where FINDABLE_DATABASE_URL is set as it always was, remove that file; it is made anew"
    return _read(data / MARKER, FolderMarker, "which database knows the files there", hint)


def find_moved(path: Path) -> MovedMarker | None:
    """Return the mark of a database file, if there is one.

    Raises:
        InconsistentError: it cannot be read.
    """
    return _read(moved_path(path), MovedMarker, "where this database is", "if it was never moved, remove that file")


def _read(path: Path, kind: Callable[..., M], what: str, hint: str) -> M | None:
    try:
        return kind(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        message = f"{path} cannot be read, which says {what}; nothing was changed"
        raise InconsistentError(message, hint=hint) from error


def _write(path: Path, mark: FolderMarker | MovedMarker) -> None:
    files.seal_bytes(path, json.dumps(asdict(mark), indent=1).encode() + b"\n")


def holds_sealed_files(data: Path) -> bool:
    """Return whether anything was ever sealed in a folder; until then it may go to another database."""
    for name in SEALED:
        with contextlib.suppress(OSError), os.scandir(data / name) as entries:
            if next(entries, None) is not None:
                return True
    return False


def check_marker(data: Path, mark: FolderMarker, tx: Connection, *, shown: str) -> None:
    """Refuse to work in a folder with the database of another workspace, or with an empty one.

    Raises:
        ConfigurationError: it is another workspace's; nothing was changed.
    """
    found = tx.execute(select(workspace.c.workspace_id)).scalar() if inspect(tx).has_table(workspace.name) else None
    if found != mark.workspace_id:
        why = "is another workspace's" if found else "holds no workspace yet"
        refuse_folder(data, mark, f"{shown} {why}")


def refuse_folder(data: Path, mark: FolderMarker, why: str) -> None:
    """Say that the database which is set is not the one of a folder.

    Raises:
        ConfigurationError: always.
    """
    raise ConfigurationError(
        f"the files in {data} belong to workspace {mark.workspace_id} in {mark.database}, and {why}; "
        "nothing was changed",
        hint="set FINDABLE_DATABASE_URL as it was, or take another DATA= directory; is that database lost for good, "
        f"restore a backup, or remove {data / MARKER} to begin anew, which gives up the files there",
    )


def write_marker(data: Path, mark: FolderMarker) -> None:
    """Mark a folder, durable when this returns; one that this user may not write to stays without."""
    with contextlib.suppress(OSError):
        files.sweep_parts(data / MARKER)
        _write(data / MARKER, mark)


def remove_marker(data: Path) -> None:
    """Remove the mark, durable when this returns, before the workspace's id changes; the next command makes it."""
    (data / MARKER).unlink(missing_ok=True)
    files.sync_directory(data)


def moved_path(path: Path) -> Path:
    """Return where the mark of a database file stands: beside the file itself, by whatever name it was opened."""
    return Path(os.path.realpath(path) + MOVED)


def write_moved(path: Path, mark: MovedMarker) -> None:
    """Mark a database file as moved, durable when this returns; the caller keeps all others from writing to it."""
    _write(moved_path(path), mark)


def check_not_moved(path: Path) -> None:
    """Refuse to write to a database that was moved; called inside every transaction that writes.

    Raises:
        ConfigurationError: it was moved.
    """
    if moved_path(path).exists() and (mark := find_moved(path)) is not None:
        raise ConfigurationError(f"{moved_message(path, mark)}; nothing was changed", hint=moved_hint(path, mark))


def moved_message(path: Path, mark: MovedMarker) -> str:
    """Return the sentence that says where a database is now."""
    return f"the database {path} was moved to {mark.to} ({mark.at}), and is kept only to be read"


def moved_hint(path: Path, mark: MovedMarker) -> str:
    """Return what to do about a moved database."""
    return (
        f"set FINDABLE_DATABASE_URL={mark.to}; if the move failed, run it again, "
        f"or go back by removing {moved_path(path)}"
    )
