"""The builds of a workspace: which is in service, which are whole; stage, verify, promote, roll back, delete.

    DATA/index/builds/<n>.<x>.staging/  being written; not read
    DATA/index/builds/<n>/              verified
    DATA/index/current                  a symlink to builds/<n>, which every reader follows
    DATA/faiss.index, metadata.json     links through `current`, for other programs
    DATA/index/tasks/<name>/            builds/ and current of another collection, which has no stable paths

A build's number is its own in the whole workspace, so that the database's rows of builds tell each by it: the one
that was promoted last decides, and the link follows it, also after a death in between (`follow`). A reader needs no
lock: a build that is promoted away while it is opened is looked for again.

Killed at any moment, `current` points at a whole, verified build: it is replaced by one rename, after everything it
will point at is on disk. The one thing to know: what stages, promotes, sweeps or rolls back holds the lock on the
index, and `decide` looks whether it has it still, and commits the row. Each staging has a name of its own, so that who
lost the lock writes into no other's.
"""

import contextlib
import secrets
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import select

from pipeline.core import files
from pipeline.core.command_hint import CommandHint
from pipeline.core.errors import FindableError, InconsistentError, InputError
from pipeline.core.ranking import Entry
from pipeline.engine.task import IndexedTask
from pipeline.engine.workspace import WorkspaceSession
from pipeline.index import manifest
from pipeline.index.build_reader import Index
from pipeline.index.manifest import Manifest, StagedBuild, content_hash
from pipeline.store import schema, workspace
from pipeline.store.database import Connection, Store

Found = TypeVar("Found")
Decide = Callable[
    [Manifest], object
]  # what makes the database tell of a build that it is in service
LOCK = "index"
STAGING = ".staging"
LINKED = (manifest.INDEX, manifest.METADATA)
FOLDER = "tasks"  # below DATA/index: a folder for each collection but the first
_LOOKS = 10  # how often a reader looks again while builds are promoted


def left_folders(data_dir: Path, folders: Container[str]) -> list[Path]:
    """Return the folders of builds, by name, that are none of these: their tasks are indexed no more."""
    found = sorted((data_dir / "index").glob(f"{FOLDER}/*"))
    return [path for path in found if f"{FOLDER}/{path.name}" not in folders]


def settled_builds(ws: WorkspaceSession) -> "Builds":
    """Return the builds of the collection in use, after the link has followed the database."""
    builds = Builds(ws.data, ws.collection.folder)
    if builds.decided(ws.store) is not None:
        with ws.lock(LOCK):
            builds.follow(ws.store)
    return builds


