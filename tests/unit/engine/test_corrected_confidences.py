"""A corrected answer takes the confidence of each field that no person set from its value."""

import json
from typing import Any

from pipeline.engine.corrected_confidences import choose_kept_confidences
from pipeline.store.confidences import ConfidentAnswer, FieldConfidence

CALM = {"tone": "calm", "place": "room"}


def make_answer(
    version: str, values: dict[str, Any], **probabilities: float
) -> tuple[ConfidentAnswer, dict[str, FieldConfidence]]:
    """Return an answer with the probabilities of its fields, and these confidences."""
    confidences = {name: FieldConfidence(number, version) for name, number in probabilities.items()}
    return ConfidentAnswer(version, json.dumps(values), confidences), confidences


def test_fields_that_no_person_set_keep_the_confidence_of_their_value() -> None:
    """The confidence keeps its model; a corrected field has none, also with its former value."""
    source, confidences = make_answer("tickets@1/model", CALM, tone=0.9, place=0.6)
    kept = choose_kept_confidences({**CALM, "tone": "loud"}, {"tone"}, [source])
    assert kept == {"place": confidences["place"]}
    assert choose_kept_confidences(CALM, {"tone", "place"}, [source]) == {}


def test_confidence_of_another_value_is_not_taken() -> None:
    """A newer version that gave another value says nothing about the value of the correction."""
    source, _ = make_answer("tickets@2/model", {**CALM, "place": "desk"}, tone=0.8, place=0.7)
    assert choose_kept_confidences(CALM, {"tone"}, [source]) == {}


def test_first_source_with_a_confidence_of_the_value_counts() -> None:
    """Earlier corrections come before the model; a field that they lack is the model's."""
    correction, kept = make_answer("person", {**CALM, "tone": "loud"}, place=0.6)
    newer, confidences = make_answer("tickets@2/model", CALM, tone=0.8, place=0.95)
    sources = [correction, newer]
    assert choose_kept_confidences(CALM, set(), sources) == {
        "place": kept["place"],
        "tone": confidences["tone"],
    }


def test_answer_without_confidences_keeps_none() -> None:
    """The answer of a generating model has none, and neither has its correction."""
    source, _ = make_answer("tickets@1/model", CALM)
    assert choose_kept_confidences(CALM, {"tone"}, [source]) == {}
    assert choose_kept_confidences(CALM, {"tone"}, []) == {}
