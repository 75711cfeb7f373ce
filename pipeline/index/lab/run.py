"""Measure variants of the search on judged questions, over one build: figures with intervals, and who wins what.

Judgements are incomplete in every collection we know, so the figures compare variants and say nothing absolute.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.errors import InputError
from pipeline.index.lab.intervals import SEED, Comparison, Estimate, compare_paired, estimate_all
from pipeline.index.lab.judged import Judged
from pipeline.index.lab.measures import MAIN, MEASURES, measure_rankings
from pipeline.index.lab.open_lab import LabWanted, OpenLab

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.index.manifest import Manifest

ALL = "all"


class Group(NamedTuple):
    """Some of the questions: those of one type, of one language, or all."""

    kind: str
    name: str
    places: "NDArray[Any]"


@dataclass(frozen=True)
class LabReport:
    """The rankings of each variant on the questions, and what follows from them."""

    build: "Manifest"
    judged: Judged
    rankings: Mapping[str, Mapping[str, Sequence[str]]]  # by variant and question, best first
    seed: int = SEED
    _estimates: dict[tuple[str, str, str], dict[str, Estimate]] = field(default_factory=dict)

    @property
    def variants(self) -> list[str]:
        """Return the names of the variants; the first is the one that others are compared with."""
        return list(self.rankings)

    @cached_property
    def values(self) -> "Mapping[str, Mapping[str, NDArray[Any]]]":
        """What each variant reached, by measure, one value a question."""
        return {
            name: measure_rankings(found, self.judged.grades, self.judged.qids) for name, found in self.rankings.items()
        }

    @cached_property
    def groups(self) -> list[Group]:
        """All questions, then those of each type and each language where there are several."""
        import numpy as np

        questions = self.judged.questions
        found = [Group(ALL, ALL, np.arange(len(questions)))]
        for kind in ("type", "language"):
            values = [getattr(one, kind) for one in questions]
            if len(set(values)) > 1:
                places = {value: [at for at, one in enumerate(values) if one == value] for value in sorted(set(values))}
                found += [Group(kind, value or "none", np.array(some)) for value, some in places.items()]
        return found

    def estimates(self, variant: str, group: Group) -> dict[str, Estimate]:
        """Return the mean of each measure over a group, with its interval."""
        import numpy as np

        key = (variant, group.kind, group.name)
        if key not in self._estimates:
            columns = np.column_stack([self.values[variant][name][group.places] for name in MEASURES])
            self._estimates[key] = dict(zip(MEASURES, estimate_all(columns, seed=self.seed), strict=True))
        return self._estimates[key]

    def comparisons(self, group: Group) -> Iterator[tuple[str, Comparison]]:
        """Yield how each other variant compares with the first one on a group."""
        first, *others = self.variants
        base = self.values[first][MAIN][group.places]
        for name in others:
            yield name, compare_paired(self.values[name][MAIN][group.places], base, seed=self.seed)


def run(opened: OpenLab, wanted: LabWanted, *, seed: int = SEED) -> LabReport:
    """Measure variants on the questions that are stored, or on those of files.

    Raises:
        InputError: a file is missing or a line of it is wrong, no question is judged, there is no such variant, or no
            index of the task in use.
        ConfigurationError: the index was built with another model than the questions would be embedded with.
    """
    judged, names = opened.judged(wanted), variant_labels(wanted.variants)
    ranks = {label: opened.system(name) for label, name in names.items()}
    rankings = {label: dict(zip(judged.qids, rank(judged.texts), strict=True)) for label, rank in ranks.items()}
    return LabReport(opened.build.manifest, judged, rankings, seed)


def variant_labels(variants: Sequence[str]) -> dict[str, str]:
    """Return what variants are called in a report, with their names: a file's without its folder and ending.

    Raises:
        InputError: none is named.
    """
    if not variants:
        raise InputError("no variant is named; nothing was measured", hint="VARIANTS=hybrid,bm25")
    found: dict[str, str] = {}
    for name in dict.fromkeys(variants):
        stem = Path(name).stem
        found[name if stem in found else stem] = name
    return found
