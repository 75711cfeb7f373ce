"""Keep one build open for as long as the lab needs it, whatever is promoted meanwhile."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from pipeline.engine.workspace import OpenWorkspace
from pipeline.index import search
from pipeline.index.builds import Builds
from pipeline.index.lab.question_vectors import embed_questions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.core.task import Collection
    from pipeline.index.manifest import Manifest
    from pipeline.index.reader import Hit, Index
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
        yield LabBuild(index, collection, partial(embed_questions, ws))


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

    def vectors(self, questions: Sequence[str]) -> "list[NDArray[Any]]":
        """Return the vector of each question; a question is embedded once."""
        missing = [one for one in dict.fromkeys(questions) if one not in self._vectors]
        if missing:
            self._vectors |= zip(missing, self._embed(missing), strict=True)
        return [self._vectors[one] for one in questions]

    def names_of(self, hits: "Iterable[Hit]") -> list[str]:
        """Return the names of entries that were found."""
        return [self._collection.name_of(hit.metadata) for hit in hits]

    @cached_property
    def _metadata(self) -> list[Mapping[str, Any]]:
        return [self.index.metadata_at(row) for row in range(len(self.index))]
