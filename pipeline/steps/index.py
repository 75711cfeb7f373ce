"""Rebuild the search index: embed what changed, stage, verify, promote in one flip. Or put the previous build back.

The build is read from one snapshot of the database and verified before anything points at it; whoever searches
meanwhile has the old build or the new one, never a mixture.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline import embedding
from pipeline.errors import InputError
from pipeline.runtime import Runtime
from pipeline.store import builds, workspace

if TYPE_CHECKING:
    from pipeline.index.manifest import Promoted
    from pipeline.store.leases import Lease

LEASE = "index"
WAITING = "another process builds the index; waiting for it"


@dataclass(frozen=True)
class Report:
    """What was built: build number, entries, how many texts were embedded and how many came from the cache."""

    number: int
    count: int
    embedded: int
    cached: int
    model: str
    dim: int
    moved_aside: tuple[str, ...] = ()
    rolled_back: bool = False


def run(rt: Runtime) -> Report:
    """Build and promote an index of every entry of the collection.

    Raises:
        InputError: there is no entry yet.
        InconsistentError: the build did not verify; the one in service stays.
    """
    with rt.waited_lease(LEASE, waiting=WAITING) as lease:
        rt.builds.sweep()
        with rt.store.read() as tx:
            total = rt.collection.count(tx)
        if not total:
            raise InputError(
                "nobody is tagged yet, so there is nothing to index; the index in service stays",
                hint="run `make batch-submit`, `make batch-poll` and `make batch-ingest` first",
            )
        with rt.store.read() as tx, rt.display.bar("embedding", total) as bar:
            embedded = embedding.embed_missing(rt, rt.collection.entries(tx), bar=bar)
        return _build(rt, lease, embedded=embedded)


def roll_back(rt: Runtime) -> Report:
    """Put the previous build back in service.

    Raises:
        InputError: there is none.
    """
    with rt.waited_lease(LEASE, waiting=WAITING) as lease:
        lease.check()
        manifest = rt.builds.rollback()
        with rt.store.write() as tx:
            builds.note_in_service(tx, manifest.number, why="rolled back", at=rt.now())
    return Report(manifest.number, manifest.count, 0, 0, manifest.model, manifest.dim, rolled_back=True)


def _build(rt: Runtime, lease: "Lease", *, embedded: int) -> Report:
    """Stage from one snapshot, embedding what changed since; verify; promote; then record it."""
    model = rt.embedding_model.name
    with rt.store.read() as tx:
        count, position = rt.collection.count(tx), workspace.get(tx).position
        with rt.display.bar("checking vectors", count) as bar:
            embedded += embedding.embed_missing(rt, rt.collection.entries(tx), bar=bar)
        with rt.display.bar("building", count) as bar:
            staged = rt.builds.stage(
                rt.builds.next_number(),
                ((entry, embedding.key_of(rt, entry.text)) for entry in rt.collection.entries(tx)),
                rt.vectors,
                model=model,
                dim=rt.settings.dim,
                task_type=embedding.TASK_TYPE,
                position=position,
                progress=bar.show,
            )
    rt.builds.verify(staged, count=count)
    promoted: Promoted = rt.builds.promote(staged, check=lease.check)
    with rt.store.write() as tx:
        builds.add(
            tx,
            number=promoted.number,
            count=count,
            model=model,
            dim=rt.settings.dim,
            position=position,
            at=rt.now(),
        )
    cached = max(0, count - embedded)
    return Report(promoted.number, count, embedded, cached, model, rt.settings.dim, promoted.moved_aside)
