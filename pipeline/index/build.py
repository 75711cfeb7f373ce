"""Build an index: embed what is missing, write all of it from one snapshot, verify, promote; or roll back.

A search meanwhile has the old build or the new one, never a mixture. What is embedded lies in a cache by content, so
that needs no lock, and no process that builds the index waits for another's network, but for the texts that came since.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from pipeline.core.errors import ConfigurationError, InconsistentError, InputError, RemoteError
from pipeline.core.progress import NoProgress, ProgressBar
from pipeline.core.ranking import Entry
from pipeline.core.text import one_line
from pipeline.engine.workspace import WorkspaceSession
from pipeline.index.builds import LOCK, Builds
from pipeline.index.evaluate import check_not_worse, check_recall
from pipeline.index.manifest import Manifest, RefusedText, content_hash
from pipeline.index.vector_cache import Vectors
from pipeline.index.vectors import Embedder
from pipeline.index.write import Page, nonsense, verify_build, write_build
from pipeline.store import workspace
from pipeline.store.database import Connection, pages
from pipeline.store.locks import Lock

FACTS = ("number", "count", "model", "dim", "position")  # of a build that the database keeps
SHARE_BESIDE_GEMINI = 0.3  # of words in a score, until `eval` on own questions says otherwise


@dataclass(frozen=True)
class IndexReport:
    """What is in service now: build number, entries, how many texts were embedded and how many came from the cache.

    It is a new build, or with `rolled_back` the one before; of no entry where that was taken away. A new one has
    `count` entries `out_of` so many items, and lacks those of the states in `left_out`.
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
    # Why the embedding model refused an entry's text, by the entry's id; such entries are not in the build.
    refused: Mapping[str, str] = field(default_factory=dict)

    __repr__ = one_line


def run(ws: WorkspaceSession, *, worse_ok: bool = False) -> IndexReport:
    """Build and promote an index of every entry of the collection of the task in use.

    With `worse_ok` also where it does worse on judged questions than the one in service, or where the
    database was put back to an older copy than that one is of; where there is no entry, that one is taken away.
    """
    return _Building(ws, worse_ok=worse_ok).run()


def roll_back_index(ws: WorkspaceSession) -> IndexReport:
    """Put the previous build of the task in use back in service."""
    builds = Builds(ws.data, ws.collection.folder)
    with ws.lock(LOCK) as lock:
        builds.follow(ws.store)
        manifest = builds.rollback(decide=partial(_record, ws, lock, "rolled back"))
    return IndexReport(
        manifest.number, manifest.count, 0, 0, manifest.model, manifest.dim, rolled_back=True
    )


def _record(ws: WorkspaceSession, lock: Lock, why: str, found: Manifest) -> None:
    """Make the database tell that a build is in service, and who was to be in it, where the lock is held still."""
    lock.check()
    facts = {name: getattr(found, name) for name in FACTS}
    at = ws.now()
    takes = ws.settings.index_untagged
    with ws.store.write() as tx:
        if takes is not None:
            workspace.record_event(
                tx, workspace.UNTAGGED, found.number, old=None, new=f"{takes:d}", why="asked", at=at
            )
        workspace.add_build(tx, facts, why=why, at=at)


def _left_out(states: Sequence[tuple[str, int]], count: int) -> dict[str, int]:
    """Return which items are not among `count` entries, of the counts of a table: all, those answered, then others."""
    others = {name: held for name, held in states[2:] if held}
    if sum(others.values()) <= states[0][1] - count:
        return others
    return {
        name: held for name, held in states[3:4] if held
    }  # everyone with a text is in: INDEX_UNTAGGED=1


