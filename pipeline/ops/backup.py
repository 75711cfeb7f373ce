"""Copy the whole workspace into one folder while others read and write it.

    manifest.json        the SHA-256 of each file of the copy; written last
    findable.db          the database as it stood at one moment, in one file
    batches/             the sealed files that it names
    index/               the builds that were in service, and the cached vectors
    reports/             the reports on answers
    local-engine…        the local engine's state, where it works here

The builds are copied before the database, so that it knows them, and the sealed files after it: they never change. The
folder gets its name when it is whole. A database on a server is copied by its own programs: see `typed_lines`.
"""

import contextlib
import json
import os
import shlex
import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.core import __version__, files, links
from pipeline.core.errors import ConfigurationError, FindableError, InconsistentError, InputError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.index.builds import Builds
from pipeline.quality import report
from pipeline.store import batches, erase, workspace
from pipeline.store.database import Store

FORMAT = 3
MANIFEST = "manifest.json"
DATABASE = "findable.db"
ENGINE, ENGINE_FILES = "local-engine.sqlite", "local-engine-files"
VECTORS = "index/vectors"


@dataclass(frozen=True)
class BackupReport:
    """The copy that was made: where, how many files and bytes; or, of a database on a server, what to type for one."""

    path: str
    files: int = 0
    size: int = 0
    typed: tuple[str, ...] = ()


@dataclass(frozen=True)
class BackupManifest:
    """What a copy holds: the hash of each file by its path."""

    workspace_id: str
    made_at: str  # ISO 8601, UTC
    files: dict[str, str]


def run(ws: OpenWorkspace, target: Path) -> BackupReport:
    """Make a backup in the folder `target`, which must not be there yet.

    Raises:
        InputError: something stands there already.
        InconsistentError: a sealed file is not what the database says, or changes meanwhile; no copy was made.
    """
    target = Path(target).absolute()
    if os.path.lexists(target):
        raise InputError(f"{target} is there already; nothing was written", hint="name a folder that is not there yet")
    if ws.store.path is None:
        return BackupReport(str(target), typed=typed_lines(ws, target))
    target.parent.mkdir(parents=True, exist_ok=True)
    check_room(target, ws.store.path.stat().st_size)
    staging = links.staging_of(target)
    with links.removed_on_error(staging):
        manifest = _copy(ws, staging)
        document = {"format": FORMAT, "version": __version__, **vars(manifest)}
        files.seal_bytes(staging / MANIFEST, json.dumps(document, indent=1).encode("ascii") + b"\n")
        try:
            staging.rename(target)
        except OSError as error:
            raise InputError(f"{target} was made meanwhile; no backup was made", hint="name another folder") from error
    files.sync_directory(target.parent)
    size = sum((target / name).stat().st_size for name in manifest.files)
    return BackupReport(str(target), len(manifest.files), size)


def typed_lines(ws: OpenWorkspace, target: Path) -> tuple[str, ...]:
    """Return what to type for a copy of a workspace on a server: the database first, for it names the files."""
    url = ws.store.address.replace("postgresql+psycopg:", "postgresql:", 1)
    words = (
        ("mkdir", target),
        ("pg_dump", "--format=custom", f"--file={target / 'findable.dump'}", url),
        ("cp", "-a", ws.data.absolute(), target / "data"),
    )
    return tuple(shlex.join(map(str, line)) for line in words)


def check_room(folder: Path, need: int) -> None:
    """Pass where there is room for so many bytes.

    Raises:
        ConfigurationError: there is not.
    """
    there = next(one for one in (folder, *folder.parents) if one.exists())
    free = shutil.disk_usage(there).free
    if need > free:
        raise ConfigurationError(
            f"there is room for {free:,} bytes where {folder} would be, and {need:,} are needed; nothing was written",
            hint="make room, or name another place",
        )


def copy_file(source: Path, target: Path) -> str:
    """Copy one file, durable when this returns, and return the hash of the bytes that were written.

    Raises:
        FileNotFoundError: there is no such file any more.
    """
    with source.open("rb") as file, files.SealedWriter(target) as writer:
        while piece := file.read(1 << 20):
            writer.write(piece)
        return writer.seal().sha256


