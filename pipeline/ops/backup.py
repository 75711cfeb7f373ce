"""Back up a workspace into a folder while other commands use it, and restore it from there.

    manifest.json        the SHA-256 of each file of the backup; written last
    findable.db          one snapshot of the database, in one file
    batches/             the sealed files that the database names
    index/vectors.sqlite the cached vectors, so that `make index` rebuilds the index at no cost
    reports/             the reports on answers
    tasks/               the files of user tasks
    sources/             the rows of tasks that are stored as text
    local-engine…        the state of the local engine, if the workspace uses it

- Sealed files are copied after the database. They never change, so they agree with it.
- The folder gets its name only when it is complete.
- A database on a server is backed up by the server's own programs.
- A backup can be restored into an empty PostgreSQL database, which moves a workspace from SQLite.
"""

import contextlib
import json
import os
import shlex
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import __version__, files
from pipeline.core.command_hint import CommandHint
from pipeline.core.errors import ConfigurationError, InconsistentError, InputError
from pipeline.core.progress import NoProgress
from pipeline.core.settings import Settings
from pipeline.core.states import BatchState
from pipeline.core.text import INVALID_TEXT, first_few
from pipeline.engine.task_file import FOLDER, SOURCES
from pipeline.engine.workspace import Access, WorkspaceSession, is_free, open_workspace
from pipeline.index.vector_cache import VectorCache, open_vector_cache, open_vector_store
from pipeline.ops import clean
from pipeline.quality.report import report_files_by_name
from pipeline.store import batches, claims, erasure, schema, workspace
from pipeline.store.database import Connection, Store
from pipeline.store.table_copy import copy_tables

if TYPE_CHECKING:
    from sqlalchemy import Table

BACKUP_FORMAT = 4
MANIFEST_FILE = "manifest.json"
DATABASE_FILE = "findable.db"
VECTORS_FILE = "index/vectors.sqlite"
ENGINE_FILE = "local-engine.sqlite"
ENGINE_FOLDER = "local-engine-files"
COPY_CHUNK_BYTES = 1 << 20
# Kind of the journal line that ends the copying of tables: the folder's name, when the backup was
# made, and the position of the database.
RESTORED_EVENT = "restored"


@dataclass(frozen=True)
class BackupReport:
    """A complete backup, or the commands that back up a workspace on a server."""

    # The backup's folder.
    path: str
    # Number of copied files, without the manifest.
    files: int = 0
    # Bytes in these files.
    size: int = 0
    # Shell commands to type, if the database is on a server; no file was copied then.
    typed: tuple[str, ...] = ()


@dataclass
class RestoreReport:
    """A restored workspace."""

    # The workspace's new folder.
    path: str
    # When the backup was made, as ISO text.
    made_at: str
    # Number of files in the backup.
    files: int
    # Numbers of the batches that were prepared or being created when the backup was made.
    unsent: list[int] = field(default_factory=list)
    # Address of the server's database that has the tables; "" without a server.
    database: str = ""
    # Number of rows by table that this command copied to the server.
    rows: dict[str, int] = field(default_factory=dict)


def run(ws: WorkspaceSession, target: Path) -> BackupReport:
    """Copy the workspace into the new folder `target`; the copy is on disk when this returns.

    If the database is on a server, nothing is copied, and the report has the commands to type.

    Raises:
        InputError: `target` exists already.
        InconsistentError: A sealed file is missing, changed or wrongly named; no backup was made.
    """
    target = Path(target).absolute()
    if os.path.lexists(target):
        raise InputError(
            f"{target} is there already; nothing was written",
            hint="name a folder that is not there yet",
        )
    if ws.store.path is None:
        return BackupReport(str(target), typed=_list_server_commands(ws, target))

    target.parent.mkdir(parents=True, exist_ok=True)
    with files.staging_folder(target) as staging:
        hashes = _copy_workspace(ws, staging)
        manifest = {
            "format": BACKUP_FORMAT,
            "version": __version__,
            "made_at": ws.now().isoformat(timespec="seconds"),
            "files": hashes,
        }
        manifest_bytes = json.dumps(manifest, indent=1).encode("ascii") + b"\n"
        files.seal_bytes(staging / MANIFEST_FILE, manifest_bytes)
        _rename_folder(staging, target)

    size_bytes = sum((target / name).stat().st_size for name in hashes)
    return BackupReport(str(target), len(hashes), size_bytes)


