"""Building an index: embed what changed, stage from one snapshot, verify, promote in one flip, record.

The build is read from one snapshot of the database and verified before anything points at it. What is embedded lies in
a cache by content, so that needs no lease: nobody who builds the index waits for another's network. So a build is begun
with a lease, its entries written and a few missing vectors noted; left alone while those are embedded; and taken up
again with another lease, where nobody has touched the index and nothing of ours the database meanwhile.

Rebuild the search index (`pipeline.building` does it), or put the previous build back.

Whoever searches meanwhile has the old build or the new one, never a mixture.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.core import gc_freeze
from pipeline.core.errors import InconsistentError, InputError, UnavailableError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.index import embed
from pipeline.index.builds import Builds
from pipeline.store import integrity, workspace
from pipeline.store.leases import LeaseLostError

if TYPE_CHECKING:
    from pipeline.core.task import Entry
    from pipeline.gemini.rate_limiter import Pacing
    from pipeline.index.manifest import Begun, Manifest, Promotions
    from pipeline.store.database import Store
    from pipeline.store.leases import Lease


LEASE = "index"
WAITING = "another process builds the index; waiting for it"
MILLION = 1_000_000
MANY = 10 * MILLION  # tokens that are told in millions
ROUNDS = 5  # of embedding and building; people who come meanwhile, or a lease that was lost, make another one


@dataclass(frozen=True)
class BuildResult:
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


def build_index(ws: OpenWorkspace) -> BuildResult:
    """Build and promote an index of every entry of the collection.

    Raises:
        InputError: there is no entry yet.
        InconsistentError: the build did not verify, or this process keeps standing still; the one in service stays.
    """
    _check_any(ws)
    embedded, draft, pacing = 0, None, embed.embedding_pacing(ws)
    try:
        for left in reversed(range(ROUNDS)):
            try:
                with ws.waited_lease(LEASE, waiting=WAITING) as lease, _told_apart(lease):
                    draft = _drafted(ws, lease, draft, few=embed.FEW if left else None)
                    if draft.missing and not left:
                        embedded += _embed_few(ws, draft, pacing)
                    if not (draft.missing and left):
                        return _promoted(ws, lease, draft, embedded=embedded)
                embedded += _embed_few(ws, draft, pacing)  # the usual case after a change: no lease is held meanwhile
                draft = replace(draft, missing=())
            except LeaseLostError:  # this process stood still, and somebody else went on with the index: begin again
                if not left:
                    raise
            except embed.TooManyMissingError:
                embedded += _embed_all(ws, pacing)
    finally:
        Builds(ws.data).discard()  # an interrupt may strike between two steps, each of which cleans up after itself
    raise AssertionError("the last round returns or raises")


def is_build_recorded(current: "Manifest", rows: Mapping[int, Mapping[Any, Any]]) -> bool:
    """Return whether these rows of the database (see `checks.build_rows`) know of a build as it is."""
    row = rows.get(current.number)
    return row is not None and (row["count"], row["model"], row["dim"]) == (current.count, current.model, current.dim)


def recorded_builds(ws: OpenWorkspace) -> dict[int, Mapping[Any, Any]]:
    """Return the rows of all builds that the database knows of."""
    with ws.store.read() as tx:
        return integrity.build_rows(tx)


def record_build(ws: OpenWorkspace, current: "Manifest") -> None:
    """Record a build in service as it is; a run that died right after its promotion did not."""
    with ws.store.write() as tx:
        workspace.add_build(
            tx,
            number=current.number,
            count=current.count,
            model=current.model,
            dim=current.dim,
            position=current.position,
            at=ws.now(),
        )


@contextlib.contextmanager
def hold_lease_during(store: "Store", lease: "Lease") -> Iterator[Callable[[], None]]:
    """Keep everybody else from taking the lease for the length of a block, in which it can be looked at again.

    Raises:
        LeaseLostError: somebody else has it already.
        UnavailableError: from the look: the server has ended the transaction.
    """
    with store.write() as tx:
        lease.check(tx)
        yield lambda: lease.check(tx)


def _check_any(ws: OpenWorkspace) -> None:
    """Refuse to build an index of nothing.

    Raises:
        InputError: there is no entry yet.
    """
    with ws.store.read() as tx:
        if not ws.collection.count(tx):
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


def _drafted(ws: OpenWorkspace, lease: "Lease", draft: _Draft | None, *, few: int | None) -> _Draft:
    """Return a build that is begun: the one from before where it still stands for the database, else a new one.

    Raises:
        TooManyError: more than `few` vectors are missing.
    """
    if draft is not None and Builds(ws.data).is_begun(draft.begun):
        with ws.store.read() as tx:
            if workspace.get_workspace(tx).position == draft.begun.position:
                return draft
    with hold_lease_during(ws.store, lease):
        Builds(ws.data).sweep()
    missing: list[Entry] = []
    with ws.store.read() as tx:
        count, position = ws.collection.count(tx), workspace.get_workspace(tx).position
        with gc_freeze.gc_frozen(), ws.display.bar("reading", count) as bar:
            entries = embed.keyed_entries(ws, ws.collection.entries(tx), missing=missing, few=few, bar=bar)
            begun = Builds(ws.data).begin(Builds(ws.data).next_number(), entries, position=position)
    return _Draft(begun, count, tuple(missing))


def _tell_cost(ws: OpenWorkspace, entries: "Iterable[Entry]", count: int) -> None:
    """Say what is about to be embedded and what that costs, where it costs a cent or more; no budget counts it."""
    if not embed.is_paid(ws):
        return
    with ws.display.bar("counting", count, late=True) as bar:
        texts, tokens, cost = embed.embedding_cost(ws, entries, bar=bar)
    if round(cost, 2) > 0:
        about = f"{tokens / MILLION:,.0f} M" if tokens >= MANY else f"{tokens:,}"
        ws.display.say(f"embedding {texts:,} texts, about {about} tokens, ${cost:,.2f}")


def _embed_few(ws: OpenWorkspace, draft: _Draft, pacing: "Pacing") -> int:
    """Embed what a draft lacks, and return how many."""
    _tell_cost(ws, draft.missing, len(draft.missing))
    with ws.display.bar("embedding", len(draft.missing)) as bar:
        return embed.embed_missing(ws, draft.missing, pacing=pacing, bar=bar)


def _embed_all(ws: OpenWorkspace, pacing: "Pacing") -> int:
    """Embed every text that is new, and return how many; no lease is held meanwhile."""
    with ws.store.read() as tx:
        count = ws.collection.count(tx)
        _tell_cost(ws, ws.collection.entries(tx), count)
        with ws.display.bar("embedding", count) as bar:
            return embed.embed_missing(ws, ws.collection.entries(tx), pacing=pacing, bar=bar)


def _promoted(ws: OpenWorkspace, lease: "Lease", draft: _Draft, *, embedded: int) -> BuildResult:
    """Complete what was drafted; verify; promote; then record it."""
    model = ws.embedding_model.name
    with ws.display.bar("building", draft.count) as bar:
        staged = Builds(ws.data).complete(
            draft.begun, embed.vector_cache(ws), task_type=embed.TASK_TYPE, progress=bar.show
        )
    Builds(ws.data).verify(staged, count=draft.count)
    promoted: Promotions = Builds(ws.data).promote(staged, fence=lambda: hold_lease_during(ws.store, lease))
    record_build(ws, promoted)
    cached = max(0, draft.count - embedded)
    return BuildResult(promoted.number, draft.count, embedded, cached, model, ws.settings.dim, promoted.moved_aside)


@dataclass(frozen=True)
class IndexReport(BuildResult):
    """What is in service now: a new build, or with `rolled_back` the one before."""

    rolled_back: bool = False


def run(ws: OpenWorkspace) -> IndexReport:
    """Build and promote an index of every entry of the collection.

    Raises:
        InputError: there is no entry yet.
        InconsistentError: the build did not verify, or this process keeps standing still; the one in service stays.
    """
    return IndexReport(**vars(build_index(ws)))


def roll_back_index(ws: OpenWorkspace) -> IndexReport:
    """Put the previous build back in service.

    Raises:
        InputError: there is none.
        UnavailableError: somebody else built while this process stood still; which build is meant now is to be seen.
    """
    with ws.waited_lease(LEASE, waiting=WAITING) as lease:
        try:
            manifest = Builds(ws.data).rollback(fence=lambda: hold_lease_during(ws.store, lease))
        except LeaseLostError as error:
            raise UnavailableError(error.message, hint="look at `make status`, then run it again") from error
        with ws.store.write() as tx:
            workspace.note_build_in_service(tx, manifest.number, why="rolled back", at=ws.now())
    return IndexReport(manifest.number, manifest.count, 0, 0, manifest.model, manifest.dim, rolled_back=True)
