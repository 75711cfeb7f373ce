"""Seal files so that they survive a crash, verify and read them; replace links in one rename.

To seal is to write beside the target, flush, fsync, rename, and fsync the directory: the target's name stands for all
of it or none of it. The SHA-256 that comes back is what the caller records; `verify` holds a file against it. A link is
replaced by renaming another one over it, so that it leads to the old target or to the new one.
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

from pipeline.core.command_hint import CommandHint
from pipeline.core.errors import InconsistentError, InputError
from pipeline.core.text import BAD_TEXT

PART = ".part"  # the ending of everything that is not sealed yet
BESIDE = ".link-part"  # the ending of a link that has not taken its place yet; `Builds.sweep` removes what is left


@dataclass(frozen=True)
class SealedFile:
    """A file that is whole on disk: where, its SHA-256 as hex, and its size in bytes."""

    path: Path
    sha256: str
    size: int


class SealedWriter:
    """Writes a file that appears under its name only by `seal`; a `with` block that ends without leaves none."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.size = 0
        self._part = part_of(path)
        self._hash = hashlib.sha256()
        try:
            self._file: BinaryIO = self._part.open("wb", buffering=1 << 20)
        except BaseException:  # Ctrl-C at this moment: `__exit__` would not run
            self._part.unlink(missing_ok=True)
            raise

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes as they are; they are not on disk before `seal`."""
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def seal(self) -> SealedFile:
        """Make the file durable and final, on disk under its name when this returns."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(self.path)
        sync_directory(self.path.parent)
        return SealedFile(self.path, self._hash.hexdigest(), self.size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # a full disk is met again when the rest is flushed
            self._file.close()
        self._part.unlink(missing_ok=True)  # which is gone once it is sealed


def target_of(path: Path) -> Path:
    """Return the file that a name given by a user stands for, through links, to be written or replaced.

    What is no regular file, such as a device, is refused: a rename would put one in its place.
    """
    hint = "name a file; `findable export -` writes to standard output"
    try:
        target = path.resolve()
    except RuntimeError as error:  # a loop of links, before Python 3.13
        raise InputError(f"{path} leads nowhere; nothing was written", hint=hint) from error
    if target.is_symlink() or (target.exists() and not target.is_file()):
        raise InputError(f"{path} is no regular file; nothing was written", hint=hint)
    return target


def path_below(folder: Path, name: str) -> Path:
    """Return the path that a stored name has below a folder; nothing has to be there.

    This is the only way from a name in a database or in a manifest to a file.

    Raises:
        InconsistentError: The name is absolute, contains a NUL, or leads out of the folder.
    """
    relative_path = Path(name)
    stored_path = folder / name
    is_below = stored_path != folder
    try:
        # Links are followed, so that none leads out of the folder.
        real_folder = os.path.realpath(folder)
        real_path = Path(os.path.realpath(stored_path))
        is_below &= real_path.is_relative_to(real_folder)
    except ValueError:
        # The name contains a NUL.
        is_below = False

    if not is_below or relative_path.is_absolute() or ".." in relative_path.parts:
        raise InconsistentError(
            f"{name!r} is not below {folder}; no such file was read or changed",
            hint=f"run `{CommandHint('doctor')}`",
        )
    return stored_path


def part_of(path: Path) -> Path:
    """Return a name beside `path` for what is not sealed yet, another for each call."""
    return path.with_name(f"{path.name}.{os.getpid():x}-{secrets.token_hex(5)}{PART}")


def is_abandoned(part: Path) -> bool:
    """Return whether a part file, by its name, was being written by a process that is not alive."""
    found = re.fullmatch(rf".+\.([0-9a-f]+)-[0-9a-f]{{10}}{re.escape(PART)}", part.name)
    if found is None or os.name == "nt":  # there, os.kill cannot ask
        return False
    try:
        os.kill(int(found[1], 16), 0)  # sends nothing
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # another user's
        pass
    return False


def sweep_parts(path: Path) -> None:
    """Remove the part files and folders of dead processes beside `path`."""
    for part in path.parent.glob(f"{glob.escape(path.name)}.*{PART}"):
        if is_abandoned(part):
            remove_link(part)


def seal_bytes(path: Path, data: bytes) -> SealedFile:
    """Write a small file whole, durable and final when this returns; what dead processes left of it is removed."""
    sweep_parts(path)
    with SealedWriter(path) as writer:
        writer.write(data)
        return writer.seal()


def sync_part(part: Path) -> SealedFile:
    """Make a file durable that another writer made, and measure it; it is sealed when `rename` gives it its name."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    return SealedFile(part, sha256_of(part), part.stat().st_size)


def rename(sealed: SealedFile, path: Path) -> SealedFile:
    """Give a sealed file another name in its folder, durable when this returns; what stood there is replaced."""
    sealed.path.replace(path)
    sync_directory(path.parent)
    return SealedFile(path, sealed.sha256, sealed.size)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable; where a system cannot open directories, its renames must do."""
    flags = getattr(os, "O_DIRECTORY", None)
    if flags is None:
        return
    handle = os.open(directory, os.O_RDONLY | flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hex, at flat memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_sealed(path: Path, sha256: str | None) -> bool:
    """Return whether the file at a path has the bytes that were sealed."""
    return path.is_file() and sha256_of(path) == sha256


def verify(path: Path, *, sha256: str, what: str) -> Path:
    """Return `path` when its bytes are those that were sealed; else raise InconsistentError."""
    if not path.is_file():
        raise InconsistentError(
            f"{what} is gone: {path} was sealed and is not there",
            hint=f"run `{CommandHint('doctor')}`",
        )
    if sha256_of(path) != sha256:
        raise InconsistentError(
            f"{what} was changed after it was sealed: {path}", hint=f"run `{CommandHint('doctor')}`"
        )
    return path


def read_lines(path: Path) -> Generator[tuple[int, bytes]]:
    r"""Yield (offset in bytes, line without its line end) for each line that holds anything.

    Lines are split on the byte `\n` alone: U+2028, U+0085 and their like are legal inside a JSON string. A byte order
    mark at the start and a `\r` at the end are dropped. A caller that stops before the end closes the generator.
    """
    offset = 0
    with path.open("rb") as file:
        for raw in file:
            line = raw.rstrip(b"\r\n")
            if offset == 0:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield offset, line
            offset += len(raw)


def why_not_readable(path: Path) -> str:
    """Return why there is no file to read at a path, in words that follow its name; empty where there is one."""
    if path.is_dir():
        return "is a directory"
    return "" if path.exists() else "is not there"


def parts_of(path: Path) -> list[Path]:
    """Return the file at a path, or those of Parquet below a folder, in their order; none where there is neither."""
    return [path] if path.is_file() else sorted(path.rglob("*.parquet"))


def check_named_in_utf8(path: Path) -> None:
    """Refuse a path that is no text from the root on and so cannot be kept; a system takes other bytes, too."""
    if BAD_TEXT.search(str(path.absolute())):
        raise InputError(
            f"{path.absolute()}: this name is not valid UTF-8; nothing was read", hint="rename it"
        )


def replace_link(path: Path, target: Path) -> None:
    """Make `path` a link to `target` in one rename, on disk when this returns."""
    beside = path.with_name(f"{path.name}.{os.getpid()}{BESIDE}")
    beside.unlink(missing_ok=True)
    try:
        beside.symlink_to(target)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)  # where it could not take its place
    sync_directory(path.parent)


def move_aside(path: Path) -> str | None:
    """Rename what stands at `path` to the first free `<name>.bak-<n>` and return that; None where nothing stands."""
    if not os.path.lexists(path):
        return None
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.bak-{number}")):
        number += 1
    path.rename(aside)
    return aside.name


def remove_link(path: Path) -> None:
    """Remove a directory with all that is in it, or a file or link; nothing there is no harm."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def staging_of(path: Path) -> Iterator[Path]:
    """Make an empty folder beside `path` for what is not whole yet; it goes where the block fails or is interrupted.

    What dead processes left there goes first.
    """
    sweep_parts(path)
    with removed_on_error(part_of(path)) as staging:
        staging.mkdir(parents=True)
        yield staging


@contextlib.contextmanager
def removed_on_error(path: Path) -> Iterator[Path]:
    """Remove what stands at `path` when the block fails or is interrupted."""
    try:
        yield path
    except BaseException:
        remove_link(path)
        raise
