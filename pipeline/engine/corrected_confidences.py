"""Keep the confidences of the fields that a correction leaves as a model answered them.

A confidence is the probability that the value of a field is right, as a decision model gave it.

- A corrected field has no confidence, because a person set its value.
- Any other field keeps the confidence that came with its value.
- A field whose correction is undone has the value and the confidence of the model again.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from pipeline.store.answers import PERSON, VersionPreference
from pipeline.store.confidences import FieldConfidence
from pipeline.store.database import Connection
from pipeline.store.judgements import JudgedAnswer, read_applied_answers


def read_confidence_sources(
    tx: Connection,
    row_ids: Sequence[str],
    *,
    preference: VersionPreference,
) -> dict[str, list[JudgedAnswer]]:
    """Return the answers of rows from which a new correction copies confidences, by row id.

    The list of a row has all its corrections, newest first, and then its preferred model answer. A
    correction is a source, too, because it has confidences of the fields that it did not set. A row
    without answers is left out.
    """
    sources_by_id = {}
    answers_by_id = read_applied_answers(tx, preference.task, row_ids)
    for row_id, row_answers in answers_by_id.items():
        corrections = [answer for answer in row_answers if answer.version == PERSON]
        model_answers = [answer for answer in row_answers if answer.version != PERSON]
        model_answers.sort(key=lambda answer: preference.sort_key(answer.version))
        sources_by_id[row_id] = corrections + model_answers[:1]
    return sources_by_id


def choose_kept_confidences(
    values: Mapping[str, Any],
    corrected_fields: Collection[str],
    judged_answers: Iterable[JudgedAnswer],
) -> dict[str, FieldConfidence]:
    """Return the confidences that a corrected answer keeps, by field.

    A field that a person set has none. Any other field has the confidence of the first judged
    answer that has one for the same value; it is left out if there is no such answer.

    Args:
        values: The corrected answer, by field.
        corrected_fields: Fields that a person set, in this correction or in an earlier one.
        judged_answers: The answers of the row from `read_confidence_sources`.
    """
    confidences: dict[str, FieldConfidence] = {}
    for judged_answer in judged_answers:
        judged_values = json.loads(judged_answer.answer)
        for name, confidence in judged_answer.confidences.items():
            is_kept = name in values and name not in corrected_fields
            if is_kept and judged_values.get(name) == values[name]:
                confidences.setdefault(name, confidence)
    return confidences
