"""Store the corrections of answers that people entered.

A correction is an answer of the version `person`, which has priority over the answers of models.
The edits of a row are numbered from 1 and are never deleted by an undo. If all edits of a row are
undone, none is applied, and the answers of models count.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from pipeline.store.answers import PERSON
from pipeline.store.schema import answers


class AnswerEdit(NamedTuple):
    """One edit of the answer of a row."""

    number: int
    who: str
    at: datetime
    # The answer before the edit, empty if there was none.
    before: dict[str, Any]
    after: dict[str, Any]
    # Number of the edit that this edit undoes.
    undoes: int | None


def list_edits(tx: Connection, task: str, item_id: str) -> list[AnswerEdit]:
    """Return all edits of a row, also undone edits, oldest first, numbered from 1.

    `before` is an empty dict if the row had no answer.
    """
    columns = (answers.c.who, answers.c.at, answers.c.before, answers.c.answer, answers.c.undoes)
    query = select(*columns).where(*_is_correction(task, item_id)).order_by(answers.c.id)
    edits = []
    for number, row in enumerate(tx.execute(query), start=1):
        before = json.loads(row.before) or {}
        after = json.loads(row.answer)
        edits.append(AnswerEdit(number, row.who, row.at, before, after, row.undoes))
    return edits


def add_edit(
    tx: Connection,
    task: str,
    item_id: str,
    edit: AnswerEdit,
    *,
    input_hash: str,
    is_applied: bool,
    bulk_edit: int | None = None,
) -> None:
    """Insert an edit as an answer of the version `person`.

    Args:
        bulk_edit: Number of the bulk edit that the edit is part of.
        input_hash: Hash of the input of the row.
        is_applied: The correction is applied. If False, all edits of the row are undone.
    """
    tx.execute(
        insert(answers).values(
            task=task,
            item_id=item_id,
            extractor=PERSON,
            applied=is_applied,
            input_hash=input_hash,
            model_version="",
            response_id="",
            tokens_in=0,
            tokens_out=0,
            cost=0,
            answer=_to_json(edit.after),
            before=_to_json(edit.before),
            who=edit.who,
            undoes=edit.undoes,
            bulk_edit=bulk_edit,
            at=edit.at,
        ),
    )
    if not is_applied:
        tx.execute(update(answers).where(*_is_correction(task, item_id)).values(applied=False))


def list_bulk_edit_numbers(tx: Connection, task: str, item_id: str, bulk_edit: int) -> list[int]:
    """Return the numbers of those edits of a row that are part of a bulk edit, oldest first."""
    query = select(answers.c.bulk_edit, answers.c.undoes)
    query = query.where(*_is_correction(task, item_id)).order_by(answers.c.id)
    return [
        number
        for number, edit in enumerate(tx.execute(query), start=1)
        if edit.bulk_edit == bulk_edit and edit.undoes is None
    ]


def read_bulk_edited_page(
    tx: Connection,
    task: str,
    bulk_edit: int,
    *,
    after: int,
    limit: int,
) -> list[tuple[int, str]]:
    """Return the next (answer id, row id) of a bulk edit, by answer id, without its undos.

    Args:
        after: Return only greater answer ids.
        limit: Return at most so many.
    """
    query = select(answers.c.id, answers.c.item_id).where(
        answers.c.id > after,
        *_is_of_bulk_edit(task, bulk_edit),
    )
    rows = tx.execute(query.order_by(answers.c.id).limit(limit))
    return [(row.id, row.item_id) for row in rows]


def count_bulk_edited(tx: Connection, task: str, bulk_edit: int) -> int:
    """Return how many edits are part of a bulk edit, without its undos."""
    query = select(func.count()).where(*_is_of_bulk_edit(task, bulk_edit))
    return tx.execute(query).scalar_one()


def _is_of_bulk_edit(task: str, bulk_edit: int) -> Sequence[ColumnElement[bool]]:
    return (
        answers.c.task == task,
        answers.c.bulk_edit == bulk_edit,
        answers.c.undoes.is_(None),
    )


def _to_json(answer: Mapping[str, Any]) -> str:
    return json.dumps(answer, ensure_ascii=False)


def delete_edits(tx: Connection, task: str, item_id: str) -> None:
    """Delete all edits of a row."""
    tx.execute(delete(answers).where(*_is_correction(task, item_id)))


def _is_correction(task: str, item_id: str) -> Sequence[ColumnElement[bool]]:
    return answers.c.task == task, answers.c.item_id == item_id, answers.c.extractor == PERSON
