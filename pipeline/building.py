"""Building an index: embed what changed, stage from one snapshot, verify, promote in one flip, record.

The build is read from one snapshot of the database and verified before anything points at it. What is embedded lies in
a cache by content, so that needs no lease: nobody who builds the index waits for another's network.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline import embedding
from pipeline.errors import InconsistentError, InputError
from pipeline.runtime import Runtime
from pipeline.store import builds, checks, workspace
from pipeline.store.leases import LeaseLostError

if TYPE_CHECKING:
    from pipeline.index.manifest import Manifest, Promoted
    from pipeline.store.leases import Lease

LEASE = "index"
WAITING = "another process builds the index; waiting for it"
ROUNDS = 5  # of embedding and building; people who come meanwhile, or a lease that was lost, make another one


@dataclass(frozen=True)
class Built:
    """What was built: build number, entries, how many texts were embedded and how many came from the cache."""

    number: int
    count: int
    embedded: int
    cached: int
    model: str
    dim: int
    moved_aside: tuple[str, ...] = ()


def build(rt: Runtime) -> Built:
    """Build and promote an index of every entry of the collection.

    Raises:
        InputError: there is no entry yet.
        InconsistentError: the build did not verify, or this process keeps standing still; the one in service stays.
    """
    _check_any(rt)
    embedded = 0
    for left in reversed(range(ROUNDS)):
        try:
            with rt.waited_lease(LEASE, waiting=WAITING) as lease:
                return _build(rt, lease, embedded=embedded, may_embed=not left)
        except LeaseLostError:  # this process stood still, and somebody else went on with the index: begin again
            if not left:
                raise
        except embedding.NotCachedError:  # the usual case after a change: no lease is held while it is embedded
            embedded += _embed(rt)
    raise AssertionError("the last round returns or raises")


def is_recorded(rt: Runtime, current: "Manifest") -> bool:
    """Return whether the database knows of a build as it is."""
    with rt.store.read() as tx:
        row = checks.build_row(tx, current.number)
    return row is not None and (row["count"], row["model"], row["dim"]) == (current.count, current.model, current.dim)


def record(rt: Runtime, current: "Manifest") -> None:
    """Record a build in service as it is; a run that died right after its promotion did not."""
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


@contextlib.contextmanager
def fence(rt: Runtime, lease: "Lease") -> Iterator[None]:
    """Keep everybody else from taking the lease for the length of a block.

    Raises:
        LeaseLostError: somebody else has it already.
    """
    with rt.store.write() as tx:
        lease.check(tx)
        yield


def _check_any(rt: Runtime) -> None:
    """Refuse to build an index of nothing.

    Raises:
        InputError: there is no entry yet.
    """
    with rt.store.read() as tx:
        if not rt.collection.count(tx):
            raise InputError(
                "nobody is tagged yet, so there is nothing to index; the index in service stays",
                hint="run `make batch-submit`, `make batch-poll` and `make batch-ingest` first",
            )


def _embed(rt: Runtime) -> int:
    """Embed every text that is new, and return how many; no lease is held meanwhile."""
    with rt.store.read() as tx, rt.display.bar("embedding", rt.collection.count(tx)) as bar:
        return embedding.embed_missing(rt, rt.collection.entries(tx), bar=bar)


def _build(rt: Runtime, lease: "Lease", *, embedded: int, may_embed: bool) -> Built:
    """Build and promote under the lease.

    Raises:
        NotCachedError: a vector is missing and may not be asked for here.
        LeaseLostError: somebody else went on with the index while this process stood still, and swept its files away.
    """
    try:
        with fence(rt, lease):
            rt.builds.sweep()
        return _stage_and_promote(rt, lease, embedded=embedded, may_embed=may_embed)
    except (InconsistentError, OSError):
        lease.check()
        raise
    finally:
        rt.builds.discard()  # an interrupt may strike between two steps, each of which cleans up after itself


def _stage_and_promote(rt: Runtime, lease: "Lease", *, embedded: int, may_embed: bool) -> Built:
    """Stage from one snapshot of the database; verify; promote; then record it."""
    model = rt.embedding_model.name
    with rt.store.read() as tx:
        count, position = rt.collection.count(tx), workspace.get(tx).position
        with rt.display.bar("building", count) as bar:
            before = len(rt.vectors)
            staged = rt.builds.stage(
                rt.builds.next_number(),
                embedding.keyed(rt, rt.collection.entries(tx), embed=may_embed, bar=bar),
                rt.vectors,
                model=model,
                dim=rt.settings.dim,
                task_type=embedding.TASK_TYPE,
                position=position,
                progress=bar.show,
            )
            embedded += len(rt.vectors) - before if may_embed else 0
    rt.builds.verify(staged, count=count)
    promoted: Promoted = rt.builds.promote(staged, fence=lambda: fence(rt, lease))
    record(rt, promoted)
    cached = max(0, count - embedded)
    return Built(promoted.number, count, embedded, cached, model, rt.settings.dim, promoted.moved_aside)
