"""Read the labels of rows: the values that people corrected or reviewed.

- A field that a person set is a label, also if it was set to its present value.
- A reviewed answer labels all its fields. A correction of a field comes before the review.
- Nothing else is a label: neither the other fields of a corrected row, nor undone corrections.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, or_, select

from pipeline.store.answers import FORGOTTEN_ANSWER, PERSON, has_version
from pipeline.store.database import select_matching
from pipeline.store.edits import list_set_fields, to_edit_of_fields
from pipeline.store.schema import answers, attempts

# Rows to which a cost refers.
COST_ROWS = 1000


@dataclass
class RowLabel:
    """The labels of a row."""

    # Hash of the input about which the newest label was made.
    input_hash: str
    # The right value by field.
    values: dict[str, Any] = field(default_factory=dict)
    # The value that a correction replaced, by corrected field; None if there was none.
    replaced_values: dict[str, Any] = field(default_factory=dict)


def read_labels(tx: Connection, task: str) -> dict[str, RowLabel]:
    """Return the right values of a task's rows, as people set or reviewed them, by row id.

    A label has the right values of a row: all fields of a reviewed answer, and the fields that
    corrections set. A corrected value has priority over a reviewed one. Undone corrections are
    ignored. A label also has, for each corrected field, the value before the row's first
    correction. Rows without right values are left out.
    """
    query = (
        select(
            answers.c.item_id,
            answers.c.extractor,
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
                answers.c.extractor == PERSON,
                answers.c.reviewed_at.is_not(None) & answers.c.applied,
            ),
        )
        .order_by(answers.c.id)
    )
    rows_by_id: dict[str, list[Any]] = {}
    for row in tx.execute(query):
        rows_by_id.setdefault(row.item_id, []).append(row)
    labels = {row_id: _make_label(rows) for row_id, rows in rows_by_id.items()}
    return {row_id: label for row_id, label in labels.items() if label.values}


def _make_label(rows: Sequence[Any]) -> RowLabel:
    """Return the right values of a row: its reviewed answer, and the fields that people corrected.

    Corrections override the review; undone corrections do not count. Only the first and the newest
    of the corrections are decoded, because a row may have many.

    Args:
        rows: The corrections and the reviewed answer, oldest first.
    """
    label = RowLabel("")
    corrections = [row for row in rows if row.extractor == PERSON]
    applied_rows = [row for row in rows if row.applied]
    for row in applied_rows:
        label.input_hash = row.input_hash
        if row.reviewed_at is not None:
            label.values = json.loads(row.answer)

    applied_corrections = [row for row in applied_rows if row.extractor == PERSON]
    if applied_corrections:
        first_answer = json.loads(applied_corrections[0].before) or {}
        answer = json.loads(applied_corrections[-1].answer)
        # Undone edits count, too, because an undo has the number of its edit.
        set_fields = list_set_fields(
            [to_edit_of_fields(row, number=number) for number, row in enumerate(corrections, 1)]
        )
        corrected_values = {name: value for name, value in answer.items() if name in set_fields}
        label.values |= corrected_values
        label.replaced_values = {
            name: first_answer.get(name)
            for name, value in corrected_values.items()
            if first_answer.get(name) != value
        }
    return label


def is_label_value(value: Any, label: Any) -> bool:
    """Return whether a value is right; the order of a list of plain values does not count."""
    return bool(_to_comparable(value) == _to_comparable(label))


def _to_comparable(value: Any) -> Any:
    """Return a list of plain values sorted, and any other value unchanged."""
    if isinstance(value, list) and not any(isinstance(member, list | dict) for member in value):
        return sorted(value, key=json.dumps)
    return value


def read_cost_per_1000(tx: Connection, task: str, version: str) -> float:
    """Return the cost of a version in USD for 1,000 answered rows; 0 without an answered row.

    The cost of failed attempts is included.

    Args:
        version: A version, or a prompt version, which means all its models.
    """
    count_rows = select(func.count(answers.c.item_id.distinct())).where(
        answers.c.task == task, has_version(answers.c.extractor, version)
    )
    row_count = tx.execute(count_rows).scalar_one()
    if not row_count:
        return 0.0

    cost = 0.0
    for table in (answers, attempts):
        sum_costs = select(func.coalesce(func.sum(table.c.cost), 0.0)).where(
            table.c.task == task, has_version(table.c.extractor, version)
        )
        cost += float(tx.execute(sum_costs).scalar_one())
    return cost / row_count * COST_ROWS


class VersionAnswer(NamedTuple):
    """A version's answer to a row."""

    input_hash: str
    # Values by field.
    values: dict[str, Any]


def read_version_answers(
    tx: Connection, task: str, version: str, row_ids: list[str]
) -> dict[str, VersionAnswer]:
    """Return a version's newest answer to some rows, by row id.

    Rows without an answer are left out, and so are forgotten answers. Answers that were not applied
    are included: an answer is not applied if a later version answered the row before.

    Args:
        version: A version, or a prompt version, which means all its models.
    """
    query = (
        select(answers.c.item_id, answers.c.input_hash, answers.c.answer)
        .where(
            answers.c.task == task,
            answers.c.answer != FORGOTTEN_ANSWER,
            has_version(answers.c.extractor, version),
        )
        .order_by(answers.c.id)
    )
    return {
        row.item_id: VersionAnswer(row.input_hash, json.loads(row.answer))
        for row in select_matching(tx, query, answers.c.item_id, row_ids)
    }


def find_versions_of_rows(tx: Connection, task: str, row_ids: list[str]) -> set[str]:
    """Return the versions that answered at least one of some rows; forgotten answers do not count.

    Corrections are no answers of a version.
    """
    query = (
        select(answers.c.extractor)
        .where(
            answers.c.task == task,
            answers.c.extractor != PERSON,
            answers.c.answer != FORGOTTEN_ANSWER,
        )
        .distinct()
    )
    return {row.extractor for row in select_matching(tx, query, answers.c.item_id, row_ids)}
