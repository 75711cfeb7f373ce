"""Is the index in service whole, do the stable paths lead to it, and are the cached vectors sound?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.checks.finding import Finding
from pipeline.errors import FindableError, InconsistentError
from pipeline.store import builds, checks

if TYPE_CHECKING:
    from pipeline.index.manifest import Manifest
    from pipeline.runtime import Runtime

LEASE = "index"
WAITING = "another process builds the index; waiting for it"


def check_index(rt: "Runtime", *, fix: bool) -> Iterator[Finding]:
    """Is the build in service whole, byte for byte, and recorded?"""
    try:
        current = rt.builds.current()
    except InconsistentError as error:
        yield Finding("index", error.message, mendable=True, mended=_put_back(rt) if fix else "", next="make index")
        return
    if current is None:
        return
    damage = rt.builds.damage(current.number)
    if damage:
        said = f"the build in service is damaged: {'; '.join(damage)}"
        yield Finding("index", said, mendable=True, mended=_put_back(rt) if fix else "", next="make index")
        return
    wanted = (rt.settings.embedding_model, rt.settings.dim)
    if (current.model, current.dim) != wanted:
        said = (
            f"the index is of {current.model}, {current.dim} wide; search would ask for {wanted[0]}, {wanted[1]} wide"
        )
        yield Finding("index", said, contradiction=False, next="make index")
    with rt.store.read() as tx:
        row = checks.build_row(tx, current.number)
    if row is None or (row["count"], row["model"], row["dim"]) != (current.count, current.model, current.dim):
        mended = ""
        if fix:
            _record(rt, current)
            mended = "recorded"
        said = f"build {current.number} is in service and not recorded in the database as it is"
        yield Finding("index", said, contradiction=False, mendable=True, mended=mended)


def check_links(rt: "Runtime", *, fix: bool) -> Iterator[Finding]:
    """Do DATA/faiss.index and DATA/metadata.json lead to the build in service?"""
    for name in rt.builds.stray_links():
        mended = ""
        if fix:
            with rt.waited_lease(LEASE, waiting=WAITING):
                aside = rt.builds.relink(name)
            mended = f"linked again{f', {aside} holds what stood there' if aside else ''}"
        yield Finding("links", f"{name} does not lead to the index in service", mendable=True, mended=mended)


def check_staging(rt: "Runtime", *, fix: bool) -> Iterator[Finding]:
    """Did a killed run leave half a build behind?"""
    for name in rt.builds.stale():
        mended = ""
        if fix:
            with rt.waited_lease(LEASE, waiting=WAITING):
                rt.builds.sweep()
            mended = "removed"
        yield Finding(
            "litter", f"{name} is half a build of a run that died", contradiction=False, mendable=True, mended=mended
        )


def check_vectors(rt: "Runtime", *, fix: bool) -> Iterator[Finding]:
    """Are the cached vectors of the model in use sound?"""
    if not (rt.data / "index" / "vectors").is_dir():
        return
    damaged = rt.vectors.damaged
    if damaged:
        mended = ""
        if fix:
            rt.vectors.forget([])
            mended = "dropped; the next index embeds what it needs again"
        said = f"{len(damaged)} cached vectors of {rt.vectors.model} are damaged"
        yield Finding("vectors", said, contradiction=False, mendable=True, mended=mended)


def _record(rt: "Runtime", current: "Manifest") -> None:
    """Record the build in service as it is."""
    with rt.store.write() as tx:
        builds.add(
            tx,
            number=current.number,
            count=current.count,
            model=current.model,
            dim=current.dim,
            position=current.position,
            at=rt.now(),
        )


def _put_back(rt: "Runtime") -> str:
    """Put the newest whole older build in service; an empty text where there is none."""
    with rt.waited_lease(LEASE, waiting=WAITING) as lease:
        lease.check()
        try:
            found = rt.builds.rollback()
        except FindableError:
            return ""
        with rt.store.write() as tx:
            builds.note_in_service(tx, found.number, why="put back by doctor", at=rt.now())
    return f"build {found.number} with {found.count} entries is in service again; make index builds a new one"
