"""Store the corrections of answers that people entered, and read the right values of rows.

A correction is an answer of the version `person`, which has priority over the answers of models.
The edits of a row are numbered from 1 and are never deleted by an undo. If all edits of a row are
undone, none is applied, and the answers of models count.

A right value of a row is:

- A value that a person set, also if it was the present value.
- Each value of a reviewed answer. A correction of a field comes before the review.
- Nothing else: neither the other fields of a corrected row, nor undone corrections.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, func, insert, or_, select, update

from askrows.pipeline.store import tag_merges
from askrows.pipeline.store.answer_counts import count_replies_and_sum_costs
from askrows.pipeline.store.answers import (
    FORGOTTEN_ANSWER,
    ORIGINAL_ANSWER,
    PERSON,
    is_of_model,
)
from askrows.pipeline.store.confidences import FieldConfidence, make_confidence_columns
from askrows.pipeline.store.database import (
    cached_in_snapshot,
    change_matching_rows,
    read_matching_rows,
    run_for_each_row,
)
from askrows.pipeline.store.schema import answers
from askrows.pipeline.store.task_record import has_version

# Rows to which a cost refers.
COST_ROWS = 1000


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


def list_edits_by_row_id(
    tx: Connection, task: str, row_ids: Sequence[str] | None
) -> dict[str, list[AnswerEdit]]:
    """Return all edits of each row by row id, oldest first and numbered from 1 in each row.

    An edit is a correction by a person. An undo is an edit, too. Edits that were undone later are
    included. `before` is an empty dict if the row had no answer before the edit. A row without
    edits has an empty list. Merges of tags are not applied to `after`.

    Args:
        row_ids: The rows; None means all rows with an edit.
    """
    query = (
        select(
            answers.c.row_id,
            answers.c.who,
            answers.c.at,
            answers.c.before,
            ORIGINAL_ANSWER.label("answer"),
            answers.c.undoes,
            answers.c.set_fields,
        )
        .where(*_is_correction(task))
        .order_by(answers.c.id)
    )
    edits_by_id: dict[str, list[AnswerEdit]] = {row_id: [] for row_id in row_ids or ()}
    for row in read_matching_rows(tx, query, answers.c.row_id, row_ids):
        row_edits = edits_by_id.setdefault(row.row_id, [])
        row_edits.append(_to_edit(row, number=len(row_edits) + 1))
    return edits_by_id


def _to_edit(row: Any, *, number: int) -> AnswerEdit:
    """Return an edit from a row of the table of answers; an undo sets no fields."""
    return AnswerEdit(
        number,
        row.who,
        row.at,
        before=json.loads(row.before) or {},
        after=json.loads(row.answer),
        undoes=row.undoes,
        fields=tuple(json.loads(row.set_fields or "[]")),
    )


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


def list_fields_set_by_people(row_edits: Sequence[AnswerEdit]) -> set[str]:
    """Return the fields of a row that a person set and did not undo."""
    return set().union(*(edit.fields for edit in list_active_edits(row_edits)))


def insert_edits(tx: Connection, task: str, new_edits: Mapping[str, NewEdit]) -> None:
    """Insert edits, given by row id, as answers of the version `person`.

    An undo is stored without fields. Merges of tags are applied to the stored answers. If an edit
    is not applied, all its row's edits are undone, so none of them is applied any more.
    """
    rows = [
        {
            "task": task,
            "row_id": row_id,
            "version": PERSON,
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
            **make_confidence_columns(new_edit.confidences),
            "at": new_edit.edit.at,
        }
        for row_id, new_edit in new_edits.items()
    ]
    run_for_each_row(tx, insert(answers), tag_merges.merge_tags_in_records(tx, task, rows))

    undone_ids = [row_id for row_id, new_edit in new_edits.items() if not new_edit.is_applied]
    unapply = update(answers).where(*_is_correction(task)).values(applied=False)
    change_matching_rows(tx, unapply, answers.c.row_id, undone_ids)


def _to_json(answer: Mapping[str, Any]) -> str:
    return json.dumps(answer, ensure_ascii=False)


def _is_correction(task: str) -> Sequence[ColumnElement[bool]]:
    return answers.c.task == task, answers.c.version == PERSON


@dataclass
class RightValues:
    """The right values of a row."""

    # Hash of the input about which the newest right value was set.
    input_hash: str
    # The right value by field.
    values: dict[str, Any] = field(default_factory=dict)
    # The value that a correction replaced, by corrected field; None if there was none.
    replaced_values: dict[str, Any] = field(default_factory=dict)


@cached_in_snapshot
def read_right_values(tx: Connection, task: str) -> dict[str, RightValues]:
    """Return the right values of a task's rows, as people set or reviewed them, by row id.

    These are all fields of a reviewed answer, and the fields that corrections set. A corrected
    value has priority over a reviewed one. Undone corrections and erased answers are ignored.
    Merges of tags are applied. The result also has, for each corrected field, the value before the
    row's first applied correction, if it differs. Rows without right values are left out.
    """
    query = (
        select(
            answers.c.row_id,
            answers.c.version,
            answers.c.input_hash,
            answers.c.answer,
            answers.c.applied,
            answers.c.before,
            answers.c.who,
            answers.c.at,
            answers.c.undoes,
            answers.c.set_fields,
            answers.c.reviewed_at,
        )
        .where(
            answers.c.task == task,
            answers.c.answer != FORGOTTEN_ANSWER,
            or_(
                answers.c.version == PERSON,
                answers.c.reviewed_at.is_not(None) & answers.c.applied,
            ),
        )
        .order_by(answers.c.id)
    )
    rows_by_id: dict[str, list[Any]] = {}
    for row in tx.execute(query):
        rows_by_id.setdefault(row.row_id, []).append(row)
    rules_by_field = tag_merges.read_rules_by_field(tx, task)
    values_by_id = {
        row_id: _make_right_values_of_row(rows, rules_by_field)
        for row_id, rows in rows_by_id.items()
    }
    return {row_id: right for row_id, right in values_by_id.items() if right.values}


def _make_right_values_of_row(
    rows: Sequence[Any], rules_by_field: tag_merges.RulesByField
) -> RightValues:
    """Return the right values of a row: its reviewed answer, and the fields that people corrected.

    Corrections override the review; undone corrections do not count. The result also has the values
    before the first applied correction that differ, and the input hash of the newest applied row.

    Args:
        rows: The stored answers of one row: the corrections and the reviewed answer, oldest first.
        rules_by_field: Merges of tags, which are applied to the replaced values, too.
    """
    right_values = RightValues("")
    corrections = [row for row in rows if row.version == PERSON]
    applied_rows = [row for row in rows if row.applied]
    for row in applied_rows:
        right_values.input_hash = row.input_hash
        if row.reviewed_at is not None:
            right_values.values = json.loads(row.answer)

    # Undone edits count, too, because an undo has the number of its edit.
    row_edits = [_to_edit(row, number=number) for number, row in enumerate(corrections, 1)]
    applied_edits = [edit for edit, row in zip(row_edits, corrections, strict=True) if row.applied]
    if applied_edits:
        first_answer = tag_merges.merge_tags_in_answer(applied_edits[0].before, rules_by_field)
        set_fields = list_fields_set_by_people(row_edits)
        corrected_values = {
            name: value for name, value in applied_edits[-1].after.items() if name in set_fields
        }
        right_values.values |= corrected_values
        right_values.replaced_values = {
            name: first_answer.get(name)
            for name, value in corrected_values.items()
            if first_answer.get(name) != value
        }
    return right_values


def is_right_value(value: Any, right_value: Any) -> bool:
    """Return whether a value is right; the order of a list of plain values does not count."""
    return bool(_sort_plain_list(value) == _sort_plain_list(right_value))


def _sort_plain_list(value: Any) -> Any:
    """Return a list of plain values sorted, and any other value unchanged."""
    if isinstance(value, list) and not any(isinstance(member, list | dict) for member in value):
        return sorted(value, key=json.dumps)
    return value


def compute_cost_per_1000_rows(tx: Connection, task: str, version: str) -> float:
    """Return the cost of a version in USD for 1,000 answered rows; 0 without an answered row.

    The cost of failed attempts is included.

    Args:
        version: A version, or a prompt version, which means all its models.
    """
    count_rows = select(func.count(answers.c.row_id.distinct())).where(
        answers.c.task == task, has_version(answers.c.version, version)
    )
    row_count = tx.execute(count_rows).scalar_one()
    if not row_count:
        return 0.0

    return count_replies_and_sum_costs(tx, task, version).cost / row_count * COST_ROWS


def read_newest_answers_of_version(
    tx: Connection, task: str, version: str, row_ids: list[str]
) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return (input hash, values by field) of a version's newest answer to some rows, by row id.

    Rows without an answer are left out, and so are forgotten answers. Answers that were not applied
    are included: an answer is not applied if a later version answered the row before.

    Args:
        version: A version, or a prompt version, which means all its models.
    """
    query = (
        select(answers.c.row_id, answers.c.input_hash, answers.c.answer)
        .where(
            answers.c.task == task,
            answers.c.answer != FORGOTTEN_ANSWER,
            has_version(answers.c.version, version),
        )
        .order_by(answers.c.id)
    )
    return {
        row.row_id: (row.input_hash, json.loads(row.answer))
        for row in read_matching_rows(tx, query, answers.c.row_id, row_ids)
    }


def find_versions_that_answered(tx: Connection, task: str, row_ids: list[str]) -> set[str]:
    """Return the versions that answered at least one of some rows; forgotten answers do not count.

    Corrections and values of other programs are no answers of a version.
    """
    query = (
        select(answers.c.version)
        .where(
            answers.c.task == task,
            is_of_model(answers.c.version),
            answers.c.answer != FORGOTTEN_ANSWER,
        )
        .distinct()
    )
    return {row.version for row in read_matching_rows(tx, query, answers.c.row_id, row_ids)}