def _list_server_commands(ws: WorkspaceSession, target: Path) -> tuple[str, ...]:
    """Return the shell commands, in their order, that back up a workspace on PostgreSQL.

    The database is dumped before the files are copied, because it names the files.
    """
    # `pg_dump` does not accept a driver's name in the URL.
    url = ws.store.address.replace("postgresql+psycopg:", "postgresql:", 1)
    commands = (
        ["mkdir", str(target)],
        ["pg_dump", "--format=custom", f"--file={target / 'findable.dump'}", url],
        ["cp", "-a", str(ws.data.absolute()), str(target / "data")],
    )
    return tuple(shlex.join(command) for command in commands)


def _rename_folder(staging: Path, folder: Path) -> None:
    """Give a complete folder its final name; the name is on disk when this returns.

    An existing empty folder is replaced.

    Raises:
        InputError: The name is taken by a file or by a folder with content, or renaming failed.
    """
    try:
        staging.rename(folder)
    except OSError as error:
        raise InputError(
            f"{folder} cannot take the copy ({error.strerror})",
            hint="name a folder that is not there",
        ) from error
    files.sync_directory(folder.parent)


def _copy_file(source: Path, target: Path) -> str:
    """Copy one file and return the SHA-256 of the written bytes; they are on disk then.

    Raises:
        FileNotFoundError: The source does not exist.
    """
    with source.open("rb") as source_file, files.SealedWriter(target) as writer:
        while chunk := source_file.read(COPY_CHUNK_BYTES):
            writer.write(chunk)
        return writer.seal().sha256


def _copy_workspace(ws: WorkspaceSession, staging: Path) -> dict[str, str]:
    """Copy all parts of a workspace into a folder; return the hash of each file by its name.

    The names are relative to the folder and sorted.

    Raises:
        InconsistentError: A sealed file that is still needed is missing or changed, or the database
            names another file.
    """
    hashes = dict[str, str]()
    with open_vector_cache(ws).reading() as vectors_tx:
        if vectors_tx is not None:
            vectors_path = staging / VECTORS_FILE
            vectors_path.parent.mkdir()
            connection = vectors_tx.connection.driver_connection
            hashes[VECTORS_FILE] = _copy_database(connection, vectors_path)

    with ws.store.held() as source:
        connection = source.connection.driver_connection
        hashes[DATABASE_FILE] = _copy_database(connection, staging / DATABASE_FILE)
    hashes |= _copy_sealed_files(ws, staging)

    for task in ws.tasks:
        for report_paths in report_files_by_name(ws.data, task.name).values():
            hashes |= _copy_changing_files(ws.data, staging, report_paths)
    hashes |= _copy_changing_files(ws.data, staging, ws.data.glob(f"{FOLDER}/[!.]*.py"))
    hashes |= _copy_changing_files(ws.data, staging, ws.data.glob(f"{SOURCES}/[!.]*"))

    if (ws.data / ENGINE_FILE).is_file():
        with closing(sqlite3.connect(ws.data / ENGINE_FILE)) as engine_connection:
            hashes[ENGINE_FILE] = _copy_database(engine_connection, staging / ENGINE_FILE)
        engine_paths = (ws.data / ENGINE_FOLDER).glob("*")
        hashes |= _copy_changing_files(ws.data, staging, engine_paths)
    return dict(sorted(hashes.items()))


def _copy_database(source: Any, target: Path) -> str:
    """Copy one snapshot of an SQLite database into a single file, and return its SHA-256.

    The copy has no write-ahead log, so it can be read in a folder without write permission.

    Args:
        source: A connection of the `sqlite3` module.
    """
    with closing(sqlite3.connect(target)) as target_connection:
        source.backup(target_connection)
        target_connection.execute("PRAGMA journal_mode = DELETE")
    return files.sync_part(target).sha256


