"""Find the entries that fit a question best in the build in service, or those that are like one of them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import ConfigurationError, InputError
from pipeline.core.ranking import RankMode
from pipeline.engine.workspace import WorkspaceSession
from pipeline.gemini.models import MAX_EMBED_TEXTS
from pipeline.index.build_reader import Hit, Index
from pipeline.index.builds import count_stale, settled_builds
from pipeline.index.manifest import Manifest
from pipeline.index.query import SearchOptions, SearchQuery, mask_of, parse_question
from pipeline.index.tokenizer import spans_of, terms_of, terms_of_question
from pipeline.index.vector_cache import vector_cache
from pipeline.index.vectors import OF_QUESTIONS, question_vectors

if TYPE_CHECKING:
    from pipeline.index.query import Mask
    from pipeline.index.scoring import Scores
    from pipeline.index.vector_cache import Vectors

NAMED = 60  # characters of a question that a message names


class SearchSettings(TypedDict, total=False):
    """How to search, in the words of `findable search`: by what to rank, and what to leave out."""

    rank: Literal["hybrid", "words", "vectors"]
    tag: str | Sequence[str]  # each that an entry must have; in one text, with commas between them
    min_score: float | None
    where: str


def search_options(k: int = 10, **how: Unpack[SearchSettings]) -> SearchOptions:
    """Return how to search, of the words for it."""
    tag = how.get("tag", ())
    rank = how.get("rank", RankMode.HYBRID)
    if strange := how.keys() - SearchSettings.__optional_keys__:
        raise InputError(
            f"a search has no {strange.pop()}=",
            hint=f"it has {', '.join(SearchSettings.__annotations__)}",
        )
    if k < 1:
        raise InputError(f"k is {k}", hint="1 or more")
    if rank not in list(RankMode):
        raise InputError(f"rank is {rank!r}", hint=f"one of {', '.join(RankMode)}")
    tags = tuple(
        filter(None, (one.strip() for one in (tag.split(",") if isinstance(tag, str) else tag)))
    )
    return SearchOptions(k, RankMode(rank), tags, how.get("min_score"), how.get("where", ""))


@dataclass(frozen=True)
class SearchReport:
    """The best entries, best first, how many entries the index is behind, and phrases that no entry has.

    `left_out` are those that have words of the question and no answer, for want of which they are in no index.
    """

    hits: list[Hit]
    behind: int
    lacking: tuple[str, ...] = ()
    left_out: int = 0

    @property
    def is_weak(self) -> bool:
        """Whether there are hits, and none is better than what a question without meaning finds."""
        return bool(self.hits) and all(hit.is_weak for hit in self.hits)


class SearchSession(AbstractContextManager["SearchSession"]):
    """A build, open for one question after the other."""

    def __init__(
        self, ws: WorkspaceSession, *, index: Index | None = None, keeps: bool = False
    ) -> None:
        """Open the build in service, or take one; vectors of questions are kept if said."""
        self._ws = ws
        self.collection = ws.collection
        self.words = ws.task.words
        self.index = settled_builds(ws).open() if index is None else index
        self._cache = vector_cache(ws) if keeps and ws.backend != "local" else None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.index.__exit__(kind, error, traceback)

    def ask(self, question: str, options: SearchOptions) -> SearchReport:
        """Return the `k` best entries, or all if there are fewer; by words alone, those that have some of its words.

        Where no entry has its phrases, the best are those without them.
        """
        asked = parse_question(question)
        index = self.index
        collection = self.collection
        told = self._told(asked)
        lacking = tuple[str, ...]()
        if options.rank is RankMode.WORDS and not told:
            said = f"the question {asked.text[:NAMED]!r} has no words to search by, or stop words alone"
            raise InputError(said, hint=f"leave {OptionHint(rank='words')} out")
        mask = mask_of(index, collection, options, asked)
        if asked.phrases and mask is not None and not mask.any():
            lacking = asked.phrases
            mask = mask_of(index, collection, options, replace(asked, phrases=()))
        vectors = self._vectors([asked], options.rank)
        words: dict[str, str] = {}
        for start, end, term in spans_of(asked.text, set(told)):
            words.setdefault(term, asked.text[start:end])
        hits = self._found(told, None if vectors is None else vectors[0], options, mask, words)
        with self._ws.store.read() as tx:
            is_whole = self._ws.task.table(tx).total(tx) <= len(index)
            known = {*words, *words.values()}
            texts = (
                collection.left_out(tx, sorted(known))
                if words and not (is_whole or options.tags)
                else ()
            )
            left_out = sum(not words.keys().isdisjoint(terms_of(text)) for text in texts)
            return SearchReport(hits, count_stale(collection, tx, index), lacking, left_out)

    def has_tag(self, tag: str) -> bool:
        """Return whether an entry has a tag."""
        mask = mask_of(self.index, self.collection, SearchOptions(tags=(tag,)))
        return mask is not None and bool(mask.any())

    def ask_like(self, name: str, options: SearchOptions) -> SearchReport:
        """Return what is like one entry, which is left out, by its vector."""
        import numpy as np

        from pipeline.index.scoring import found_hits, rank_entries

        if options.rank is RankMode.WORDS:
            raise InputError(
                "what is like an entry is found by its vector",
                hint=f"leave {OptionHint(rank='words')} out",
            )
        index = self.index
        collection = self.collection
        words = self._ws.task.words
        with self._ws.store.read() as tx:
            found = index.entry_of(self._ws.task.id_of(tx, name))
            behind = count_stale(collection, tx, index)
        if found is None:
            hint = f"it is once it is {words.done}: `{words.step('index')}`"
            raise InputError(f"{name!r} is not in the index in service", hint=hint)
        mask = mask_of(index, collection, options)
        mask = np.ones(len(index), dtype=bool) if mask is None else mask
        mask[row := found[0]] = False
        ranked = rank_entries(
            index, terms=None, vector=index.faiss.reconstruct(row), k=options.k, mask=mask
        )
        return SearchReport(found_hits(index, collection, ranked, words={}), behind)

    def ask_many(self, questions: Sequence[str], options: SearchOptions) -> Iterator[list[Hit]]:
        """Yield the hits of each of many questions, without what a reader of one asks next; see `ask`."""
        for first in range(0, len(questions), MAX_EMBED_TEXTS):
            some = [parse_question(one) for one in questions[first : first + MAX_EMBED_TEXTS]]
            vectors = self._vectors(some, options.rank)
            for at, asked in enumerate(some):
                mask = mask_of(self.index, self.collection, options, asked)
                yield self._found(
                    self._told(asked), None if vectors is None else vectors[at], options, mask
                )

    def _found(
        self,
        terms: Sequence[str],
        vector: "Scores | None",
        options: SearchOptions,
        mask: "Mask | None",
        words: Mapping[str, str] | None = None,
    ) -> list[Hit]:
        from pipeline.index.scoring import found_hits, rank_entries

        by = None if options.rank is RankMode.VECTORS else terms
        ranked = rank_entries(self.index, terms=by, vector=vector, k=options.k, mask=mask)
        return found_hits(self.index, self.collection, ranked, terms, words)

    def _told(self, asked: SearchQuery) -> list[str]:
        return terms_of_question(asked.text, asking=self.collection.ranking.asking)

    def _vectors(self, asked: Sequence[SearchQuery], rank: RankMode) -> "Vectors | None":
        """Return the vectors of at most a hundred questions, float32 (questions, dim); None where they do not rank."""
        if rank is RankMode.WORDS:
            return None
        ws = self._ws
        check_embedding(ws, self.index.manifest)
        return question_vectors(ws, [one.text for one in asked], self._cache)

    def is_free(self, questions: Sequence[str]) -> bool:
        """Return whether no service is asked for the vectors of these questions."""
        texts = [parse_question(one).text for one in questions]
        return self._cache is None or not self._cache.missing(
            self._cache.keys(texts, task_type=OF_QUESTIONS)
        )


def check_embedding(ws: WorkspaceSession, built: Manifest) -> None:
    """Pass when a build's vectors can be compared with those of a question."""
    model = ws.embedding_model.name
    dim = ws.settings.dim
    if (built.model, built.dim) != (model, dim):
        raise ConfigurationError(
            f"the index was built with {built.model}, {built.dim} wide, and the question would be embedded with "
            f"{model}, {dim} wide; nothing was searched",
            hint=f"run `{ws.task.words.step('index')}`, "
            f"or set FINDABLE_EMBEDDING_MODEL={built.model} FINDABLE_DIM={built.dim}",
        )
