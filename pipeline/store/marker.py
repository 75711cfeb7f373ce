"""The mark in a workspace's folder that says which database knows its files.

Files and rows belong together: a database that knows nothing of the files would take them for litter, give their
numbers again and put an older index in service. So the folder keeps the random id of its workspace from the first
command on, and a command whose database is of another one, as where FINDABLE_DATABASE_URL was forgotten, is refused
before it writes anything.

The mark beside an SQLite file that its database was moved to a server: nobody writes to the file any more.

One workspace in two databases would send the same batch twice, each under the same name. So the mark is made before
the copy is committed, while everybody else is kept from writing, and is looked at inside every transaction that writes:
whoever opened the file before the move is held back as well. The file itself stays as it was, to be read.
"""

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import Connection, inspect, select

from pipeline.core import files
from pipeline.core.errors import ConfigurationError, InconsistentError
from pipeline.store.tables import workspace

MARKER = "workspace.json"
SEALED = ("batches", "index/builds")  # what stands there is known by one database alone


@dataclass(frozen=True)
class FolderMarker:
    """The id of the workspace whose files a folder holds, and where its database was (a URL without its password)."""

    workspace_id: str
    database: str


def find_marker(data: Path) -> FolderMarker | None:
    """Return the mark of a folder, if there is one.

    Raises:
        InconsistentError: what stands there is no mark of ours.
    """
    path = data / MARKER
    try:
        return FolderMarker(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise InconsistentError(
            f"{path} cannot be read, so nobody can say which database knows the files here; nothing was changed",
            hint="where FINDABLE_DATABASE_URL is set as it always was, remove that file; it is made anew",
        ) from error


def holds_sealed_files(data: Path) -> bool:
    """Return whether anything was ever sealed in a folder; until then it may go to another database."""
    for name in SEALED:
        with contextlib.suppress(OSError), os.scandir(data / name) as entries:
            if next(entries, None) is not None:
                return True
    return False


def check_marker(data: Path, mark: FolderMarker, tx: Connection, *, shown: str) -> None:
    """Let nobody work in a folder with the database of another workspace, or with an empty one.

    Raises:
        ConfigurationError: it is another workspace's; nothing was changed.
    """
    found = None
    if inspect(tx).has_table(workspace.name):
        found = tx.execute(select(workspace.c.workspace_id)).scalar()
    if found != mark.workspace_id:
        refuse_folder(
            data, mark, f"{shown} " + ("holds no workspace yet" if found is None else "is another workspace's")
        )


def refuse_folder(data: Path, mark: FolderMarker, why: str) -> None:
    """Say that the database which is set is not the one of a folder.

    Raises:
        ConfigurationError: always.
    """
    raise ConfigurationError(
        f"the files in {data} belong to workspace {mark.workspace_id} in {mark.database}, and {why}; "
        "nothing was changed",
        hint="set FINDABLE_DATABASE_URL as it was, or take another DATA= directory; is that database gone for good, "
        f"restore a backup, or remove {data / MARKER} to begin anew, which gives up the files there",
    )


def write_marker(data: Path, mark: FolderMarker) -> None:
    """Mark a folder, durable when this returns; one that cannot be written to is marked by who can."""
    with contextlib.suppress(OSError):
        for part in data.glob(f"{MARKER}.*{files.PART}"):
            if files.is_abandoned(part):
                part.unlink(missing_ok=True)
        files.seal_bytes(data / MARKER, json.dumps(asdict(mark), indent=1).encode() + b"\n")


def remove_marker(data: Path) -> None:
    """Take the mark away, durable when this returns, before the workspace's id changes; the next command makes it."""
    (data / MARKER).unlink(missing_ok=True)
    files.sync_directory(data)


ENDING = ".moved"


@dataclass(frozen=True)
class MovedMarker:
    """Where a database was moved to (a URL without its password), which workspace it is of, and when."""

    to: str
    workspace_id: str
    at: str


def moved_path(path: Path) -> Path:
    """Return where the mark of a database file stands: beside the file itself, by whatever name it was opened."""
    return Path(os.path.realpath(path) + ENDING)


def find_moved(path: Path) -> MovedMarker | None:
    """Return the mark of a database file, if there is one.

    Raises:
        InconsistentError: what stands there is no mark of ours.
    """
    try:
        document = json.loads(moved_path(path).read_bytes())
        return MovedMarker(**document)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise InconsistentError(
            f"{moved_path(path)} cannot be read, so nobody can say where this database is; nothing was changed",
            hint="if it was never moved, remove that file",
        ) from error


def write_moved(path: Path, mark: MovedMarker) -> None:
    """Mark a database file as moved, durable when this returns; for whoever keeps all others from writing to it."""
    files.seal_bytes(moved_path(path), json.dumps(asdict(mark), indent=1).encode() + b"\n")


def check_not_moved(path: Path) -> None:
    """Let nobody write to a database that was moved; called inside every transaction that writes.

    Raises:
        ConfigurationError: it was moved.
    """
    if not moved_path(path).exists():
        return
    mark = find_moved(path)
    if mark is not None:
        raise ConfigurationError(f"{moved_message(path, mark)}; nothing was changed", hint=moved_hint(path, mark))


def moved_message(path: Path, mark: MovedMarker) -> str:
    """Return the sentence that says what became of a database."""
    return f"the database {path} was moved to {mark.to} ({mark.at}), and is kept only to be read"


def moved_hint(path: Path, mark: MovedMarker) -> str:
    """Return what to do about it."""
    return (
        f"set FINDABLE_DATABASE_URL={mark.to}; did the move not end well, run it again, "
        f"or go back by removing {moved_path(path)}"
    )