def _copy_sealed_files(ws: WorkspaceSession, staging: Path) -> dict[str, str]:
    """Copy the sealed files of all batches in the copied database; return their hashes by name.

    A missing file of a batch that is over or cleaned is left out.

    Raises:
        InconsistentError: A file that is still needed is missing or changed, any other file is
            removed meanwhile, or the database names another file.
    """
    copied_url = f"sqlite:///{staging / DATABASE_FILE}"
    with closing(Store(copied_url)) as copied_store, copied_store.read_unchanged() as tx:
        assert tx is not None  # noqa: S101 - the file is there
        all_batches = batches.batches_in_states(tx)
        cleaned_batches = erasure.cleaned_batches(tx)

    hashes = dict[str, str]()
    for batch in all_batches:
        is_needed = not (batch.is_over or batch.number in cleaned_batches)
        for path, sha256, _ in clean.sealed_files(ws.data, batch, cleaned_batches):
            if is_needed or path.exists():
                name = path.relative_to(ws.data).as_posix()
                hashes[name] = _copy_sealed_file(ws, staging, name, sha256, is_needed=is_needed)
    return hashes


def _copy_sealed_file(
    ws: WorkspaceSession,
    staging: Path,
    name: str,
    sha256: str,
    *,
    is_needed: bool,
) -> str:
    """Copy one sealed file and return the SHA-256 of the copy.

    A changed file that no command needs is copied as it is, and a warning is shown.

    Args:
        name: Path of the file relative to DATA, and of the copy relative to `staging`.
        sha256: The hash with which the file was sealed.
        is_needed: Whether a later command reads the file.

    Raises:
        InconsistentError: The file is missing, or it is needed and was changed.
    """
    copied_sha256 = ""
    message = f"{name} was changed after it was sealed"
    try:
        copied_sha256 = _copy_file(ws.data / name, staging / name)
    except FileNotFoundError:
        message = f"{name} is gone"

    if not copied_sha256 or (copied_sha256 != sha256 and is_needed):
        raise InconsistentError(
            f"{message}; no backup was made",
            hint=f"run `{CommandHint('doctor')}`",
        )
    if copied_sha256 != sha256:
        ws.display.warn(f"{message}; it is in the backup as it is")
    return copied_sha256


def _copy_changing_files(data: Path, staging: Path, paths: Iterable[Path]) -> dict[str, str]:
    """Copy files that may change meanwhile; return the hash of each copy by its name.

    A removed file is left out. A file that another process appends to is copied up to some point.
    """
    hashes = {}
    for path in paths:
        name = path.relative_to(data).as_posix()
        with contextlib.suppress(FileNotFoundError):
            hashes[name] = _copy_file(path, staging / name)
    return hashes


def restore(settings: Settings, source: Path) -> RestoreReport:
    """Restore the backup in `source` into the new folder DATA; copy its tables to a server if set.

    The hash of every file is checked. Batches that were not sent yet are marked, so that the next
    submit searches for them at the API first.

    DATA and DATABASE_URL come from `settings`. With DATABASE_URL, the server's database gets the
    tables, and DATA gets only the files. If a killed restore has already copied the tables to the
    server, they are not copied again, and `RestoreReport.rows` is empty.

    Raises:
        InputError: `source` is not a backup, or DATA is not empty, is inside `source`, or cannot
            be created.
        ConfigurationError: The database is not PostgreSQL, or has tables of findable already.
        InconsistentError: The backup is damaged; nothing was changed.
    """
    source = Path(os.path.realpath(source))
    data = Path(os.path.realpath(settings.data))
    made_at, hashes = _read_manifest(source)
    _check_target_folder(source, data)

    restore_report = RestoreReport(str(data), made_at, len(hashes))
    data.parent.mkdir(parents=True, exist_ok=True)
    with _open_server(settings, restore_report) as server, files.staging_folder(data) as staging:
        _copy_backup_files(source, staging, hashes)
        restore_report.unsent = _mark_unsent_batches(staging / DATABASE_FILE)
        if server is not None:
            if not restore_report.database:
                _copy_tables_to_server(settings, server, staging, restore_report)
            # A workspace has a single database.
            (staging / DATABASE_FILE).unlink()
        _rename_folder(staging, data)
    return restore_report


