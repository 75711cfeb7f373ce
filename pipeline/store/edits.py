"""Store the corrections of answers that people entered.

A correction is an answer of the version `person`, which has priority over the answers of models.
The edits of a row are numbered from 1 and are never deleted by an undo. If all edits of a row are
undone, none is applied, and the answers of models count.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, insert, select, update

from pipeline.store.answers import PERSON
from pipeline.store.confidences import FieldConfidence, encode_confidences
from pipeline.store.database import change_matching, run_many, select_matching
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
    # The fields that the editor set, also to their present values; empty if it undoes an edit.
    fields: Sequence[str] = ()


class NewEdit(NamedTuple):
    """An edit that is to be stored."""

    edit: AnswerEdit
    # Hash of the input of the row.
    input_hash: str
    # The correction is applied. If False, all edits of the row are undone.
    is_applied: bool
    # Confidences of the fields that a model answered and no person set.
    confidences: Mapping[str, FieldConfidence] = {}


def list_edits(tx: Connection, task: str, row_ids: Sequence[str]) -> dict[str, list[AnswerEdit]]:
    """Return all edits of each row by row id, oldest first and numbered from 1 in each row.

    An edit is a correction by a person. An undo is an edit, too. Edits that were undone later are
    included. `before` is an empty dict if the row had no answer before the edit. A row without
    edits has an empty list.
    """
    query = (
        select(
            answers.c.item_id,
            answers.c.who,
            answers.c.at,
            answers.c.before,
            answers.c.answer,
            answers.c.undoes,
            answers.c.set_fields,
        )
        .where(*_is_correction(task))
        .order_by(answers.c.id)
    )
    edits_by_id: dict[str, list[AnswerEdit]] = {row_id: [] for row_id in row_ids}
    for row in select_matching(tx, query, answers.c.item_id, row_ids):
        row_edits = edits_by_id[row.item_id]
        edit = to_edit_of_fields(row, number=len(row_edits) + 1)
        before = json.loads(row.before) or {}
        row_edits.append(edit._replace(before=before, after=json.loads(row.answer)))
    return edits_by_id


def to_edit_of_fields(row: Any, *, number: int) -> AnswerEdit:
    """Return an edit from a row of the table of answers, with empty answers before and after.

    An undo sets no fields.
    """
    fields = [] if row.set_fields is None else json.loads(row.set_fields)
    return AnswerEdit(number, row.who, row.at, {}, {}, row.undoes, tuple(fields))


def list_active_edits(row_edits: Sequence[AnswerEdit]) -> list[AnswerEdit]:
    """Return the edits that set fields and are not undone; undoing an undo applies it again.

    Args:
        row_edits: All edits of a row by ascending number.
    """
    is_active_by_number = dict[int, bool]()
    for edit in row_edits:
        # Follow a chain of undos to the edit that set values; each undo inverts its state.
        edited = edit
        is_active = True
        while edited.undoes is not None:
            edited = row_edits[edited.undoes - 1]
            is_active = not is_active
        is_active_by_number[edited.number] = is_active
    return [edit for edit in row_edits if is_active_by_number.get(edit.number)]


def list_set_fields(row_edits: Sequence[AnswerEdit]) -> set[str]:
    """Return the fields that a person set and did not undo: the labelled fields of a row."""
    return set().union(*(edit.fields for edit in list_active_edits(row_edits)))


def add_edits(tx: Connection, task: str, new_edits: Mapping[str, NewEdit]) -> None:
    """Insert edits, given by row id, as answers of the version `person`.

    An undo is stored without fields.
    If an edit is not applied, all its row's edits are undone, so none of them is applied any more.
    """
    rows = [
        {
            "task": task,
            "item_id": row_id,
            "extractor": PERSON,
            "applied": new_edit.is_applied,
            "input_hash": new_edit.input_hash,
            "model_version": "",
            "response_id": "",
            "tokens_in": 0,
            "tokens_out": 0,
            "cost": 0,
            "answer": _to_json(new_edit.edit.after),
            "before": _to_json(new_edit.edit.before),
            "who": new_edit.edit.who,
            "undoes": new_edit.edit.undoes,
            "set_fields": None
            if new_edit.edit.undoes is not None
            else json.dumps(list(new_edit.edit.fields)),
            "confidences": encode_confidences(new_edit.confidences),
            "at": new_edit.edit.at,
        }
        for row_id, new_edit in new_edits.items()
    ]
    run_many(tx, insert(answers), rows)

    undone_ids = [row_id for row_id, new_edit in new_edits.items() if not new_edit.is_applied]
    unapply = update(answers).where(*_is_correction(task)).values(applied=False)
    change_matching(tx, unapply, answers.c.item_id, undone_ids)


def _to_json(answer: Mapping[str, Any]) -> str:
    return json.dumps(answer, ensure_ascii=False)


def _is_correction(task: str) -> Sequence[ColumnElement[bool]]:
    return answers.c.task == task, answers.c.extractor == PERSON
