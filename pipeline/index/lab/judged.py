"""Bring judged questions together with the names by which rankings mean entries."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.core import files
from pipeline.core.errors import InputError
from pipeline.index.lab import judged_files
from pipeline.store import lab
from pipeline.store.lab import LabQuestion

if TYPE_CHECKING:
    from pipeline.core.task import Task
    from pipeline.store.database import Store

Grades = Mapping[str, Mapping[str, int]]


class Judged(NamedTuple):
    """Questions with something relevant, the grades of names for each, and how many judged items are gone."""

    questions: Sequence[LabQuestion]
    grades: Grades
    gone: int = 0

    @property
    def qids(self) -> list[str]:
        """Return the ids of the questions."""
        return [one.qid for one in self.questions]

    @property
    def texts(self) -> list[str]:
        """Return the texts of the questions, in the same order."""
        return [one.text for one in self.questions]


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
    """Return the judged questions of the lab, which may be none."""
    with store.read() as tx:
        questions, stored = lab.lab_questions_of(tx, task.name), lab.lab_grades(tx, task.name)
        items = lab.judged_items(tx, task.name)
        names = task.names(tx, items)
    grades = {qid: {names[one]: grade for one, grade in some.items() if one in names} for qid, some in stored.items()}
    return Judged(_relevant(questions, grades), grades, len(items) - len(names))


def _relevant(questions: Sequence[LabQuestion], grades: Grades) -> list[LabQuestion]:
    """Return the questions for which something is relevant."""
    return [one for one in questions if any(grade > 0 for grade in grades.get(one.qid, {}).values())]
