"""Look for better weights of words beside vectors, and of fields, and tell what they are worth on unseen questions.

The questions are dealt into folds. For each fold the weights are chosen on all the others, and its own questions are
ranked by these: what is reported is of questions that had no part in the choice. Only entries are ranked that are among
the best of some side, as a fused search does.
"""

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.errors import InputError
from pipeline.core.ranking import FieldGroup, Ranking
from pipeline.index.fusion import DEPTH as SIDE
from pipeline.index.fusion import best, fuse
from pipeline.index.lab.intervals import SEED
from pipeline.index.lab.judged import Judged
from pipeline.index.lab.lab_build import LabBuild
from pipeline.index.lab.measures import DEPTH, MAIN, measure_rankings
from pipeline.index.lab.open_lab import LabWanted, OpenLab
from pipeline.index.lab.run import LabReport
from pipeline.index.lab.variant_file import Variant, read_variant
from pipeline.index.question import parse_question
from pipeline.index.terms import terms_of_question

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDS = 5
FEWEST = 2 * FOLDS  # questions
SHARES = tuple(round(step / 10, 1) for step in range(11))
WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0)  # of each group but the first, which counts 1
MOST_GROUPS = 3
USUAL, TUNED = "as it is", "tuned, on held-out folds"


class Weights(NamedTuple):
    """What words count beside vectors, and what each group of fields counts."""

    share: float
    groups: tuple[float, ...]

    def __str__(self) -> str:
        """Return them in words."""
        return f"share {self.share:g}, groups {', '.join(f'{weight:g}' for weight in self.groups)}"


@dataclass(frozen=True)
class TuneReport:
    """What tuning came to: both ways on held-out questions, the weights of each fold, and those best on all."""

    lab: LabReport
    ranking: Ranking
    usual: Weights
    folds: Sequence[Weights]
    best: Weights

    @property
    def verdict(self) -> str:
        """Return in words what tuning is worth on questions that had no part in it."""
        ((_, compared),) = self.lab.comparisons(self.lab.groups[0])
        if compared.difference.low > 0:
            return "better than as it is, by more than chance"
        return "worse than as it is" if compared.is_worse else "no better than as it is, beyond chance"

    def as_toml(self) -> str:
        """Return the best weights as the file of a variant."""
        lines = [f"share = {self.best.share}"]
        for group, weight in zip(self.ranking.groups, self.best.groups, strict=True):
            fields = ", ".join(f'"{name}"' for name in group.fields)
            lines += ["", "[[groups]]", f"fields = [{fields}]", f"weight = {weight}"]
        return "\n".join((*lines, ""))


@dataclass(frozen=True)
class _Scored:
    """One question's scores of some entries: their names, float (groups, names), and float (names,)."""

    names: Sequence[str]
    words: "NDArray[Any]"
    similarities: "NDArray[Any]"

    def rank(self, weights: Weights) -> list[str]:
        """Return the best names by some weights."""
        import numpy as np

        words = np.asarray(weights.groups) @ self.words
        if weights.share == 1:
            rows = best(words, DEPTH, words > 0)
        elif weights.share == 0:
            rows = best(self.similarities, DEPTH)
        else:
            both = np.union1d(best(words, SIDE, words > 0), best(self.similarities, SIDE))
            rows = both[best(fuse(words[both], self.similarities[both], share=weights.share), DEPTH)]
        return [self.names[at] for at in rows]


class _Trials:
    """Every weights that were tried, with what each question reached by them."""

    def __init__(self, judged: Judged, scored: Mapping[str, _Scored]) -> None:
        """Begin with none."""
        self._judged, self._scored = judged, scored
        self._values: dict[Weights, NDArray[Any]] = {}

    def rank(self, weights: Weights) -> dict[str, list[str]]:
        """Return each question's ranking by some weights."""
        return {one.qid: self._scored[one.qid].rank(weights) for one in self._judged.questions}

    def values(self, weights: Weights) -> "NDArray[Any]":
        """Return the main measure of each question."""
        if weights not in self._values:
            found = measure_rankings(self.rank(weights), self._judged.grades, self._judged.qids)
            self._values[weights] = found[MAIN]
        return self._values[weights]

    def best(self, grid: Sequence[Weights], places: "NDArray[Any]") -> Weights:
        """Return the weights that are best on some of the questions; of equal ones the first."""
        return max(grid, key=lambda weights: float(self.values(weights)[places].mean()))


