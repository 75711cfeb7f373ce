"""Rank the entries of one build for questions, by each of the ways that are compared.

A `LabBuild` is one build that is open for as long as a run takes, whatever is promoted meanwhile. A system ranks
questions over it: what the build in service is searched by, and the fixed ones of `baselines`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import InputError
from pipeline.index.lab.baselines import PlainBm25, by_chance
from pipeline.index.lab.measures import DEPTH

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.core.task import Collection
    from pipeline.index.manifest import Manifest
    from pipeline.index.reader import Hit, Index
    from pipeline.index.vector_file import Vectors

Ranks = Callable[[Sequence[str]], list[list[str]]]  # from questions to names, best first


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


def _by_vectors(build: LabBuild) -> Ranks:
    def rank(questions: Sequence[str]) -> list[list[str]]:
        """Return the nearest entries of each question."""
        return [build.names_of(build.index.search(vector, DEPTH)) for vector in build.vectors(questions)]

    return rank


def _by_plain_bm25(build: LabBuild) -> Ranks:
    bm25 = PlainBm25(build.names, build.plain_texts)
    return lambda questions: [bm25.rank(one, DEPTH) for one in questions]


def _by_chance(build: LabBuild) -> Ranks:
    return lambda questions: [by_chance(build.names, one, DEPTH) for one in questions]


SYSTEMS: Mapping[str, Callable[[LabBuild], Ranks]] = {
    "vectors": _by_vectors,
    "bm25": _by_plain_bm25,
    "chance": _by_chance,
}


def system(name: str, build: LabBuild) -> Ranks:
    """Return one of the built-in systems.

    Raises:
        InputError: there is none of that name.
    """
    if name not in SYSTEMS:
        known = ", ".join(SYSTEMS)
        raise InputError(f"there is no variant {name!r}; nothing was measured", hint=f"one of {known}, or a file")
    return SYSTEMS[name](build)
