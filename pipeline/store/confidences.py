"""Store how sure a decision model is of each field of an answer.

The column `confidences` of an answer has a JSON object:
`{"tone": {"probability": 0.93, "model": "gemini-decision-1", "judged": false}}`. A field that
nothing is known about is not a member. The column of a correction, of a forgotten answer and of an
answer without confidences is NULL.
"""

import json
from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import Connection, select, update

from pipeline.store.answers import FORGOTTEN_ANSWER, PERSON
from pipeline.store.schema import answers


class FieldConfidence(NamedTuple):
    """The probability that the value of a field is right."""

    # From 0 to 1.
    probability: float
    # The decision model that the probability is from.
    model: str
    # The model judged a value that another model gave. False if it gave the value itself.
    is_judged: bool = False


def encode_confidences(confidences: Mapping[str, FieldConfidence]) -> str | None:
    """Return the confidences of an answer, by field, as JSON; None without confidences.

    Raises:
        ValueError: A probability is not finite.
    """
    if not confidences:
        return None
    members = {
        name: {
            "probability": confidence.probability,
            "model": confidence.model,
            "judged": confidence.is_judged,
        }
        for name, confidence in confidences.items()
    }
    return json.dumps(members, ensure_ascii=False, allow_nan=False)


def decode_confidences(encoded_confidences: str | None) -> dict[str, FieldConfidence]:
    """Return the confidences of an answer by field; empty for None."""
    if encoded_confidences is None:
        return {}
    members = json.loads(encoded_confidences)
    return {
        name: FieldConfidence(member["probability"], member["model"], member["judged"])
        for name, member in members.items()
    }


def set_judged_confidences(
    tx: Connection,
    answer_id: int,
    confidences: Mapping[str, FieldConfidence],
) -> None:
    """Add confidences of judged fields to an answer, in the caller's transaction.

    They replace earlier confidences of judged fields. The confidence of a field that a decision
    model answered stays. A correction and a forgotten answer are not changed.
    """
    is_changeable = (
        answers.c.id == answer_id,
        answers.c.extractor != PERSON,
        answers.c.answer != FORGOTTEN_ANSWER,
    )
    # PostgreSQL locks the answer, so that two judging processes lose nothing.
    query = select(answers.c.confidences).where(*is_changeable).with_for_update()
    row = tx.execute(query).first()
    if row is None:
        return

    stored_confidences = decode_confidences(row.confidences)
    decided_confidences = {
        name: confidence
        for name, confidence in stored_confidences.items()
        if not confidence.is_judged
    }
    all_confidences = {**stored_confidences, **confidences, **decided_confidences}
    change = update(answers).where(answers.c.id == answer_id)
    tx.execute(change.values(confidences=encode_confidences(all_confidences)))
