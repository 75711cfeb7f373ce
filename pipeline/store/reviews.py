"""Store which answers a person reviewed, and read these reviews."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    or_,
    select,
    update,
)

from pipeline.store.answers import PERSON, VersionPreference, is_preferred, preferred_of_row
from pipeline.store.database import (
    select_matching,
)
from pipeline.store.schema import answers


def reviewed_of_row(
    preference: VersionPreference,
    key: ColumnElement[str],
) -> ColumnElement[bool]:
    """Return a scalar subquery: whether a person reviewed a row's preferred answer.

    A correction counts as reviewed. The value is NULL if the row has no answer.

    Args:
        key: The column with the row's id in the outer query.
    """
    return preferred_of_row(preference, key, is_reviewed_answer())


def is_reviewed_answer() -> ColumnElement[bool]:
    """Return the SQL condition that an answer is a correction or was reviewed."""
    return or_(answers.c.extractor == PERSON, answers.c.reviewed_at.is_not(None))


def read_reviewed_ids(
    tx: Connection,
    row_ids: Sequence[str],
    *,
    preference: VersionPreference,
) -> set[str]:
    """Return the ids of those rows whose preferred answer a person reviewed."""
    query = select(answers.c.item_id).where(is_preferred(preference), is_reviewed_answer())
    return {row[0] for row in select_matching(tx, query, answers.c.item_id, row_ids)}


class Review(NamedTuple):
    """The preferred answer of a row, and who reviewed it."""

    answer_id: int
    # Both are None if nobody reviewed the answer.
    who: str | None
    at: datetime | None
    # Whether the answer was marked as reviewed, so that all its fields are labels.
    is_marked: bool


def read_review(tx: Connection, row_id: str, *, preference: VersionPreference) -> Review | None:
    """Return who reviewed a row's preferred answer and when; None if the row has no answer.

    A correction that nobody marked as reviewed counts as reviewed by its author. For another answer
    that nobody reviewed, person and time are None.
    """
    query = select(answers).where(is_preferred(preference), answers.c.item_id == row_id)
    row = tx.execute(query).first()
    if row is None:
        return None
    if row.reviewed_at is None and row.extractor == PERSON:
        return Review(row.id, row.who, row.at, is_marked=False)
    is_marked = row.reviewed_at is not None
    return Review(row.id, row.reviewed_by, row.reviewed_at, is_marked)


def set_review(tx: Connection, answer_id: int, *, who: str | None, at: datetime | None) -> None:
    """Mark an answer as reviewed; None removes the mark."""
    mark = update(answers).where(answers.c.id == answer_id)
    tx.execute(mark.values(reviewed_by=who, reviewed_at=at))
