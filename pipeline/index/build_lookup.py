"""Find builds: which one is in service, which are whole, and what killed runs left; nothing is changed here.

    DATA/index/builds/<n>.<x>.staging/  being written; not read
    DATA/index/builds/<n>/              verified
    DATA/index/current                  a symlink to builds/<n>; it alone decides
    DATA/faiss.index, metadata.json     links through `current`, for other programs
    DATA/index/tasks/<name>/            builds/ and current of another collection, which has no stable paths

A build's number is its own in the whole workspace, so that the database's rows of builds tell each by it.

A reader needs no lock: a build that is promoted away while it is opened is looked for again.
"""

from collections.abc import Callable, Container
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from pipeline.core import files
from pipeline.core.errors import InconsistentError, InputError
from pipeline.index import manifest
from pipeline.index.manifest import Manifest
from pipeline.index.reader import Index

Found = TypeVar("Found")
STAGING = ".staging"
LINKED = (manifest.INDEX, manifest.METADATA)
FOLDER = "tasks"  # below DATA/index: a folder for each collection but the first
_LOOKS = 10  # how often a reader looks again while builds are promoted


def left_folders(data_dir: Path, folders: Container[str]) -> list[Path]:
    """Return the folders of builds, by name, that are none of these: their tasks are indexed no more."""
    found = sorted((data_dir / "index").glob(f"{FOLDER}/*"))
    return [path for path in found if f"{FOLDER}/{path.name}" not in folders]


class BuildLookup:
    """The builds of one collection of a workspace, to be read."""

    def __init__(self, data_dir: Path, folder: str = "") -> None:
        """Name the places under `data_dir`, in the folder of a collection; nothing is read or made yet."""
        self._data = data_dir
        self._index = data_dir / "index" / folder
        self._linked = () if folder else LINKED
        self._make = f"make index TASK={self._index.name}" if folder else "make index"
        self._rebuild = f"run `{self._make}` to build it again, or `make doctor` to see what is wrong"
        self._builds = self._index / "builds"
        self._current = self._index / "current"

    def current(self) -> Manifest | None:
        """Return the manifest of the build in service, or None before the first promotion.

        Raises:
            InconsistentError: `current` points at nothing, or at no whole build.
        """
        return self._look(self._read)

    def open(self, number: int | None = None) -> Index:
        """Return the build in service, opened, or the one of that number.

        `current` is resolved once, so vectors and metadata are of one build whatever is promoted afterwards.

        Raises:
            InputError: nothing was promoted yet, or there is no such build.
            InconsistentError: `current` points at nothing, or at no whole build.
        """
        if number is not None and number not in (known := self.numbers()):
            raise InputError(f"there is no build {number}", hint=f"take one of {', '.join(map(str, known))}")
        index = self._look(self._open) if number is None else self._open(self._builds / str(number))
        if index is None:
            raise InputError(f"there is no index in {self._index} yet", hint=f"run `{self._make}` to build one")
        return index

    def numbers(self) -> list[int]:
        """Return the numbers of all whole builds, ascending, in service or not."""
        return [number for number in sorted(self._whole()) if self._is_whole(number)]

    def next_number(self) -> int:
        """Return a number that no build of any collection has or had a trace of."""
        top = self._data / "index"
        names = (path.name for folder in (top, *top.glob(f"{FOLDER}/*")) for path in self._listing(folder / "builds"))
        numbers = (name.partition(".")[0] for name in names)
        return max((int(number) for number in numbers if number.isdecimal()), default=0) + 1

    def others(self) -> list[int]:
        """Return the numbers of all builds that are not in service, whole or not, ascending."""
        directory = self._resolve()
        return [number for number in sorted(self._whole()) if directory is None or str(number) != directory.name]

    def built_at(self, number: int) -> datetime | None:
        """Return when a build was made, aware, UTC; None where its manifest cannot be read."""
        try:
            return manifest.read_manifest(self._builds / str(number)).built_at
        except InconsistentError:
            return None

    def damage(self, number: int) -> list[str]:
        """Return what is wrong with the files of a build, read in full; an empty list when nothing is."""
        directory = self._builds / str(number)
        try:
            found = manifest.read_manifest(directory)
        except InconsistentError as error:
            return [error.message]
        wrong = [name for name in found.parts if files.sha256_of(directory / name) != found.hashes[name]]
        return [f"{directory / name} has other bytes than the build was made with" for name in wrong]

    def unsound_rows(self, number: int) -> str:
        """Return what is wrong with the vectors of a whole build, read in full, or an empty text."""
        from pipeline.index import verify

        return verify.unsound_build_rows(self._builds / str(number))

    def stale(self) -> list[str]:
        """Return the names of what killed runs left behind; a living run's staging is among them."""
        return [path.name for path in self._stale()]

    def stray_links(self) -> list[str]:
        """Return which of the stable names under DATA do not lead to the build in service, if there is one."""
        if self._resolve() is None:
            return []
        return [name for name in self._linked if not self._is_linked(name)]

    def _resolve(self) -> Path | None:
        """Return the directory `current` points at, there or not, or None where there is no `current`."""
        try:
            target = self._current.readlink()
        except FileNotFoundError:
            return None
        except OSError:
            raise InconsistentError(f"{self._current} is no link to a build", hint=self._rebuild) from None
        if target.parent.name != self._builds.name or not target.name.isdecimal():
            raise InconsistentError(f"{self._current} points at {str(target)!r}, which is no build", hint=self._rebuild)
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
        self._read(directory)
        return Index(directory)

    def _read(self, directory: Path) -> Manifest:
        """Return the manifest of a whole build."""
        try:
            found = manifest.read_manifest(directory)
        except InconsistentError as error:
            raise InconsistentError(f"the index in service is broken: {error.message}", hint=self._rebuild) from None
        if str(found.number) != directory.name:
            raise InconsistentError(f"{directory} holds the manifest of build {found.number}", hint=self._rebuild)
        return found

    def in_service(self) -> Manifest | None:
        """Return the manifest of the build in service, or None where there is none that a reader could use."""
        try:
            return self.current()
        except InconsistentError:
            return None

    def _is_whole(self, number: int) -> bool:
        try:
            self._read(self._builds / str(number))
        except InconsistentError:
            return False
        return True

    def _whole(self) -> set[int]:
        return {int(path.name) for path in self._listing(self._builds) if path.name.isdecimal()}

    @staticmethod
    def _listing(directory: Path) -> list[Path]:
        return sorted(directory.iterdir()) if directory.is_dir() else []

    def _stale(self) -> list[Path]:
        stale = [path for path in self._listing(self._builds) if path.name.endswith(STAGING)]
        folders = (self._index, self._data) if self._linked else (self._index,)
        return stale + [path for folder in folders for path in folder.glob(f"*{files.BESIDE}")]

    def _target(self, name: str) -> Path:
        return Path("index") / self._current.name / name

    def _is_linked(self, name: str) -> bool:
        path = self._data / name
        return path.is_symlink() and path.readlink() == self._target(name)