def read_manifest(folder: Path) -> BackupManifest:
    """Return what a copy holds.

    Raises:
        InputError: there is no copy in that folder, or one of another version.
    """
    try:
        document = json.loads((folder / MANIFEST).read_bytes())
        hashes = {str(name): str(sha256) for name, sha256 in document["files"].items()}
        found = BackupManifest(str(document["workspace_id"]), str(document["made_at"]), hashes)
        is_known = document["format"] == FORMAT and DATABASE in hashes
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"it has no {MANIFEST}" if isinstance(error, FileNotFoundError) else f"its {MANIFEST} cannot be read"
        raise InputError(f"{folder} is no backup: {why}", hint="name a folder that `make backup` made") from error
    paths = [PurePosixPath(name) for name in hashes]
    if not is_known or any(path.is_absolute() or ".." in path.parts or "\\" in str(path) for path in paths):
        raise InputError(f"{folder} is a backup of another version, or was changed", hint="take another backup")
    return found


def _copy(ws: OpenWorkspace, staging: Path) -> BackupManifest:
    found = dict[str, str]()
    for collection in ws.collections:
        found |= _build(ws, staging, collection.folder)
    found |= _loose(ws.data, staging, (ws.data / VECTORS).glob("*.vectors"))
    with ws.store.held() as source:
        _copy_database(source.connection.driver_connection, staging / DATABASE)
    with closing(Store(f"sqlite:///{staging / DATABASE}")) as copy, copy.read_unchanged() as tx:
        assert tx is not None  # noqa: S101 - the file is there
        everyone, cleaned = batches.batches_in_states(tx), erase.cleaned_batches(tx)
        workspace_id = workspace.get_workspace(tx).workspace_id
    found[DATABASE] = files.sync_part(staging / DATABASE).sha256
    for batch in everyone:
        for name, sha256 in ((batch.request_file, batch.request_sha256), (batch.result_file, batch.result_sha256)):
            is_needed = not (batch.is_over or batch.number in cleaned)
            if name and (is_needed or (ws.data / name).exists()):
                found[name] = _sealed(ws, staging, name, sha256 or "", is_needed=is_needed)
    for task in ws.tasks:
        every = report.reports_of_task(ws.data, task.name).values()
        found |= _loose(ws.data, staging, (one for paths in every for one in paths if one.suffix != files.PART))
    if (ws.data / ENGINE).is_file():
        with closing(sqlite3.connect(ws.data / ENGINE)) as engine:
            _copy_database(engine, staging / ENGINE)
        found[ENGINE] = files.sync_part(staging / ENGINE).sha256
        found |= _loose(ws.data, staging, (ws.data / ENGINE_FILES).glob("*"))
    return BackupManifest(workspace_id, ws.now().isoformat(timespec="seconds"), dict(sorted(found.items())))


def _copy_database(source: Any, target: Path) -> None:
    """Copy a database as it stands at one moment, into one file also where it cannot be written."""
    with closing(sqlite3.connect(target)) as file:
        source.backup(file)
        file.execute("PRAGMA journal_mode = DELETE")


def _sealed(ws: OpenWorkspace, staging: Path, name: str, sha256: str, *, is_needed: bool) -> str:
    """Copy one sealed file; one that nothing needs and that was damaged is copied as it is, with a warning."""
    try:
        copied = copy_file(ws.data / name, staging / name)
    except FileNotFoundError as error:
        raise InconsistentError(f"{name} is gone; no backup was made", hint="run `make doctor`") from error
    if copied != sha256 and is_needed:
        raise InconsistentError(f"{name} was changed after it was sealed; no backup was made", hint="run `make doctor`")
    if copied != sha256:
        ws.display.warn(f"{name} was changed after it was sealed; it is in the backup as it is")
    return copied


def _build(ws: OpenWorkspace, staging: Path, folder: str) -> dict[str, str]:
    """Copy the build in service in a folder; a broken one is left out, and that is said."""
    try:
        current = Builds(ws.data, folder).current()
        if current is None:
            return {}
        place = PurePosixPath("index", folder, "builds", str(current.number))
        names = (*current.hashes, "manifest.json")
        found = {f"{place}/{name}": copy_file(ws.data / place / name, staging / place / name) for name in names}
    except FindableError as error:
        ws.display.warn(f"the index is not in the backup: {error.message}")
        return {}
    except FileNotFoundError as error:
        said = "the index was replaced while it was copied; no backup was made"
        raise InconsistentError(said, hint="run it again") from error
    if any(found[f"{place}/{name}"] != sha256 for name, sha256 in current.hashes.items()):
        links.remove_link(staging / place)
        ws.display.warn(f"build {current.number} is damaged and not in the backup; `make index` builds another")
        return {}
    return found


def _loose(data: Path, staging: Path, paths: Iterable[Path]) -> dict[str, str]:
    """Copy files that others may append to or remove meanwhile; any beginning of them is good."""
    found = {}
    for path in paths:
        name = path.relative_to(data).as_posix()
        with contextlib.suppress(FileNotFoundError):
            found[name] = copy_file(path, staging / name)
    return found
