"""Put a backup in the place of a workspace: every hash is checked first, and what stood there is moved aside.

All of it is copied beside the workspace and gets its name by one rename; a run that was killed left the old workspace,
or the new one, or in the moment between nothing under that name, and can be run again.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.core import links
from pipeline.core.errors import ConfigurationError, FindableError, InconsistentError, InputError, UnavailableError
from pipeline.core.settings import Settings
from pipeline.core.states import BatchState
from pipeline.ops import backup_files
from pipeline.store import batches, claims, integrity, leases, postgresql, schema, sqlite, workspace
from pipeline.store.database import Connection, Store

OPEN = "let it finish first; where the page is open, end `make web` with Ctrl-C, and start it again afterwards"


@dataclass(frozen=True)
class RestoreReport:
    """What was restored: where from, when that was made, how many files and bytes, and where the old workspace is."""

    path: str
    made_at: str
    files: int
    size: int
    moved_aside: str | None
    unsent: list[int]


def run(settings: Settings, source: Path, *, confirm: Callable[[str], bool]) -> RestoreReport:
    """Restore the workspace that the settings name from the backup in `source`.

    `confirm` is asked where there is a workspace already; it is moved aside, never overwritten.

    Raises:
        InputError: `source` is no backup, another process works or restores there, or it was not confirmed.
        ConfigurationError: the database of the settings is not of the backup's kind, or holds a workspace already.
        InconsistentError: the backup is damaged; nothing was changed.
    """
    source, data = Path(source).absolute(), settings.data.absolute()
    manifest = backup_files.read_backup_manifest(source)
    if data == source or data.is_relative_to(source):
        raise InputError(f"{data} is the backup itself; nothing was changed", hint="set DATA= to another directory")
    with contextlib.ExitStack() as stack:
        store = _server(settings, manifest)
        if store is not None:
            stack.callback(store.close)
        backup_files.verify_backup(source, manifest)
        _check_room(data, manifest)
        if store is not None:
            _check_namespace(store, manifest)
            _is_begun(store, manifest)  # refuses before anything is asked or written
        _check_place(data, manifest, confirm)
        data.parent.mkdir(parents=True, exist_ok=True)
        staging = backup_files.staging_of(data)
        stack.enter_context(links.removed_on_error(staging))
        backup_files.restore_files(source, manifest, staging)
        if store is None:
            unsent = _check_database(staging / backup_files.DATABASE)
            with _left_alone(data):
                aside = backup_files.settle_copy(staging, data)
        else:  # until its last row is there every command refuses the database, so the folder is in place before it
            with _alone(store) as turn:
                _load(store, source, manifest, programs=settings.pg_bin)
                with _left_alone(data):
                    aside = backup_files.settle_copy(staging, data)
                unsent = _finish(store, manifest, turn)
    return RestoreReport(
        str(data), manifest.made_at, len(manifest.files), manifest.size, str(aside) if aside else None, unsent
    )


def _check_place(data: Path, manifest: backup_files.BackupManifest, confirm: Callable[[str], bool]) -> None:
    """Refuse where something else than a workspace stands in the place, or it is not confirmed to be moved aside.

    Raises:
        InputError: that is so, or another process works there.
    """
    if data.is_symlink() or (data.exists() and not data.is_dir()):
        raise InputError(f"{data} is no directory of its own; nothing was changed", hint="set DATA= to what it means")
    if data.is_dir() and any(data.iterdir()):
        _check_idle(data)
        if not confirm(f"{data} is not empty. Move it aside and put the backup of {manifest.made_at} in its place?"):
            raise InputError(f"{data} is not empty; nothing was changed", hint="YES=1 moves it aside")


def _server(settings: Settings, manifest: backup_files.BackupManifest) -> Store | None:
    """Return the server's database into which a dump goes; None where the backup has a file of its own.

    Raises:
        ConfigurationError: the settings name none, or name one that a file does not go into.
    """
    if manifest.schema is None and settings.database_url:
        raise ConfigurationError(
            "FINDABLE_DATABASE_URL names a database outside of the workspace, and a restore never overwrites one",
            hint="restore without it, then put findable.db where you want it",
        )
    if manifest.schema is None:
        return None
    store = Store(settings.url.reveal())
    if store.path is not None:
        raise ConfigurationError(
            "the backup is of a workspace in PostgreSQL, and FINDABLE_DATABASE_URL names no such database; "
            "nothing was changed",
            hint="make an empty database with createdb and set FINDABLE_DATABASE_URL to it",
        )
    return store


@contextlib.contextmanager
def _alone(store: Store) -> Iterator[Connection]:
    """Keep every other restore into this database away for the length of a block.

    Raises:
        InputError: another one is under way.
    """
    with store.read() as tx:
        if not postgresql.restores_alone(tx):
            raise InputError(
                f"another restore into {store.shown} is under way; nothing was changed", hint="let it finish first"
            )
        yield tx


def _load(store: Store, source: Path, manifest: backup_files.BackupManifest, *, programs: Path | None) -> None:
    """Put the dump into the database, and keep other processes from writing there from the last look at it on.

    Raises:
        ConfigurationError: the database holds a workspace by now.
    """
    with store.write() as tx:
        postgresql.lift_limits(tx)
        store.load(source / backup_files.DUMP, programs=programs, again=_is_begun(store, manifest))


def _is_begun(store: Store, manifest: backup_files.BackupManifest) -> bool:
    """Return whether a run that was killed has put a backup of this workspace, maybe another one, into the database.

    Raises:
        ConfigurationError: the database holds a workspace.
    """
    with store.read() as tx:
        if not schema.our_tables(tx):
            return False
        if schema.is_half_restored(tx) and workspace.get_workspace(tx).workspace_id == manifest.workspace_id:
            return True
    raise ConfigurationError(
        f"{store.shown} holds a workspace already, and a restore never overwrites one; nothing was changed",
        hint="make an empty database with createdb and set FINDABLE_DATABASE_URL to it",
    )


def _check_namespace(store: Store, manifest: backup_files.BackupManifest) -> None:
    """Refuse before anything is written where the dump's tables would not be found.

    Raises:
        ConfigurationError: the connection looks for tables in another schema than the dump's.
    """
    if manifest.namespace is None:
        return
    with store.read() as tx:
        found = postgresql.namespace(tx, with_one=manifest.namespace)
        wanted = postgresql.search_path_of(tx, manifest.namespace)
    if found != manifest.namespace:
        raise ConfigurationError(
            f"the backup's tables stood in the schema {manifest.namespace!r}, and would be looked for in "
            f"{found!r} of {store.shown}; nothing was changed",
            hint=f"set ?{wanted} in FINDABLE_DATABASE_URL",
        )


def _check_room(data: Path, manifest: backup_files.BackupManifest) -> None:
    """Refuse before anything is written where the backup does not fit."""
    free = backup_files.free_space(data)
    if manifest.size > free:
        raise ConfigurationError(
            f"there is room for {free:,} bytes, the backup has {manifest.size:,}; nothing was changed",
            hint="make room, or set DATA= to another place",
        )


def _check_idle(data: Path) -> None:
    """Refuse while another process works in the workspace that is to be moved aside; a broken one cannot say.

    Raises:
        InputError: one does.
    """
    path = data / backup_files.DATABASE
    if not path.is_file():
        return
    store = Store(f"sqlite:///{path}")
    try:
        with store.read() as tx:
            held = claims.active_owners(tx)
    except FindableError:
        return
    finally:
        store.close()
    if held:
        raise InputError(
            f"another process works in {data} ({', '.join(held)}); nothing was changed", hint="let it finish first"
        )
    with _left_alone(data):
        pass


@contextlib.contextmanager
def _left_alone(data: Path) -> Iterator[None]:
    """Keep other processes out of the workspace that is moved aside, for the length of a block.

    Raises:
        InputError: another process has its database open, if only to wait; it would go on in the one moved aside.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(sqlite.exclusive_access(data / backup_files.DATABASE))
        except UnavailableError as error:
            raise InputError(error.message, hint=OPEN) from error
        yield


