"""Keep one build open for as long as the lab needs it, whatever is promoted meanwhile."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import InputError
from pipeline.core.ranking import Rank
from pipeline.engine.workspace import OpenWorkspace
from pipeline.index import search
from pipeline.index.builds import Builds
from pipeline.index.fusion import rank_entries
from pipeline.index.lab.question_vectors import embed_questions
from pipeline.index.terms import terms_of_question

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.core.task import Collection
    from pipeline.index.manifest import Manifest
    from pipeline.index.reader import Index
    from pipeline.index.vector_file import Vectors


@contextlib.contextmanager
def opened_build(ws: OpenWorkspace) -> "Iterator[LabBuild]":
    """Give the build that is in service now for the length of a block.

    Raises:
        InputError: there is no index of the task in use.
        ConfigurationError: it was built with another model than the questions would be embedded with.
    """
    collection, words = ws.collection, ws.task.words
    with Builds(ws.data, collection.folder).open() as index:
        search.check_embedding(index.manifest, model=ws.embedding_model.name, dim=ws.settings.dim, make=words.make)
        yield lab_build(ws, index)


def lab_build(ws: OpenWorkspace, index: "Index") -> "LabBuild":
    """Return an open build of the task in use, for which questions are embedded with the model that is set."""
    return LabBuild(index, ws.collection, partial(embed_questions, ws))


class LabBuild:
    """One build, the names of its entries in vector order, and what embeds questions for it."""

    def __init__(
        self, index: "Index", collection: "Collection", embed_questions: "Callable[[Sequence[str]], Vectors]"
    ) -> None:
        """Take an open build; its metadata is read when it is first asked for."""
        self.index = index
        self._collection = collection
        self._embed = embed_questions
        self._vectors: dict[str, Any] = {}

    @property
    def manifest(self) -> "Manifest":
        """Return what the build holds."""
        return self.index.manifest

    @cached_property
    def names(self) -> list[str]:
        """The name of each entry, in vector order."""
        return [self._collection.name_of(row) for row in self._metadata]

    @cached_property
    def plain_texts(self) -> list[str]:
        """What a plain word search would look in, of each entry."""
        return [self._collection.plain_text(row) for row in self._metadata]

    @cached_property
    def ids(self) -> list[str]:
        """The id of each entry, in vector order."""
        return list(self.index.content_hashes())

    def rank(self, rank: Rank, questions: Sequence[str], *, depth: int) -> list[list[str]]:
        """Return the names of the `depth` best entries for each question, as search ranks them.

        Raises:
            InputError: they are to be ranked by words, and the build has none.
        """
        asking = self._collection.ranking.asking
        vectors = [None] * len(questions) if rank is Rank.WORDS else self.vectors(questions)
        found = []
        for question, vector in zip(questions, vectors, strict=True):
            terms = None if rank is Rank.VECTORS else terms_of_question(question, asking=asking)
            ranked = rank_entries(self.index, terms=terms, vector=vector, k=depth)
            found.append([self.names[row] for row in ranked.rows])
        return found

    def words_scores(self, terms: Sequence[str]) -> "NDArray[Any]":
        """Return what the words of a question give each entry, float32 (entries,).

        Raises:
            InputError: the build has no words.
        """
        if self.index.words is None:
            raise InputError("the index in service has no words yet; nothing was measured", hint="run `make index`")
        return self.index.words.scores(terms)

    def all_similarities(self, question: str) -> "NDArray[Any]":
        """Return how similar each entry is to a question, float32 (entries,)."""
        import numpy as np

        return self.index.similarities(self.vectors([question])[0], np.arange(len(self.index)))

    def vectors(self, questions: Sequence[str]) -> "list[NDArray[Any]]":
        """Return the vector of each question; a question is embedded once."""
        missing = [one for one in dict.fromkeys(questions) if one not in self._vectors]
        if missing:
            self._vectors |= zip(missing, self._embed(missing), strict=True)
        return [self._vectors[one] for one in questions]

    @cached_property
    def _metadata(self) -> list[Mapping[str, Any]]:
        return [self.index.metadata_at(row) for row in range(len(self.index))]
