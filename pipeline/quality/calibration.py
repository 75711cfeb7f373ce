"""Compare the probabilities of answers with what people left unchanged.

A probability is well calibrated if, of answers with a mean probability of 0.86, people leave 86 %
unchanged. A label is the right value of a field, because a person corrected it or confirmed it in
review mode. A value is unchanged if it equals its label. The probability of a value comes from a
decision model, which gave the value itself or judged it.

Only labelled fields count (see `store.labels`): nobody looked at the other fields of a corrected
row. Review mode shows doubtful rows first, so the figures are about the labelled rows and not about
all rows.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from pipeline.core.text import plural
from pipeline.quality.intervals import compute_wilson_interval
from pipeline.store.answers import PERSON, VersionPreference
from pipeline.store.database import Connection
from pipeline.store.judgements import JudgedAnswer, stream_labelled_answers
from pipeline.store.labels import RowLabel, is_label_value, read_labels

# With fewer answers, the interval of the share is wider than any usual error of calibration.
MIN_CALIBRATED_ANSWERS = 50


class Calibration(NamedTuple):
    """The probabilities of a field, and how often people left its value unchanged."""

    # The field.
    name: str
    # Answers with a probability and a label.
    answers: int = 0
    unchanged: int = 0
    mean_probability: float = 0.0

    @property
    def is_measured(self) -> bool:
        """Return whether there are enough answers."""
        return self.answers >= MIN_CALIBRATED_ANSWERS

    @property
    def unchanged_share(self) -> float:
        """Return the share of answers that people left unchanged; 0 without answers."""
        return self.unchanged / self.answers if self.answers else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Return the ends of the 95 % interval of the share."""
        return compute_wilson_interval(self.unchanged, self.answers)

    @property
    def line(self) -> str:
        """Return the calibration in words; only for enough answers."""
        low, high = self.interval
        return (
            f"{self.name}: said {self.mean_probability:.2f} on average, right in "
            f"{self.unchanged_share:.2f} [{low:.2f}, {high:.2f}] "
            f"of {self.answers:,} corrected or reviewed"
        )

    @property
    def document(self) -> dict[str, Any]:
        """Return the calibration as JSON members.

        - `field`: the name of the field
        - `answers`: how many answers have a probability and a label
        - `needed`: how many more answers are needed, at least 0
        - `probability`: the mean of the stored probabilities
        - `right`: the share of answers that people left unchanged
        - `low`, `high`: the ends of the 95 % interval of `right`

        While answers are needed, `probability`, `right`, `low` and `high` are None.
        """
        document: dict[str, Any] = {
            "field": self.name,
            "answers": self.answers,
            "needed": max(0, MIN_CALIBRATED_ANSWERS - self.answers),
            "probability": None,
            "right": None,
            "low": None,
            "high": None,
        }
        if self.is_measured:
            low, high = self.interval
            document["probability"] = self.mean_probability
            document["right"] = self.unchanged_share
            document["low"] = low
            document["high"] = high
        return document


def describe_calibrations(calibrations: Iterable[Calibration]) -> list[str]:
    """Return a line for each measured field, then lines for the fields with too few answers.

    Fields with too few answers share a line if they have the same number; it says how many they
    have and how many more are needed.
    """
    lines = []
    names_by_count: dict[int, list[str]] = {}
    for calibration in calibrations:
        if calibration.is_measured:
            lines.append(calibration.line)
        else:
            names_by_count.setdefault(calibration.answers, []).append(calibration.name)
    for count, names in names_by_count.items():
        missing_count = MIN_CALIBRATED_ANSWERS - count
        lines.append(
            f"{', '.join(names)}: {plural(count, 'answer')} with a probability corrected or "
            f"reviewed, {missing_count} more needed"
        )
    return lines


def summarize_outcomes(name: str, outcomes: Sequence[tuple[float, bool]]) -> Calibration:
    """Count the answers and the unchanged answers of a field, and average their probabilities.

    The mean probability is 0 if there are no answers.

    Args:
        name: The name of the field.
        outcomes: The probability of each answer, and whether a person left the value unchanged.
    """
    unchanged_count = sum(is_unchanged for _, is_unchanged in outcomes)
    probability_sum = sum(probability for probability, _ in outcomes)
    mean_probability = probability_sum / len(outcomes) if outcomes else 0.0
    return Calibration(name, len(outcomes), unchanged_count, mean_probability)


def measure_calibration(
    tx: Connection,
    preference: VersionPreference,
    field_names: Iterable[str],
) -> list[Calibration]:
    """Return the mean probability of each field, and its share of unchanged values.

    The list is sorted by the field's name. A label is the value that a person set or confirmed.
    Each labelled row counts once, with the model's answer that the task prefers. A row is left out
    if its text has changed between that answer and the label. Reads only.

    Args:
        tx: A transaction, only read.
        preference: The task, and its order of preference among versions.
        field_names: Fields that are in the result in any case. Without labelled answers they have 0
            answers.
    """
    outcomes: dict[str, list[tuple[float, bool]]] = {name: [] for name in field_names}
    row_labels = read_labels(tx, preference.task)
    labelled_answers = stream_labelled_answers(tx, preference.task)
    for row_id, answers_of_row in groupby(labelled_answers, key=lambda answer: answer.row_id):
        if row_id not in row_labels:
            continue
        for name, outcome in _compare_row(
            list(answers_of_row), row_labels[row_id], preference=preference
        ):
            outcomes.setdefault(name, []).append(outcome)
    return [
        summarize_outcomes(name, field_outcomes)
        for name, field_outcomes in sorted(outcomes.items())
    ]


def _compare_row(
    row_answers: Sequence[JudgedAnswer],
    label: RowLabel,
    *,
    preference: VersionPreference,
) -> Iterable[tuple[str, tuple[float, bool]]]:
    """Yield (field, (probability, is unchanged)) for each field with a probability and a label.

    A field is unchanged if its value is that of the label. A single answer of the row counts: the
    preferred answer of a model, and the newest if several are equally preferred. Corrections do not
    count. If there is no such answer, or if the row's input for that answer was another than for
    the label, this yields nothing.
    """
    model_answers = [answer for answer in row_answers if answer.version != PERSON]
    if not model_answers:
        return

    model_answer = min(
        model_answers,
        key=lambda answer: (preference.sort_key(answer.version), -answer.answer_id),
    )
    if label.input_hash != model_answer.input_hash:
        return

    values = json.loads(model_answer.answer)
    for name, confidence in model_answer.confidences.items():
        if name in label.values:
            is_right = is_label_value(values.get(name), label.values[name])
            yield name, (confidence.probability, is_right)
