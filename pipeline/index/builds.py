"""Which build is in service: stage, verify, promote, roll back.

    DATA/index/builds/<n>.<x>.staging/  being written; nobody reads it
    DATA/index/builds/<n>/              verified
    DATA/index/current                  a symlink to builds/<n>; it alone decides
    DATA/faiss.index, metadata.json     links through `current`, for other programs

A build goes staged -> verified -> promoted. Killed at any moment, `current` points at a whole, verified build: it is
replaced by one rename, after everything it will point at is on disk. The one thing to know: whoever stages, promotes,
sweeps or rolls back holds the lease on the index; readers need none. And who was overtaken while it stood still can do
no harm: each staging has a name of its own, and what others see changes inside the caller's `fence` alone.
"""

import contextlib
import errno
import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pipeline.core import files, links
from pipeline.core.errors import InconsistentError, InputError
from pipeline.core.task import Entry
from pipeline.index import manifest
from pipeline.index.manifest import Begun, Manifest, Promotions, Staged
from pipeline.index.reader import Index

if TYPE_CHECKING:
    from pipeline.index.cache import VectorCache


Found = TypeVar("Found")
# raises where somebody else goes on with the index; what it gives, if anything, looks once more, and raises likewise
Fence = Callable[[], contextlib.AbstractContextManager[Callable[[], None] | None]]
STAGING = ".staging"
LINKED = (manifest.INDEX, manifest.METADATA)
_REBUILD = "run `make index` to build it again, or `make doctor` to see what is wrong"
_OVERTAKEN = (errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)  # the staging is gone, or its place is taken
_LOOKS = 10  # how often a reader looks again while builds are promoted under its hands


def _now() -> datetime:
    """Return the time, aware, UTC."""
    return datetime.now(UTC)


def _ignore(_done: int) -> None:
    """Tell nobody."""


def _unasked() -> None:
    """Hold that nobody else goes on, where no fence was asked for."""


