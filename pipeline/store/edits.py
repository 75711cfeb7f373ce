"""Keep what a person wrote in the place of an item's answer: by whom, when, and what stood there before.

It is an answer of the extractor `person`, which outranks every model's, with a row beside it. An item's edits count
from 1 and stay, also those that a later one undoes.
"""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, or_, select

from pipeline.store.answers import PERSON
from pipeline.store.hand_tables import edits
from pipeline.store.tables import answers


class Edit(NamedTuple):
    """One edit of an item; `before` and `after` are JSON as of an answer, `undoes` is the number of another edit."""

    number: int
    who: str
    at: datetime
    before: str
    after: str
    undoes: int | None


def list_edits(tx: Connection, task: str, item_id: str) -> list[Edit]:
    """Return every edit of an item, oldest first."""
    columns = (edits.c.who, answers.c.at, edits.c.before, answers.c.answer, edits.c.undoes)
    query = select(*columns).join_from(edits, answers).where(answers.c.task == task, answers.c.item_id == item_id)
    return [Edit(number, *row) for number, row in enumerate(tx.execute(query.order_by(answers.c.id)), start=1)]


def add_edit(
    tx: Connection, task: str, item_id: str, answer: str, *, before: str, who: str, undoes: int | None, at: datetime
) -> None:
    """Keep the answer of a person, JSON, which stands in the item's row from this transaction on."""
    given = {"task": task, "item_id": item_id, "extractor": PERSON, "answer": answer, "applied": True, "at": at}
    blank = dict.fromkeys(("input_hash", "model_version", "response_id"), "")
    unpaid = dict.fromkeys(("tokens_in", "tokens_out", "cost"), 0)
    query = insert(answers).values(**given, **blank, **unpaid).returning(answers.c.id)
    key = tx.execute(query).scalar_one()
    tx.execute(insert(edits).values(answer=key, who=who, before=before, undoes=undoes))


def drop_edits(tx: Connection, task: str, item_id: str) -> None:
    """Delete what was ever said of an item by hand."""
    mine = (answers.c.task == task) & (answers.c.item_id == item_id) & (answers.c.extractor == PERSON)
    tx.execute(delete(edits).where(edits.c.answer.in_(select(answers.c.id).where(mine))))
    tx.execute(delete(answers).where(mine))


def stands_in_answers(tx: Connection, task: str, text: str) -> bool:
    """Return whether a text stands in an answer to any item, a person's or a model's, or in what an edit replaced."""
    held = or_(*(column.contains(text, autoescape=True) for column in (answers.c.answer, edits.c.before)))
    query = select(answers.c.id).join_from(answers, edits, isouter=True).where(answers.c.task == task, held)
    return tx.execute(query.limit(1)).first() is not None
