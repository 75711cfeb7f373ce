"""Is the index in service whole, do the stable paths lead to it, and are the cached vectors sound?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.core.errors import FindableError, InconsistentError
from pipeline.index import build, embed, staleness
from pipeline.index.build import LEASE, WAITING
from pipeline.index.builds import Builds
from pipeline.ops.checks.finding import CheckFinding, Mend
from pipeline.store import workspace

if TYPE_CHECKING:
    from pipeline.engine.workspace import OpenWorkspace
    from pipeline.index.manifest import Manifest


NO_SEARCH = "search finds nothing, or the wrong entries"


def check_index(ws: "OpenWorkspace", mend: Mend) -> Iterator[CheckFinding]:
    """Is the build in service whole, byte for byte, and recorded?"""
    try:
        current = Builds(ws.data).current()
    except InconsistentError as error:
        mended = _put_back(ws) if mend.on else ""
        yield CheckFinding("index", error.message, NO_SEARCH, mendable=True, mended=mended, next="make index")
        return
    if current is None:
        return
    damage = Builds(ws.data).damage(current.number)
    if damage:
        rows = Builds(ws.data).unsound_rows(current.number)
        said = f"the build in service is damaged: {'; '.join((*damage, *filter(None, [rows])))}"
        mended = _put_back(ws) if mend.on else ""
        yield CheckFinding("index", said, NO_SEARCH, mendable=True, mended=mended, next="make index")
        return
    wanted = (ws.settings.embedding_model, ws.settings.dim)
    if (current.model, current.dim) != wanted:
        said = (
            f"the index is of {current.model}, {current.dim} wide; search would ask for {wanted[0]}, {wanted[1]} wide"
        )
        yield CheckFinding("index", said, "search refuses until both agree", contradiction=False, next="make index")
    yield from _rows(ws, current)
    if not build.is_build_recorded(current, build.recorded_builds(ws)):
        mended = ""
        if mend.on:
            build.record_build(ws, current)
            mended = "recorded"
        said = f"build {current.number} is in service and not recorded in the database as it is"
        why = "the journal of builds does not tell what is in service"
        yield CheckFinding("index", said, why, contradiction=False, mendable=True, mended=mended)


def _rows(ws: "OpenWorkspace", current: "Manifest") -> Iterator[CheckFinding]:
    """Does the build in service hold vectors, of the people who are in the database, at a position that is past?"""
    wrong = Builds(ws.data).unsound_rows(current.number)
    if wrong:
        yield CheckFinding(
            "index", f"the build in service holds what is no vector: {wrong}", NO_SEARCH, next="make index"
        )
    with ws.store.read() as tx, Builds(ws.data).open() as index:
        position = workspace.get_workspace(tx).position
        lag = staleness.staleness(ws.collection, tx, index, ws.display)
    if current.position > position:
        said = (
            f"the build in service was read at database position {current.position}, and the database is at {position}"
        )
        yield CheckFinding(
            "index", said, "the database is an older copy than the index", next="make index after make restore"
        )
    if lag.strangers:
        said = f"the build in service holds {lag.strangers} entries that the database does not have"
        yield CheckFinding(
            "index", said, "search finds what is not there any more", contradiction=False, next="make index"
        )
    elif lag.behind:
        said = f"the build in service is behind the database by {lag.behind} entries"
        yield CheckFinding("index", said, "search does not find what is new", contradiction=False, next="make index")


def check_links(ws: "OpenWorkspace", mend: Mend) -> Iterator[CheckFinding]:
    """Do DATA/faiss.index and DATA/metadata.json lead to the build in service?"""
    for name in Builds(ws.data).stray_links():
        mended = ""
        if mend.on:
            with ws.waited_lease(LEASE, waiting=WAITING):
                aside = Builds(ws.data).relink(name)
            mended = f"linked again{f', {aside} holds what stood there' if aside else ''}"
        said = f"{name} does not lead to the index in service"
        yield CheckFinding("links", said, "other programs read another index than search", mendable=True, mended=mended)


def check_staging(ws: "OpenWorkspace", mend: Mend) -> Iterator[CheckFinding]:
    """Did a killed run leave half a build behind?"""
    for name in Builds(ws.data).stale():
        mended = ""
        if mend.on:
            with ws.waited_lease(LEASE, waiting=WAITING):
                Builds(ws.data).sweep()
            mended = "removed"
        said = f"{name} is half a build of a run that died"
        yield CheckFinding("litter", said, "it takes room", contradiction=False, mendable=True, mended=mended)


def check_vectors(ws: "OpenWorkspace", mend: Mend) -> Iterator[CheckFinding]:
    """Are the cached vectors of the model in use sound?"""
    if not (ws.data / "index" / "vectors").is_dir():
        return
    damaged = embed.vector_cache(ws).damaged
    if damaged:
        mended = ""
        if mend.on:
            embed.vector_cache(ws).forget([])
            mended = "dropped; the next index embeds what it needs again"
        said = f"{len(damaged)} cached vectors of {embed.vector_cache(ws).model} are damaged"
        why = "they count as absent and would be asked for again"
        yield CheckFinding("vectors", said, why, contradiction=False, mendable=True, mended=mended)
    unsound = embed.vector_cache(ws).unsound()
    if unsound:
        mended = f"dropped {embed.vector_cache(ws).forget(unsound)}; make index embeds them again" if mend.on else ""
        said = f"{len(unsound)} cached vectors of {embed.vector_cache(ws).model} are not finite, or not of length 1"
        yield CheckFinding("vectors", said, "the next build would be refused", mendable=True, mended=mended)


def _put_back(ws: "OpenWorkspace") -> str:
    """Put the newest whole older build in service; an empty text where there is none."""
    with ws.waited_lease(LEASE, waiting=WAITING) as lease:
        try:
            found = Builds(ws.data).rollback(fence=lambda: build.hold_lease_during(ws.store, lease))
        except FindableError:
            return ""
        with ws.store.write() as tx:
            workspace.note_build_in_service(tx, found.number, why="put back by doctor", at=ws.now())
    return f"build {found.number} with {found.count} entries is in service again; make index builds a new one"
