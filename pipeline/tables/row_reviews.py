"""List, and compare in WHERE=, whether a person reviewed the answer of a row."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, case

from pipeline.store import answers, reviews
from pipeline.store.answers import VersionPreference
from pipeline.tables.where_sql import JsonCell

# Name in WHERE=, in lists and in files of labels, unless another column has it.
REVIEWED = "reviewed"
_REVIEWED_JSON = f'{{"{REVIEWED}": true}}'
_UNREVIEWED_JSON = f'{{"{REVIEWED}": false}}'


class RowReviews(NamedTuple):
    """The reviewed rows of a task, for the queries of a list. A corrected row is reviewed."""

    # The task, and the order of preference among its answers.
    preference: VersionPreference
    # Expression for the row's id in the list.
    row_id: ColumnElement[str]

    def make_condition(self) -> ColumnElement[bool]:
        """Return the condition that the preferred answer is reviewed; NULL without an answer."""
        return answers.preferred_of_row(
            self.preference,
            self.row_id,
            reviews.is_reviewed_answer(),
        )

    def make_cell(self) -> JsonCell:
        """Return the cell of WHERE=: true, false, or nothing without an answer."""
        document = answers.preferred_of_row(
            self.preference,
            self.row_id,
            case((reviews.is_reviewed_answer(), _REVIEWED_JSON), else_=_UNREVIEWED_JSON),
        )
        return JsonCell(document, (REVIEWED,))

    def read_values(self, tx: Connection, row_ids: Sequence[str]) -> dict[str, bool]:
        """Return whether the preferred answer is reviewed, by row id; only of answered rows."""
        return reviews.read_review_states(tx, row_ids, preference=self.preference)
