"""Restore a workspace from a backup, also into a PostgreSQL database."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Table, func, select, text

from askrows.pipeline.core import files
from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.errors import ConfigurationError, InconsistentError, InputError
from askrows.pipeline.core.progress import NoProgress
from askrows.pipeline.core.report import Report
from askrows.pipeline.core.settings import DEFAULT_TASK, Settings
from askrows.pipeline.core.states import BatchState
from askrows.pipeline.core.text import join_first, plural
from askrows.pipeline.index.vector_cache import VectorCache, open_vector_store
from askrows.pipeline.ops.backup import (
    BACKUP_FORMAT,
    DATABASE_FILE,
    MANIFEST_FILE,
    copy_files_and_hash,
    rename_staging_folder,
)
from askrows.pipeline.ops.open_task import open_workspace
from askrows.pipeline.rows.reflection import read_columns
from askrows.pipeline.store import batches, claims, schema, sqlite, workspace
from askrows.pipeline.store.database import Connection, Store
from askrows.pipeline.workspace.open_workspace import Access, is_missing_or_empty

# Kind of the journal line that ends the copying of tables: the folder's name, when the backup was
# made, and the position of the database.
RESTORED_EVENT = "restored"
# Rows that are read at a time when tables are copied.
COPIED_PAGE_ROWS = 1000
_HIGHEST_USED_NUMBER = text("SELECT seq FROM sqlite_sequence WHERE lower(name) = lower(:table)")


class BackupManifest(NamedTuple):
    """What the manifest of a backup says."""

    # When the backup was made, as ISO text.
    made_at: str
    # The SHA-256 of each file by its name.
    hashes: dict[str, str]


def restore_workspace(settings: Settings, source: Path) -> Report:
    """Restore the backup in `source` into the folder DATA, which appears when it is complete.

    The hash of every file is checked. Missing parent folders of DATA are created. Without
    DATABASE_URL, DATA has the database as an SQLite file. With DATABASE_URL, the tables are copied
    to that server, and DATA gets only the other files. If a killed restore has already copied the
    tables, they are not copied again, and the figure `rows`, which counts the copied rows by table,
    is empty. Batches that were not sent when the backup was made are recorded so, and the next
    submit searches for them at the API first.

    Args:
        settings: The settings, which have DATA and DATABASE_URL.
        source: Folder of the backup.

    Raises:
        InputError: `source` is not a backup, or DATA is not empty, is inside `source`, or cannot be
            created.
        ConfigurationError: DATABASE_URL is not PostgreSQL, its database has tables of askrows
            already, or PostgreSQL cannot store a row of the backup.
        InconsistentError: The backup is damaged; nothing was changed.
    """
    if not source.exists():
        raise InputError(
            f"{source} does not exist; nothing was changed", hint=files.make_path_hint(source)
        )
    source = Path(os.path.realpath(source))
    data = Path(os.path.realpath(settings.data))
    made_at, hashes = _read_manifest(source)
    if not is_missing_or_empty(data) or data.is_relative_to(source):
        free_folder = source.with_name(f"{data.name}-restored")
        raise InputError(
            f"{data} is not empty or is inside the backup, but a restore needs a new folder; "
            "nothing was changed",
            hint=f"use a new folder: {CommandHint('restore', from_=source, data=free_folder)}",
        )

    address = ""
    row_counts = dict[str, int]()
    data.parent.mkdir(parents=True, exist_ok=True)
    with (
        _open_empty_or_restored_server(settings, data, made_at) as (server, has_tables),
        files.staging_folder(data) as staging,
    ):
        _copy_and_check_backup_files(source, staging, hashes)
        unsent_numbers = _check_database_and_mark_unsent_batches(staging / DATABASE_FILE)
        if server is not None:
            address = server.address
            if not has_tables:
                row_counts = _copy_tables_to_server(
                    settings,
                    server,
                    staging,
                    data=data,
                    made_at=made_at,
                )
            # A workspace has a single database.
            (staging / DATABASE_FILE).unlink()
        rename_staging_folder(staging, data)

    figures = {
        "path": str(data),
        "made_at": made_at,
        "files": len(hashes),
        "unsent": unsent_numbers,
        "database": address,
        "rows": row_counts,
    }
    title = f"{plural(len(hashes), 'file')} of {made_at} restored to {data}"
    report = Report(figures, title, next_step=CommandHint("doctor"))
    if address:
        report.parts.append(
            f"{plural(sum(row_counts.values()), 'row')} copied to {address}; "
            "tables and columns of other programs are only in the backup"
        )
    return report


def _read_manifest(folder: Path) -> BackupManifest:
    """Return the manifest of a backup.

    Only the manifest is read, not the files that it names.

    Raises:
        InputError: The manifest is missing or unreadable, has another format, does not name the
            database, or has a file name that is invalid or leads out of the folder.
    """
    reason = "it is of another version, or was changed"
    is_valid = False
    try:
        manifest = json.loads((folder / MANIFEST_FILE).read_bytes())
        hashes = {str(name): str(sha256) for name, sha256 in manifest["files"].items()}
        made_at = str(manifest["made_at"])
        for name in hashes:
            files.resolve_stored_path(folder, name)
        is_valid = manifest["format"] == BACKUP_FORMAT and DATABASE_FILE in hashes
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InconsistentError) as error:
        reason = str(error)
    if not is_valid:
        raise InputError(
            f"{folder} is not a backup, or its {MANIFEST_FILE} was changed: {reason}; "
            "nothing was changed",
            hint="name a folder that the command backup made",
        )
    return BackupManifest(made_at, hashes)


def _copy_and_check_backup_files(
    source: Path,
    staging: Path,
    hashes: Mapping[str, str],
) -> None:
    """Copy all files of a backup, and check the hash of each copy.

    Raises:
        InconsistentError: Files are missing or changed; the message names the first ones.
    """
    copied_hashes = copy_files_and_hash(source, staging, [source / name for name in hashes])
    damaged_names = [name for name, sha256 in hashes.items() if copied_hashes.get(name) != sha256]
    if damaged_names:
        raise InconsistentError(
            f"the backup {source} is damaged: {join_first(damaged_names)}; nothing was changed",
            hint="use another backup",
        )


def _check_database_and_mark_unsent_batches(path: Path) -> list[int]:
    """Check a restored database, and record its unsent batches as perhaps created.

    Unsent batches are PREPARED or SUBMITTING. Such a batch may have been created at the API after
    the backup was made. The next submit therefore searches the whole remote list for it before
    anything is sent.

    Args:
        path: The SQLite file.

    Returns:
        The numbers of the unsent batches.

    Raises:
        InconsistentError: The database is damaged, has no workspace, or has another schema.
    """
    with closing(Store(f"sqlite:///{path}")) as store, store.write() as tx:
        damages = sqlite.list_damage_messages(tx)
        if not damages and not schema.detect_workspace_and_check_schema(tx):
            damages = [f"it has no table {schema.workspace.name}"]
        if damages:
            raise InconsistentError(
                f"the backup's database is damaged: {damages[0]}",
                hint="use another backup",
            )

        workspace_id = workspace.read_workspace(tx).workspace_id
        unsent_batches = batches.list_batches_in_states(
            tx,
            BatchState.PREPARED,
            BatchState.SUBMITTING,
        )
        for batch in unsent_batches:
            batches.record_possible_create_after_backup(
                tx,
                batch,
                workspace_id=workspace_id,
                now=datetime.now(UTC),
            )
    return [batch.number for batch in unsent_batches]


@contextlib.contextmanager
def _open_empty_or_restored_server(
    settings: Settings, data: Path, made_at: str
) -> Iterator[tuple[Store | None, bool]]:
    """Yield the server's database of the settings, and close it; None if DATABASE_URL is not set.

    The database must have no tables of askrows, or those of a killed restore of the same backup
    into the same folder that nobody changed since. The second value is true in the second case: the
    caller must not copy the tables again.

    Args:
        settings: The settings of the restore.
        data: The restored folder.
        made_at: When the backup was made.

    Raises:
        ConfigurationError: The database is not on a server, or has other tables of askrows.
    """
    if not settings.database_url:
        yield None, False
        return

    with closing(Store(settings.confirm_and_get_database_url().reveal())) as store:
        has_tables = False
        existing_tables = ["its file"]
        if store.path is None:
            with store.read() as tx:
                existing_tables = schema.list_own_tables(tx, {DEFAULT_TASK})
                # A killed restore copied all tables, if nothing has changed them since.
                has_tables = schema.detect_workspace_and_check_schema(
                    tx
                ) and workspace.is_newest_event(
                    tx,
                    RESTORED_EVENT,
                    str(data),
                    old=made_at,
                    new=str(workspace.read_workspace(tx).position),
                )
        if existing_tables and not has_tables:
            raise ConfigurationError(
                "a backup can be restored only into a folder or an empty PostgreSQL database, but "
                f"{store.display_name} has {join_first(existing_tables)}; nothing was changed",
                hint="leave DATABASE_URL out, or name an empty database that createdb made",
            )
        yield store, has_tables


def _copy_tables_to_server(
    settings: Settings,
    server: Store,
    staging: Path,
    *,
    data: Path,
    made_at: str,
) -> dict[str, int]:
    """Create all tables on a server and copy a restored workspace's rows, in one transaction.

    Copies askrows' own tables, the tables of all tasks and the cached vectors. Rows that are
    added later get higher ids than any row that was ever asked about. Last, an event is recorded
    that shows a later restore that the tables are complete. Raises ConfigurationError if PostgreSQL
    cannot store a row.

    Args:
        settings: The settings of the restore; their DATA and DATABASE_URL are replaced.
        server: A database without tables of askrows.
        staging: Folder of the restored workspace, with its SQLite database.
        data: The later name of this folder.
        made_at: When the backup was made.

    Returns:
        The number of copied rows by table.
    """
    staging_settings = replace(settings, data=staging, database_url=None)
    with (
        open_workspace(
            staging_settings,
            NoProgress(),
            access=Access.READ,
            is_whole_workspace=True,
        ) as ws,
        ws.workspace.store.read() as tx,
        server.write() as server_tx,
    ):
        schema.metadata.create_all(server_tx, checkfirst=False)
        for task in ws.tasks:
            task.make_tables(server_tx)
        row_counts = _copy_tables_and_continue_numbers(tx, server_tx, schema.metadata.sorted_tables)
        for task in ws.tasks:
            row_counts |= _copy_tables_and_continue_numbers(
                tx,
                server_tx,
                task.list_tables(tx),
                # New rows get higher numbers than any row that was ever asked about.
                min_number=claims.find_highest_known_row_number(tx, task.name),
            )
        # The cached vectors are in a file of their own.
        cache = VectorCache(open_vector_store(ws.workspace.store, staging), model="", dim=0)
        with cache.open_snapshot() as vectors_tx:
            if vectors_tx is not None:
                VectorCache.table.create(server_tx)
                row_counts |= _copy_tables_and_continue_numbers(
                    vectors_tx, server_tx, [VectorCache.table]
                )
        workspace.record_event(
            server_tx,
            RESTORED_EVENT,
            str(data),
            old=made_at,
            new=str(workspace.read_workspace(tx).position),
            reason="all tables were copied",
            now=datetime.now(UTC),
        )
    return row_counts


def _copy_tables_and_continue_numbers(
    tx: Connection,
    target: Connection,
    tables: Sequence[Table],
    *,
    min_number: int = 0,
) -> dict[str, int]:
    """Copy every row of the tables in order, and return the number of rows by table name.

    New rows in PostgreSQL get numbers that no row had before, deleted rows included. The statistics
    of each table are updated (ANALYZE).

    Args:
        tx: Connection to the SQLite file.
        target: Connection to PostgreSQL, in whose transaction the rows are written.
        min_number: The numbers of new rows are higher.

    Raises:
        ConfigurationError: PostgreSQL cannot store a row.
    """
    row_counts = {}
    for table in tables:
        row_counts[table.name] = _copy_rows(tx, target, table)
        _continue_number_sequence(tx, target, table, min_number)
        # PostgreSQL plans queries as for an empty table until it has statistics.
        target.exec_driver_sql(f'ANALYZE "{table.name}"')
    return row_counts


def _copy_rows(
    tx: Connection,
    target: Connection,
    table: Table,
) -> int:
    """Send all rows of a table by COPY, and return their number.

    Rows are read in pages of COPIED_PAGE_ROWS. A column that the file lacks becomes NULL.

    Raises:
        ConfigurationError: PostgreSQL cannot store a row; the message names its place in the table
            as a line.
    """
    import psycopg

    count = 0
    driver: Any = target.connection.driver_connection
    file_columns = read_columns(tx, table.name)
    columns = [column for column in table.c if column.name in file_columns]
    column_names = ", ".join(f'"{column.name}"' for column in columns)
    rows = tx.execute(select(*columns).execution_options(yield_per=COPIED_PAGE_ROWS))
    try:
        with (
            driver.cursor() as cursor,
            cursor.copy(f'COPY "{table.name}" ({column_names}) FROM STDIN') as copy,
        ):
            for row in rows:
                count += 1
                copy.write_row(tuple(row))
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        # The place in the table comes before the value: "COPY experts, line 3, column bio: …".
        place = (error.diag.context or table.name).partition(":")[0]
        raise ConfigurationError(
            f"PostgreSQL cannot store a row: {place}; nothing was restored",
            hint="correct that row in the workspace, then make another backup",
        ) from None
    return count


def _continue_number_sequence(
    tx: Connection,
    target: Connection,
    table: Table,
    min_number: int,
) -> None:
    """Set the sequence of a table so that a new row gets an unused number above `min_number`.

    The number is also above all numbers that rows of the SQLite table had, deleted rows included.
    Does nothing if the table has no such sequence, or if both limits are 0.

    Args:
        tx: Connection to the SQLite file, from which the used numbers are read.
        target: Connection to PostgreSQL.
    """
    number_column = table.autoincrement_column
    if number_column is None:
        return

    max_number_query = select(func.max(number_column))
    used_numbers: list[Any] = [
        min_number,
        tx.execute(max_number_query).scalar(),
    ]
    has_sequences = tx.exec_driver_sql(
        "SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'",
    ).first()
    if has_sequences:
        highest_used = tx.execute(_HIGHEST_USED_NUMBER, {"table": table.name}).scalar()
        used_numbers.append(highest_used)
    # Without a number, or without a sequence, PostgreSQL changes nothing.
    highest_number = max(filter(None, used_numbers), default=None)
    target.exec_driver_sql(
        "SELECT setval(pg_get_serial_sequence(%s, %s), %s)",
        (f'"{table.name}"', number_column.name, highest_number),
    )
