"""Building an index: embed what changed, stage from one snapshot, verify, promote in one flip, record.

The build is read from one snapshot of the database and verified before anything points at it. What is embedded lies in
a cache by content, so that needs no lease: nobody who builds the index waits for another's network. So a build is begun
with a lease, its entries written and a few missing vectors noted; left alone while those are embedded; and taken up
again with another lease, where nobody has touched the index and nothing of ours the database meanwhile.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline import embedding, garbage
from pipeline.errors import InconsistentError, InputError
from pipeline.runtime import Runtime
from pipeline.store import builds, checks, workspace
from pipeline.store.leases import LeaseLostError

if TYPE_CHECKING:
    from pipeline.gemini.pacing import Pacing
    from pipeline.index.manifest import Begun, Manifest, Promoted
    from pipeline.store.leases import Lease
    from pipeline.task import Entry

LEASE = "index"
WAITING = "another process builds the index; waiting for it"
MILLION = 1_000_000
MANY = 10 * MILLION  # tokens that are told in millions
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


@dataclass(frozen=True)
class _Draft:
    """A build that is begun: how many entries its snapshot holds, and those whose vectors are missing still."""

    begun: "Begun"
    count: int
    missing: "tuple[Entry, ...]"


def build(rt: Runtime) -> Built:
    """Build and promote an index of every entry of the collection.

    Raises:
        InputError: there is no entry yet.
        InconsistentError: the build did not verify, or this process keeps standing still; the one in service stays.
    """
    _check_any(rt)
    embedded, draft, pacing = 0, None, embedding.paced(rt)
    try:
        for left in reversed(range(ROUNDS)):
            try:
                with rt.waited_lease(LEASE, waiting=WAITING) as lease, _told_apart(lease):
                    draft = _drafted(rt, lease, draft, few=embedding.FEW if left else None)
                    if draft.missing and not left:
                        embedded += _embed_few(rt, draft, pacing)
                    if not (draft.missing and left):
                        return _promoted(rt, lease, draft, embedded=embedded)
                embedded += _embed_few(rt, draft, pacing)  # the usual case after a change: no lease is held meanwhile
                draft = replace(draft, missing=())
            except LeaseLostError:  # this process stood still, and somebody else went on with the index: begin again
                if not left:
                    raise
            except embedding.TooManyError:
                embedded += _embed_all(rt, pacing)
    finally:
        rt.builds.discard()  # an interrupt may strike between two steps, each of which cleans up after itself
    raise AssertionError("the last round returns or raises")


def is_recorded(current: "Manifest", rows: Mapping[int, Mapping[Any, Any]]) -> bool:
    """Return whether these rows of the database (see `checks.build_rows`) know of a build as it is."""
    row = rows.get(current.number)
    return row is not None and (row["count"], row["model"], row["dim"]) == (current.count, current.model, current.dim)


def recorded(rt: Runtime) -> dict[int, Mapping[Any, Any]]:
    """Return the rows of all builds that the database knows of."""
    with rt.store.read() as tx:
        return checks.build_rows(tx)


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
def fence(rt: Runtime, lease: "Lease") -> Iterator[Callable[[], None]]:
    """Keep everybody else from taking the lease for the length of a block, in which it can be looked at again.

    Raises:
        LeaseLostError: somebody else has it already.
        UnavailableError: from the look: the server has ended the transaction.
    """
    with rt.store.write() as tx:
        lease.check(tx)
        yield lambda: lease.check(tx)


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


@contextlib.contextmanager
def _told_apart(lease: "Lease") -> Iterator[None]:
    """Tell what contradicts itself from what was swept away under a process that stood still.

    Raises:
        LeaseLostError: somebody else went on with the index meanwhile.
    """
    try:
        yield
    except (InconsistentError, OSError):
        lease.check()
        raise


def _drafted(rt: Runtime, lease: "Lease", draft: _Draft | None, *, few: int | None) -> _Draft:
    """Return a build that is begun: the one from before where it still stands for the database, else a new one.

    Raises:
        TooManyError: more than `few` vectors are missing.
    """
    if draft is not None and rt.builds.is_begun(draft.begun):
        with rt.store.read() as tx:
            if workspace.get(tx).position == draft.begun.position:
                return draft
    with fence(rt, lease):
        rt.builds.sweep()
    missing: list[Entry] = []
    with rt.store.read() as tx:
        count, position = rt.collection.count(tx), workspace.get(tx).position
        with garbage.kept_small(), rt.display.bar("reading", count) as bar:
            entries = embedding.keyed(rt, rt.collection.entries(tx), missing=missing, few=few, bar=bar)
            begun = rt.builds.begin(rt.builds.next_number(), entries, position=position)
    return _Draft(begun, count, tuple(missing))


def _tell_cost(rt: Runtime, entries: "Iterable[Entry]", count: int) -> None:
    """Say what is about to be embedded and what that costs, where it costs a cent or more; no budget counts it."""
    if not embedding.is_paid(rt):
        return
    with rt.display.bar("counting", count, late=True) as bar:
        texts, tokens, cost = embedding.outlook(rt, entries, bar=bar)
    if round(cost, 2) > 0:
        about = f"{tokens / MILLION:,.0f} M" if tokens >= MANY else f"{tokens:,}"
        rt.display.say(f"embedding {texts:,} texts, about {about} tokens, ${cost:,.2f}")


def _embed_few(rt: Runtime, draft: _Draft, pacing: "Pacing") -> int:
    """Embed what a draft lacks, and return how many."""
    _tell_cost(rt, draft.missing, len(draft.missing))
    with rt.display.bar("embedding", len(draft.missing)) as bar:
        return embedding.embed_missing(rt, draft.missing, pacing=pacing, bar=bar)


def _embed_all(rt: Runtime, pacing: "Pacing") -> int:
    """Embed every text that is new, and return how many; no lease is held meanwhile."""
    with rt.store.read() as tx:
        count = rt.collection.count(tx)
        _tell_cost(rt, rt.collection.entries(tx), count)
        with rt.display.bar("embedding", count) as bar:
            return embedding.embed_missing(rt, rt.collection.entries(tx), pacing=pacing, bar=bar)


def _promoted(rt: Runtime, lease: "Lease", draft: _Draft, *, embedded: int) -> Built:
    """Complete what was drafted; verify; promote; then record it."""
    model = rt.embedding_model.name
    with rt.display.bar("building", draft.count) as bar:
        staged = rt.builds.complete(draft.begun, rt.vectors, task_type=embedding.TASK_TYPE, progress=bar.show)
    rt.builds.verify(staged, count=draft.count)
    promoted: Promoted = rt.builds.promote(staged, fence=lambda: fence(rt, lease))
    record(rt, promoted)
    cached = max(0, draft.count - embedded)
    return Built(promoted.number, draft.count, embedded, cached, model, rt.settings.dim, promoted.moved_aside)
