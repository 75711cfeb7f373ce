"""Back up a workspace into a folder while other commands use it, and restore it from there.

The folder of a backup has these files:

- manifest.json: the SHA-256 of each file of the backup; written last
- askrows.db: a snapshot of the database, in one file
- batches/: the sealed files that the database names
- index/vectors.sqlite: the cached vectors, so that `make index` rebuilds the index at no cost
- reports/: the reports on answers
- tasks/: task files, such as those that the page wrote
- sources/: copies of the files that such tasks read
- local-engine…: the state of the local engine, if the workspace uses it

How it is made:

- Sealed files are copied after the database. They never change, so they agree with it.
- The folder gets its name only when it is complete.
- A database on a server is backed up by the server's own programs.
- A backup can be restored into an empty PostgreSQL database, which moves a workspace from SQLite.

- A sealed file is a request or result file of a batch whose SHA-256 is in the database. It is
  needed until its batch is over.
"""

import contextlib
import json
import os
import shlex
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

from askrows.pipeline.core import __version__, files
from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.errors import InconsistentError, InputError
from askrows.pipeline.core.progress import Progress
from askrows.pipeline.core.report import Report
from askrows.pipeline.core.setting_parsers import TASKS_FOLDER
from askrows.pipeline.core.text import plural
from askrows.pipeline.index.vector_cache import make_vector_cache
from askrows.pipeline.ops import clean
from askrows.pipeline.provider.service import Service
from askrows.pipeline.quality.report import REPORTS_FOLDER
from askrows.pipeline.store import batches, journal
from askrows.pipeline.store.database import Connection, Store
from askrows.pipeline.tasks.task_file import ROW_FILES_FOLDER
from askrows.pipeline.workspace.open_workspace import OpenWorkspace, check_and_resolve_target

BACKUP_FORMAT = 4
MANIFEST_FILE = "manifest.json"
DATABASE_FILE = "askrows.db"
VECTORS_FILE = "index/vectors.sqlite"
ENGINE_FILE = "local-engine.sqlite"
# Files that may change while they are copied: reports, user tasks and their rows, and files of the
# local engine.
CHANGING_FILES = (
    f"{REPORTS_FOLDER}/*.md",
    f"{REPORTS_FOLDER}/*.json",
    f"{TASKS_FOLDER}/[!.]*.py",
    f"{ROW_FILES_FOLDER}/[!.]*",
    "local-engine-files/*",
)


def back_up_workspace(ws: OpenWorkspace, service: Service, target: Path) -> Report:
    """Copy the workspace into the new folder `target`; the copy is on disk when this returns.

    The copy is made in another folder, which gets the name `target` when it is complete, so there
    is never half a backup. The manifest with the hash of each file is written last. Missing parent
    folders are created. A warning names each missing or changed file that no later command needs.
    If the database is on a server, nothing at all is copied: the report has the shell commands that
    back up the database and the files. The figures `files` and `size` leave out the manifest.

    Raises:
        InputError: `target` exists already, or the workspace needs that place.
        InconsistentError: A sealed file (whose hash is in the database) is missing, or it was
            changed and a later command needs it. Or the database has a file name that is not the
            name for its batch number. No backup was made.
    """
    target = Path(target).absolute()
    if os.path.lexists(target):
        raise InputError(
            f"{target} exists already; nothing was written",
            hint="name a folder that does not exist yet",
        )
    check_and_resolve_target(target, ws.store, ws.data)
    if ws.store.path is None:
        server_commands = _make_server_backup_commands(ws.data, ws.store, target)
        figures = {"path": str(target), "files": 0, "size": 0, "typed": server_commands}
        title = "The database is on a server, so its own programs copy it. Type these commands:"
        return Report(figures, title, [*server_commands])

    target.parent.mkdir(parents=True, exist_ok=True)
    with files.staging_folder(target) as staging:
        hashes = _copy_workspace_and_hash(ws, service, staging)
        manifest = {
            "format": BACKUP_FORMAT,
            "version": __version__,
            "made_at": ws.now().isoformat(timespec="seconds"),
            "files": hashes,
        }
        manifest_bytes = json.dumps(manifest, indent=1).encode("ascii") + b"\n"
        files.seal_bytes(staging / MANIFEST_FILE, manifest_bytes)
        rename_staging_folder(staging, target)

    size_bytes = sum((target / name).stat().st_size for name in hashes)
    figures = {"path": str(target), "files": len(hashes), "size": size_bytes, "typed": ()}
    copied_files = f"{plural(len(hashes), 'file')}, {size_bytes:,} bytes in {target}"
    return Report(figures, f"{copied_files}; all hashes checked")


def _make_server_backup_commands(
    data: Path,
    store: Store,
    target: Path,
) -> tuple[str, ...]:
    """Return the shell commands, in their order, that back up a workspace on PostgreSQL.

    The database is dumped before the files are copied, because it names the files.
    """
    # `pg_dump` does not accept a driver's name in the URL.
    url = store.address.replace("postgresql+psycopg:", "postgresql:", 1)
    commands = (
        ["mkdir", str(target)],
        ["pg_dump", "--format=custom", f"--file={target / 'askrows.dump'}", url],
        ["cp", "-a", str(data.absolute()), str(target / "data")],
    )
    return tuple(shlex.join(command) for command in commands)


