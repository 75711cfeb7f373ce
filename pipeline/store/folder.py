"""The mark in a workspace's folder that says which database knows its files.

Files and rows belong together: a database that knows nothing of the files would take them for litter, give their
numbers again and put an older index in service. So the folder keeps the random id of its workspace from the first
command on, and a command whose database is of another one, as where FINDABLE_DATABASE_URL was forgotten, is refused
before it writes anything.
"""

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import Connection, inspect, select

from pipeline import files
from pipeline.errors import ConfigurationError, InconsistentError
from pipeline.store.tables import workspace

MARK = "workspace.json"
SEALED = ("batches", "index/builds")  # what stands there is known by one database alone


@dataclass(frozen=True)
class Mark:
    """The id of the workspace whose files a folder holds, and where its database was (a URL without its password)."""

    workspace_id: str
    database: str


def find(data: Path) -> Mark | None:
    """Return the mark of a folder, if there is one.

    Raises:
        InconsistentError: what stands there is no mark of ours.
    """
    path = data / MARK
    try:
        return Mark(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise InconsistentError(
            f"{path} cannot be read, so nobody can say which database knows the files here; nothing was changed",
            hint="where FINDABLE_DATABASE_URL is set as it always was, remove that file; it is made anew",
        ) from error


def holds_files(data: Path) -> bool:
    """Return whether anything was ever sealed in a folder; until then it may go to another database."""
    for name in SEALED:
        with contextlib.suppress(OSError), os.scandir(data / name) as entries:
            if next(entries, None) is not None:
                return True
    return False


def check(data: Path, mark: Mark, tx: Connection, *, shown: str) -> None:
    """Let nobody work in a folder with the database of another workspace, or with an empty one.

    Raises:
        ConfigurationError: it is another workspace's; nothing was changed.
    """
    found = None
    if inspect(tx).has_table(workspace.name):
        found = tx.execute(select(workspace.c.workspace_id)).scalar()
    if found != mark.workspace_id:
        refuse(data, mark, f"{shown} " + ("holds no workspace yet" if found is None else "is another workspace's"))


def refuse(data: Path, mark: Mark, why: str) -> None:
    """Say that the database which is set is not the one of a folder.

    Raises:
        ConfigurationError: always.
    """
    raise ConfigurationError(
        f"the files in {data} belong to workspace {mark.workspace_id} in {mark.database}, and {why}; "
        "nothing was changed",
        hint="set FINDABLE_DATABASE_URL as it was, or take another DATA= directory; is that database gone for good, "
        f"restore a backup, or remove {data / MARK} to begin anew, which gives up the files there",
    )


def make(data: Path, mark: Mark) -> None:
    """Mark a folder, durable when this returns; one that cannot be written to is marked by who can."""
    with contextlib.suppress(OSError):
        for part in data.glob(f"{MARK}.*{files.PART}"):
            if files.is_abandoned(part):
                part.unlink(missing_ok=True)
        files.seal_bytes(data / MARK, json.dumps(asdict(mark), indent=1).encode() + b"\n")


def forget(data: Path) -> None:
    """Take the mark away, durable when this returns, before the workspace's id changes; the next command makes it."""
    (data / MARK).unlink(missing_ok=True)
    files.sync_directory(data)
