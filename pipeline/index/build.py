"""Build an index: embed what changed, stage from one snapshot, verify, promote in one flip, record; or roll back.

A search meanwhile has the old build or the new one, never a mixture. What is embedded lies in a cache by content, so
that needs no lease, and no process that builds the index waits for another's network. So a build is begun with a lease,
its entries written and a few missing vectors noted; left alone while those are embedded; and taken up again with
another lease, where neither the index nor the database was changed meanwhile.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pipeline.core import __version__
from pipeline.core.errors import ConfigurationError, InconsistentError, InputError, RemoteError, UnavailableError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.index import embed
from pipeline.index.builds import Builds
from pipeline.index.copying import DamagedBuildError
from pipeline.index.evaluate import check_not_worse
from pipeline.index.floor import nonsense
from pipeline.store import integrity, workspace
from pipeline.store.leases import Lease, LeaseLostError

if TYPE_CHECKING:
    from pipeline.core.task import Collection, Entry
    from pipeline.index.copying import Before
    from pipeline.index.manifest import Begun, Manifest
    from pipeline.store.database import Store


LEASE = "index"
WAITING = "another process builds the index; waiting for it"
MILLION = 1_000_000
MANY = 10 * MILLION  # tokens that are counted in millions
ROUNDS = 5  # of embedding and building; entries that come meanwhile, or a lease that was lost, make another one


@dataclass(frozen=True)
class IndexReport:
    """What is in service now: build number, entries, how many texts were embedded and how many came from the cache.

    It is a new build, or with `rolled_back` the one before.
    """

    number: int
    count: int
    embedded: int
    cached: int
    model: str
    dim: int
    moved_aside: tuple[str, ...] = ()
    rolled_back: bool = False


@dataclass(frozen=True)
class _Draft:
    """A build that is begun: how many entries its snapshot holds, and those whose vectors are missing still."""

    begun: "Begun"
    count: int
    missing: "tuple[Entry, ...]"


def run(ws: OpenWorkspace, *, worse_ok: bool = False) -> IndexReport:
    """Build and promote an index of every entry of the collection of the task in use.

    With `worse_ok` also where it does worse on judged questions than the one in service, or where the
    database was put back to an older copy than that one is of.

    Raises:
        InputError: there is no entry yet, or nothing of the task is indexed.
        InconsistentError: the build did not verify, the database is an older copy than the index, or this process keeps
            standing still; the one in service stays.
        GateError: it does worse on the judged questions, by more than chance; the one in service stays.
    """
    words = ws.task.words
    with ws.store.read() as tx:
        if not ws.collection.count(tx):
            raise InputError(
                f"no {words.one} is {words.done} yet, so there is nothing to index; the index in service stays",
                hint=f"run `{words.make('tag')}` first",
            )
    return _Building(ws, worse_ok=worse_ok).run()


def roll_back_index(ws: OpenWorkspace) -> IndexReport:
    """Put the previous build of the task in use back in service.

    Raises:
        InputError: there is none, or nothing of the task is indexed.
        UnavailableError: another process built while this one stood still; which build is meant now is to be seen.
    """
    builds = Builds(ws.data, ws.collection.folder)
    with ws.waited_lease(LEASE, waiting=WAITING) as lease:
        try:
            manifest = builds.rollback(fence=lambda: hold_lease_during(ws.store, lease))
        except LeaseLostError as error:
            raise UnavailableError(error.message, hint="look at `make status`, then run it again") from error
        with ws.store.write() as tx:
            workspace.note_build_in_service(tx, manifest.number, why="rolled back", at=ws.now())
    return IndexReport(manifest.number, manifest.count, 0, 0, manifest.model, manifest.dim, rolled_back=True)


def is_build_recorded(current: "Manifest", rows: Mapping[int, Mapping[Any, Any]]) -> bool:
    """Return whether these rows of the database (see `integrity.build_rows`) know of a build as it is."""
    row = rows.get(current.number)
    return row is not None and (row["count"], row["model"], row["dim"]) == (current.count, current.model, current.dim)


def recorded_builds(store: "Store") -> dict[int, Mapping[Any, Any]]:
    """Return the rows of all builds that the database knows of."""
    with store.read() as tx:
        return integrity.build_rows(tx)


def record_build(
    store: "Store", collection: "Collection", builds: Builds, current: "Manifest", *, at: datetime
) -> None:
    """Record a collection's build in service as it is; a run that died right after its promotion did not."""
    names = ("number", "count", "model", "dim", "position")
    found = {name: getattr(current, name) for name in names}
    oldest = min(current.position, *builds.positions())
    with store.write() as tx:
        workspace.add_build(tx, collection.task, **found, oldest=oldest, at=at)


