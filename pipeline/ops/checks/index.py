"""Is the index in service whole, do the stable paths lead to it, and are the cached vectors sound?"""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from pipeline.core import links
from pipeline.core.errors import FindableError, InconsistentError
from pipeline.index import build, embed, staleness
from pipeline.index.build_lookup import left_folders
from pipeline.index.builds import Builds
from pipeline.ops.checks.finding import CheckFinding, Mend, WorkspaceChecks, notice
from pipeline.store import leases, workspace

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.core.task import Collection
    from pipeline.engine.workspace import OpenWorkspace
    from pipeline.index.manifest import Manifest


NO_SEARCH = "search finds nothing, or the wrong entries"


class IndexChecks(WorkspaceChecks):
    """The checks of one collection's index."""

    def __init__(self, ws: "OpenWorkspace", mend: Mend, collection: "Collection") -> None:
        """Keep the workspace, what may be mended, and the collection."""
        super().__init__(ws, mend)
        self._collection = collection
        self._builds = Builds(ws.data, collection.folder)
        self._make = ws.task_of(collection.task).words.make("index")
        self._finding = partial(CheckFinding, "index", next=self._make)
        self._notice = partial(self._finding, contradiction=False)

    def build_in_service(self) -> Iterator[CheckFinding]:
        """Is the build in service whole, byte for byte, and recorded?"""
        try:
            current = self._builds.current()
        except InconsistentError as error:
            yield self._finding(error.message, NO_SEARCH, mendable=True, mended=self._mend.by(self._put_back))
            return
        if current is None:
            return
        if damage := self._builds.damage(current.number):
            rows = self._builds.unsound_rows(current.number)
            said = f"the build in service is damaged: {'; '.join((*damage, *filter(None, [rows])))}"
            yield self._finding(said, NO_SEARCH, mendable=True, mended=self._mend.by(self._put_back))
            return
        model, dim = self._ws.settings.embedding_model, self._ws.settings.dim
        if (current.model, current.dim) != (model, dim):
            said = f"the index is of {current.model}, {current.dim} wide; search would ask for {model}, {dim} wide"
            yield self._notice(said, "search refuses until both agree")
        yield from self._entries(current)
        if not build.is_build_recorded(current, build.recorded_builds(self._store)):
            said = f"build {current.number} is in service and not recorded in the database as it is"
            why = "the journal of builds does not tell what is in service"
            yield self._notice(said, why, mendable=True, mended=self._mend.by(lambda: self._record(current)), next="")

    def stable_links(self) -> Iterator[CheckFinding]:
        """Do DATA/faiss.index and DATA/metadata.json lead to the build in service?"""
        for name in self._builds.stray_links():
            said, why = f"{name} does not lead to the index in service", "other programs read another index than search"
            yield CheckFinding("links", said, why, mendable=True, mended=self._mend.by(partial(self._relink, name)))

    def staging(self) -> Iterator[CheckFinding]:
        """Did a killed run leave half a build behind?"""
        with self._store.read() as tx:
            held, _ = leases.leases_by_life(tx, now=self._ws.now())
        if build.LEASE in held:  # what is staged now is the build that is being made
            return
        for name in self._builds.stale():
            said, mended = f"{name} is half a build of a run that died", self._mend.by(self._sweep)
            yield notice("litter", said, "it takes room", mendable=True, mended=mended)

    def _entries(self, current: "Manifest") -> Iterator[CheckFinding]:
        """Does the build in service hold vectors, of the entries of the database, at a position that is past?"""
        if wrong := self._builds.unsound_rows(current.number):
            yield self._finding(f"the build in service holds what is no vector: {wrong}", NO_SEARCH)
        with self._store.read() as tx, self._builds.open() as index:
            position = workspace.get_workspace(tx).position
            lag = staleness.staleness(self._collection, tx, index, self._ws.display)
        if current.position > position:
            read_at = f"the build in service was read at database position {current.position}"
            why = "the database is an older copy than the index"
            ways = f"put the newer database back, or {self._make} WORSE_OK=1"
            yield self._finding(f"{read_at}, and the database is at {position}", why, next=ways)
        if lag.strangers:
            said = f"the build in service holds {lag.strangers} entries that the database does not have"
            yield self._notice(said, "search finds what is not there any more")
        elif lag.behind:
            said = f"the build in service is behind the database by {lag.behind} entries"
            yield self._notice(said, "search does not find what is new")

    def _record(self, current: "Manifest") -> str:
        build.record_build(self._store, current, at=self._ws.now())
        return "recorded"

    def _relink(self, name: str) -> str:
        with self._ws.waited_lease(build.LEASE, waiting=build.WAITING):
            aside = self._builds.relink(name)
        return f"linked again{f', {aside} holds what stood there' if aside else ''}"

    def _sweep(self) -> str:
        with self._ws.waited_lease(build.LEASE, waiting=build.WAITING):
            self._builds.sweep()
        return "removed"

    def _put_back(self) -> str:
        """Put the newest whole older build in service; an empty text where there is none."""
        with self._ws.waited_lease(build.LEASE, waiting=build.WAITING) as lease:
            try:
                found = self._builds.rollback(fence=lambda: build.hold_lease_during(self._store, lease))
            except FindableError:
                return ""
            with self._store.write() as tx:
                workspace.note_build_in_service(tx, found.number, why="put back by doctor", at=self._ws.now())
        return f"build {found.number} with {found.count} entries is in service again; {self._make} builds a new one"


def check_left_folders(ws: "OpenWorkspace", mend: Mend) -> Iterator[CheckFinding]:
    """Are there indexes of tasks that are indexed no more?"""
    for path in left_folders(ws.data, [one.folder for one in ws.collections]):
        said, why = f"{path} is an index of a task that is indexed no more", "it takes room, and keeps what it shows"
        yield notice("litter", said, why, mendable=True, mended=mend.by(partial(_remove, ws, path)))


def _remove(ws: "OpenWorkspace", path: "Path") -> str:
    with ws.waited_lease(build.LEASE, waiting=build.WAITING):
        links.remove_link(path)
    return "removed"


def check_vectors(ws: "OpenWorkspace", mend: Mend) -> Iterator[CheckFinding]:
    """Are the cached vectors of the model in use sound, whatever they are of?"""
    if not (ws.data / "index" / "vectors").is_dir():
        return
    cache = embed.vector_cache(ws)
    if damaged := cache.damaged:
        mended = ""
        if mend.on:
            cache.forget([])
            mended = "dropped; the next index embeds what it needs again"
        said = f"{len(damaged)} cached vectors of {cache.model} are damaged"
        why = "they count as absent and would be asked for again"
        yield notice("vectors", said, why, mendable=True, mended=mended)
    if unsound := cache.unsound():
        mended = f"dropped {cache.forget(unsound)}; make index embeds them again" if mend.on else ""
        said = f"{len(unsound)} cached vectors of {cache.model} are not finite, or not of length 1"
        yield CheckFinding("vectors", said, "the next build would be refused", mendable=True, mended=mended)