def _check_target_folder(source: Path, data: Path) -> None:
    """Raise InputError if DATA is not empty or is inside the backup; the hint names another folder.

    Args:
        source: Real path of the backup.
        data: Real path of the folder DATA.
    """
    if data.is_relative_to(source):
        reason = "in the backup itself"
        free_folder = str(source.with_name(f"{data.name}-restored"))
    elif not is_free(data):
        reason = "not empty, and a restore goes into a new folder"
        free_folder = f"{data}-restored"
    else:
        return

    restore_hint = CommandHint("restore", from_=source, data=free_folder)
    raise InputError(
        f"{data} is {reason}; nothing was changed",
        hint=f"take a new folder: {restore_hint}",
    )


def _read_manifest(folder: Path) -> tuple[str, dict[str, str]]:
    """Return when a backup was made, as ISO text, and the SHA-256 of each file by its name.

    Raises:
        InputError: The folder is not a backup of this format, or the manifest has a file name
            that is invalid or leads out of the folder.
    """
    try:
        manifest = json.loads((folder / MANIFEST_FILE).read_bytes())
        hashes = {str(name): str(sha256) for name, sha256 in manifest["files"].items()}
        made_at = str(manifest["made_at"])
        is_known_format = manifest["format"] == BACKUP_FORMAT and DATABASE_FILE in hashes
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"its {MANIFEST_FILE} cannot be read"
        if isinstance(error, FileNotFoundError):
            reason = f"it has no {MANIFEST_FILE}"
        raise InputError(
            f"{folder} is no backup: {reason}",
            hint=f"name a folder that `{CommandHint('backup')}` made",
        ) from error

    invalid_name = next(filter(INVALID_TEXT.search, hashes), None)
    if invalid_name:
        raise InputError(
            f"{folder} is no backup: its {MANIFEST_FILE} names the file {invalid_name!r}, "
            "and no file can have that name; nothing was changed",
            hint=f"name a folder that `{CommandHint('backup')}` made",
        )
    if not is_known_format or any("\\" in name for name in hashes):
        raise InputError(
            f"{folder} is a backup of another version, or was changed",
            hint="take another backup",
        )
    for name in hashes:
        _check_name(folder, name)
    return made_at, hashes


def _check_name(folder: Path, name: str) -> None:
    """Raise InputError if a file name of the manifest leads out of the backup's folder."""
    try:
        files.path_below(folder, name)
    except InconsistentError as error:
        raise InputError(
            f"{folder} is no backup that can be restored: {error.message}",
            hint="take another backup",
        ) from error


def _copy_backup_files(source: Path, staging: Path, hashes: Mapping[str, str]) -> None:
    """Copy all files of a backup, and check the hash of each copy.

    Raises:
        InconsistentError: Files are missing or changed; the message names the first ones.
    """
    damaged_names = []
    for name, sha256 in hashes.items():
        copied_sha256 = None
        with contextlib.suppress(FileNotFoundError):
            copied_sha256 = _copy_file(source / name, staging / name)
        if copied_sha256 != sha256:
            damaged_names.append(name)

    if damaged_names:
        raise InconsistentError(
            f"the backup {source} is damaged: {first_few(damaged_names)}; nothing was changed",
            hint="take another backup",
        )


def _mark_unsent_batches(path: Path) -> list[int]:
    """Check a restored database, and mark the create of each unsent batch as unclear.

    Such a batch may have been created after the backup was made. The next submit therefore searches
    the whole remote list for it before anything is sent, also if the API lists it late.

    Args:
        path: The SQLite file, which is brought to the current schema.

    Returns:
        The numbers of the batches.

    Raises:
        InconsistentError: The database is damaged.
    """
    with closing(Store(f"sqlite:///{path}")) as store:
        schema.ensure_schema(store, [])
        with store.write() as tx:
            damages = schema.find_damage(tx)
            if damages:
                raise InconsistentError(
                    f"the backup's database is damaged: {damages[0]}",
                    hint="take another backup",
                )

            workspace_id = workspace.get_workspace(tx).workspace_id
            unsent_batches = batches.batches_in_states(
                tx,
                BatchState.PREPARED,
                BatchState.SUBMITTING,
            )
            for batch in unsent_batches:
                batches.mark_doubtful(tx, batch, workspace_id=workspace_id, now=datetime.now(UTC))
    return [batch.number for batch in unsent_batches]


