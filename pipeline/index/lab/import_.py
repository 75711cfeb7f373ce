"""Import questions and judgements of the task in use, all or nothing; doing it twice changes nothing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core import files
from pipeline.core.errors import InputError
from pipeline.index.lab import judged_files
from pipeline.store import lab
from pipeline.store.lab import LabJudgement, StoredChanges

if TYPE_CHECKING:
    from pipeline.core.task import Task
    from pipeline.index.lab.judged_files import ReadJudgement
    from pipeline.store.database import Connection, Store

NONE = StoredChanges(0, 0, 0)


@dataclass(frozen=True)
class LabImportReport:
    """What came of each file, and the names and questions of judgements that were left out: none is here."""

    questions: StoredChanges
    judgements: StoredChanges
    gone: Sequence[str]
    unasked: Sequence[str]


def run(
    store: "Store", task: "Task", *, queries: Path | None, qrels: Path | None, judge: str, at: datetime
) -> LabImportReport:
    """Store the questions and judgements of files; `judge` and `at` (aware) stand where a judgement names none.

    Raises:
        InputError: a file is missing or a line of it is wrong, or no judgement is of a question and an item that are
            here; nothing was stored.
    """
    for path in filter(None, (queries, qrels)):
        if why := files.why_not_readable(path):
            raise InputError(f"{path} {why}; nothing was stored", hint="check the path")
    questions = judged_files.read_questions(queries) if queries else []
    read = judged_files.read_judgements(qrels) if qrels else []
    with store.write() as tx:
        asked = lab.put_questions(tx, task.name, questions, at=at)
        known = {one.qid for one in lab.lab_questions_of(tx, task.name)}
        ids = item_ids(tx, task, [one.name for one in read if one.qid in known])
        fit = [one for one in read if one.qid in known and one.name in ids]
        if read and not fit:
            _refuse(read[0], str(qrels), known=read[0].qid in known, one=task.words.one)
        rows = [LabJudgement(one.qid, ids[one.name], one.grade, one.judge or judge, one.at or at) for one in fit]
        judged = lab.put_judgements(tx, task.name, rows) if rows else NONE
    gone = _once(one.name for one in read if one.qid in known and one.name not in ids)
    return LabImportReport(asked, judged, gone, _once(one.qid for one in read if one.qid not in known))


def item_ids(tx: "Connection", task: "Task", names: Iterable[str]) -> dict[str, str]:
    """Return the id of the item of each name, without those that are not here."""
    found = {}
    for name in dict.fromkeys(names):
        try:
            found[name] = task.id_of(tx, name)
        except InputError:
            continue
    return found


def _once(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))


def _refuse(first: "ReadJudgement", qrels: str, *, known: bool, one: str) -> None:
    """Say why none of a file's judgements fits.

    Raises:
        InputError: always.
    """
    missing = f"{one} {first.name!r}" if known else f"question {first.qid!r}"
    raise InputError(
        f"{qrels} judges nothing that is here: {first.place} is of {missing}; nothing was stored",
        hint="are these two of one collection? `make lab-import QUERIES=queries.jsonl QRELS=qrels.tsv`",
    )
