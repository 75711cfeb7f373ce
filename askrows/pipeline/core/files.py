"""Write files so that they survive a crash, verify and read them, and replace links.

To seal a file means: write a part file in the same folder, flush, fsync, rename it to the target,
and fsync the directory. The target then has its complete new content or its old one. The caller
records the SHA-256 of the content, and `verify` compares a file with it.

A link is replaced by renaming a new link over it, so it always leads to the old or the new target.
"""

import contextlib
import glob
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from askrows.pipeline.core.command_hint import CommandHint, HintTemplate
from askrows.pipeline.core.errors import InconsistentError, InputError
from askrows.pipeline.core.text import SURROGATES, find_most_similar

# Suffix of files and folders that are not sealed yet.
PART_SUFFIX = ".part"
# Suffix of a link that is not renamed yet; `Builds.delete_leftovers` removes abandoned links.
NEW_LINK_SUFFIX = ".link-part"
# The beginning of an address; a drive of Windows has a single letter.
_ADDRESS_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):/")
_DATABASE_SCHEMES = frozenset({"postgresql", "postgres", "sqlite"})
# A folder with the rows of users is readable by its owner alone.
PRIVATE_MODE = 0o700
# Bytes that are copied at once.
COPIED_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class SealedFile:
    """A file that is complete on disk."""

    path: Path
    # Hexadecimal digits.
    sha256: str
    # Bytes.
    size: int