def rename_staging_folder(staging: Path, folder: Path) -> None:
    """Give a complete folder its final name; the name is on disk when this returns.

    An existing empty folder is replaced.

    Raises:
        InputError: The name is taken by a file or by a folder with content, or renaming failed.
    """
    try:
        staging.rename(folder)
    except OSError as error:
        raise InputError(
            f"{folder} could not be created ({error.strerror})",
            hint="name a folder that does not exist",
        ) from error
    files.sync_directory(folder.parent)


def _copy_workspace_and_hash(ws: OpenWorkspace, service: Service, staging: Path) -> dict[str, str]:
    """Copy all parts of a workspace into a folder; return the SHA-256 of each file by its name.

    Copies the vector cache, the database, the sealed files, the reports of all tasks, the files of
    user tasks, the rows that are stored as text, and the state of the local engine. Parts that the
    workspace does not have are left out. The names are relative to the folder and sorted.

    Raises:
        InconsistentError: A sealed file that is still needed is missing or changed, or the database
            has another name for it than its batch number gives.
    """
    hashes = dict[str, str]()
    with make_vector_cache(ws, service).open_snapshot() as vectors_tx:
        if vectors_tx is not None:
            hashes[VECTORS_FILE] = _copy_sqlite_database_and_hash(
                vectors_tx, staging / VECTORS_FILE
            )

    with ws.store.open_connection() as connection:
        hashes[DATABASE_FILE] = _copy_sqlite_database_and_hash(connection, staging / DATABASE_FILE)
    hashes |= _copy_sealed_files_and_hash(ws.data, ws.display, staging)

    engine_file = ws.data / ENGINE_FILE
    if engine_file.is_file():
        with closing(Store(engine_file)) as engine, engine.open_connection() as connection:
            hashes[ENGINE_FILE] = _copy_sqlite_database_and_hash(connection, staging / ENGINE_FILE)
    paths = chain.from_iterable(map(ws.data.glob, CHANGING_FILES))
    hashes |= copy_files_and_hash(ws.data, staging, paths)
    return dict(sorted(hashes.items()))


def _copy_sqlite_database_and_hash(connection: Connection, target: Path) -> str:
    """Copy one snapshot of an SQLite database into a single file, and return its SHA-256.

    The copy has no write-ahead log, so it can be read in a folder without write permission.
    """
    source: Any = connection.connection.driver_connection
    target.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(target)) as target_connection:
        source.backup(target_connection)
        target_connection.execute("PRAGMA journal_mode = DELETE")
    return files.sync_part(target).sha256


def _copy_sealed_files_and_hash(
    data: Path,
    display: Progress,
    staging: Path,
) -> dict[str, str]:
    """Copy the sealed files of the batches in the copied database; return their hashes by name.

    A request or reply file is sealed when it is complete and its hash is in the database. Reads
    `askrows.db` in `staging`, which must be copied before. Files of batches that are not over (see
    `BatchRow.is_finished`) must be present and unchanged. For the other batches, a warning names a
    missing or changed file. Trials keep no files. The hashes are those of the copies.

    Args:
        data: The workspace's folder.
        display: Prints the warnings.
        staging: Folder of the backup.

    Raises:
        InconsistentError: A file of a batch that is not over is missing or changed, or the name of
            a file in the database does not fit its batch number.
    """
    copied_url = f"sqlite:///{staging / DATABASE_FILE}"
    with (
        closing(Store(copied_url)) as copied_store,
        copied_store.open_foreign_snapshot_if_exists() as tx,
    ):
        assert tx is not None  # noqa: S101 - the file is there
        all_batches = batches.list_claiming_batches(tx)
        cleaned_batches = journal.read_cleaned_batches(tx)

    hashes = dict[str, str]()
    for batch in all_batches:
        for path, sha256, _ in clean.list_sealed_files(data, batch, cleaned_batches):
            copied_hashes = copy_files_and_hash(data, staging, [path])
            hashes |= copied_hashes
            if sha256 in copied_hashes.values():
                continue

            message = f"{path.relative_to(data)} is missing or was changed after it was sealed"
            if not batch.is_finished:
                raise InconsistentError(
                    f"{message}; no backup was made",
                    hint=f"run `{CommandHint('doctor')}`",
                )
            display.warn(f"{message}; the backup has the file as it is")
    return hashes


def copy_files_and_hash(
    folder: Path,
    staging: Path,
    paths: Iterable[Path],
) -> dict[str, str]:
    """Copy files of a folder into another; return the copies' hashes by name.

    A missing file is left out. A file that another process appends to is copied up to some point.

    Args:
        folder: The folder of the files.
        staging: The folder of the copies.
        paths: Files in `folder`. The name of a copy is the path relative to `folder`.
    """
    hashes = {}
    for path in paths:
        name = path.relative_to(folder).as_posix()
        with contextlib.suppress(FileNotFoundError):
            hashes[name] = files.seal_copy(path, staging / name).sha256
    return hashes
