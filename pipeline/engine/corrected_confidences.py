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
from pipeline.store.confidences import ConfidentAnswer, FieldConfidence, read_confident_answers
from pipeline.store.database import Connection


def read_confidence_sources(
    tx: Connection,
    row_ids: Sequence[str],
    *,
    preference: VersionPreference,
) -> dict[str, list[ConfidentAnswer]]:
    """Return the answers of rows from which a new correction copies confidences, by row id.

    The list of a row has all its corrections, newest first, and then its preferred model answer. A
    correction is a source, too, because it has confidences of the fields that it did not set. A row
    without answers is left out.
    """
    sources_by_id = {}
    answers_by_id = read_confident_answers(tx, preference.task, row_ids)
    for row_id, row_answers in answers_by_id.items():
        corrections = [answer for answer in row_answers if answer.version == PERSON]
        model_answers = [answer for answer in row_answers if answer.version != PERSON]
        model_answers.sort(key=lambda answer: preference.sort_key(answer.version))
        sources_by_id[row_id] = corrections + model_answers[:1]
    return sources_by_id


def choose_kept_confidences(
    values: Mapping[str, Any],
    corrected_fields: Collection[str],
    sources: Iterable[ConfidentAnswer],
) -> dict[str, FieldConfidence]:
    """Return the confidences that a corrected answer keeps, by field.

    A field that a person set has none. Any other field has the confidence of the first source that
    has one for the same value; it is left out if there is no such source.

    Args:
        values: The corrected answer, by field.
        corrected_fields: Fields that a person set, in this correction or in an earlier one.
        sources: The answers of the row from `read_confidence_sources`.
    """
    confidences: dict[str, FieldConfidence] = {}
    for source in sources:
        source_values = json.loads(source.answer)
        for name, confidence in source.confidences.items():
            is_kept = name in values and name not in corrected_fields
            if is_kept and source_values.get(name) == values[name]:
                confidences.setdefault(name, confidence)
    return confidences
