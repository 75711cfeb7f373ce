"""A copy of a whole workspace in one folder: what is in it, how it is written, checked and put in place.

    manifest.json        what is in the copy: each file with its SHA-256 and size; written last
    findable.db          the database as it stood at one moment, in one file; of PostgreSQL findable.dump
    batches/             the sealed files of that moment, each with the hash the database has for it
    index/               the build that was in service, and the cached vectors
    reports/             the reports on answers
    local-engine…        the local engine's state, where it works here

A copy is written under another name and gets its own by one rename, so under that name there is all of it or nothing.
It is put in place file by file beside whatever else lies in a folder, the database last.
Files are sealed and never change, so the database decides which of them belong to its moment.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.core import files, links
from pipeline.core.errors import InconsistentError, InputError
from pipeline.core.text import first_few
from pipeline.engine import folder

FORMAT = 1
MANIFEST = "manifest.json"
DATABASE = "findable.db"
DUMP = "findable.dump"
STABLE = ("faiss.index", "metadata.json")  # links through index/current, made again when a copy is put in place
PIECE = 1 << 20


@dataclass(frozen=True)
class Copied:
    """One file of a copy: its SHA-256 as hex and its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class BackupManifest:
    """What a copy holds: files by their path in it, and the build that was in service (None without an index)."""

    workspace_id: str
    made_at: str  # ISO 8601, UTC
    version: str  # of findable
    build: int | None
    files: Mapping[str, Copied]
    format: int = FORMAT
    schema: str | None = None  # of a dump, which is put in place without it
    namespace: str | None = None  # where on its server a dump's tables stood; older copies do not say
    builds: Mapping[str, int] = field(default_factory=dict)  # that were in service in other folders below index/

    @property
    def size(self) -> int:
        """Return how many bytes the files have together."""
        return sum(one.size for one in self.files.values())


def staging_of(path: Path) -> Path:
    """Make and return an empty folder beside `path` for what is not whole yet; what dead processes left there goes."""
    sweep_staging(path)
    staging = files.part_of(path)
    staging.mkdir(parents=True)
    return staging


def sweep_staging(path: Path) -> None:
    """Remove the folders that dead processes made beside `path` by `staging_of`."""
    for part in path.parent.glob("*" + files.PART):
        if part.name.startswith(f"{path.name}.") and part.is_dir() and files.is_abandoned(part):
            links.remove_link(part)


def copy_file(source: Path, target: Path) -> Copied:
    """Copy one file, durable when this returns, and return the hash of the bytes that were written.

    Raises:
        FileNotFoundError: there is no such file any more.
    """
    with source.open("rb") as file:
        target.parent.mkdir(parents=True, exist_ok=True)
        with files.SealedWriter(target) as writer:
            while piece := file.read(PIECE):
                writer.write(piece)
            sealed = writer.seal()
    return Copied(sealed.sha256, sealed.size)


