"""Select the doubtful rows of a task.

A row is doubtful if its preferred answer has a field whose confidence (the stored probability that
the field is right) is below the task's threshold, and no person has reviewed the answer.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, and_, case

from pipeline.store import answers
from pipeline.store.answers import VersionPreference
from pipeline.store.confidences import select_doubtful_ids
from pipeline.store.database import select_matching
from pipeline.store.schema import answers as answers_table
from pipeline.tables.where_sql import JsonCell

# Name in WHERE= and in lists.
DOUBTFUL = "doubtful"
_DOUBTFUL_JSON = f'{{"{DOUBTFUL}": true}}'
_CERTAIN_JSON = f'{{"{DOUBTFUL}": false}}'


class DoubtCounts(NamedTuple):
    """The doubtful rows of a list, and the rows that can be doubtful."""

    doubtful_rows: int
    # Rows whose preferred answer has confidences.
    rows_with_confidence: int


class RowDoubts(NamedTuple):
    """The doubtful rows of a task, for the queries of a list."""

    # The task, and the order of preference among its answers.
    preference: VersionPreference
    # Expression for the row's id in the list.
    row_id: ColumnElement[str]
    # The probability below which a field makes its row doubtful.
    threshold: float

    @property
    def doubtful_ids(self) -> Select[tuple[str]]:
        """Return a SELECT of the ids of the doubtful rows."""
        return select_doubtful_ids(self.preference, self.threshold)

    @property
    def is_answered(self) -> ColumnElement[bool]:
        """Return the condition that a row has an applied answer."""
        return answers.is_answered(self.preference.task, self.row_id)

    def make_condition(self, *, is_doubtful: bool) -> ColumnElement[bool]:
        """Return the condition that a row is doubtful, or answered and not doubtful."""
        if is_doubtful:
            return self.row_id.in_(self.doubtful_ids)
        return and_(self.is_answered, self.row_id.not_in(self.doubtful_ids))

    def make_cell(self) -> JsonCell:
        """Return the cell `doubtful` of WHERE=: true, false, or nothing without an answer."""
        document = case(
            (self.make_condition(is_doubtful=True), _DOUBTFUL_JSON),
            (self.is_answered, _CERTAIN_JSON),
        )
        return JsonCell(document, (DOUBTFUL,))

    def filter_doubtful(self, tx: Connection, row_ids: Sequence[str]) -> set[str]:
        """Return the ids of those rows that are doubtful."""
        rows = select_matching(tx, self.doubtful_ids, answers_table.c.item_id, row_ids)
        return {row.item_id for row in rows}
