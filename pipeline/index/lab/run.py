"""Measure variants of the search on judged questions, over one build: figures with intervals, and who wins what.

Judgements are incomplete in every collection we know, so the figures compare variants and say nothing absolute.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core import files
from pipeline.core.errors import InputError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.index.lab import judged_files
from pipeline.index.lab.intervals import SEED, Comparison, Estimate, compare_paired, estimate_all
from pipeline.index.lab.lab_build import opened_build
from pipeline.index.lab.measures import MAIN, MEASURES, measure_rankings
from pipeline.index.lab.variant_build import system
from pipeline.store import lab
from pipeline.store.lab import LabQuestion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.core.task import Task
    from pipeline.index.manifest import Manifest
    from pipeline.store.database import Store

ALL = "all"
Grades = Mapping[str, Mapping[str, int]]


class LabWanted(NamedTuple):
    """What to measure: variants by their names, and files of questions and judgements in the place of those stored."""

    variants: Sequence[str]
    queries: Path | None = None
    qrels: Path | None = None
    seed: int = SEED


class Judged(NamedTuple):
    """Questions with something relevant, the grades of names for each, and how many judged items are gone."""

    questions: Sequence[LabQuestion]
    grades: Grades
    gone: int = 0


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
        qids = [one.qid for one in self.judged.questions]
        return {name: measure_rankings(found, self.judged.grades, qids) for name, found in self.rankings.items()}

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


def run(ws: OpenWorkspace, wanted: LabWanted) -> LabReport:
    """Measure variants on the questions that are stored, or on those of files.

    Raises:
        InputError: a file is missing or a line of it is wrong, no question is judged, there is no such variant, or no
            index of the task in use.
        ConfigurationError: the index was built with another model than the questions would be embedded with.
    """
    judged = judged_questions(ws.store, ws.task, wanted)
    names = variant_labels(wanted.variants)
    with opened_build(ws) as build, contextlib.ExitStack() as stack:
        ranks = {label: system(ws, name, build, stack) for label, name in names.items()}
        texts, qids = [one.text for one in judged.questions], [one.qid for one in judged.questions]
        rankings = {name: dict(zip(qids, rank(texts), strict=True)) for name, rank in ranks.items()}
        return LabReport(build.manifest, judged, rankings, wanted.seed)


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


def judged_questions(store: "Store", task: "Task", wanted: LabWanted) -> Judged:
    """Return the judged questions that are wanted: of files, or those that are stored.

    Raises:
        InputError: a file is missing or a line of it is wrong, or none is judged.
    """
    if wanted.queries and wanted.qrels:
        return judged_of_files(wanted.queries, wanted.qrels)
    return stored_judged(store, task)


def judged_of_files(queries: Path, qrels: Path) -> Judged:
    """Return the judged questions of files.

    Raises:
        InputError: a file is missing or a line of it is wrong, or none of the questions is judged.
    """
    for path in (queries, qrels):
        if why := files.why_not_readable(path):
            raise InputError(f"{path} {why}; nothing was measured", hint="check the path")
    questions, grades = judged_files.read_questions(queries), dict[str, dict[str, int]]()
    for one in judged_files.read_judgements(qrels):
        grades.setdefault(one.qid, {})[one.name] = one.grade
    if not (found := _relevant(questions, grades)):
        raise InputError(f"{qrels} judges none of the questions in {queries}", hint="are these two of one collection?")
    return Judged(found, grades)


def stored_judged(store: "Store", task: "Task") -> Judged:
    """Return the judged questions of the lab.

    Raises:
        InputError: none is judged.
    """
    with store.read() as tx:
        questions, stored = lab.lab_questions_of(tx, task.name), lab.lab_grades(tx, task.name)
        items = lab.judged_items(tx, task.name)
        names = task.names(tx, items)
    grades = {qid: {names[one]: grade for one, grade in some.items() if one in names} for qid, some in stored.items()}
    if not (found := _relevant(questions, grades)):
        raise InputError(
            "no question of the lab has a relevant judgement; nothing was measured",
            hint=f"`{task.words.make('lab-import')} QUERIES=queries.jsonl QRELS=qrels.tsv`",
        )
    return Judged(found, grades, len(items) - len(names))


def _relevant(questions: Sequence[LabQuestion], grades: Grades) -> list[LabQuestion]:
    """Return the questions for which something is relevant."""
    return [one for one in questions if any(grade > 0 for grade in grades.get(one.qid, {}).values())]
