"""Write the questions and judgements of the task in use into files that `import_` reads back as they are."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.core import files
from pipeline.core.errors import InputError
from pipeline.index.lab import judged_files
from pipeline.index.lab.judged_files import ReadJudgement
from pipeline.store import lab

if TYPE_CHECKING:
    from pipeline.core.task import Task
    from pipeline.store.database import Store

JSON_LINES = (".jsonl", ".ndjson")


class LabExportReport(NamedTuple):
    """How many questions and judgements were written, and of how many items that are gone judgements were left out."""

    questions: int
    judgements: int
    gone: int


def run(store: "Store", task: "Task", *, queries: Path | None, qrels: Path | None) -> LabExportReport:
    """Write questions as JSON lines, and judgements as TREC has them, or as JSON lines where the name ends so.

    Raises:
        InputError: neither is named, there are none, or a name holds white space, which TREC cannot.
    """
    with store.read() as tx:
        questions = lab.lab_questions_of(tx, task.name)
        judgements = lab.lab_judgements_of(tx, task.name)
        names = task.names(tx, lab.judged_items(tx, task.name))
    if not questions:
        raise InputError("there are no questions in the lab", hint=f"`{task.words.make('lab-import')} QUERIES=…`")
    rows = [
        ReadJudgement(one.qid, names[one.item_id], one.grade, "", one.judge, one.at)
        for one in judgements
        if one.item_id in names
    ]
    if queries:
        _seal(queries, judged_files.questions_as_lines(questions))
    if qrels:
        _seal(qrels, judged_files.judgements_as_lines(rows, as_trec=qrels.suffix.lower() not in JSON_LINES))
    return LabExportReport(len(questions) if queries else 0, len(rows) if qrels else 0, len(judgements) - len(rows))


def _seal(path: Path, lines: Iterable[bytes]) -> None:
    """Write a file whole."""
    files.seal_bytes(files.target_of(path), b"".join(lines))