class Builds:
    """The builds of one collection of a workspace."""

    def __init__(self, data_dir: Path, folder: str = "") -> None:
        """Name the places under `data_dir`, in the folder of a collection; nothing is read or made yet."""
        self._data = data_dir
        self._index = data_dir / "index" / folder
        self._linked = () if folder else LINKED
        self._make = CommandHint("index", task=self._index.name if folder else None)
        self._rebuild = f"run `{self._make}` to build it again, or `{CommandHint('doctor')}` to see what is wrong"
        self._builds = self._index / "builds"
        self._current = self._index / "current"

    def current(self) -> Manifest | None:
        """Return the manifest of the build in service, or None before the first promotion."""
        return self._look(self._read)

    def open(self) -> Index:
        """Return the build in service, opened: vectors and metadata are of one, whatever is promoted afterwards."""
        index = self._look(lambda directory: Index(directory, self._read(directory)))
        if index is None:
            raise InputError(
                f"there is no index in {self._index} yet", hint=f"run `{self._make}` to build one"
            )
        return index

    def whole(self) -> dict[int, Manifest]:
        """Return the manifests of all whole builds by number, ascending, in service or not."""
        found = dict[int, Manifest]()
        for number in sorted(self._numbers()):
            with contextlib.suppress(InconsistentError):
                found[number] = self._read(self._builds / str(number))
        return found

    def next_number(self) -> int:
        """Return a number that no build of any collection has or had a trace of."""
        folders = (self._data / "index").glob("**/builds/*")
        numbers = (path.name.partition(".")[0] for path in folders)
        return max((int(number) for number in numbers if number.isdecimal()), default=0) + 1

    def others(self) -> list[int]:
        """Return the numbers of all builds that are not in service, whole or not, ascending."""
        directory = self._resolve()
        return [
            number
            for number in sorted(self._numbers())
            if directory is None or str(number) != directory.name
        ]

    def damage(self, number: int) -> list[str]:
        """Return what is wrong with the files of a build, read in full; an empty list when nothing is."""
        directory = self._builds / str(number)
        try:
            return manifest.changed(directory, manifest.read_manifest(directory))
        except InconsistentError as error:
            return [error.message]

    def stale(self) -> list[Path]:
        """Return what killed runs left behind; a living run's staging is among it."""
        folders = (self._index, self._data) if self._linked else (self._index,)
        links = (path for folder in folders for path in folder.glob(f"*{files.BESIDE}"))
        return [*sorted(self._builds.glob(f"*{STAGING}")), *links]

    def stray_links(self) -> list[str]:
        """Return which of the stable names under DATA do not lead to the build in service, if there is one."""
        if self._resolve() is None:
            return []
        return [name for name in self._linked if not self._is_linked(name)]

    def _relink(self, name: str) -> str | None:
        """Make DATA/<name> a link through `current`; return the name that a foreign file was moved to, if any."""
        if self._is_linked(name):
            return None
        moved = files.move_aside(self._data / name)
        files.replace_link(self._data / name, self._target(name))
        return moved

    def sweep(self) -> None:
        """Remove what killed runs left behind."""
        for path in self.stale():
            files.remove_link(path)

    @contextlib.contextmanager
    def staging(self, number: int) -> Iterator[Path]:
        """Sweep, and make a folder for build `number`, of which nothing remains but what the block promoted."""
        self.sweep()
        directory = self._builds / f"{number}.{secrets.token_hex(4)}{STAGING}"
        try:
            directory.mkdir(parents=True)
            yield directory
        finally:
            files.remove_link(directory)

    def promote(self, staged: StagedBuild, *, decide: Decide) -> tuple[str, ...]:
        """Put a verified build in service; on disk when this returns. `decide` is called before others see it.

        All others are deleted but the one before it, or else the newest whole one. Return the names that foreign files
        were moved to, which stood where the links are.
        """
        if not staged.verified:
            raise InconsistentError(
                f"build {staged.manifest.number} was not verified, so it was not promoted"
            )
        current = self.in_service()
        number = staged.manifest.number
        staged.directory.rename(self._builds / str(number))
        files.sync_directory(self._builds)
        moved = tuple(name for name in map(self._relink, self._linked) if name)
        decide(staged.manifest)
        self._flip(number)
        before = current and current.number
        others = [other for other in self.whole() if other != number]
        kept = {number, before if before in others else max(others, default=number)}
        for other in self._numbers() - kept:
            files.remove_link(
                self._builds / str(other)
            )  # half removed it is no build any more: a file is missing
        return moved

    def rollback(self, *, decide: Decide) -> Manifest:
        """Put the build before the one in service back, by the flip alone; on disk when this returns.

        Its files are read in full first: a damaged one is passed over, and an older one takes its place.
        """
        directory = self._resolve()
        older = [
            number for number in self.whole() if directory is None or number < int(directory.name)
        ]
        number = next((number for number in reversed(older) if not self.damage(number)), None)
        if number is None and older:
            raise InconsistentError(
                f"{self.damage(older[-1])[0]}: not put back", hint=f"run `{self._make}`"
            )
        if number is None:
            raise InputError(
                "there is no previous build to put back", hint=f"run `{self._make}` to build one"
            )
        decide(found := self._read(self._builds / str(number)))
        self._flip(number)
        return found

    def decided(self, store: Store) -> int | None:
        """Return the build that the database has in service, where the link does not lead to it.

        An older copy of the database, which does not know where the link leads, decides nothing.
        """
        with store.read() as tx:
            told = tx.execute(select(schema.builds.c.number, schema.builds.c.promoted_at))
            known = {row[0]: row[1] for row in told}
        linked = None
        there = self._numbers() & known.keys()
        with contextlib.suppress(
            InconsistentError
        ):  # what stands there is no link, as in a copy that followed links
            linked = None if (directory := self._resolve()) is None else int(directory.name)
        last = max(there, key=lambda number: known[number], default=linked)
        return None if last == linked or (linked is not None and linked not in known) else last

    def follow(self, store: Store) -> None:
        """Let the link follow the database, after a death between the two."""
        if (number := self.decided(store)) is not None:
            self._flip(number)

    def delete(self, numbers: Iterable[int]) -> None:
        """Remove those of some builds that are not in service."""
        for number in {*numbers} & {*self.others()}:
            files.remove_link(self._builds / str(number))

    def retire(self) -> None:
        """Take the build in service away, with the stable paths to it and every build; afterwards there is no index."""
        for number in self._numbers():  # first, for what is left of them must not come back
            files.remove_link(self._builds / str(number))
        for name in self._linked:
            if self._is_linked(name):
                files.remove_link(self._data / name)
        files.remove_link(self._current)

    def _flip(self, number: int) -> None:
        if self._current.is_dir() and not self._current.is_symlink():
            files.move_aside(
                self._current
            )  # a copy that followed links; a rename cannot take a directory's place
        files.replace_link(self._current, Path(self._builds.name) / str(number))

    def _resolve(self) -> Path | None:
        """Return the directory `current` points at, there or not, or None where there is no `current`."""
        try:
            target = self._current.readlink()
        except FileNotFoundError:
            return None
        except OSError:
            raise InconsistentError(
                f"{self._current} is no link to a build", hint=self._rebuild
            ) from None
        if target.parent.name != self._builds.name or not target.name.isdecimal():
            raise InconsistentError(
                f"{self._current} points at {str(target)!r}, which is no build", hint=self._rebuild
            )
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
        raise InconsistentError(
            "the index was replaced each time it was opened", hint="run the same command again"
        )

    def _read(self, directory: Path) -> Manifest:
        try:
            found = manifest.read_manifest(directory)
        except InconsistentError as error:
            raise InconsistentError(
                f"the index in service is broken: {error.message}", hint=self._rebuild
            ) from None
        if str(found.number) != directory.name:
            raise InconsistentError(
                f"{directory} holds the manifest of build {found.number}", hint=self._rebuild
            )
        return found

    def in_service(self) -> Manifest | None:
        """Return the manifest of the build in service, or None where there is none that a reader could use."""
        try:
            return self.current()
        except InconsistentError:
            return None

    def _numbers(self) -> set[int]:
        return {int(path.name) for path in self._builds.glob("*") if path.name.isdecimal()}

    def _target(self, name: str) -> Path:
        return Path("index") / self._current.name / name

    def _is_linked(self, name: str) -> bool:
        path = self._data / name
        return path.is_symlink() and path.readlink() == self._target(name)


