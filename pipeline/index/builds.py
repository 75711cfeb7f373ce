"""Change which build is in service: stage, verify, promote, roll back, delete.

A build goes staged -> verified -> promoted. Killed at any moment, `current` points at a whole, verified build: it is
replaced by one rename, after everything it will point at is on disk. The one thing to know: what stages, promotes,
sweeps or rolls back holds the lock on the index, and `before_flip` looks whether it has it still. Each staging has a
name of its own, so that who lost the lock writes into no other's.
"""

import errno
import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core import files
from pipeline.core.errors import InconsistentError, InputError
from pipeline.core.ranking import Ranking
from pipeline.index.build_lookup import STAGING, BuildLookup
from pipeline.index.manifest import Manifest, Promotions, Staged

if TYPE_CHECKING:
    from pipeline.index.vectors import VectorCache, Vectors
    from pipeline.index.write import Page


_OVERTAKEN = (errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)  # the staging is gone, or its place is taken


class Builds(BuildLookup):
    """The builds of one collection of a workspace."""

    def __init__(self, data_dir: Path, folder: str = "") -> None:
        """Name the places under `data_dir`, in the folder of a collection; nothing is read or made yet."""
        super().__init__(data_dir, folder)
        self._staged: Path | None = None

    def relink(self, name: str) -> str | None:
        """Make DATA/<name> a link through `current`; return the name that a foreign file was moved to, if any."""
        if self._is_linked(name):
            return None
        moved = files.move_aside(self._data / name)
        files.replace_link(self._data / name, self._target(name))
        return moved

    def sweep(self) -> list[str]:
        """Remove what killed runs left behind, and return the names of what was removed."""
        stale = self._stale()
        for path in stale:
            files.remove_link(path)
        return [path.name for path in stale]

    def stage(
        self,
        number: int,
        pages: "Iterable[Page]",
        cache: "VectorCache",
        *,
        count: int,
        position: int,
        task_type: str,
        ranking: Ranking | None = None,
        nonsense: "Vectors | None" = None,
        progress: Callable[[int], None] = lambda _done: None,
    ) -> Staged:
        """Write build `number` of `count` entries, which come in pages; on disk when this returns.

        Without a ranking, words count as they do where nothing is said. The floor is learnt from the vectors of
        `floor.nonsense`, in its order; without them there is none. `progress` is called with the number of rows that
        are written so far. When anything goes wrong, nothing of the build remains.

        Raises:
            InputError: there are no entries.
            InconsistentError: an entry's metadata is no JSON.
            MissingVectorError: a vector is not in the cache.
        """
        from pipeline.index import write

        directory = self._builds / f"{number}.{secrets.token_hex(4)}{STAGING}"
        self._staged = directory
        with files.removed_on_error(directory):
            directory.mkdir(parents=True)
            return write.write_build(
                directory,
                pages,
                cache,
                count=count,
                number=number,
                position=position,
                ranking=ranking or Ranking(),
                task_type=task_type,
                built_at=datetime.now(UTC),
                nonsense=nonsense,
                progress=progress,
            )

    def discard(self) -> None:
        """Remove what was staged last and not promoted, for a caller who ends wherever an interrupt finds it."""
        if self._staged is not None:
            files.remove_link(self._staged)

    def verify(self, staged: Staged, *, count: int) -> None:
        """Pass when the staged build is whole, agrees with itself and the cache, and holds `count` entries.

        Raises:
            InconsistentError: it does not; the staging is removed and the build in service is as it was.
        """
        from pipeline.index import verify

        with files.removed_on_error(staged.directory):
            verify.verify_build(staged, count=count)

    def promote(
        self, staged: Staged, *, before_flip: Callable[[], None] = lambda: None, over: Manifest | None = None
    ) -> Promotions:
        """Put a verified build in service; on disk when this returns. `before_flip` is called before others see it.

        Afterwards there is this build and the one that was in service before; older ones are deleted.

        Raises:
            InconsistentError: the build was not verified, is gone, or was read from an older database position than
                the one in service, which stays unless it is `over`.
        """
        if not staged.verified:
            raise InconsistentError(f"build {staged.manifest.number} was not verified, so it was not promoted")
        with files.removed_on_error(staged.directory):
            return self._promote(staged, before_flip=before_flip, over=over)

    def _promote(self, staged: Staged, *, before_flip: Callable[[], None], over: Manifest | None) -> Promotions:
        """Put a verified build in service that is not older than the one there, but for the one it may be put over."""
        before = self.in_service()
        if before is not None and staged.manifest.position < before.position and before != over:
            raise InconsistentError(
                f"build {staged.manifest.number} was read at database position {staged.manifest.position}, "
                f"the one in service at {before.position}: not promoted",
                hint=f"run `{self._make}` again",
            )
        self._settle(staged)
        moved = tuple(name for name in map(self.relink, self._linked) if name)
        before_flip()
        self._flip(staged.manifest.number)
        self._drop_all_but(staged.manifest.number, before.number if before else None)
        return Promotions(**vars(staged.manifest), moved_aside=moved)

    def rollback(self, *, before_flip: Callable[[], None] = lambda: None) -> Manifest:
        """Put the build before the one in service back, by the flip alone; on disk when this returns.

        Its files are read in full first: a damaged one is passed over, and an older one takes its place.

        Raises:
            InputError: there is none.
            InconsistentError: there are some, all of them damaged.
        """
        directory = self._resolve()
        older = [number for number in self.numbers() if directory is None or number < int(directory.name)]
        number = next((number for number in reversed(older) if not self.damage(number)), None)
        if number is None and older:
            raise InconsistentError(f"{self.damage(older[-1])[0]}: not put back", hint=f"run `{self._make}`")
        if number is None:
            raise InputError("there is no previous build to put back", hint=f"run `{self._make}` to build one")
        before_flip()
        self._flip(number)
        return self._read(self._builds / str(number))

    def delete(self, numbers: Iterable[int]) -> list[int]:
        """Remove builds that are not in service; return the numbers of those that were there."""
        found = sorted(set(numbers) & set(self.others()))
        for number in found:
            files.remove_link(self._builds / str(number))
        return found

    def retire(self) -> None:
        """Take the build in service away, with the stable paths to it and every build; afterwards there is no index.

        First the stable paths, then `current`, then the builds: killed half way, what is left leads nowhere.
        """
        for name in self._linked:
            if self._is_linked(name):
                files.remove_link(self._data / name)
        files.remove_link(self._current)
        for number in self._whole():
            files.remove_link(self._builds / str(number))

    def _settle(self, staged: Staged) -> None:
        try:
            staged.directory.rename(self._builds / str(staged.manifest.number))
        except OSError as error:
            if error.errno not in _OVERTAKEN:  # the disk is full, or cannot be written: nothing contradicts itself
                raise
            raise InconsistentError(
                f"build {staged.manifest.number} could not take its place: {error.strerror}",
                hint=f"run `{self._make}` again",
            ) from None
        files.sync_directory(self._builds)

    def _flip(self, number: int) -> None:
        if self._current.is_dir() and not self._current.is_symlink():
            files.move_aside(self._current)  # a copy that followed links; a rename cannot take a directory's place
        files.replace_link(self._current, Path(self._builds.name) / str(number))

    def _drop_all_but(self, number: int, before: int | None) -> None:
        """Remove every build but `number` and the one that was in service before it, or the newest whole other."""
        others = [other for other in self.numbers() if other != number]
        kept = {number, before if before in others else max(others, default=number)}
        for other in self._whole() - kept:
            files.remove_link(self._builds / str(other))  # half removed it is no build any more: a file is missing