def run(opened: OpenLab, wanted: LabWanted, *, seed: int = SEED) -> TuneReport:
    """Choose weights by cross-validation on the judged questions; a file in `wanted.variants` says which groups.

    Raises:
        InputError: too few questions are judged, there are too many groups of fields, or a file is wrong.
    """
    judged = opened.judged(wanted)
    if len(judged.questions) < FEWEST:
        raise InputError(f"{len(judged.questions)} judged questions are too few to tune by; {FEWEST} are needed")
    variant = read_variant(Path(wanted.variants[0])) if wanted.variants else Variant("collection")
    ranking = variant.ranking(opened.collection.ranking)
    if len(ranking.groups) > MOST_GROUPS:
        raise InputError(f"{len(ranking.groups)} groups of fields are too many to tune; at most {MOST_GROUPS}")
    sides = [opened.build_of(replace(variant, groups=(FieldGroup(group.fields),))) for group in ranking.groups]
    scored = {one.qid: _score(one.text, sides, ranking) for one in judged.questions}
    return _tuned(opened.build, judged, ranking, _Trials(judged, scored), seed=seed)


def _score(question: str, sides: Sequence[LabBuild], ranking: Ranking) -> _Scored:
    """Return one question's scores of the entries that are among the best of any side."""
    import numpy as np

    asked = parse_question(question)
    terms, mask = terms_of_question(asked.text, asking=ranking.asking), sides[0].passing(asked)
    words = np.stack([side.words_scores(terms) for side in sides])
    similarities = sides[0].all_similarities(asked)
    rows = np.unique(np.concatenate([best(scores, SIDE, mask) for scores in (*words, similarities)]))
    return _Scored([sides[0].names[row] for row in rows], words[:, rows], similarities[rows])


def _tuned(build: LabBuild, judged: Judged, ranking: Ranking, trials: _Trials, *, seed: int) -> TuneReport:
    """Choose weights without each fold, and rank its questions by them."""
    import numpy as np

    usual = Weights(ranking.share, tuple(group.weight for group in ranking.groups))
    grid = [usual, *(one for one in _grid(len(ranking.groups)) if one != usual)]
    count = len(judged.questions)
    folds, chosen, held_out = list(_dealt(judged, seed=seed)), list[Weights](), dict[str, Sequence[str]]()
    for fold in folds:
        weights = trials.best(grid, np.setdiff1d(np.arange(count), fold))
        chosen.append(weights)
        ranked = trials.rank(weights)
        held_out |= {judged.qids[at]: ranked[judged.qids[at]] for at in fold}
    report = LabReport(build.manifest, judged, {USUAL: trials.rank(usual), TUNED: held_out}, seed)
    return TuneReport(report, ranking, usual, chosen, trials.best(grid, np.arange(count)))


def _grid(groups: int) -> Iterator[Weights]:
    for share, others in itertools.product(SHARES, itertools.product(WEIGHTS, repeat=groups - 1)):
        yield Weights(share, (1.0, *others))


def _dealt(judged: Judged, *, seed: int) -> Iterator[list[int]]:
    """Yield the places of each fold's questions, of every type alike."""
    dice = random.Random(seed)  # noqa: S311 - a draw, nothing secret
    drawn = [(one.type, dice.random(), at) for at, one in enumerate(judged.questions)]
    order = [at for _, _, at in sorted(drawn)]
    yield from (sorted(order[first::FOLDS]) for first in range(FOLDS))