def _check_database(path: Path) -> list[int]:
    """Hold the restored database against itself; make sure that nothing in it is sent without a look; compact it.

    What was prepared when the backup was made may have been created since. It counts as unclear now, so that the next
    submit looks for it in the whole remote list before it creates anything. Returns the numbers of those batches.

    Raises:
        InconsistentError: the database is damaged; nothing was changed.
    """
    store = Store(f"sqlite:///{path}")
    try:
        schema.ensure_schema(store, [])
        with store.write() as tx:
            unsent = _set_right(tx)
        store.compact()
    finally:
        store.close()
    return unsent


def _finish(store: Store, manifest: backup_files.BackupManifest, turn: Connection) -> list[int]:
    """Set a loaded database right and write its last row, in one transaction: now it is one that commands take.

    Raises:
        UnavailableError: the connection of our `turn` was lost; another restore may have put its own dump there.
    """
    with store.write() as tx:
        postgresql.lift_limits(tx)
        postgresql.restores_alone(turn)
        schema.settle_restore(tx, manifest.schema or schema.HEAD)
        return _set_right(tx)


def _set_right(tx: Connection) -> list[int]:
    """Hold a restored database against itself, and let nothing in it be sent without a look; return what was unsent.

    Raises:
        InconsistentError: the database is damaged; the caller's transaction must not go on.
    """
    damage = integrity.damage(tx)
    if damage:
        raise InconsistentError(f"the backup's database is damaged: {damage[0]}", hint="take another backup")
    leases.drop_leases(tx)
    unsent = batches.batches_in_states(tx, BatchState.PREPARED, BatchState.SUBMITTING)
    for batch in unsent:
        workspace_id = workspace.get_workspace(tx).workspace_id
        batches.mark_doubtful(tx, batch, workspace_id=workspace_id, at=datetime.now(UTC))
    return [batch.number for batch in unsent]
