"""Build an index: embed what is missing, write all of it from one snapshot, verify, promote in one flip; or roll back.

A search meanwhile has the old build or the new one, never a mixture. What is embedded lies in a cache by content, so
that needs no lock, and no process that builds the index waits for another's network: a build is written under the
lock, and where entries came meanwhile whose vectors are missing, it is given up and begun again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import ConfigurationError, InconsistentError, InputError, RemoteError
from pipeline.core.text import one_line
from pipeline.engine.workspace import OpenWorkspace
from pipeline.index import embed
from pipeline.index.builds import Builds
from pipeline.index.evaluate import check_not_worse
from pipeline.index.floor import nonsense
from pipeline.index.vectors import MissingVectorError
from pipeline.store import workspace
from pipeline.store.locks import Lock, LockLostError

if TYPE_CHECKING:
    from pipeline.core.ranking import Entry, Ranking
    from pipeline.index.manifest import Manifest
    from pipeline.index.vectors import Vectors
    from pipeline.store.database import Store


LOCK = "index"
SHARE_BESIDE_GEMINI = 0.3  # of words in a score, until `eval` on own questions says otherwise
ROUNDS = 3  # of embedding and building; entries that come meanwhile, or a lock that was lost, make another one
FEW = 5000  # entries without a vector that are noted while all are read: 10 MB; more get a pass of their own


@dataclass(frozen=True)
class IndexReport:
    """What is in service now: build number, entries, how many texts were embedded and how many came from the cache.

    It is a new build, or with `rolled_back` the one before. A new one has `count` entries `out_of` so many items, and
    lacks those of the states in `left_out`.
    """

    number: int
    count: int
    embedded: int
    cached: int
    model: str
    dim: int
    moved_aside: tuple[str, ...] = ()
    rolled_back: bool = False
    out_of: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)

    __repr__ = one_line


def run(ws: OpenWorkspace, *, worse_ok: bool = False) -> IndexReport:
    """Build and promote an index of every entry of the collection of the task in use.

    With `worse_ok` also where it does worse on judged questions than the one in service, or where the
    database was put back to an older copy than that one is of.

    Raises:
        InputError: there is no entry yet, or nothing of the task is indexed.
        InconsistentError: the build did not verify, or the database is an older copy than the index; the one in service
            stays.
        GateError: it does worse on the judged questions, by more than chance; the one in service stays.
    """
    words = ws.task.words
    with ws.store.read() as tx:
        if not ws.collection.count(tx):
            raise InputError(
                f"no {words.one} is {words.done} yet, so there is nothing to index; the index in service stays",
                hint=f"run `{words.step('tag')}` first",
            )
    return _Building(ws, worse_ok=worse_ok).run()


def roll_back_index(ws: OpenWorkspace) -> IndexReport:
    """Put the previous build of the task in use back in service.

    Raises:
        InputError: there is none, or nothing of the task is indexed.
        LockLostError: another process may have built meanwhile; which build is meant now is to be seen.
    """
    builds = Builds(ws.data, ws.collection.folder)
    with ws.lock(LOCK) as lock:
        manifest = builds.rollback(before_flip=lock.check)
        with ws.store.write() as tx:
            workspace.note_build_in_service(tx, manifest.number, why="rolled back", at=ws.now())
    return IndexReport(manifest.number, manifest.count, 0, 0, manifest.model, manifest.dim, rolled_back=True)


def is_build_recorded(current: "Manifest", rows: Mapping[int, Mapping[Any, Any]]) -> bool:
    """Return whether these rows of the database (see `workspace.build_rows`) know of a build as it is."""
    row = rows.get(current.number)
    return row is not None and (row["count"], row["model"], row["dim"]) == (current.count, current.model, current.dim)


def recorded_builds(store: "Store") -> dict[int, Mapping[Any, Any]]:
    """Return the rows of all builds that the database knows of."""
    with store.read() as tx:
        return workspace.build_rows(tx)


def record_build(store: "Store", current: "Manifest", *, at: datetime) -> None:
    """Record the build in service as it is; a run that died right after its promotion did not."""
    names = ("number", "count", "model", "dim", "position")
    with store.write() as tx:
        workspace.add_build(tx, **{name: getattr(current, name) for name in names}, at=at)


def _left_out(states: Sequence[tuple[str, int]], count: int) -> dict[str, int]:
    """Return which items are not among `count` entries, of the counts of a table: all, those answered, then others."""
    others = {name: held for name, held in states[2:] if held}
    if sum(others.values()) <= states[0][1] - count:
        return others
    return {name: held for name, held in states[3:4] if held}  # everyone with a text is in: INDEX_UNTAGGED=1


class _Building:
    """One run that builds the index."""

    def __init__(self, ws: OpenWorkspace, *, worse_ok: bool) -> None:
        self._ws, self._worse_ok = ws, worse_ok
        self._builds = Builds(ws.data, ws.collection.folder)
        self._embedder = embed.Embedder(ws)
        self._embedded = 0

    def run(self) -> IndexReport:
        """Embed, write and promote, as often as something comes between."""
        with self._ws.store.read() as tx:
            self._newer(self._builds.in_service(), workspace.get_workspace(tx).position)  # before anything is paid for
        try:
            for left in reversed(range(ROUNDS)):
                try:
                    self._embed_missing()
                    nonsense = self._nonsense()
                    with self._ws.lock(LOCK) as lock:
                        if not left:
                            self._embed_missing()
                        return self._promoted(lock, nonsense)
                except (LockLostError, MissingVectorError):  # another process went on, or entries came: begin again
                    if not left:
                        raise
        finally:
            self._builds.discard()  # an interrupt may strike between two steps, each of which cleans up after itself
        raise AssertionError("the last round returns or raises")

    def _embed_missing(self) -> None:
        """Embed every text that is new; where they are few, no snapshot is held meanwhile."""
        ws, collection = self._ws, self._ws.collection
        with ws.store.read() as tx:
            count = collection.count(tx)
            with ws.display.bar("reading", count) as bar:
                missing = list(islice(self._embedder.missing(collection.entries(tx), bar=bar), FEW + 1))
        if len(missing) <= FEW:
            self._say_cost(missing, len(missing))
            self._embed(missing, len(missing))
            return
        with ws.store.read() as tx:
            self._say_cost(collection.entries(tx), count)
            self._embed(collection.entries(tx), count)

    def _say_cost(self, entries: "Iterable[Entry]", count: int) -> None:
        """Say what is about to be embedded and what that costs, where it costs a cent or more; no budget counts it."""
        if not count or not self._embedder.is_paid():
            return
        with self._ws.display.bar("counting", count, late=True) as bar:
            texts, tokens, cost = self._embedder.cost(entries, bar=bar)
        if round(cost, 2) > 0:
            self._ws.display.say(f"embedding {texts:,} texts, about {tokens:,} tokens, ${cost:,.2f}")

    def _embed(self, entries: "Iterable[Entry]", count: int) -> None:
        if count:
            with self._ws.display.bar("embedding", count) as bar:
                self._embedded += self._embedder.embed_missing(entries, bar=bar)

    def _nonsense(self) -> "Vectors | None":
        """Return the vectors of the questions from which the floor is learnt; None where they cannot be had."""
        try:
            return self._embedder.questions.embed(nonsense())
        except (RemoteError, ConfigurationError):
            return None

    def _promoted(self, lock: Lock, nonsense: "Vectors | None") -> IndexReport:
        ws, builds, collection, cache = self._ws, self._builds, self._ws.collection, self._embedder.cache
        builds.sweep()
        current = builds.in_service()  # before the position, which never goes back but with the whole database
        with ws.store.read() as tx:
            count, position = collection.count(tx), workspace.get_workspace(tx).position
            over = self._newer(current, position)
            counts = ws.task.table(tx).counts(tx)
            with ws.display.bar("building", count) as bar:
                staged = builds.stage(
                    builds.next_number(),
                    self._embedder.pages(collection.entries(tx)),
                    cache,
                    count=count,
                    position=position,
                    ranking=self._ranking(),
                    task_type=embed.TASK_TYPE,
                    nonsense=nonsense,
                    progress=bar.show,
                )
        builds.verify(staged, count=count)
        check_not_worse(ws, staged, worse_ok=self._worse_ok)
        promoted = builds.promote(staged, before_flip=lock.check, over=over)
        record_build(ws.store, promoted, at=ws.now())
        embedded, cached = self._embedded, max(0, count - self._embedded)
        done = IndexReport(promoted.number, count, embedded, cached, cache.model, cache.dim, promoted.moved_aside)
        return replace(done, out_of=(states := [*counts.items()])[0][1], left_out=_left_out(states, count))

    def _ranking(self) -> "Ranking":
        """Return how entries are ranked: nothing was measured with Gemini's vectors, so that words weigh less there."""
        ranking = self._ws.collection.ranking
        return ranking if self._ws.embedding_model.local else replace(ranking, share=SHARE_BESIDE_GEMINI)

    def _newer(self, current: "Manifest | None", position: int) -> "Manifest | None":
        """Return the build in service where it was read at a later position than the database is at."""
        if current is None or current.position <= position:
            return None
        if not self._worse_ok:
            raise InconsistentError(
                f"the database (at position {position}) is an older copy than the one that build {current.number}, "
                f"in service, was read from (at {current.position}): nothing was built",
                hint="put the newer database back, or give up what only that build knows: "
                f"`{self._ws.task.words.step('index', worse_ok=True)}`",
            )
        return current
