"""Store how sure a decision model is of each field of an answer.

The column `confidences` of an answer has a JSON object:
`{"tone": {"probability": 0.93, "model": "gemini-decision-1"}}`. Fields without a probability are
not members.

A correction has the confidences of the fields that a model answered and no person set. The column
of a forgotten answer and of an answer without confidences is NULL.

The column `least_confidence` has the least probability, so that queries about many answers need not
parse the JSON.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    cast,
    func,
    select,
)

from askrows.pipeline.core.states import Mode
from askrows.pipeline.store.database import cached_in_snapshot, has_row
from askrows.pipeline.store.schema import JSONB, NUMBER_COLUMN_TYPE, answers, batches
from askrows.pipeline.store.task_record import has_version


class FieldConfidence(NamedTuple):
    """The probability that the value of a field is right."""

    # From 0 to 1.
    probability: float
    # The decision model that the probability is from.
    model: str


def make_confidence_columns(confidences: Mapping[str, FieldConfidence]) -> dict[str, Any]:
    """Return the columns of `askrows_answers` for the confidences of an answer, by field.

    Raises:
        ValueError: A probability is not finite.
    """
    if not confidences:
        return {"confidences": None, "least_confidence": None}
    members = {name: confidence._asdict() for name, confidence in confidences.items()}
    return {
        "confidences": json.dumps(members, ensure_ascii=False, allow_nan=False),
        "least_confidence": min(confidence.probability for confidence in confidences.values()),
    }


def decode_confidences(encoded_confidences: str | None) -> dict[str, FieldConfidence]:
    """Return the confidences of an answer by field; empty for None."""
    if encoded_confidences is None:
        return {}
    return {
        name: FieldConfidence(member["probability"], member["model"])
        for name, member in json.loads(encoded_confidences).items()
    }


def make_probability_expression(tx: Connection, field_name: str) -> ColumnElement[Any]:
    """Return an SQL expression for a field's probability, from 0 to 1, in a row of `answers`.

    It is NULL if the answer has no probability for the field.

    Args:
        tx: A connection to the database that will run the query.
        field_name: The field.
    """
    if tx.dialect.name != "sqlite":
        document = cast(answers.c.confidences, JSONB)
        return cast(func.jsonb_extract_path_text(document, field_name, "probability"), Float(53))

    path = f'$."{field_name}".probability'
    return func.json_extract(answers.c.confidences, path, type_=NUMBER_COLUMN_TYPE)


def has_rows_asked_by_decisions(tx: Connection, task: str, version: str) -> bool:
    """Return whether rows were asked under a version of a task by decisions.

    Args:
        version: A version, or a prompt version such as `reviews@1`, which means all its models.
    """
    query = select(batches.c.number).where(
        batches.c.task == task,
        batches.c.mode == Mode.DECIDE,
        has_version(batches.c.version, version),
    )
    return has_row(tx, query)


@cached_in_snapshot
def has_confidences(tx: Connection, task: str) -> bool:
    """Return whether an answer of a task has confidences."""
    query = select(answers.c.id).where(
        answers.c.task == task, answers.c.least_confidence.is_not(None)
    )
    return has_row(tx, query)
