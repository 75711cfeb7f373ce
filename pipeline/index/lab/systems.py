"""Rank the entries of one build for questions, by each of the ways that are built in."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from pipeline.core.ranking import Rank
from pipeline.index.lab.baselines import PlainBm25, by_chance
from pipeline.index.lab.lab_build import LabBuild
from pipeline.index.lab.measures import DEPTH

Ranks = Callable[[Sequence[str]], list[list[str]]]  # from questions to names, best first


def _as_search(rank: Rank, build: LabBuild) -> Ranks:
    return partial(build.rank, rank, depth=DEPTH)


def _by_plain_bm25(build: LabBuild) -> Ranks:
    bm25 = PlainBm25(build.names, build.plain_texts)
    return lambda questions: [bm25.rank(one, DEPTH) for one in questions]


def _by_chance(build: LabBuild) -> Ranks:
    return lambda questions: [by_chance(build.names, one, DEPTH) for one in questions]


SYSTEMS: Mapping[str, Callable[[LabBuild], Ranks]] = {
    "served": partial(_as_search, Rank.HYBRID),
    **{str(rank): partial(_as_search, rank) for rank in Rank},
    "bm25": _by_plain_bm25,
    "chance": _by_chance,
}
USUAL = ("hybrid", "words", "vectors", "bm25")  # that are compared where nothing else is said
