"""Put a backup into a folder that holds no workspace: every hash is checked first, and nothing there is overwritten.

What else lies in the folder stays as it is, as `data/sample` and `data/demo` in a checkout. All is made ready in
a folder of its own there, and moved to its place file by file, the database last: until then every command refuses
the folder. A run that was killed can be run again, which goes over the files that it had moved.
"""

import contextlib
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.core import files, links
from pipeline.core.errors import ConfigurationError, InconsistentError, InputError
from pipeline.core.settings import Settings
from pipeline.core.states import BatchState
from pipeline.core.text import first_few
from pipeline.engine.folder import RESTORING, check_links, make_directory
from pipeline.ops import backup_files
from pipeline.store import batches, integrity, leases, postgresql, schema, workspace
from pipeline.store.database import Connection, Store


@dataclass(frozen=True)
class RestoreReport:
    """What was restored: where to, when the copy was made, its files and bytes, and the batches that were not sent."""

    path: str
    made_at: str
    files: int
    size: int
    unsent: list[int]


def run(settings: Settings, source: Path) -> RestoreReport:
    """Restore the backup in `source` into the folder that the settings name, which holds no workspace yet.

    Raises:
        InputError: `source` is no backup, there is a workspace, or another process restores there.
        ConfigurationError: the database of the settings is not of the backup's kind, or holds a workspace already.
        InconsistentError: the backup is damaged; nothing was changed.
    """
    source, data = Path(source).absolute(), settings.data.absolute()
    manifest = backup_files.read_backup_manifest(source)
    if data == source or data.is_relative_to(source):
        raise InputError(f"{data} is the backup itself; nothing was changed", hint="set DATA= to another directory")
    check_links(data)
    _check_place(data, source, manifest)
    with contextlib.ExitStack() as stack:
        store = _server(settings, manifest)
        if store is not None:
            stack.callback(store.close)
        backup_files.verify_backup(source, manifest)
        _check_room(data, manifest)
        if store is not None:
            _check_namespace(store, manifest)
            _is_begun(store, manifest)  # refuses before anything is written
        made = stack.enter_context(contextlib.ExitStack())
        if not data.exists():
            made.callback(_remove_empty, data)
        staging = _staging(data)
        made.callback(links.remove_link, staging)
        _check_place(data, source, manifest)
        backup_files.restore_files(source, manifest, staging)
        if store is None:
            unsent = _check_database(staging / backup_files.DATABASE)
            _check_place(data, source, manifest)
            made.pop_all()  # by the folder that stays every command knows that what was moved is half a workspace
            backup_files.settle_restored(staging, data)
        else:  # until its last row is there every command refuses the database, so the folder is in place before it
            with _alone(store) as turn:
                _load(store, source, manifest, programs=settings.pg_bin)
                made.pop_all()  # without its folder nothing would be said of the database
                backup_files.settle_restored(staging, data)
                unsent = _finish(store, turn)
        links.remove_link(staging)
    return RestoreReport(str(data), manifest.made_at, len(manifest.files), manifest.size, unsent)


def _check_place(data: Path, source: Path, manifest: backup_files.BackupManifest) -> None:
    """Refuse a folder with any file of a workspace's, but for what a run of this restore that was killed had moved.

    Raises:
        InputError: there is one.
    """
    known, here = manifest.files, backup_files.files_of_workspace(data)
    others = [name for name in here if name not in known or name == backup_files.DATABASE]  # which is moved last
    others = others or [name for name in here if files.sha256_of(data / name) != known[name].sha256]
    if others:
        names = (data.with_name(f"{data.name}-restored{number}") for number in ("", *range(2, 100)))
        free = next((path for path in names if not os.path.lexists(path)), "new-folder")
        raise InputError(
            f"{data} holds a workspace already ({first_few(others)}), and a restore overwrites none; "
            "nothing was changed",
            hint=f"take a new folder: make restore FROM={shlex.quote(str(source))} DATA={shlex.quote(str(free))}",
        )


def _staging(data: Path) -> Path:
    """Return an empty folder in `data` to make a workspace ready in.

    Raises:
        InputError: another process restores there.
    """
    make_directory(data)
    staging = backup_files.staging_of(data / RESTORING)
    if others := [one for one in data.glob(f"{RESTORING}.*{files.PART}") if one != staging]:
        links.remove_link(staging)
        raise InputError(
            f"another restore into {data} is under way; nothing was changed",
            hint=f"let it end first; if none runs any more, on no machine, remove {others[0]}",
        )
    return staging


def _remove_empty(data: Path) -> None:
    with contextlib.suppress(OSError):  # it is not empty any more
        data.rmdir()


def _server(settings: Settings, manifest: backup_files.BackupManifest) -> Store | None:
    """Return the server's database into which a dump goes; None where the backup has a file of its own.

    Raises:
        ConfigurationError: the settings name none, or name one that a file does not go into.
        InconsistentError: the dump is of another version of findable.
    """
    if manifest.schema is None and settings.database_url:
        raise ConfigurationError(
            "FINDABLE_DATABASE_URL names a database outside of the workspace, and a restore never overwrites one",
            hint="restore without it, then put findable.db where you want it",
        )
    if manifest.schema is None:
        return None
    schema.check_schema(manifest.schema)
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


def _finish(store: Store, turn: Connection) -> list[int]:
    """Set a loaded database right and write its last row, in one transaction: now it is one that commands take.

    Raises:
        UnavailableError: the connection of our `turn` was lost; another restore may have put its own dump there.
    """
    with store.write() as tx:
        postgresql.lift_limits(tx)
        postgresql.restores_alone(turn)
        schema.settle_restore(tx)
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