class _Building:
    def __init__(self, ws: WorkspaceSession, *, worse_ok: bool) -> None:
        self._ws = ws
        self._worse_ok = worse_ok
        self._builds = Builds(ws.data, ws.collection.folder)
        self._embedder = Embedder(ws)
        self._embedded = 0

    def run(self) -> IndexReport:
        """Embed, write, verify and promote."""
        words = self._ws.task.words
        with self._ws.store.read() as tx:  # before anything is paid for
            self._position(tx)
            is_any = self._ws.collection.count(tx) > 0
        if not is_any:
            is_there = (current := self._builds.in_service()) is not None
            if self._worse_ok and current is not None:
                with self._ws.lock(LOCK):
                    self._builds.retire()
                return IndexReport(current.number, 0, 0, 0, current.model, current.dim)
            gone = words.step("index", worse_ok=True)
            raise InputError(
                f"no {words.one} is {words.done}, so there is nothing to index"
                + "; the index in service stays" * is_there,
                hint=f"run `{words.step('tag')}` first"
                + f"; `{gone}` takes what is in service away" * is_there,
            )
        self._embedder.cache.drop_refused()
        self._embed_missing()
        floor: Vectors | None = None  # what it is learnt from, where that can be had
        with suppress(RemoteError, ConfigurationError):
            floor = self._embedder.questions(nonsense())
        with (
            self._ws.lock(LOCK) as lock,
            self._builds.staging(number := self._builds.next_number()) as staging,
        ):
            return self._promoted(lock, floor, number, staging)

    def _embed_missing(self) -> None:
        """Embed every text that is new, and say before what that costs, where it is a cent or more."""
        ws = self._ws
        entries = self._ws.collection.entries
        embedder = self._embedder
        with ws.store.read() as tx:
            count = ws.collection.count(tx)
            is_missing = True
            if embedder.is_paid():
                with ws.display.bar("reading", count) as bar:
                    texts, tokens, cost = embedder.cost(entries(tx), bar=bar)
                is_missing = texts > 0
                if round(cost, 2) > 0:  # no budget counts it
                    ws.display.say(
                        f"embedding {texts:,} texts, about {tokens:,} tokens, ${cost:,.2f}"
                    )
            if is_missing:
                with ws.display.bar("embedding", count) as bar:
                    self._embedded += embedder.embed_missing(entries(tx), bar=bar)

    def _promoted(
        self, lock: Lock, floor: Vectors | None, number: int, staging: Path
    ) -> IndexReport:
        ws = self._ws
        builds = self._builds
        collection = self._ws.collection
        cache = self._embedder.cache
        builds.follow(ws.store)
        ranking = collection.ranking
        if not ws.embedding_model.local:
            ranking = replace(ranking, share=SHARE_BESIDE_GEMINI)
        with ws.store.read() as tx:
            position = self._position(tx)
            refused = self._refused_entries(tx)
            count = collection.count(tx) - len(refused)
            counts = ws.task.table(tx).counts(tx)
            with ws.display.bar("building", count) as bar:
                staged = write_build(
                    staging,
                    self._pages(collection.entries(tx), bar),
                    cache,
                    count=count,
                    number=number,
                    position=position,
                    built_at=ws.now(),
                    ranking=ranking,
                    nonsense=floor,
                    refused=refused,
                )
        verify_build(staged, count=count)
        check_recall(ws, staged, worse_ok=self._worse_ok)
        check_not_worse(ws, staged, worse_ok=self._worse_ok)
        decide = partial(_record, ws, lock, f"promoted with {count} entries")
        moved = builds.promote(staged, decide=decide)
        embedded = self._embedded
        cached = max(0, count - self._embedded)
        reasons = {entry_id: refused_text.reason for entry_id, refused_text in refused.items()}
        done = IndexReport(
            number, count, embedded, cached, cache.model, cache.dim, moved, refused=reasons
        )
        return replace(
            done, out_of=(states := [*counts.items()])[0][1], left_out=_left_out(states, count)
        )

    def _pages(self, entries: Iterable[Entry], bar: ProgressBar) -> Iterator[Page]:
        """Yield entries with keys and vectors; embed those that came since, or whose vectors are damaged."""
        cache = self._embedder.cache
        done = 0
        for all_entries in pages(entries):
            page = self._without_refused(all_entries)
            keys = self._embedder.keys(page)
            if page:
                yield page, keys, cache.filled(keys, partial(self._embed, page))
            done += len(all_entries)
            bar.show(done)

    def _embed(self, page: Sequence[Entry], _missing: Sequence[int]) -> None:
        refused_before = len(self._embedder.refused)
        self._embedded += self._embedder.embed_missing(page, bar=NoProgress())
        if len(self._embedder.refused) > refused_before:
            raise RemoteError(
                "the model refused a text that came while the index was built; the index in service stays",
                hint=f"`{self._ws.task.words.step('index')}` builds it without that text",
            )

    def _without_refused(self, page: Sequence[Entry]) -> Sequence[Entry]:
        """Return the entries of a page whose texts the model did not refuse."""
        if not self._embedder.refused:
            return page
        keys = self._embedder.keys(page)
        return [
            entry
            for entry, key in zip(page, keys, strict=True)
            if key not in self._embedder.refused
        ]

    def _refused_entries(self, tx: Connection) -> dict[str, RefusedText]:
        """Return the texts that the model refused, keyed by the id of their entry."""
        reasons = self._embedder.refused
        entries = self._ws.collection.entries
        if not reasons:
            return {}

        refused: dict[str, RefusedText] = {}
        for page in pages(entries(tx)):
            for entry, key in zip(page, self._embedder.keys(page), strict=True):
                if key in reasons:
                    refused[entry.id] = RefusedText(
                        content=content_hash(entry), reason=reasons[key]
                    )
        return refused

    def _position(self, tx: Connection) -> int:
        """Return the position of the database, which may be none before that of the build in service."""
        current = (
            self._builds.in_service()
        )  # first: a position never goes back but with the whole database
        position = workspace.get_workspace(tx).position
        if current is not None and current.position > position and not self._worse_ok:
            raise InconsistentError(
                f"the database (at position {position}) is an older copy than the one that build {current.number}, "
                f"in service, was read from (at {current.position}): nothing was built",
                hint="put the newer database back, or give up what only that build knows: "
                f"`{self._ws.task.words.step('index', worse_ok=True)}`",
            )
        return position
