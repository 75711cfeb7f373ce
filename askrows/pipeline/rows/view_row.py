"""A row of a task with its state, cells and preferred answer, and the columns that show its values.

All lists, exports and indexes read such rows. A column can be named by FIELDS=, SORT= and WHERE=.
Its SQL expressions are for queries in which each row is joined with its preferred answer.

A confidence is the probability, as a decision model gave it, that the value of a field is right. A
row is doubtful if a confidence is below the setting DOUBTFUL and no person corrected or reviewed
the answer. It is reviewed if a person said that the whole answer is right.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    and_,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    or_,
    true,
)

from askrows.pipeline.rows.where_sql import JsonCell, make_json_cell
from askrows.pipeline.store.answers import PERSON, PreferredAnswer, is_reviewed_answer
from askrows.pipeline.store.confidences import (
    decode_confidences,
    has_confidences,
    make_probability_expression,
)
from askrows.pipeline.store.schema import answers
from askrows.pipeline.store.task_record import TaskRecord

# Column that says whether a person reviewed the answer.
REVIEWED = "reviewed"
# Column, and expression of the view, that says whether a row is doubtful.
DOUBTFUL = "doubtful"
# Column with the least probability of a row's fields; member of a field in WHERE=.
CONFIDENCE = "confidence"
# Names about a whole row. Fields of these names are listed with a prefix.
JUDGEMENT_NAMES = (REVIEWED, CONFIDENCE, DOUBTFUL)
# Column with the place of a row whose key is a hash.
ROW_NUMBER = "row_number"
# Columns with the tokens and the cost of an answer, with their kinds.
COST_KINDS = {"tokens_in": "integer", "tokens_out": "integer", "cost": "real"}
# The prefix of columns of answers whose names are taken.
ANSWER_PREFIX = "answer_"
# Sorts behind all probabilities.
_MISSING_PROBABILITY = 2.0


@dataclass(eq=False)
class ViewRow:
    """A row as a query of the view returned it."""

    id: str
    state: str
    # Why the row is refused, unusable, parked or stale; None for other states.
    reason: str | None
    # The preferred answer, or that of a requested version.
    answer: PreferredAnswer | None
    # Results of the expressions that the view reads, by name.
    cells: Mapping[str, Any]
    # The plain values of the row's own columns, by name.
    values: Mapping[str, Any]

    @cached_property
    def fields(self) -> Mapping[str, Any]:
        """Return the fields of the answer; empty without an answer."""
        if self.answer is None:
            return {}
        fields: dict[str, Any] = orjson.loads(self.answer.answer)
        return fields

    @cached_property
    def probabilities(self) -> Mapping[str, float]:
        """Return the confidences of the answer by field."""
        confidences = decode_confidences(self.answer and self.answer.confidences)
        return {field: member.probability for field, member in confidences.items()}


@dataclass(frozen=True, eq=False)
class ViewColumn:
    """A column of the view."""

    # Returns the value of a row: a JSON value.
    read: Callable[[ViewRow], Any]
    kind: str = "text"
    # What WHERE= compares, or None if it cannot name the column.
    cell: JsonCell | None = None
    # Expressions that rows can be sorted by, which are never NULL; none if they cannot.
    sort_keys: Sequence[ColumnElement[Any]] = ()


def list_place_column_name(task: TaskRecord) -> Iterable[str]:
    """Return the name of the column with the places of rows; none if columns name the rows."""
    if not task.has_made_key:
        return ()
    source_names = [*task.shown_columns, *dict(task.key)]
    return choose_free_column_names(source_names, (ROW_NUMBER,), "row_").values()


def choose_answer_column_names(task: TaskRecord) -> dict[str, str]:
    """Return the names of the columns with the fields of a task, by field.

    A field that has the name of a column of the source, of the key, of the row's place or of a
    judgement is `answer_NAME`.
    """
    row_names = [*task.shown_columns, *dict(task.key), *list_place_column_name(task)]
    taken_names = [*row_names, *JUDGEMENT_NAMES]
    return choose_free_column_names(taken_names, dict(task.fields), ANSWER_PREFIX)


def choose_confidence_column_names(
    other_names: Iterable[str], fields: Sequence[str]
) -> dict[str, str]:
    """Return the names of the columns with confidences, such as `tone_confidence`, by field."""
    suffixed_names = [f"{field}_confidence" for field in fields]
    column_names = choose_free_column_names(other_names, suffixed_names, ANSWER_PREFIX)
    return dict(zip(fields, column_names.values(), strict=True))


def choose_free_column_names(
    existing_names: Iterable[str],
    names: Iterable[str],
    prefix: str,
) -> dict[str, str]:
    """Choose names for columns that are added to other columns, so that all names differ.

    A name that is free stays as it is. Before a taken name the prefix is put until it is free: with
    the prefix `source_`, a second `tone` becomes `source_tone`. Case does not distinguish names.

    Args:
        existing_names: The other columns, which keep their names.
        names: The columns to add; each is also taken for those after it.
        prefix: The beginning of a name that would be taken without it.

    Returns:
        Chosen names by `names`, in their order.
    """
    taken_names = {name.casefold() for name in existing_names}
    column_names = dict[str, str]()
    for name in names:
        column_name = name
        while column_name.casefold() in taken_names:
            column_name = f"{prefix}{column_name}"
        taken_names.add(column_name.casefold())
        column_names[name] = column_name
    return column_names


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
        """Name and make the columns.

        A task without any confidence has no columns of confidences, and its doubtful rows are not
        counted.

        Args:
            tx: Must stay open while the object is used.
            task: The name of the task.
            taken_names: Names of other columns.
            fields: Fields of the answers.
            threshold: Confidence below which a field makes its row doubtful.
        """
        # The condition that a person set the answer, or reviewed this or an earlier answer to the
        # row; NULL without an answer.
        any_answers = answers.alias()
        has_review = exists().where(
            any_answers.c.task == answers.c.task,
            any_answers.c.row_id == answers.c.row_id,
            any_answers.c.reviewed_at.is_not(None),
        )
        self.is_checked = or_(answers.c.version == PERSON, has_review)
        has_doubt = and_(
            threshold > answers.c.least_confidence,
            answers.c.version != PERSON,
            answers.c.reviewed_at.is_(None),
        )
        # The condition that a row is doubtful; NULL without an answer.
        self.is_doubtful = case((has_doubt, true()), (answers.c.id.is_not(None), false()))
        if not has_confidences(tx, task):
            fields = ()
        other_names = [*taken_names]
        # Names of columns by field.
        self.confidence_names = choose_confidence_column_names(other_names, fields)
        other_names += self.confidence_names.values()
        names = choose_free_column_names(other_names, JUDGEMENT_NAMES, ANSWER_PREFIX)
        self.review_name = names[REVIEWED]
        self.doubtful_name = names[DOUBTFUL]
        self.least_name = ""
        if self.confidence_names:
            self.least_name = names[CONFIDENCE]
        # Names of the columns whose values are counted.
        self.counted_names = [self.review_name]
        if self.confidence_names:
            self.counted_names.append(self.doubtful_name)
        self.columns = {
            name: ViewColumn(
                partial(_read_probability, field),
                "real",
                JsonCell(answers.c.confidences, (field, "probability")),
                [_replace_missing(make_probability_expression(tx, field))],
            )
            for field, name in self.confidence_names.items()
        }
        least_probability = answers.c.least_confidence
        self.columns |= {
            self.least_name: ViewColumn(
                _read_least_probability,
                "real",
                make_json_cell(CONFIDENCE, cast(least_probability, Text)),
                [_replace_missing(least_probability)],
            ),
            self.doubtful_name: ViewColumn(
                partial(read_cell, DOUBTFUL),
                "boolean",
                _make_truth_cell(DOUBTFUL, self.is_doubtful),
            ),
            self.review_name: ViewColumn(
                _read_review,
                "boolean",
                _make_truth_cell(REVIEWED, is_reviewed_answer()),
            ),
        }
        self.columns.pop("", None)


def _read_probability(field: str, row: ViewRow) -> float | None:
    """Return the probability of a field of a row's answer, or None if it is unknown."""
    return row.probabilities.get(field)


def _read_least_probability(row: ViewRow) -> float | None:
    """Return the probability of the most doubtful field of a row's answer, or None."""
    return min(row.probabilities.values(), default=None)


def read_cell(name: str, row: ViewRow) -> Any:
    """Return the result of an expression of the view."""
    return row.cells[name]


def _read_review(row: ViewRow) -> bool | None:
    """Return whether a row's answer is reviewed, or None without an answer."""
    return row.answer and row.answer.is_reviewed


def _replace_missing(probability: ColumnElement[float]) -> ColumnElement[float]:
    """Return a probability, or a number behind all of them instead of NULL."""
    return func.coalesce(probability, literal(_MISSING_PROBABILITY))


def _make_truth_cell(name: str, condition: ColumnElement[bool]) -> JsonCell:
    """Return a cell that is true or false as a condition is; it is empty for NULL."""
    return make_json_cell(name, case({True: "true", False: "false"}, value=condition))
