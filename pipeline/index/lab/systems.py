"""Rank the entries of one build for questions, by each of the ways that are built in."""

from collections.abc import Callable, Mapping, Sequence

from pipeline.core.errors import InputError
from pipeline.index.lab.baselines import PlainBm25, by_chance
from pipeline.index.lab.lab_build import LabBuild
from pipeline.index.lab.measures import DEPTH

Ranks = Callable[[Sequence[str]], list[list[str]]]  # from questions to names, best first


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