class Builds:
    """The builds of one workspace."""

    def __init__(self, data_dir: Path, *, clock: Callable[[], datetime] = _now) -> None:
        """Name the places under `data_dir`; nothing is read or made yet."""
        self._data = data_dir
        self._index = data_dir / "index"
        self._builds = self._index / "builds"
        self._current = self._index / "current"
        self._clock = clock
        self._staged: Path | None = None

    def current(self) -> Manifest | None:
        """Return the manifest of the build in service, or None before the first promotion.

        Raises:
            InconsistentError: `current` points at nothing, or at no whole build.
        """
        return self._look(self._read)

    def open(self) -> Index:
        """Return the build in service, opened.

        `current` is resolved once, so vectors and metadata are of one build whatever is promoted afterwards.

        Raises:
            InputError: nothing was promoted yet.
            InconsistentError: `current` points at nothing, or at no whole build.
        """
        index = self._look(self._open)
        if index is None:
            raise InputError("there is no index yet", hint="run `make index` to build one")
        return index

    def numbers(self) -> list[int]:
        """Return the numbers of all whole builds, ascending, in service or not."""
        return [number for number in sorted(self._whole()) if self._is_whole(number)]

    def next_number(self) -> int:
        """Return a number that no build has or had a trace of."""
        return max(self._whole() | self._begun(), default=0) + 1

    def damage(self, number: int) -> list[str]:
        """Return what is wrong with the files of a build, read in full; an empty list when nothing is."""
        directory = self._builds / str(number)
        try:
            found = manifest.read_manifest(directory)
        except InconsistentError as error:
            return [error.message]
        wrong = [name for name in manifest.PARTS if files.sha256_of(directory / name) != found.hashes[name]]
        return [f"{directory / name} has other bytes than the build was made with" for name in wrong]

    def stale(self) -> list[str]:
        """Return the names of what killed runs left behind; a living run's staging is among them."""
        return [path.name for path in self._stale()]

    def stray_links(self) -> list[str]:
        """Return which of the stable names under DATA do not lead to the build in service, if there is one."""
        if self._resolve() is None:
            return []
        return [name for name in LINKED if not self._is_linked(name)]

    def relink(self, name: str) -> str | None:
        """Make a stable name lead to the build in service; return the name that a foreign file was moved to, if any."""
        return self._link(name)

    def sweep(self) -> list[str]:
        """Remove what killed runs left behind, and return the names of what was removed."""
        stale = self._stale()
        for path in stale:
            links.remove_link(path)
        return [path.name for path in stale]

    def begin(self, number: int, entries: Iterable[tuple[Entry, bytes]], *, position: int) -> Begun:
        """Write the entries of build `number`, with the keys of their vectors; on disk when this returns.

        When anything goes wrong, nothing of it remains.

        Raises:
            InputError: there are no entries.
            InconsistentError: an entry's metadata is no JSON.
        """
        from pipeline.index import staging

        directory = self._builds / f"{number}.{secrets.token_hex(4)}{STAGING}"
        self._staged = directory
        directory.mkdir(parents=True)
        with links.removed_on_error(directory):
            return staging.begin_staging(directory, entries, number=number, position=position)

    def is_begun(self, begun: Begun) -> bool:
        """Return whether what was begun is still there: whoever goes on with the index sweeps it away."""
        return begun.directory.is_dir()

    def complete(
        self, begun: Begun, cache: "VectorCache", *, task_type: str, progress: Callable[[int], None] = _ignore
    ) -> Staged:
        """Add the vectors and the manifest to what was begun; on disk when this returns.

        `progress` is called with the number of rows whose vectors are written so far. When anything goes wrong,
        nothing of the build remains.

        Raises:
            InconsistentError: a vector is not in the cache.
        """
        from pipeline.index import staging

        with links.removed_on_error(begun.directory):
            return staging.complete_staging(
                begun, cache, task_type=task_type, built_at=self._clock(), progress=progress
            )

    def discard(self) -> None:
        """Remove what was staged last and not promoted, for a caller who ends wherever an interrupt finds it."""
        if self._staged is not None:
            links.remove_link(self._staged)

    def verify(self, staged: Staged, *, count: int) -> None:
        """Pass when the staged build is whole, agrees with itself and the cache, and holds `count` entries.

        Raises:
            InconsistentError: it does not; the staging is removed and the build in service is as it was.
        """
        from pipeline.index import staging

        with links.removed_on_error(staged.directory):
            staging.verify_build(staged, count=count)

    def promote(self, staged: Staged, *, fence: Fence = contextlib.nullcontext) -> Promotions:
        """Put a verified build in service; on disk when this returns. All that others see changes inside `fence`.

        Afterwards there is this build and the one that was in service before; older ones are gone.

        Raises:
            InconsistentError: the build was not verified, is gone, or was read from an older database position than
                the one in service, which stays.
        """
        if not staged.verified:
            raise InconsistentError(f"build {staged.manifest.number} was not verified, so it was not promoted")
        with links.removed_on_error(staged.directory), fence() as look:
            return self._promote(staged, look=look or _unasked)

    def _promote(self, staged: Staged, *, look: Callable[[], None]) -> Promotions:
        """Put a verified build in service that is not older than the one there.

        A server may end the fence at any time; then somebody else may have swept this build away, and promoted another.
        """
        before = self._in_service()
        if before is not None and staged.manifest.position < before.position:
            raise InconsistentError(
                f"build {staged.manifest.number} was read at database position {staged.manifest.position}, "
                f"the one in service at {before.position}: not promoted",
                hint="run `make index` again",
            )
        self._settle(staged)
        moved = tuple(name for name in map(self._link, LINKED) if name)
        look()
        self._flip(staged.manifest.number)
        look()
        self._drop_all_but(staged.manifest.number, before.number if before else None)
        return manifest.promoted_at(staged.manifest, moved)

    def rollback(self, *, fence: Fence = contextlib.nullcontext) -> Manifest:
        """Put the build before the one in service back, by the flip alone; on disk when this returns.

        Its files are read in full first: a damaged one is passed over, and an older one takes its place. The flip is
        inside `fence`.

        Raises:
            InputError: there is none.
        """
        directory = self._resolve()
        older = [number for number in self.numbers() if directory is None or number < int(directory.name)]
        number = next((number for number in reversed(older) if not self.damage(number)), None)
        if number is None:
            raise InputError("there is no previous build to put back", hint="run `make index` to build one")
        with fence():
            self._flip(number)
            return self._read(self._builds / str(number))

    def others(self) -> list[int]:
        """Return the numbers of all builds that are not in service, whole or not, ascending."""
        directory = self._resolve()
        return [number for number in sorted(self._whole()) if directory is None or str(number) != directory.name]

    def drop(self, numbers: Iterable[int], *, fence: Fence = contextlib.nullcontext) -> list[int]:
        """Remove builds that are not in service, inside `fence`; return the numbers of those that were there."""
        with fence():
            gone = sorted(set(numbers) & set(self.others()))
            for number in gone:
                links.remove_link(self._builds / str(number))
        return gone

    def withdraw(self, *, fence: Fence = contextlib.nullcontext) -> None:
        """Take the build in service away, with the stable paths to it and every build; afterwards there is no index.

        First the stable paths, then `current`, then the builds: killed half way, what is left leads nowhere.
        """
        with fence():
            for name in LINKED:
                if self._is_linked(name):
                    links.remove_link(self._data / name)
            links.remove_link(self._current)
            for number in self._whole():
                links.remove_link(self._builds / str(number))

    def built_at(self, number: int) -> datetime | None:
        """Return when a build was made, aware, UTC; None where its manifest cannot be read."""
        try:
            return manifest.read_manifest(self._builds / str(number)).built_at
        except InconsistentError:
            return None

    def unsound_rows(self, number: int) -> str:
        """Return what is wrong with the vectors of a whole build, read in full, or an empty text."""
        from pipeline.index import staging

        return staging.unsound_build_rows(self._builds / str(number))

    def _resolve(self) -> Path | None:
        """Return the directory `current` points at, there or not, or None where there is no `current`.

        Raises:
            InconsistentError: `current` is no link, or points elsewhere than at a build.
        """
        try:
            target = self._current.readlink()
        except FileNotFoundError:
            return None
        except OSError:
            raise InconsistentError(f"{self._current} is no link to a build", hint=_REBUILD) from None
        if target.parent.name != self._builds.name or not target.name.isdecimal():
            raise InconsistentError(f"{self._current} points at {str(target)!r}, which is no build", hint=_REBUILD)
        return self._builds / target.name

    def _look(self, read: Callable[[Path], Found]) -> Found | None:
        """Return what `read` finds in the build in service, or None where there is none; promoted away, look again."""
        for _ in range(_LOOKS):
            directory = self._resolve()
            if directory is None:
                return None
            try:
                return read(directory)
            except (InconsistentError, FileNotFoundError):
                if self._resolve() == directory:  # not promoted away meanwhile: it is truly broken
                    raise
        raise InconsistentError("the index was replaced each time it was opened", hint="run the same command again")

    def _open(self, directory: Path) -> Index:
        """Return a whole build, opened; raise as `_read` does."""
        self._read(directory)
        return Index(directory)

    def _read(self, directory: Path) -> Manifest:
        """Return the manifest of a whole build.

        Raises:
            InconsistentError: it is not whole, or its manifest is another build's.
        """
        try:
            found = manifest.read_manifest(directory)
        except InconsistentError as error:
            raise InconsistentError(f"the index in service is broken: {error.message}", hint=_REBUILD) from None
        if str(found.number) != directory.name:
            raise InconsistentError(f"{directory} holds the manifest of build {found.number}", hint=_REBUILD)
        return found

    def _in_service(self) -> Manifest | None:
        """Return the manifest of the build in service, or None where there is none that a reader could use."""
        try:
            return self.current()
        except InconsistentError:
            return None

    def _is_whole(self, number: int) -> bool:
        """Return whether build `number` has a manifest and all its files at their sizes."""
        try:
            self._read(self._builds / str(number))
        except InconsistentError:
            return False
        return True

    def _whole(self) -> set[int]:
        """Return the numbers of all directories in `builds` named as builds."""
        return {int(path.name) for path in self._listing(self._builds) if path.name.isdecimal()}

    def _begun(self) -> set[int]:
        """Return the numbers of all stagings."""
        names = [path.name for path in self._listing(self._builds) if path.name.endswith(STAGING)]
        return {int(number) for number in (name.partition(".")[0] for name in names) if number.isdecimal()}

    @staticmethod
    def _listing(directory: Path) -> list[Path]:
        """Return what is in a directory, by name; nothing where there is no directory."""
        return sorted(directory.iterdir()) if directory.is_dir() else []

    def _settle(self, staged: Staged) -> None:
        """Give a verified staging its final name; nobody points at it yet."""
        try:
            staged.directory.rename(self._builds / str(staged.manifest.number))
        except OSError as error:
            if error.errno not in _OVERTAKEN:  # the disk is full, or cannot be written: nothing contradicts itself
                raise
            raise InconsistentError(
                f"build {staged.manifest.number} could not take its place: {error.strerror}",
                hint="run `make index` again",
            ) from None
        files.sync_directory(self._builds)

    def _stale(self) -> list[Path]:
        """Return the stagings and half-made links."""
        stale = [path for path in self._listing(self._builds) if path.name.endswith(STAGING)]
        return stale + [path for folder in (self._index, self._data) for path in folder.glob(f"*{links.BESIDE}")]

    def _target(self, name: str) -> Path:
        """Return where DATA/<name> must point."""
        return Path("index") / self._current.name / name

    def _is_linked(self, name: str) -> bool:
        """Return whether DATA/<name> is a link through `current`."""
        path = self._data / name
        return path.is_symlink() and path.readlink() == self._target(name)

    def _link(self, name: str) -> str | None:
        """Make DATA/<name> a link through `current`; return the name that a foreign file was moved to, if any."""
        if self._is_linked(name):
            return None
        moved = links.move_aside(self._data / name)
        links.replace_link(self._data / name, self._target(name))
        return moved

    def _flip(self, number: int) -> None:
        """Point `current` at build `number`, in one rename, on disk when this returns."""
        if self._current.is_dir() and not self._current.is_symlink():
            links.move_aside(self._current)  # a copy that followed links; a rename cannot take a directory's place
        links.replace_link(self._current, Path(self._builds.name) / str(number))

    def _drop_all_but(self, number: int, before: int | None) -> None:
        """Remove every build but `number` and the one that was in service before it, or the newest whole other."""
        others = [other for other in self.numbers() if other != number]
        kept = {number, before if before in others else max(others, default=number)}
        for other in self._whole() - kept:
            links.remove_link(self._builds / str(other))  # half removed it is no build any more: a file is missing
