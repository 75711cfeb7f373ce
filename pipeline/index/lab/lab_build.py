"""Ask one open build, as search asks it, for many questions."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import InputError
from pipeline.core.ranking import Rank
from pipeline.engine.workspace import OpenWorkspace
from pipeline.index import embed
from pipeline.index.filters import Filters, mask_of
from pipeline.index.fusion import rank_entries
from pipeline.index.question import Question, parse_question
from pipeline.index.question_vectors import QuestionVectors
from pipeline.index.terms import terms_of_question

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.core.task import Collection
    from pipeline.index.columns import Mask
    from pipeline.index.manifest import Manifest
    from pipeline.index.reader import Index


def with_model(ws: OpenWorkspace, model: str, dim: int) -> OpenWorkspace:
    """Return the workspace with another model to embed with."""
    return replace(ws, settings=replace(ws.settings, embedding_model=model, dim=dim))


def lab_build_of(ws: OpenWorkspace, index: "Index") -> "LabBuild":
    """Return an open build of the task in use, for which questions are embedded with its own model."""
    ws = with_model(ws, index.manifest.model, index.manifest.dim)
    cache = None if ws.backend == "local" else embed.vector_cache(ws)
    return LabBuild(index, ws.collection, QuestionVectors(cache, partial(embed.embed_queries, ws)))


class LabBuild:
    """One build, the names of its entries in vector order, and what embeds questions for it."""

    def __init__(self, index: "Index", collection: "Collection", questions: QuestionVectors) -> None:
        """Take an open build; its metadata is read when it is first asked for."""
        self.index = index
        self._collection = collection
        self._questions = questions
        self._vectors: dict[str, Any] = {}
        self._names: dict[int, str] = {}

    @property
    def manifest(self) -> "Manifest":
        """Return what the build holds."""
        return self.index.manifest

    @cached_property
    def names(self) -> list[str]:
        """The name of each entry, in vector order."""
        return [self._name_at(row) for row in range(len(self.index))]

    @cached_property
    def plain_texts(self) -> list[str]:
        """What a plain word search would look in, of each entry."""
        return [self._plain_text_at(row) for row in range(len(self.index))]

    def plain_text(self, entry_id: str) -> str | None:
        """Return the same of one entry; None where the build does not have it."""
        row = self.index.row_of(entry_id)
        return None if row is None else self._plain_text_at(row)

    @cached_property
    def ids(self) -> list[str]:
        """The id of each entry, in vector order."""
        return list(self.index.content_hashes())

    def rank(self, rank: Rank, questions: Sequence[str], *, depth: int) -> list[list[str]]:
        """Return the names of the `depth` best entries for each question, as search ranks them.

        Raises:
            InputError: search refuses one of the questions, or they are to be ranked by words, and the build has none.
        """
        asking = self._collection.ranking.asking
        asked = [parse_question(one) for one in questions]
        vectors = [None] * len(asked) if rank is Rank.WORDS else self.vectors(asked)
        found = []
        for one, vector in zip(asked, vectors, strict=True):
            terms = None if rank is Rank.VECTORS else terms_of_question(one.text, asking=asking)
            ranked = rank_entries(self.index, terms=terms, vector=vector, k=depth, mask=self.passing(one))
            found.append([self._name_at(int(row)) for row in ranked.rows])
        return found

    def passing(self, question: Question) -> "Mask | None":
        """Return which entries have the phrases of a question and nothing it excludes; None where all do."""
        return mask_of(self.index, self._collection, Filters(), question)

    def is_free(self, questions: Sequence[str]) -> bool:
        """Return whether no service is asked for the vectors of these questions."""
        return self._questions.are_free([parse_question(one).text for one in questions])

    def words_scores(self, terms: Sequence[str]) -> "NDArray[Any]":
        """Return what the words of a question give each entry, float32 (entries,).

        Raises:
            InputError: the build has no words.
        """
        if self.index.words is None:
            raise InputError("the index in service has no words yet; nothing was measured", hint="run `make index`")
        return self.index.words.scores(terms)

    def all_similarities(self, question: Question) -> "NDArray[Any]":
        """Return how similar each entry is to a question, float32 (entries,)."""
        import numpy as np

        return self.index.similarities(self.vectors([question])[0], np.arange(len(self.index)))

    def vectors(self, questions: Sequence[Question]) -> "list[NDArray[Any]]":
        """Return the vector of each question; a text is embedded once."""
        texts = [one.text for one in questions]
        missing = [one for one in dict.fromkeys(texts) if one not in self._vectors]
        if missing:
            self._vectors |= zip(missing, self._questions.embed(missing), strict=True)
        return [self._vectors[one] for one in texts]

    def _plain_text_at(self, row: int) -> str:
        return self._collection.plain_text(self.index.metadata_at(row))

    def _name_at(self, row: int) -> str:
        """Return the name of one entry, which is read once."""
        if row not in self._names:
            self._names[row] = self._collection.name_of(self.index.metadata_at(row))
        return self._names[row]