def count_stale(
    collection: IndexedTask, tx: Connection, index: Index | None, *, exact: bool = False
) -> int:
    """Return how many entries an index is behind by; without one, how many there are.

    They are compared where a command has changed some since, or with `exact`, which finds changes of other programs.
    """
    if index is None:
        return collection.count(tx)
    build = index.manifest.number
    position = index.manifest.position
    if not (exact or workspace.has_changed(tx, collection.task, build=build, position=position)):
        return 0
    known_hashes = index.content_hashes()
    known_hashes |= {
        entry_id: refused.content for entry_id, refused in index.manifest.refused.items()
    }
    outdated = sum(
        known_hashes.pop(entry.id, None) != content_hash(entry) for entry in collection.entries(tx)
    )
    return outdated + len(
        known_hashes.keys() - index.manifest.refused.keys()
    )  # which the database has not


def place_of_entry(
    data: Path, collection: IndexedTask, item_id: str, entry: Entry | None
) -> dict[str, Any]:
    """Return {indexed, up_to_date, build}: whether the index in service holds an item, and as its entry is now.

    A broken index has its `problem`, too.
    """
    nothing = {"indexed": False, "up_to_date": False, "build": None}
    try:
        with Builds(data, collection.folder).open() as index:
            held = index.entry_of(item_id)
            number = index.manifest.number
    except InputError:  # there is none yet
        return nothing
    except FindableError as error:
        return {**nothing, "problem": error.message}
    is_same = entry is not None and held is not None and held[1] == content_hash(entry)
    return {"indexed": held is not None, "up_to_date": is_same, "build": number}
