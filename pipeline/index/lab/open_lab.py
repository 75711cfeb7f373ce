"""Open the lab of one task: its judged questions, one build that is kept open, and the variants that are compared.

A variant of a file is made into a build that is never promoted, so that it is searched by the same code as any, and
holds the entries of the build that is measured, as they are now. It is staged as a build is, where whatever builds next
sweeps it away if this process dies; once it is open its files are removed, for they stay readable.
"""

import contextlib
from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.core.errors import InputError
from pipeline.core.ranking import Rank, Ranking
from pipeline.engine.workspace import OpenWorkspace
from pipeline.index import build, embed, search
from pipeline.index.builds import Builds
from pipeline.index.cache import VectorCache
from pipeline.index.copying import pages_of
from pipeline.index.lab.judged import Judged, judged_of_files, stored_judged
from pipeline.index.lab.lab_build import LabBuild, lab_build_of, with_model
from pipeline.index.lab.measures import DEPTH
from pipeline.index.lab.systems import SYSTEMS, Ranks
from pipeline.index.lab.variant_file import Variant, read_variant
from pipeline.index.reader import Index

if TYPE_CHECKING:
    from pipeline.core.progress import Progress
    from pipeline.core.task import Collection, Entry


class LabWanted(NamedTuple):
    """What to measure: variants by their names, and files of questions and judgements in the place of those stored."""

    variants: Sequence[str]
    queries: Path | None = None
    qrels: Path | None = None


class OpenLab(contextlib.ExitStack):
    """The lab of the task in use; what it opened is closed, and removed, at the end of its block."""

    def __init__(self, ws: OpenWorkspace) -> None:
        """Open nothing yet."""
        super().__init__()
        self._ws = ws

    @property
    def collection(self) -> "Collection":
        """Return what is searched.

        Raises:
            InputError: the task has none.
        """
        return self._ws.collection

    @cached_property
    def build(self) -> LabBuild:
        """The build that was in service when it was first asked for; the same one until the end.

        Raises:
            InputError: there is no index of the task in use.
            ConfigurationError: it was built with another model than the questions would be embedded with.
        """
        ws = self._ws
        index = self.enter_context(Builds(ws.data, ws.collection.folder).open())
        search.check_embedding(
            index.manifest, model=ws.embedding_model.name, dim=ws.settings.dim, make=ws.task.words.make
        )
        return lab_build_of(ws, index)

    def judged(self, wanted: LabWanted) -> Judged:
        """Return the judged questions of the files that are wanted, or those that are stored.

        Raises:
            InputError: a file is missing or a line of it is wrong, or none is judged.
        """
        if wanted.queries and wanted.qrels:
            return judged_of_files(wanted.queries, wanted.qrels)
        found, words = stored_judged(self._ws.store, self._ws.task), self._ws.task.words
        if not found.questions:
            raise InputError(
                "no question of the lab has a relevant judgement; nothing was measured",
                hint=f"`{words.make('lab-import')} QUERIES=queries.jsonl QRELS=qrels.tsv`",
            )
        return found

    def system(self, name: str) -> Ranks:
        """Return what ranks entries as a variant does, which is built in or a file.

        Raises:
            InputError: there is no such variant, or its file is wrong.
        """
        if name in SYSTEMS:
            return SYSTEMS[name](self.build)
        if Path(name).suffix.lower() not in {".toml", ".json"}:
            hint = f"one of {', '.join(SYSTEMS)}, or a file that ends in .toml or .json"
            raise InputError(f"there is no variant {name!r}; nothing was measured", hint=hint)
        variant = read_variant(Path(name))
        share = variant.ranking(self.collection.ranking).share
        rank = Rank.WORDS if share == 1 else Rank.HYBRID if share else Rank.VECTORS
        return partial(self.build_of(variant).rank, rank, depth=DEPTH)

    def build_of(self, variant: Variant) -> LabBuild:
        """Return a variant as a build.

        Raises:
            InputError: it names a field that entries have not.
            LeaseLostError: this process stood still, and another one went on with the index.
        """
        manifest, collection, wanted = self.build.manifest, self.collection, set(self.build.ids)
        ws = with_model(self._ws, variant.model or manifest.model, variant.dim or manifest.dim)
        with ws.store.read() as tx:
            entries = [one for one in collection.entries(tx) if one.id in wanted]
        variant.check_fields(list(entries[0].fields or ()) if entries else ())
        entries = [variant.entry(one) for one in entries]
        embedder = embed.Embedder(ws)
        _embed(embedder, entries, ws.display)
        pairs = zip(entries, embedder.keys(entries), strict=True)
        return lab_build_of(ws, self._staged(pairs, variant.ranking(collection.ranking), embedder.cache))

    def _staged(self, entries: "Iterable[tuple[Entry, bytes]]", ranking: Ranking, cache: VectorCache) -> Index:
        """Return entries with the keys of their vectors as an open build, of which nothing lies on the disk any more.

        What a run that was killed left there goes first.
        """
        store, builds = self._ws.store, Builds(self._ws.data, self.collection.folder)
        self.callback(builds.discard)
        with self._ws.waited_lease(build.LEASE, waiting=build.WAITING) as lease, build.checked_after_failure(lease):
            with build.hold_lease_during(store, lease):
                builds.sweep()
            number, position = builds.next_number(), self.build.manifest.position
            begun = builds.begin(number, pages_of(entries), position=position, ranking=ranking)
            builds.complete(begun, cache, task_type=embed.TASK_TYPE)
            index = self.enter_context(Index(begun.directory))
            builds.discard()
        return index


def _embed(embedder: embed.Embedder, entries: "Sequence[Entry]", display: "Progress") -> None:
    """Embed what is not in the cache; say before what it costs, where it costs a cent."""
    with display.bar("counting", len(entries), late=True) as bar:
        texts, tokens, cost = embedder.cost(entries, bar=bar)
    if embedder.is_paid() and round(cost, 2) > 0:
        display.say(f"embedding {texts:,} texts, about {tokens:,} tokens, ${cost:,.2f}")
    with display.bar("embedding", len(entries), late=True) as bar:
        embedder.embed_missing(entries, bar=bar)