def hash_and_size(path: Path) -> Copied:
    """Return the hash and size of a file that another library wrote, on disk when this returns."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return Copied(files.sha256_of(path), path.stat().st_size)


def write_backup_manifest(folder: Path, manifest: BackupManifest) -> None:
    """Seal the manifest in a folder, which makes a copy of it."""
    files.seal_bytes(folder / MANIFEST, json.dumps(asdict(manifest), indent=1).encode("ascii") + b"\n")


def read_backup_manifest(folder: Path) -> BackupManifest:
    """Return the manifest of a copy.

    Raises:
        InputError: there is no copy in that folder, or one of a newer version.
    """
    path = folder / MANIFEST
    try:
        document = json.loads(path.read_bytes())
        found = _parsed(document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = (
            f"{MANIFEST} is not there"
            if isinstance(error, FileNotFoundError)
            else f"{MANIFEST} cannot be read ({error})"
        )
        raise InputError(f"{folder} holds no backup: {why}", hint="name the folder of a `make backup`") from error
    if found.format != FORMAT:
        raise InputError(
            f"{folder} is a backup of format {found.format}, this version reads {FORMAT}",
            hint="restore it with the version of findable that made it",
        )
    return found


def verify_backup(folder: Path, manifest: BackupManifest) -> None:
    """Pass when every file of a copy is there with the bytes that were written.

    Raises:
        InconsistentError: one is not; the message names the first three.
    """
    wrong = []
    for name, copied in manifest.files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != copied.size or files.sha256_of(path) != copied.sha256:
            wrong.append(name)
    if wrong:
        raise InconsistentError(
            f"the backup {folder} is damaged: {first_few(wrong)}; nothing was changed",
            hint="take another backup",
        )


def restore_files(folder: Path, manifest: BackupManifest, target: Path) -> None:
    """Copy all files of a copy but a dump to the empty folder `target`, checked on the way, with the index's links.

    Raises:
        InconsistentError: a file changed since it was verified.
    """
    for name, copied in manifest.files.items():
        if name != DUMP and copy_file(folder / name, target / name) != copied:
            raise InconsistentError(f"{name} of the backup changed while it was read; nothing was changed")
    served = {**manifest.builds} if manifest.build is None else {"": manifest.build, **manifest.builds}
    for folder_, number in served.items():
        links.replace_link(target / "index" / folder_ / "current", Path("builds") / str(number))
    if manifest.build is not None:
        for name in STABLE:
            links.replace_link(target / name, Path("index") / "current" / name)
    for directory, _, _ in os.walk(target, topdown=False):
        files.sync_directory(Path(directory))


def settle_restored(staging: Path, data: Path) -> None:
    """Move every file of a whole copy to its place in a folder, on disk when this returns; nothing else is touched.

    The database is the last: until it is there, the folder holds no workspace; see `folder.check_restored`.
    """
    database = staging / DATABASE
    moved = [path for path in sorted(staging.rglob("*")) if path != database and (path.is_symlink() or path.is_file())]
    folders = {data}
    for path in moved:
        target = data / path.relative_to(staging)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        folders.update(one for one in target.parents if one.is_relative_to(data))
    for directory in sorted(folders, reverse=True):
        files.sync_directory(directory)
    if database.exists():
        database.replace(data / DATABASE)
        files.sync_directory(data)


def files_of_workspace(data: Path) -> list[str]:
    """Return the files in a folder that a workspace keeps, by their paths in it; links of the index are left out."""
    found = []
    for path in sorted(data.iterdir()) if data.is_dir() else ():
        if folder.KEPT.fullmatch(path.name):
            below = sorted(path.rglob("*")) if path.is_dir() else [path]
            found += [str(one.relative_to(data).as_posix()) for one in below if one.is_file() and not one.is_symlink()]
    return found


def free_space(folder: Path) -> int:
    """Return how many bytes there is room for where a folder is, or will be."""
    there = next(one for one in (folder, *folder.parents) if one.exists())
    return shutil.disk_usage(there).free


def _parsed(document: dict[str, Any]) -> BackupManifest:
    """Return a manifest from its document; paths that lead out of the copy are refused.

    Raises:
        ValueError: a path leads out.
    """
    named = {str(name): Copied(str(one["sha256"]), int(one["size"])) for name, one in document["files"].items()}
    builds = {str(name): int(one) for name, one in document.get("builds", {}).items()}
    for name in (*named, *builds):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
            raise ValueError(f"{name!r} leads out of the backup")
    schema = document.get("schema")
    if (DATABASE in named) == (DUMP in named) or (DUMP in named) == (schema is None):
        raise ValueError(f"it names no {DATABASE}")
    build, namespace = document["build"], document.get("namespace")
    return BackupManifest(
        workspace_id=str(document["workspace_id"]),
        made_at=str(document["made_at"]),
        version=str(document["version"]),
        build=None if build is None else int(build),
        files=named,
        format=int(document["format"]),
        schema=None if schema is None else str(schema),
        namespace=None if namespace is None else str(namespace),
        builds=builds,
    )
