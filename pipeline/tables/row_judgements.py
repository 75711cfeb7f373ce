"""Columns for confidences, doubts and reviews of a task's rows.

Their SQL expressions are for queries in which each row is joined with its preferred answer.

A confidence is the probability, as a decision model gave it, that the value of a field is right. A
row is doubtful if a confidence is below the setting DOUBTFUL and no person corrected or reviewed
the answer. It is reviewed if a person marked the whole answer as right.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, Connection, Text, and_, case, cast, false, func, literal, true

from pipeline.store.answers import PERSON, is_reviewed_answer
from pipeline.store.confidences import has_confidences, make_probability_expression
from pipeline.store.schema import answers
from pipeline.tables.view_row import (
    ANSWER_PREFIX,
    CONFIDENCE,
    DOUBTFUL,
    JUDGEMENT_NAMES,
    REVIEWED,
    ViewColumn,
    ViewRow,
    name_added_columns,
    name_confidence_columns,
)
from pipeline.tables.where_sql import JsonCell, make_json_cell

# Sorts behind all probabilities.
_MISSING_PROBABILITY = 2.0


class RowJudgements:
    """What models and people judged about the preferred answers to the rows of a task."""

    def __init__(
        self,
        tx: Connection,
        task: str,
        *,
        taken_names: Iterable[str],
        fields: Sequence[str],
        threshold: float,
    ) -> None:
        """Name and make the columns. A task without any confidence has no columns of confidences.

        Args:
            tx: Must stay open while the object is used.
            task: The name of the task.
            taken_names: Names of other columns.
            fields: Fields of the answers.
            threshold: Confidence below which a field makes its row doubtful.
        """
        self._threshold = threshold
        if not has_confidences(tx, task):
            fields = ()
        other_names = [*taken_names]
        # Names of columns by field.
        self.confidence_names = name_confidence_columns(other_names, fields)
        other_names += self.confidence_names.values()
        names = name_added_columns(other_names, JUDGEMENT_NAMES, ANSWER_PREFIX)
        self.review_name = names[REVIEWED]
        self.doubtful_name = names[DOUBTFUL]
        # Empty without confidences.
        self.least_name = names[CONFIDENCE] if self.confidence_names else ""
        self.columns = {
            name: ViewColumn(
                lambda row, field=field: row.probabilities.get(field),  # type: ignore[misc]
                "real",
                JsonCell(answers.c.confidences, (field, "probability")),
                [_replace_missing(make_probability_expression(tx, field))],
            )
            for field, name in self.confidence_names.items()
        }
        least_probability = answers.c.least_confidence
        self.columns |= {
            self.least_name: ViewColumn(
                lambda row: min(row.probabilities.values(), default=None),
                "real",
                make_json_cell(CONFIDENCE, cast(least_probability, Text)),
                [_replace_missing(least_probability)],
            ),
            self.doubtful_name: ViewColumn(
                self._read_doubt, "boolean", _make_truth_cell(DOUBTFUL, self.is_doubtful())
            ),
            self.review_name: ViewColumn(
                lambda row: row.answer and row.answer.is_reviewed,
                "boolean",
                _make_truth_cell(REVIEWED, is_reviewed_answer()),
            ),
        }
        self.columns.pop("", None)

    def _read_doubt(self, row: ViewRow) -> bool | None:
        """Return whether a row is doubtful; None without an answer."""
        if row.answer is None:
            return None
        is_checked = row.answer.is_corrected or row.answer.is_reviewed
        return not is_checked and min(row.probabilities.values(), default=1.0) < self._threshold

    def is_doubtful(self) -> ColumnElement[bool]:
        """Return the condition that a row is doubtful; NULL without an answer."""
        has_doubt = and_(
            self._threshold > answers.c.least_confidence,
            answers.c.extractor != PERSON,
            answers.c.reviewed_at.is_(None),
        )
        return case((has_doubt, true()), (answers.c.id.is_not(None), false()))


def _replace_missing(probability: ColumnElement[float]) -> ColumnElement[float]:
    """Return a probability, or a number behind all of them instead of NULL."""
    return func.coalesce(probability, literal(_MISSING_PROBABILITY))


def _make_truth_cell(name: str, condition: ColumnElement[bool]) -> JsonCell:
    """Return a cell that is true or false as a condition is; it is empty for NULL."""
    return make_json_cell(name, case({True: "true", False: "false"}, value=condition))
