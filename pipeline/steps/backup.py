"""Copy the whole workspace into one folder while others read and write it.

The database is copied first, in SQLite's or PostgreSQL's own way, as it stands at one moment; then the sealed files
that this copy names, each held against the hash it has there. Where one was rewritten or removed, all begins again.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline import backups, building
from pipeline.backups import Copied, Manifest
from pipeline.errors import ConfigurationError, FindableError, InconsistentError, InputError
from pipeline.files import sync_directory
from pipeline.index import links
from pipeline.index.manifest import Manifest as BuildManifest
from pipeline.quality import reports
from pipeline.runtime import Runtime
from pipeline.store import batches, checks, erasing, postgresql, schema, workspace
from pipeline.store.batches import Batch

ROUNDS = 5  # how often it begins again because files were rewritten, promoted or removed meanwhile
ENGINE = "local-engine.sqlite"
ENGINE_FILES = "local-engine-files"
VECTORS = "index/vectors"


@dataclass(frozen=True)
class Report:
    """The copy that was made: where, how many files, how many bytes, and the build that is in it."""

    path: str
    files: int
    size: int
    build: int | None


class _ChangedError(InconsistentError):
    """A file of the workspace was changed while it was copied."""


def run(rt: Runtime, target: Path) -> Report:
    """Make a backup in the folder `target`, which must not be there yet.

    Raises:
        InputError: something stands there already.
        InconsistentError: a sealed file is not what the database says, or keeps changing; no copy was made.
    """
    target = Path(target).absolute()
    if target.exists() or target.is_symlink():
        raise InputError(f"{target} is there already; nothing was written", hint="name a folder that is not there yet")
    target.parent.mkdir(parents=True, exist_ok=True)
    _check_room(rt, target)
    for left in reversed(range(ROUNDS)):
        staging = backups.staging_of(target)
        with links.removed_on_error(staging):
            try:
                manifest = _copy(rt, staging)
            except _ChangedError:
                links.remove(staging)
                if not left:
                    raise
                continue
            backups.write(staging, manifest)
            if target.exists():
                raise InputError(f"{target} was made meanwhile; nothing was written")
            backups.settle(staging, target)
        return Report(str(target), len(manifest.files), manifest.size, manifest.build)
    raise AssertionError("the last round returns or raises")


def _check_room(rt: Runtime, target: Path) -> None:
    """Refuse before anything is written where the database alone would not fit."""
    need = rt.store.path.stat().st_size if rt.store.path else 0
    free = backups.free_space(target)
    if need > free:
        raise ConfigurationError(
            f"{target.parent} has room for {free:,} bytes, the database alone has {need:,}; nothing was written",
            hint="make room, or name another place",
        )


def _copy(rt: Runtime, staging: Path) -> Manifest:
    """Copy everything into a folder, and return its manifest, which is not written yet."""
    database = staging / rt.store.copy_name
    with rt.store.copied_to(database, programs=rt.settings.pg_bin) as tx:
        everyone, cleaned = batches.in_states(tx), erasing.cleaned(tx)
        here, recorded = workspace.get(tx), checks.build_rows(tx)
        namespace = postgresql.namespace(tx) if database.name == backups.DUMP else None
    found = {name: _sealed(rt, staging, batch, name) for batch, name in _named(rt, everyone, cleaned)}
    build, parts = _index(rt, staging, position=here.position, recorded=recorded)
    found |= parts
    found |= dict(_loose(rt, staging, VECTORS, "*.vectors"))
    found |= dict(_reports(rt, staging))
    found |= dict(_engine(rt, staging))
    found[database.name] = _database(database)
    made, written_by = backups.made(rt.now()), version("findable")
    known = schema.HEAD if database.name == backups.DUMP else None
    found = dict(sorted(found.items()))
    return Manifest(here.workspace_id, made, written_by, build, found, schema=known, namespace=namespace)


def _named(rt: Runtime, everyone: list[Batch], cleaned: set[int]) -> Iterator[tuple[Batch, str]]:
    """Yield (batch, path) of each sealed file that the copied database names.

    Of a batch that is over a file may be gone; doctor says so, and a copy cannot have what is not there.
    """
    for batch in everyone:
        for name in filter(None, (batch.request_file, batch.result_file)):
            if (rt.data / name).exists() or not (batch.is_over or batch.number in cleaned):
                yield batch, name


def _sealed(rt: Runtime, staging: Path, batch: Batch, name: str) -> Copied:
    """Copy one sealed file; what a batch that is over had damaged before is copied as it is, with a warning.

    Raises:
        InconsistentError: it is gone, or has other bytes than the copied database has for it.
    """
    sha256 = batch.request_sha256 if name == batch.request_file else batch.result_sha256
    try:
        copied = backups.copy(rt.data / name, staging / name)
    except FileNotFoundError as error:
        raise _ChangedError(f"{name} is gone; no backup was made", hint="run `make doctor`") from error
    if copied.sha256 == sha256:
        return copied
    with rt.store.read() as tx:
        now = batches.get(tx, batch.number)
    if not batch.is_over or sha256 not in {now.request_sha256, now.result_sha256}:
        raise _ChangedError(f"{name} was changed after it was sealed; no backup was made", hint="run `make doctor`")
    rt.display.warn(f"{name} was changed after it was sealed; it is in the backup as it is")
    return copied


def _index(
    rt: Runtime, staging: Path, *, position: int, recorded: Mapping[int, Mapping[Any, Any]]
) -> tuple[int | None, dict[str, Copied]]:
    """Copy the build in service; return its number and its files. A broken one is left out, with a warning.

    Raises:
        InconsistentError: it was replaced meanwhile, or was built or recorded after the database was copied.
    """
    try:
        current = rt.builds.current()
    except FindableError as error:
        rt.display.warn(f"the index is not in the backup: {error.message}")
        return None, {}
    if current is None:
        return None, {}
    if current.position > position or (
        not building.is_recorded(current, recorded) and _is_recorded_by_now(rt, current)
    ):
        raise _ChangedError("the index was built while the database was copied", hint="run it again")
    folder = f"index/builds/{current.number}"
    try:
        found = {
            f"{folder}/{name}": backups.copy(rt.data / folder / name, staging / folder / name)
            for name in (*current.hashes, "manifest.json")
        }
    except FileNotFoundError as error:
        raise _ChangedError("the index was replaced while it was copied", hint="run it again") from error
    if any(found[f"{folder}/{name}"].sha256 != sha256 for name, sha256 in current.hashes.items()):
        rt.display.warn(f"build {current.number} is damaged and not in the backup; `make index` builds another")
        links.remove(staging / "index")
        return None, {}
    return current.number, found


def _is_recorded_by_now(rt: Runtime, current: BuildManifest) -> bool:
    """Return whether the database knows of a build, once whoever may be about to record it has done so."""
    with rt.waited_lease(building.LEASE, waiting=building.WAITING):
        return building.is_recorded(current, building.recorded(rt))


def _loose(rt: Runtime, staging: Path, folder: str, names: str) -> Iterator[tuple[str, Copied]]:
    """Yield (path, copy) of files that others may append to or remove meanwhile; any beginning of them is good."""
    yield from _those(folder, sorted((rt.data / folder).glob(names)), staging)


def _reports(rt: Runtime, staging: Path) -> Iterator[tuple[str, Copied]]:
    """Yield (path, copy) of every whole report; the user's own files beside them stay where they are."""
    for subject in rt.subjects:
        yield from _those(reports.FOLDER, reports.whole(rt.data, subject.task.name), staging)


def _those(folder: str, paths: Iterable[Path], staging: Path) -> Iterator[tuple[str, Copied]]:
    """Yield (path, copy) of files of a folder; one that is gone by now is passed over."""
    for path in paths:
        name = f"{folder}/{path.name}"
        try:
            yield name, backups.copy(path, staging / name)
        except FileNotFoundError:
            continue


def _engine(rt: Runtime, staging: Path) -> Iterator[tuple[str, Copied]]:
    """Yield (path, copy) of the local engine's state, where it works in this workspace: rows first, then bytes."""
    path = rt.data / ENGINE
    if not path.is_file():
        return
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(staging / ENGINE)) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")
    yield ENGINE, backups.noted(staging / ENGINE)
    yield from _loose(rt, staging, ENGINE_FILES, "*")


def _database(path: Path) -> Copied:
    """Return the hash of the copied database, in one file again after it was read."""
    if path.name == backups.DATABASE:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
    sync_directory(path.parent)
    return backups.noted(path)
