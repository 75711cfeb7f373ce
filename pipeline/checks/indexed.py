"""Is the index in service whole, do the stable paths lead to it, and are the cached vectors sound?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline import building, freshness
from pipeline.building import LEASE, WAITING
from pipeline.checks.finding import Finding, Mend
from pipeline.errors import FindableError, InconsistentError
from pipeline.store import builds, workspace

if TYPE_CHECKING:
    from pipeline.index.manifest import Manifest
    from pipeline.runtime import Runtime

NO_SEARCH = "search finds nothing, or the wrong entries"


def check_index(rt: "Runtime", *, mend: Mend) -> Iterator[Finding]:
    """Is the build in service whole, byte for byte, and recorded?"""
    try:
        current = rt.builds.current()
    except InconsistentError as error:
        mended = _put_back(rt) if mend.on else ""
        yield Finding("index", error.message, NO_SEARCH, mendable=True, mended=mended, next="make index")
        return
    if current is None:
        return
    damage = rt.builds.damage(current.number)
    if damage:
        rows = rt.builds.unsound_rows(current.number)
        said = f"the build in service is damaged: {'; '.join((*damage, *filter(None, [rows])))}"
        mended = _put_back(rt) if mend.on else ""
        yield Finding("index", said, NO_SEARCH, mendable=True, mended=mended, next="make index")
        return
    wanted = (rt.settings.embedding_model, rt.settings.dim)
    if (current.model, current.dim) != wanted:
        said = (
            f"the index is of {current.model}, {current.dim} wide; search would ask for {wanted[0]}, {wanted[1]} wide"
        )
        yield Finding("index", said, "search refuses until both agree", contradiction=False, next="make index")
    yield from _rows(rt, current)
    if not building.is_recorded(current, building.recorded(rt)):
        mended = ""
        if mend.on:
            building.record(rt, current)
            mended = "recorded"
        said = f"build {current.number} is in service and not recorded in the database as it is"
        why = "the journal of builds does not tell what is in service"
        yield Finding("index", said, why, contradiction=False, mendable=True, mended=mended)


def _rows(rt: "Runtime", current: "Manifest") -> Iterator[Finding]:
    """Does the build in service hold vectors, of the people who are in the database, at a position that is past?"""
    wrong = rt.builds.unsound_rows(current.number)
    if wrong:
        yield Finding("index", f"the build in service holds what is no vector: {wrong}", NO_SEARCH, next="make index")
    with rt.store.read() as tx, rt.builds.open() as index:
        position = workspace.get(tx).position
        lag = freshness.lag(rt, tx, index)
    if current.position > position:
        said = (
            f"the build in service was read at database position {current.position}, and the database is at {position}"
        )
        yield Finding(
            "index", said, "the database is an older copy than the index", next="make index after make restore"
        )
    if lag.strangers:
        said = f"the build in service holds {lag.strangers} entries that the database does not have"
        yield Finding("index", said, "search finds what is not there any more", contradiction=False, next="make index")
    elif lag.behind:
        said = f"the build in service is behind the database by {lag.behind} entries"
        yield Finding("index", said, "search does not find what is new", contradiction=False, next="make index")


def check_links(rt: "Runtime", *, mend: Mend) -> Iterator[Finding]:
    """Do DATA/faiss.index and DATA/metadata.json lead to the build in service?"""
    for name in rt.builds.stray_links():
        mended = ""
        if mend.on:
            with rt.waited_lease(LEASE, waiting=WAITING):
                aside = rt.builds.relink(name)
            mended = f"linked again{f', {aside} holds what stood there' if aside else ''}"
        said = f"{name} does not lead to the index in service"
        yield Finding("links", said, "other programs read another index than search", mendable=True, mended=mended)


def check_staging(rt: "Runtime", *, mend: Mend) -> Iterator[Finding]:
    """Did a killed run leave half a build behind?"""
    for name in rt.builds.stale():
        mended = ""
        if mend.on:
            with rt.waited_lease(LEASE, waiting=WAITING):
                rt.builds.sweep()
            mended = "removed"
        said = f"{name} is half a build of a run that died"
        yield Finding("litter", said, "it takes room", contradiction=False, mendable=True, mended=mended)


def check_vectors(rt: "Runtime", *, mend: Mend) -> Iterator[Finding]:
    """Are the cached vectors of the model in use sound?"""
    if not (rt.data / "index" / "vectors").is_dir():
        return
    damaged = rt.vectors.damaged
    if damaged:
        mended = ""
        if mend.on:
            rt.vectors.forget([])
            mended = "dropped; the next index embeds what it needs again"
        said = f"{len(damaged)} cached vectors of {rt.vectors.model} are damaged"
        why = "they count as absent and would be asked for again"
        yield Finding("vectors", said, why, contradiction=False, mendable=True, mended=mended)
    unsound = rt.vectors.unsound()
    if unsound:
        mended = f"dropped {rt.vectors.forget(unsound)}; make index embeds them again" if mend.on else ""
        said = f"{len(unsound)} cached vectors of {rt.vectors.model} are not finite, or not of length 1"
        yield Finding("vectors", said, "the next build would be refused", mendable=True, mended=mended)


def _put_back(rt: "Runtime") -> str:
    """Put the newest whole older build in service; an empty text where there is none."""
    with rt.waited_lease(LEASE, waiting=WAITING) as lease:
        try:
            found = rt.builds.rollback(fence=lambda: building.fence(rt, lease))
        except FindableError:
            return ""
        with rt.store.write() as tx:
            builds.note_in_service(tx, found.number, why="put back by doctor", at=rt.now())
    return f"build {found.number} with {found.count} entries is in service again; make index builds a new one"
