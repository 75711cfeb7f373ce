"""Columns, sort orders and WHERE= cells for confidences, doubts and reviews of a task's rows.

Their SQL expressions are for queries in which each row is joined with its preferred answer.

A confidence is the probability, as a decision model gave it, that the value of a field is right. A
row is doubtful if a confidence is below the setting DOUBTFUL and no person corrected or reviewed
the answer. It is reviewed if a person marked the whole answer as right.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, and_, case, cast, false, func, literal, true

from pipeline.core.column_placeholders import find_column
from pipeline.core.command_hint import CommandHint, HintTemplate
from pipeline.core.errors import InputError
from pipeline.core.text import format_probability
from pipeline.core.where_parser import Comparison, Expression, iterate_comparisons
from pipeline.store.answers import (
    PERSON,
    PreferredAnswer,
    VersionPreference,
    is_reviewed_answer,
)
from pipeline.store.confidences import (
    decode_confidences,
    has_confidences,
    make_probability_expression,
)
from pipeline.store.schema import answers
from pipeline.tables.answer_views import CONFIDENCE_SUFFIX, name_added_columns
from pipeline.tables.where_sql import JsonCell, make_json_cell

# Column that says whether a person marked the answer as reviewed.
REVIEWED = "reviewed"
# Column that says whether a row is doubtful, and column with the fields that make it doubtful.
DOUBTFUL = "doubtful"
DOUBTFUL_FIELDS = "doubtful_fields"
# Column with the least probability of a row's fields; member of a field in WHERE=.
CONFIDENCE = "confidence"
# Names about a whole row. Fields of these names are listed with a prefix.
JUDGEMENT_NAMES = frozenset({REVIEWED, CONFIDENCE, DOUBTFUL, DOUBTFUL_FIELDS})
NO_FIELDS: Mapping[str, str] = {}
# Sorts behind all probabilities.
_MISSING_PROBABILITY = 2.0


class RowJudgements:
    """What models and people judged about the preferred answers to the rows of a task."""

    def __init__(
        self,
        tx: Connection,
        *,
        preference: VersionPreference,
        taken_names: Sequence[str],
        fields: Mapping[str, str] = NO_FIELDS,
        threshold: float = 0.0,
    ) -> None:
        """Name the columns. A task without any confidence has only the column of reviews.

        Args:
            tx: Must stay open while the object is used.
            preference: The task, and the order of preference among its answers.
            taken_names: Names of other columns.
            fields: Fields of the answers by the names of their columns. Empty for a task that
                decision models cannot answer.
            threshold: Confidence below which a field makes its row doubtful.
        """
        self._missing_hint = HintTemplate(
            "decision models give confidences of closed fields: `{}`",
            CommandHint("tag", task=preference.task, mode="decide"),
        )
        self._tx = tx
        self.preference = preference
        self._threshold = threshold
        self._fields = tuple(fields.values())
        names_by_field = {}
        if has_confidences(tx, preference.task):
            names_by_field = {field: f"{name}{CONFIDENCE_SUFFIX}" for name, field in fields.items()}
        free_names = name_added_columns(
            taken_names,
            [REVIEWED, *names_by_field.values(), CONFIDENCE, DOUBTFUL, DOUBTFUL_FIELDS],
            "answer_",
        )
        # Names of columns by field.
        self.names = {
            field: free_names[name] for field, name in names_by_field.items() if name in free_names
        }
        # The same by the names of the columns of the fields.
        self.names_by_column = {
            name: self.names[field] for name, field in fields.items() if field in self.names
        }
        self.review_name = free_names.get(REVIEWED, "")
        self.doubtful_name = free_names.get(DOUBTFUL, "")
        self.least_name = free_names.get(CONFIDENCE, "") if self.names else ""
        self.doubtful_fields_name = free_names.get(DOUBTFUL_FIELDS, "") if self.names else ""

    @property
    def listed_names(self) -> list[str]:
        """Return the names of all columns, that of reviews first."""
        names = [self.review_name]
        if self.names:
            names += [
                *self.names.values(),
                self.least_name,
                self.doubtful_name,
                self.doubtful_fields_name,
            ]
        return [name for name in names if name]

    @property
    def dotted_names(self) -> dict[str, str]:
        """Return the names of the columns by their names in WHERE=, such as `tone.confidence`."""
        return {f"{field}.{CONFIDENCE}": name for field, name in self.names.items()}

    def sort_expressions(self) -> dict[str, ColumnElement[Any]]:
        """Return sort expressions by name; rows without a probability are last."""
        probabilities: dict[str, ColumnElement[Any]] = {
            name: make_probability_expression(self._tx, field) for field, name in self.names.items()
        }
        if self.least_name:
            probabilities[self.least_name] = answers.c.least_confidence
        return {
            name: func.coalesce(probability, literal(_MISSING_PROBABILITY))
            for name, probability in probabilities.items()
        }

    def make_values(self, answer: PreferredAnswer) -> dict[str, Any]:
        """Return the values of the columns for the preferred answer of a row.

        They are whether a person marked the answer, and, if it has confidences, the probability
        of each field (such as `tone_confidence`), the least of them, whether the row is doubtful,
        and its doubtful fields as a list of texts, the least certain first.
        """
        values: dict[str, Any] = {self.review_name: answer.is_reviewed}
        confidences = decode_confidences(answer.confidences) if self.names else {}
        if not confidences:
            return values

        probabilities = {field: member.probability for field, member in confidences.items()}
        values |= {
            name: probabilities[field]
            for field, name in self.names.items()
            if field in probabilities
        }
        doubts = []
        if not (answer.is_corrected or answer.is_reviewed):
            doubts = sorted(
                (probability, field)
                for field, probability in probabilities.items()
                if probability < self._threshold
            )
        values[self.least_name] = min(probabilities.values())
        values[self.doubtful_name] = bool(doubts)
        values[self.doubtful_fields_name] = [
            f"{field} {format_probability(probability)}" for probability, field in doubts
        ]
        return values

    def is_doubtful(self) -> ColumnElement[bool]:
        """Return the condition that a row is doubtful; NULL without an answer."""
        has_doubt = and_(
            self._threshold > answers.c.least_confidence,
            answers.c.extractor != PERSON,
            answers.c.reviewed_at.is_(None),
        )
        return case((has_doubt, true()), (answers.c.id.is_not(None), false()))

    def make_cells(self) -> dict[str, JsonCell]:
        """Return the cells of WHERE= by name.

        They are `reviewed`, `doubtful`, `confidence` (the least of a row), and for each field, such
        as `tone`, `tone.confidence` and `answer.tone.confidence`. The cells of confidences exist
        only if an answer of the task has a confidence. If a column has the name `reviewed`,
        `doubtful` or `confidence` already, the cell has another name.
        """
        cells = {
            f"{field}.{CONFIDENCE}": JsonCell(answers.c.confidences, (field, "probability"))
            for field in self.names
        }
        cells |= {f"answer.{name}": cell for name, cell in cells.items()}
        if self.least_name:
            least_probability = cast(answers.c.least_confidence, Text)
            cells[self.least_name] = make_json_cell(CONFIDENCE, least_probability)
        return {
            self.review_name: _make_truth_cell(REVIEWED, is_reviewed_answer()),
            **cells,
            self.doubtful_name: _make_truth_cell(DOUBTFUL, self.is_doubtful()),
        }

    @property
    def _confident_fields(self) -> tuple[str, ...]:
        """Return the fields of answers if an answer has confidences."""
        return self._fields if has_confidences(self._tx, self.preference.task) else ()

    def list_condition_names(self) -> list[str]:
        """Return the names of WHERE= for fields that have confidences, and `doubtful`, if any."""
        names = [f"{field}.{CONFIDENCE}" for field in self._confident_fields]
        if names and self.doubtful_name:
            names.append(self.doubtful_name)
        return names

    def check_condition(self, expression: Expression, columns: Sequence[str]) -> None:
        """Check the names in WHERE= that mean a judgement of a field or of the whole row.

        - `FIELD.confidence` needs an answer with a confidence of this field.
        - `confidence` and `doubtful` are judgements of the whole row, and so is `reviewed`. A field
          can have the same name. If the comparison is probably meant for that field, because the
          value is a text, the name must be `answer.FIELD`.

        Args:
            expression: The parsed WHERE=.
            columns: Columns of the rows. If a column is called `tone.confidence`, this name means
                the column, not the confidence of the field `tone`.

        Raises:
            InputError: No answer has the confidence that is compared, or a judgement of the whole
                row is compared with a text although a field has its name.
        """
        for comparison in iterate_comparisons(expression):
            if find_column(comparison.column, columns) is None:
                self._check_name_about_row(comparison)
            name, _, member = comparison.column.removeprefix("answer.").rpartition(".")
            field = find_column(name, self._fields)
            is_confidence = member.casefold() == CONFIDENCE and comparison.column not in columns
            if is_confidence and field is not None:
                self._check_field(comparison, field)

    def _check_name_about_row(self, comparison: Comparison) -> None:
        """Check a comparison of `confidence`, `doubtful` or `reviewed`, which are about the row.

        Other names pass. A task can have a field of the same name: a comparison that can only mean
        the field is refused, and the hint is `answer.NAME`, which means the field.

        Raises:
            InputError: The comparison needs a confidence, and no answer has one. Or a field has the
                name and is probably meant, because the value in the comparison is a text.
        """
        name = comparison.column.casefold()
        if name not in (CONFIDENCE, DOUBTFUL, REVIEWED):
            return

        field = next((field for field in self._fields if field.casefold() == name), None)
        hint: object = self._missing_hint
        if field is not None:
            hint = f"`answer.{field}` is the field"
        # Without any confidence no row is doubtful, so `doubtful` has an answer if it is no field.
        needs_confidence = name == CONFIDENCE or (name == DOUBTFUL and field is not None)
        if needs_confidence and not self.names:
            message = f"{comparison.offset}: no answer has a confidence"
            raise InputError(message, hint=hint)

        if field is not None and any(isinstance(operand, str) for operand in comparison.values):
            kind = "true or false"
            if name == CONFIDENCE:
                kind = "a number"
            message = f"{comparison.offset}: {name!r} is about the whole row, and is {kind}"
            raise InputError(message, hint=hint)

    def _check_field(self, comparison: Comparison, field: str) -> None:
        """Raise InputError if no answer has a confidence of a field; the hint says what to do.

        Args:
            comparison: The comparison in WHERE=, whose position is in the message.
        """
        if field in self._confident_fields:
            return

        message = f"{comparison.offset}: no answer has a confidence of the field {field!r}"
        if self._confident_fields:
            names = ", ".join(f"{name}.{CONFIDENCE}" for name in self._confident_fields)
            raise InputError(message, hint=f"compare {names}")
        raise InputError(message, hint=self._missing_hint)


def _make_truth_cell(name: str, condition: ColumnElement[bool]) -> JsonCell:
    """Return a cell that is true or false as a condition is; it is empty for NULL."""
    return make_json_cell(name, case({True: "true", False: "false"}, value=condition))