class SealedWriter:
    """Writes a file that gets its name only in `seal`.

    If the `with` block ends without `seal`, the part file is removed.
    """

    def __init__(self, path: Path) -> None:
        """Create the folder of `path`, and open a part file in it.

        The target is not changed. If the part file cannot be opened, it is removed.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.size = 0
        self._part = new_part_path(path)
        self._hash = hashlib.sha256()
        # After Ctrl-C at this moment, `__exit__` does not run.
        with removed_on_error(self._part):
            self._file: BinaryIO = self._part.open("wb", buffering=1 << 20)

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes; they are durable only after `seal`."""
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def write_rest_of(self, source: BinaryIO) -> None:
        """Append the unread bytes of a file block by block, so memory use is constant."""
        while block := source.read(COPIED_BLOCK_BYTES):
            self.write(block)

    def seal(self) -> SealedFile:
        """Close the file and rename it to its target; it is durable when this returns.

        An older file at the target is replaced. Returns the path, the SHA-256 in hex and the size
        in bytes.
        """
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(self.path)
        sync_directory(self.path.parent)
        return SealedFile(self.path, self._hash.hexdigest(), self.size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Closing flushes the rest, which fails again on a full disk.
        with contextlib.suppress(OSError):
            self._file.close()
        # A sealed part file no longer exists.
        self._part.unlink(missing_ok=True)


def check_and_resolve_file_target(path: Path) -> Path:
    """Return the real path of a file to write or replace, for a path given by a user.

    Links are followed. The file and its folder need not exist. A rename would replace a device by a
    regular file, so devices and the like are refused.

    Raises:
        InputError: The path is a directory, a device or the like, or its links form a loop.
    """
    hint = "give the path of a file; `askrows export -` writes to standard output"
    try:
        target = path.resolve()
    except RuntimeError as error:
        # Python before 3.13 raises this for a loop of links.
        raise InputError(f"{path} is a loop of links; nothing was written", hint=hint) from error
    if target.is_symlink() or (target.exists() and not target.is_file()):
        raise InputError(f"{path} is not a regular file; nothing was written", hint=hint)
    return target


def resolve_stored_path(folder: Path, name: str) -> Path:
    """Return the path of a stored name below a folder; the file need not exist.

    This is the only way from a name in a database or in a manifest to a file.

    Raises:
        InconsistentError: The name is empty or absolute, contains a NUL, or leads out of the
            folder, also by a link.
    """
    relative_path = Path(name)
    stored_path = folder / name
    is_inside_folder = stored_path != folder
    try:
        # Links are followed, so that none leads out of the folder.
        real_folder = os.path.realpath(folder)
        real_path = Path(os.path.realpath(stored_path))
        is_inside_folder &= real_path.is_relative_to(real_folder)
    except ValueError:
        # The name contains a NUL.
        is_inside_folder = False

    if not is_inside_folder or relative_path.is_absolute() or ".." in relative_path.parts:
        raise InconsistentError(
            f"stored file name {name!r} is not below {folder}; the file was not read or changed",
            hint=f"run `{CommandHint('doctor')}`",
        )
    return stored_path


def new_part_path(path: Path) -> Path:
    """Return a new name in the folder of `path` for a part file; each call returns another."""
    return path.with_name(f"{path.name}.{os.getpid():x}-{secrets.token_hex(5)}{PART_SUFFIX}")


def is_abandoned(part: Path) -> bool:
    """Return whether the process that wrote a part file is no longer alive.

    The id of the process is in the name of the file. The result is false if the name has no id, if
    any process, also of another user, has that id now, and always on Windows.
    """
    name_match = re.fullmatch(rf".+\.([0-9a-f]+)-[0-9a-f]{{10}}{re.escape(PART_SUFFIX)}", part.name)
    # On Windows, os.kill cannot check a process without a signal.
    if name_match is None or os.name == "nt":
        return False
    process_id = int(name_match[1], 16)
    try:
        # A process of another user cannot be signalled. Signal 0 only checks that it exists.
        with contextlib.suppress(PermissionError):
            os.kill(process_id, 0)
    except (ProcessLookupError, OverflowError):
        return True
    return False


def remove_abandoned_parts(path: Path) -> None:
    """Remove part files and folders of `path` that dead processes left."""
    for part in path.parent.glob(f"{glob.escape(path.name)}.*{PART_SUFFIX}"):
        if is_abandoned(part):
            remove_path(part)


def seal_bytes(path: Path, data: bytes) -> SealedFile:
    """Write and seal a small file; it is durable when this returns.

    Part files of the same name that dead processes left are removed first.
    """
    remove_abandoned_parts(path)
    with SealedWriter(path) as writer:
        writer.write(data)
        return writer.seal()


def seal_copy(source: Path, target: Path) -> SealedFile:
    """Copy a file to a sealed file; the hash is that of the written bytes.

    Raises:
        FileNotFoundError: The source does not exist.
    """
    with source.open("rb") as source_file, SealedWriter(target) as writer:
        writer.write_rest_of(source_file)
        return writer.seal()


def sync_part(part: Path) -> SealedFile:
    """Make a part file of another writer durable, and return its hash and size.

    `rename_sealed` then gives it its final name.
    """
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    return SealedFile(part, hash_file(part), part.stat().st_size)


def rename_sealed(sealed: SealedFile, path: Path) -> None:
    """Rename a sealed file within its folder; the name is durable when this returns.

    An existing file at `path` is replaced.
    """
    sealed.path.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Sync a directory to disk, so that new, renamed and deleted names in it are durable.

    Does nothing on systems that cannot open directories.
    """
    flags = getattr(os, "O_DIRECTORY", None)
    if flags is None:
        return
    handle = os.open(directory, os.O_RDONLY | flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits, in constant memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_sealed(path: Path, sha256: str | None) -> bool:
    """Return whether a file exists and has this SHA-256; False if `sha256` is None."""
    return path.is_file() and hash_file(path) == sha256


def verify_sealed_file(path: Path, *, sha256: str, file_label: str) -> Path:
    """Return `path` if the file has the SHA-256 with which it was sealed.

    Args:
        path: The sealed file.
        sha256: The recorded hash.
        file_label: Name of the file in messages.

    Raises:
        InconsistentError: The file is missing, or its content has changed.
    """
    if not path.is_file():
        raise InconsistentError(
            f"{file_label} is missing: {path} was sealed and does not exist any more",
            hint=f"run `{CommandHint('doctor')}`",
        )
    if hash_file(path) != sha256:
        raise InconsistentError(
            f"{file_label} was changed after it was sealed: {path}",
            hint=f"run `{CommandHint('doctor')}`",
        )
    return path


def iterate_lines_with_offsets(path: Path) -> Generator[tuple[int, bytes]]:
    r"""Yield (offset in bytes, line without its line end) for each line that is not blank.

    Lines end at the byte `\n` only, because U+2028, U+0085 and similar characters are valid inside
    a JSON string. A byte order mark at the start and a `\r` at the end are removed. The first line
    has offset 0 even with a byte order mark. A line of white space is blank. A caller that stops
    early must close the generator.
    """
    offset = 0
    with path.open("rb") as file:
        for raw_line in file:
            line = raw_line.rstrip(b"\r\n")
            if offset == 0:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield offset, line
            offset += len(raw_line)


def iterate_pieces(file: BinaryIO) -> Iterator[bytes]:
    """Yield the bytes of an open file from its beginning on, in pieces of COPIED_BLOCK_BYTES."""
    file.seek(0)
    while piece := file.read(COPIED_BLOCK_BYTES):
        yield piece


def unreadable_reason(path: Path) -> str:
    """Return "is a directory" or "does not exist" for a path; "" if it is any other file.

    The text follows the path in a message. Whether the file can be read is not checked.
    """
    if path.is_dir():
        return "is a directory"
    return "" if path.exists() else "does not exist"


def make_path_hint(path: Path) -> str:
    """Return the hint for a missing file: "check the path", after the most similar name, if any.

    Names of the folder are compared without their suffixes.
    """
    names_by_stem: dict[str, str] = {}
    with contextlib.suppress(OSError):
        names_by_stem = {sibling.stem: sibling.name for sibling in sorted(path.parent.iterdir())}
    # Suffixes are left out, because they would make all names of a kind similar.
    similar_stem = find_most_similar(path.stem, names_by_stem)
    if not similar_stem:
        return "check the path"
    return f"did you mean {names_by_stem[similar_stem]!r}? check the path"


def check_path_is_no_address(path: Path, unchanged_text: str) -> None:
    """Refuse an address in place of a file. The message has no address, which may have a password.

    Args:
        path: The path as it was typed, such as `postgresql:/host/database`.
        unchanged_text: End of the message.

    Raises:
        InputError: There is no such file, and the path begins like an address.
    """
    scheme = _ADDRESS_SCHEME.match(str(path))
    if scheme is None or path.exists():
        return
    hint: object = "download the file"
    if scheme[1].partition("+")[0] in _DATABASE_SCHEMES:
        command = CommandHint(
            "ask", from_="SELECT * FROM reviews", source="$TABLE_URL", q="What is it about?"
        )
        hint = HintTemplate(
            "`{}` asks about a table of a database; otherwise write its rows to a file", command
        )
    raise InputError(f"{scheme[1]}:… is an address, not a file; {unchanged_text}", hint=hint)


def list_parquet_files(path: Path) -> list[Path]:
    """Return the file at a path, or the sorted Parquet files below a folder; empty without any."""
    if path.is_file():
        return [path]
    return sorted(path.rglob("*.parquet"))


def require_utf8_path(path: Path) -> None:
    """Refuse a path that is not valid UTF-8, because it cannot be stored.

    Raises:
        InputError: The absolute path has other bytes.
    """
    if SURROGATES.search(str(path.absolute())):
        raise InputError(
            f"{path.absolute()}: this name is not valid UTF-8; nothing was read",
            hint="rename the file or folder",
        )


def replace_link(path: Path, target: Path) -> None:
    """Make `path` a link to `target` in one rename; it is durable when this returns.

    A file or link at `path` is replaced. The temporary link beside it is removed, also if the
    rename fails.

    Raises:
        OSError: The link cannot be made, and `path` is unchanged; or its folder cannot be synced
            after `path` was replaced.
    """
    new_link = path.with_name(f"{path.name}.{os.getpid()}{NEW_LINK_SUFFIX}")
    new_link.unlink(missing_ok=True)
    try:
        new_link.symlink_to(target)
        new_link.replace(path)
    finally:
        # The link remains if the rename failed.
        new_link.unlink(missing_ok=True)
    sync_directory(path.parent)


def move_to_free_backup_name(path: Path) -> str | None:
    """Rename `path` to the first free `<name>.bak-<n>`, with n from 1, and return the new name.

    Returns:
        The new name without the folder; None if there is nothing at `path`, so that nothing is
        renamed.
    """
    if not os.path.lexists(path):
        return None
    number = 1
    while os.path.lexists(backup := path.with_name(f"{path.name}.bak-{number}")):
        number += 1
    path.rename(backup)
    return backup.name


def remove_path(path: Path) -> None:
    """Remove a directory with its content, a file or a link; nothing happens if none exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def staging_folder(path: Path) -> Iterator[Path]:
    """Create a private staging folder for `path`; remove it if the block fails or is interrupted.

    Staging folders that dead processes left are removed first.
    """
    remove_abandoned_parts(path)
    with removed_on_error(new_part_path(path)) as staging:
        staging.mkdir(PRIVATE_MODE, parents=True)
        yield staging


@contextlib.contextmanager
def removed_on_error(path: Path) -> Iterator[Path]:
    """Remove the file or folder at `path` if the block fails or is interrupted."""
    try:
        yield path
    except BaseException:
        remove_path(path)
        raise