@contextlib.contextmanager
def _open_server(settings: Settings, restore_report: RestoreReport) -> Iterator[Store | None]:
    """Yield the server's database of the settings; None if DATABASE_URL is not set.

    If a killed restore of the same backup into the same folder copied all tables, and nothing
    changed since, `restore_report.database` is set. Otherwise the database has no tables of
    findable.

    Raises:
        ConfigurationError: The database is not on a server, or has other tables of findable.
    """
    if not settings.database_url:
        yield None
        return

    with closing(Store(settings.url.reveal())) as store:
        existing_tables = list[str]()
        if store.path is None:
            with store.read() as tx:
                existing_tables = schema.our_tables(tx, {"experts"})
                if existing_tables and _is_copied(tx, restore_report):
                    restore_report.database = store.address

        is_occupied = bool(existing_tables) and not restore_report.database
        if is_occupied or store.path is not None:
            reason = "a backup is restored into a folder, or into an empty PostgreSQL database"
            if existing_tables:
                reason = (
                    f"{store.shown} has tables of findable already "
                    f"({first_few(existing_tables)}), and a restore overwrites none"
                )
            raise ConfigurationError(
                f"{reason}; nothing was changed",
                hint="leave DATABASE_URL out, or name an empty one that createdb made",
            )
        yield store


def _is_copied(tx: Connection, restore_report: RestoreReport) -> bool:
    """Return whether a database is unchanged since a restore of this backup into this folder."""
    if not schema.is_schema_current(tx):
        return False
    position = str(workspace.get_workspace(tx).position)
    return workspace.is_unchanged_since(
        tx,
        RESTORED_EVENT,
        restore_report.path,
        old=restore_report.made_at,
        new=position,
    )


def _copy_tables_to_server(
    settings: Settings,
    server: Store,
    staging: Path,
    restore_report: RestoreReport,
) -> None:
    """Create all tables on a server and copy the rows of a restored workspace, in one transaction.

    Sets `rows` and `database` of the report. A journal line records that all tables were copied.

    Args:
        server: A database without tables of findable.
        staging: Folder of the restored workspace, with its SQLite database.
    """
    staging_settings = replace(settings, data=staging, database_url=None)
    with (
        open_workspace(staging_settings, NoProgress(), access=Access.READ, whole=True) as ws,
        ws.store.read() as tx,
        server.write() as server_tx,
    ):
        schema.metadata.create_all(server_tx, checkfirst=False)
        tables: list[Table] = [*schema.metadata.sorted_tables]
        # New rows get higher numbers than any row that was ever asked about.
        min_numbers = dict[str, int]()
        for task in ws.tasks:
            task.make_tables(tx, server_tx)
            task_tables = task.tables(tx)
            tables += task_tables
            for table in task_tables:
                min_numbers[table.name] = claims.highest_id(tx, task.name)
        restore_report.rows = copy_tables(tx, server_tx, tables, min_numbers=min_numbers)
        restore_report.rows |= _copy_vectors_to_server(ws, staging, server_tx)

        workspace.record_event(
            server_tx,
            RESTORED_EVENT,
            restore_report.path,
            old=restore_report.made_at,
            new=str(workspace.get_workspace(tx).position),
            reason="all tables were copied",
            now=datetime.now(UTC),
        )
    restore_report.database = server.address


def _copy_vectors_to_server(
    ws: WorkspaceSession,
    staging: Path,
    server_tx: Connection,
) -> dict[str, int]:
    """Copy the table of cached vectors, if there is one; return its number of rows by its name."""
    cache = VectorCache(open_vector_store(ws.store, staging), model="", dim=0)
    with cache.reading() as vectors_tx:
        if vectors_tx is None:
            return {}
        VectorCache.table.create(server_tx)
        return copy_tables(vectors_tx, server_tx, [VectorCache.table], min_numbers={})