@contextlib.contextmanager
def hold_lease_during(store: "Store", lease: "Lease") -> Iterator[Callable[[], None]]:
    """Keep other processes from taking the lease for the length of a block, in which it can be looked at again.

    Raises:
        LeaseLostError: another process has it already.
        UnavailableError: from the look: the server has ended the transaction.
    """
    with store.write() as tx:
        lease.check(tx)
        yield lambda: lease.check(tx)


class _Building:
    """One run that builds the index."""

    def __init__(self, ws: OpenWorkspace, *, worse_ok: bool) -> None:
        """Begin without a draft."""
        self._ws, self._worse_ok = ws, worse_ok
        self._builds = Builds(ws.data, ws.collection.folder)
        self._embedder = embed.Embedder(ws)
        self._embedded = 0
        self._learns = True  # the floor; not where what it is learnt from cannot be had
        self._copies = True  # from the build in service; not where it is damaged
        self._over: Manifest | None = None  # the build in service, where it is of a newer database than ours

    def run(self) -> IndexReport:
        """Draft, embed and promote, as often as something comes between."""
        draft = None
        try:
            for left in reversed(range(ROUNDS)):
                try:
                    with self._ws.waited_lease(LEASE, waiting=WAITING) as lease, checked_after_failure(lease):
                        draft = self._drafted(lease, draft, few=embed.FEW if left else None)
                        if draft.missing and not left:
                            self._embed_few(draft)
                        if not (left and (draft.missing or self._lacks_nonsense())):
                            return self._promoted(lease, draft)
                    if draft.missing:
                        self._embed_few(draft)  # the usual case after a change: no lease is held meanwhile
                    draft = replace(draft, missing=())
                    self._embed_nonsense()
                except LeaseLostError:  # this process stood still, and another one went on with the index: begin again
                    if not left:
                        raise
                except embed.TooManyMissingError:
                    self._embed_all()
                except DamagedBuildError as error:
                    if not left:
                        raise
                    self._copies = False
                    self._ws.display.warn(f"{error.message}; every entry is made anew")
        finally:
            self._builds.discard()  # an interrupt may strike between two steps, each of which cleans up after itself
        raise AssertionError("the last round returns or raises")

    def _lacks_nonsense(self) -> bool:
        """Return whether questions that mean nothing are still to be embedded, from which the floor is learnt."""
        return self._learns and self._embedder.lacks_questions(nonsense())

    def _embed_nonsense(self) -> None:
        """Embed those questions, once for a model and width; where that cannot be done, the build has no floor."""
        try:
            if self._lacks_nonsense():
                self._embedder.questions(nonsense())
        except (RemoteError, ConfigurationError):
            self._learns = False

    def _drafted(self, lease: "Lease", draft: _Draft | None, *, few: int | None) -> _Draft:
        """Return a build that is begun: the one from before where it still stands for the database, else a new one.

        Raises:
            TooManyMissingError: more than `few` vectors are missing.
        """
        store, collection = self._ws.store, self._ws.collection
        if draft is not None and self._builds.is_begun(draft.begun):
            with store.read() as tx:
                if workspace.get_workspace(tx).position == draft.begun.position:
                    return draft
        with hold_lease_during(store, lease):
            self._builds.sweep()
        with store.write() as tx:
            workspace.begin_list(tx, collection.task)
        missing: list[Entry] = []
        current = self._builds.in_service()  # before the position, which never goes back but with the whole database
        with store.read() as tx:
            count, position = collection.count(tx), workspace.get_workspace(tx).position
            self._over = self._newer(current, position)
            with self._ws.display.bar("reading", count) as bar:
                before, ranking = self._before(), collection.ranking
                pages = self._embedder.pages(
                    collection.sources(tx),
                    before,
                    recipe=_recipe(collection),
                    make=collection.entry,
                    missing=missing,
                    few=few,
                    bar=bar,
                )
                number = self._builds.next_number()
                begun = self._builds.begin(number, pages, position=position, ranking=ranking, before=before)
        lease.check()  # no later owner would sweep it away: one that took over before it was there has swept already
        return _Draft(begun, count, tuple(missing))

    def _newer(self, current: "Manifest | None", position: int) -> "Manifest | None":
        """Return the build in service where it was read at a later position than the database is at.

        Raises:
            InconsistentError: it was, and `worse_ok` is not set.
        """
        if current is None or current.position <= position:
            return None
        if not self._worse_ok:
            raise InconsistentError(
                f"the database (at position {position}) is an older copy than the one that build {current.number}, "
                f"in service, was read from (at {current.position}): nothing was built",
                hint="put the newer database back, or give up what only that build knows: "
                f"`{self._ws.task.words.make('index')} WORSE_OK=1`",
            )
        return current

    def _before(self) -> "Before | None":
        """Return the build in service, open to be copied from, where that can be."""
        cache = self._embedder.cache
        if not self._copies:
            return None
        return self._builds.before(model=cache.model, dim=cache.dim, ranking=self._ws.collection.ranking)

    def _say_cost(self, entries: "Iterable[Entry]", count: int) -> None:
        """Say what is about to be embedded and what that costs, where it costs a cent or more; no budget counts it."""
        if not self._embedder.is_paid():
            return
        with self._ws.display.bar("counting", count, late=True) as bar:
            texts, tokens, cost = self._embedder.cost(entries, bar=bar)
        if round(cost, 2) > 0:
            about = f"{tokens / MILLION:,.0f} M" if tokens >= MANY else f"{tokens:,}"
            self._ws.display.say(f"embedding {texts:,} texts, about {about} tokens, ${cost:,.2f}")

    def _embed(self, entries: "Iterable[Entry]", count: int) -> None:
        with self._ws.display.bar("embedding", count) as bar:
            self._embedded += self._embedder.embed_missing(entries, bar=bar)

    def _embed_few(self, draft: _Draft) -> None:
        self._say_cost(draft.missing, len(draft.missing))
        self._embed(draft.missing, len(draft.missing))

    def _embed_all(self) -> None:
        """Embed every text that is new; no lease is held meanwhile."""
        collection = self._ws.collection
        with self._ws.store.read() as tx:
            count = collection.count(tx)
            self._say_cost(collection.entries(tx), count)
            self._embed(collection.entries(tx), count)

    def _promoted(self, lease: "Lease", draft: _Draft) -> IndexReport:
        ws, builds, cache = self._ws, self._builds, self._embedder.cache
        vectors = self._embedder.questions(nonsense()) if self._learns and not self._lacks_nonsense() else None
        with ws.display.bar("building", draft.count) as bar:
            staged = builds.complete(draft.begun, cache, task_type=embed.TASK_TYPE, nonsense=vectors, progress=bar.show)
        builds.verify(staged, count=draft.count)
        check_not_worse(ws, staged, worse_ok=self._worse_ok)
        promoted = builds.promote(staged, fence=lambda: hold_lease_during(ws.store, lease), over=self._over)
        record_build(ws.store, ws.collection, builds, promoted, at=ws.now())
        return IndexReport(
            promoted.number,
            draft.count,
            self._embedded,
            max(0, draft.count - self._embedded),
            cache.model,
            cache.dim,
            promoted.moved_aside,
        )


def _recipe(collection: "Collection") -> bytes:
    """Return the hash of all that the entries of a collection follow from beside their cells."""
    return hashlib.sha256(json.dumps([__version__, collection.recipe]).encode()).digest()


@contextlib.contextmanager
def checked_after_failure(lease: "Lease") -> Iterator[None]:
    """Raise for the lost lease where files were swept away under a process that stood still.

    Raises:
        LeaseLostError: another process went on with the index meanwhile.
    """
    try:
        yield
    except (InconsistentError, OSError):
        lease.check()
        raise
