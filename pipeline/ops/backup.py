"""Copy the whole workspace into one folder while others read and write it.

The database is copied first, in SQLite's or PostgreSQL's own way, as it stands at one moment; then the sealed files
that this copy names, each held against the hash it has there. Where one was rewritten or removed, all begins again.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pipeline.core import __version__, links
from pipeline.core.errors import ConfigurationError, FindableError, InconsistentError, InputError
from pipeline.core.files import sync_directory
from pipeline.engine.workspace import OpenWorkspace
from pipeline.index import build as index_build
from pipeline.index.builds import Builds
from pipeline.index.manifest import Manifest as BuildManifest
from pipeline.ops import backup_files
from pipeline.ops.backup_files import BackupManifest, Copied
from pipeline.quality import report_files
from pipeline.store import batches, erase, integrity, postgresql, schema, workspace
from pipeline.store.batches import Batch
from pipeline.store.database import Store

if TYPE_CHECKING:
    from pipeline.core.task import Collection

ROUNDS = 5  # how often it begins again because files were rewritten, promoted or removed meanwhile
ENGINE = "local-engine.sqlite"
ENGINE_FILES = "local-engine-files"
VECTORS = "index/vectors"


@dataclass(frozen=True)
class BackupReport:
    """The copy that was made: where, how many files, how many bytes, and the build that is in it."""

    path: str
    files: int
    size: int
    build: int | None


class _ChangedError(InconsistentError):
    """A file of the workspace was changed while it was copied."""


def run(ws: OpenWorkspace, target: Path) -> BackupReport:
    """Make a backup in the folder `target`, which must not be there yet.

    Raises:
        InputError: something stands there already.
        InconsistentError: a sealed file is not what the database says, or keeps changing; no copy was made.
    """
    target = Path(target).absolute()
    if target.exists() or target.is_symlink():
        raise InputError(f"{target} is there already; nothing was written", hint="name a folder that is not there yet")
    target.parent.mkdir(parents=True, exist_ok=True)
    _check_room(ws.store, target)
    for left in reversed(range(ROUNDS)):
        staging = backup_files.staging_of(target)
        with links.removed_on_error(staging):
            try:
                manifest = _copy(ws, staging)
            except _ChangedError:
                links.remove_link(staging)
                if not left:
                    raise
                continue
            backup_files.write_backup_manifest(staging, manifest)
            if target.exists():
                raise InputError(
                    f"{target} was made meanwhile; nothing was written", hint="name a folder that is not there yet"
                )
            staging.replace(target)
            sync_directory(target.parent)
        return BackupReport(str(target), len(manifest.files), manifest.size, manifest.build)
    raise AssertionError("the last round returns or raises")


def _check_room(store: Store, target: Path) -> None:
    """Refuse before anything is written where the database alone would not fit."""
    need = store.path.stat().st_size if store.path else 0
    free = backup_files.free_space(target)
    if need > free:
        raise ConfigurationError(
            f"{target.parent} has room for {free:,} bytes, the database alone has {need:,}; nothing was written",
            hint="make room, or name another place",
        )


def _copy(ws: OpenWorkspace, staging: Path) -> BackupManifest:
    """Copy everything into a folder, and return its manifest, which is not written yet."""
    database = staging / ws.store.copy_name
    with ws.store.copied_to(database, programs=ws.settings.pg_bin) as tx:
        everyone, cleaned = batches.batches_in_states(tx), erase.cleaned_batches(tx)
        here, recorded = workspace.get_workspace(tx), integrity.build_rows(tx)
        namespace = postgresql.namespace(tx) if database.name == backup_files.DUMP else None
    found = {name: _sealed(ws, staging, batch, name) for batch, name in _named(ws.data, everyone, cleaned)}
    builds = dict[str, int]()
    for collection in ws.collections:
        number, parts = _index(ws, staging, collection, position=here.position, recorded=recorded)
        found |= parts
        if number is not None:
            builds[collection.folder] = number
    found |= _loose(VECTORS, (ws.data / VECTORS).glob("*.vectors"), staging)
    for subject in ws.subjects:
        found |= _loose(report_files.FOLDER, report_files.complete_reports(ws.data, subject.task.name), staging)
    found |= _engine(ws.data, staging)
    found[database.name] = _database(database)
    made, written_by = ws.now().isoformat(timespec="seconds"), __version__
    known = schema.HEAD if database.name == backup_files.DUMP else None
    found = dict(sorted(found.items()))
    first = builds.pop("", None)
    return BackupManifest(
        here.workspace_id, made, written_by, first, found, schema=known, namespace=namespace, builds=builds
    )


def _named(data: Path, everyone: list[Batch], cleaned: set[int]) -> Iterator[tuple[Batch, str]]:
    """Yield (batch, path) of each sealed file that the copied database names.

    Of a batch that is over a file may be gone; doctor says so, and a copy cannot have what is not there.
    """
    for batch in everyone:
        for name in filter(None, (batch.request_file, batch.result_file)):
            if (data / name).exists() or not (batch.is_over or batch.number in cleaned):
                yield batch, name


def _sealed(ws: OpenWorkspace, staging: Path, batch: Batch, name: str) -> Copied:
    """Copy one sealed file; what a batch that is over had damaged before is copied as it is, with a warning.

    Raises:
        InconsistentError: it is gone, or has other bytes than the copied database has for it.
    """
    sha256 = batch.request_sha256 if name == batch.request_file else batch.result_sha256
    try:
        copied = backup_files.copy_file(ws.data / name, staging / name)
    except FileNotFoundError as error:
        raise _ChangedError(f"{name} is gone; no backup was made", hint="run `make doctor`") from error
    if copied.sha256 == sha256:
        return copied
    with ws.store.read() as tx:
        now = batches.get_batch(tx, batch.number)
    if not batch.is_over or sha256 not in {now.request_sha256, now.result_sha256}:
        raise _ChangedError(f"{name} was changed after it was sealed; no backup was made", hint="run `make doctor`")
    ws.display.warn(f"{name} was changed after it was sealed; it is in the backup as it is")
    return copied


def _index(
    ws: OpenWorkspace,
    staging: Path,
    collection: "Collection",
    *,
    position: int,
    recorded: Mapping[int, Mapping[Any, Any]],
) -> tuple[int | None, dict[str, Copied]]:
    """Copy the build of a collection in service; return its number and its files. A broken one is left out and told.

    Raises:
        InconsistentError: it was replaced meanwhile, or was built or recorded after the database was copied.
    """
    try:
        current = Builds(ws.data, collection.folder).current()
    except FindableError as error:
        ws.display.warn(f"the index is not in the backup: {error.message}")
        return None, {}
    if current is None:
        return None, {}
    if current.position > position or (
        not index_build.is_build_recorded(current, recorded) and _is_recorded_by_now(ws, current)
    ):
        raise _ChangedError("the index was built while the database was copied", hint="run it again")
    folder = PurePosixPath("index", collection.folder, "builds", str(current.number))
    try:
        found = {
            f"{folder}/{name}": backup_files.copy_file(ws.data / folder / name, staging / folder / name)
            for name in (*current.hashes, "manifest.json")
        }
    except FileNotFoundError as error:
        raise _ChangedError("the index was replaced while it was copied", hint="run it again") from error
    if any(found[f"{folder}/{name}"].sha256 != sha256 for name, sha256 in current.hashes.items()):
        again = ws.task_of(collection.task).words.make("index")
        ws.display.warn(f"build {current.number} is damaged and not in the backup; `{again}` builds another")
        links.remove_link(staging / folder)
        return None, {}
    return current.number, found


def _is_recorded_by_now(ws: OpenWorkspace, current: BuildManifest) -> bool:
    """Return whether the database knows of a build, once a process that may be about to record it has done so."""
    with ws.waited_lease(index_build.LEASE, waiting=index_build.WAITING):
        return index_build.is_build_recorded(current, index_build.recorded_builds(ws.store))


def _loose(folder: str, paths: Iterable[Path], staging: Path) -> dict[str, Copied]:
    """Copy files of a folder that others may append to or remove meanwhile; any beginning of them is good.

    One that is gone by now is passed over, and a user's own files beside them stay where they are.
    """
    found = {}
    for path in paths:
        name = f"{folder}/{path.name}"
        with contextlib.suppress(FileNotFoundError):
            found[name] = backup_files.copy_file(path, staging / name)
    return found


def _engine(data: Path, staging: Path) -> dict[str, Copied]:
    """Copy the local engine's state, where it works in this workspace: rows first, then bytes."""
    path = data / ENGINE
    if not path.is_file():
        return {}
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(staging / ENGINE)) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")
    rows = {ENGINE: backup_files.hash_and_size(staging / ENGINE)}
    return rows | _loose(ENGINE_FILES, (data / ENGINE_FILES).glob("*"), staging)


def _database(path: Path) -> Copied:
    """Return the hash of the copied database, in one file again after it was read."""
    if path.name == backup_files.DATABASE:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
    sync_directory(path.parent)
    return backup_files.hash_and_size(path)
