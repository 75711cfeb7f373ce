"""Keep the questions of the test lab, who judged what how, and what is left to be judged.

A judgement is of one item for one question: the newest one stands. All three go with an item that is forgotten.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, delete, func, or_, select, update

from pipeline.store.database import among, insert_rows, pages
from pipeline.store.lab_tables import lab_judgements, lab_pool, lab_questions


class LabQuestion(NamedTuple):
    """One question of a collection; type and language group questions in a report and may be empty."""

    qid: str
    text: str
    type: str = ""
    language: str = ""


class LabJudgement(NamedTuple):
    """How well an item answers a question: 0 not at all, more is better; who said so, and when (aware)."""

    qid: str
    item_id: str
    grade: int
    judge: str
    at: datetime


class StoredChanges(NamedTuple):
    """How many rows came, how many were changed, and how many were there as they are."""

    new: int
    changed: int
    same: int


def put_questions(tx: Connection, task: str, questions: Sequence[LabQuestion], *, at: datetime) -> StoredChanges:
    """Store questions; one whose id is there takes the place of what it was."""
    known = {one.qid: one for one in lab_questions_of(tx, task)}
    fresh = [one for one in questions if one.qid not in known]
    changed = [one for one in questions if one.qid in known and known[one.qid] != one]
    insert_rows(tx, lab_questions, ("task", *LabQuestion._fields, "at"), [(task, *one, at) for one in fresh])
    for one in changed:
        here = (lab_questions.c.task == task) & (lab_questions.c.qid == one.qid)
        tx.execute(update(lab_questions).where(here).values(**one._asdict(), at=at))
    return StoredChanges(len(fresh), len(changed), len(questions) - len(fresh) - len(changed))


def lab_questions_of(tx: Connection, task: str) -> list[LabQuestion]:
    """Return the questions of a task, by their ids."""
    columns = [lab_questions.c[name] for name in LabQuestion._fields]
    found = tx.execute(select(*columns).where(lab_questions.c.task == task).order_by(lab_questions.c.qid))
    return [LabQuestion._make(row) for row in found]


def put_judgements(tx: Connection, task: str, judgements: Sequence[LabJudgement]) -> StoredChanges:
    """Store judgements of questions that are there; another grade takes the place of what it was."""
    known = lab_grades(tx, task)
    fresh = [one for one in judgements if one.item_id not in known.get(one.qid, {})]
    changed = [one for one in judgements if known.get(one.qid, {}).get(one.item_id, one.grade) != one.grade]
    insert_rows(tx, lab_judgements, ("task", *LabJudgement._fields), [(task, *one) for one in fresh])
    for one in changed:
        here = _of_pair(lab_judgements, task, one.qid, one.item_id)
        tx.execute(update(lab_judgements).where(here).values(grade=one.grade, judge=one.judge, at=one.at))
    return StoredChanges(len(fresh), len(changed), len(judgements) - len(fresh) - len(changed))


def lab_judgements_of(tx: Connection, task: str) -> list[LabJudgement]:
    """Return the judgements of a task, by question and item."""
    columns = [lab_judgements.c[name] for name in LabJudgement._fields]
    query = select(*columns).where(lab_judgements.c.task == task)
    found = tx.execute(query.order_by(lab_judgements.c.qid, lab_judgements.c.item_id))
    return [LabJudgement._make(row) for row in found]


def lab_grades(tx: Connection, task: str) -> dict[str, dict[str, int]]:
    """Return the grade of each judged item for each question that has any."""
    found: dict[str, dict[str, int]] = {}
    columns = (lab_judgements.c.qid, lab_judgements.c.item_id, lab_judgements.c.grade)
    for qid, item_id, grade in tx.execute(select(*columns).where(lab_judgements.c.task == task)):
        found.setdefault(qid, {})[item_id] = grade
    return found


def judged_items(tx: Connection, task: str) -> list[str]:
    """Return the ids of all items that a judgement is of."""
    query = select(lab_judgements.c.item_id).where(lab_judgements.c.task == task).distinct()
    return list(tx.execute(query.order_by(lab_judgements.c.item_id)).scalars())


def drop_judgements(tx: Connection, task: str, ids: Sequence[str]) -> int:
    """Remove what was said of these items, and that it is wanted; return how many judgements went."""
    gone = 0
    for some in pages(ids):
        for table in (lab_pool, lab_judgements):
            here = (table.c.task == task) & among(tx, table.c.item_id, some)
            gone_here = tx.execute(delete(table).where(here)).rowcount
        gone += gone_here
    return gone


def drop_questions_holding(tx: Connection, words: Collection[str]) -> int:
    """Remove every question in which one of some words stands, with its judgements; return how many questions went.

    A judge whose name holds one is named no longer.
    """
    if not words:
        return 0
    place = func.instr if tx.dialect.name == "sqlite" else func.strpos

    def held(columns: Iterable[ColumnElement[Any]]) -> ColumnElement[bool]:
        """Return the condition that any of these columns holds a word."""
        return or_(*(place(column, word) > 0 for column in columns for word in words))

    tx.execute(update(lab_judgements).where(held([lab_judgements.c.judge])).values(judge=""))
    columns = [lab_questions.c[name] for name in LabQuestion._fields]
    return tx.execute(delete(lab_questions).where(held(columns))).rowcount


def put_pool(tx: Connection, task: str, pairs: Sequence[tuple[str, str]]) -> int:
    """Put pairs of question and item to be judged, in their order, in the place of what was left; return how many.

    What was judged or skipped stays as it was, and is not asked about again.
    """
    tx.execute(delete(lab_pool).where(lab_pool.c.task == task, lab_pool.c.acted_at.is_(None)))
    mine = select(lab_pool.c.qid, lab_pool.c.item_id).where(lab_pool.c.task == task)
    acted = {tuple(row) for row in tx.execute(mine)}
    rows = [(task, *pair, place) for place, pair in enumerate(pairs) if pair not in acted]
    insert_rows(tx, lab_pool, ("task", "qid", "item_id", "place"), rows)
    return len(rows)


def next_in_pool(tx: Connection, task: str) -> tuple[str, str] | None:
    """Return the question and the item that are to be judged next; None where none is left."""
    query = select(lab_pool.c.qid, lab_pool.c.item_id).where(_open(task)).order_by(lab_pool.c.place).limit(1)
    row = tx.execute(query).first()
    return None if row is None else (row[0], row[1])


def count_pool(tx: Connection, task: str) -> tuple[int, int]:
    """Return how many pairs were wanted, and how many of them are left to be judged."""
    total = tx.execute(select(func.count()).where(lab_pool.c.task == task)).scalar_one()
    return total, tx.execute(select(func.count()).where(_open(task))).scalar_one()


def act_in_pool(
    tx: Connection, task: str, qid: str, item_id: str, *, grade: int | None, judge: str, at: datetime
) -> None:
    """Store a judgement of a pair, or without a grade that it was skipped; it is left no longer."""
    tx.execute(update(lab_pool).where(_of_pair(lab_pool, task, qid, item_id)).values(acted_at=at))
    if grade is not None:
        put_judgements(tx, task, [LabJudgement(qid, item_id, grade, judge, at)])


def undo_in_pool(tx: Connection, task: str) -> bool:
    """Take back the judgement or the skip that came last, so that it is next; false where there is none."""
    last = select(lab_pool.c.qid, lab_pool.c.item_id).where(lab_pool.c.task == task, lab_pool.c.acted_at.is_not(None))
    row = tx.execute(last.order_by(lab_pool.c.acted_at.desc(), lab_pool.c.place.desc()).limit(1)).first()
    if row is None:
        return False
    tx.execute(delete(lab_judgements).where(_of_pair(lab_judgements, task, *row)))
    tx.execute(update(lab_pool).where(_of_pair(lab_pool, task, *row)).values(acted_at=None))
    return True


def _open(task: str) -> ColumnElement[bool]:
    """Return the condition that a pair of a task is left."""
    return (lab_pool.c.task == task) & lab_pool.c.acted_at.is_(None)


def _of_pair(table: Table, task: str, qid: str, item_id: str) -> ColumnElement[bool]:
    return (table.c.task == task) & (table.c.qid == qid) & (table.c.item_id == item_id)
