"""Mark which database knows the files of a folder.

A database that does not know the files would take them for litter, give their numbers again and put an older index in
service. So a folder keeps the random id of its workspace, and a command with another database, as where
FINDABLE_DATABASE_URL was forgotten, is refused before it writes anything.
"""

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

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
        InconsistentError: it cannot be read.
    """
    path = data / MARKER
    try:
        return FolderMarker(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        message = f"{path} cannot be read, which says which database knows the files there; nothing was changed"
        hint = "where FINDABLE_DATABASE_URL is set as it always was, remove that file; it is made anew"
        raise InconsistentError(message, hint=hint) from error


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


def refuse_folder(data: Path, mark: FolderMarker, why: str) -> NoReturn:
    """Say that the database which is set is not the one of a folder."""
    raise ConfigurationError(
        f"the files in {data} belong to workspace {mark.workspace_id} in {mark.database}, and {why}; "
        "nothing was changed",
        hint="set FINDABLE_DATABASE_URL as it was, or take another DATA= directory; is that database lost for good, "
        f"restore a backup, or remove {data / MARKER} to begin anew, which gives up the files there",
    )


def write_marker(data: Path, mark: FolderMarker) -> None:
    """Mark a folder, durable when this returns; one that this user may not write to stays without."""
    with contextlib.suppress(OSError):
        files.seal_bytes(data / MARKER, json.dumps(asdict(mark), indent=1).encode() + b"\n")
