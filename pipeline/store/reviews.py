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

from pipeline.store.answers import PERSON, VersionPreference, is_preferred
from pipeline.store.database import change_matching, select_matching
from pipeline.store.schema import answers


def is_reviewed_answer() -> ColumnElement[bool]:
    """Return the SQL condition that an answer is a correction or was reviewed."""
    return or_(answers.c.extractor == PERSON, answers.c.reviewed_at.is_not(None))


def read_review_states(
    tx: Connection,
    row_ids: Sequence[str],
    *,
    preference: VersionPreference,
) -> dict[str, bool]:
    """Return whether a person reviewed the preferred answer, by row id; only of answered rows."""
    is_reviewed = is_reviewed_answer().label("is_reviewed")
    query = select(answers.c.item_id, is_reviewed).where(is_preferred(preference))
    rows = select_matching(tx, query, answers.c.item_id, row_ids)
    return {row.item_id: bool(row.is_reviewed) for row in rows}


def read_marks(
    tx: Connection,
    row_ids: Sequence[str],
    *,
    preference: VersionPreference,
) -> dict[str, bool]:
    """Return whether the preferred answer has a mark of review, by row id; only of answered rows.

    A correction has a mark only if it was marked, too.
    """
    query = select(answers.c.item_id, answers.c.reviewed_at).where(is_preferred(preference))
    rows = select_matching(tx, query, answers.c.item_id, row_ids)
    return {row.item_id: row.reviewed_at is not None for row in rows}


def mark_rows(
    tx: Connection,
    row_ids: Sequence[str],
    *,
    preference: VersionPreference,
    who: str,
    at: datetime,
) -> None:
    """Mark the preferred answers of rows as reviewed, in the caller's transaction."""
    query = select(answers.c.id).where(is_preferred(preference))
    answer_ids = [row.id for row in select_matching(tx, query, answers.c.item_id, row_ids)]
    mark = update(answers).values(reviewed_by=who, reviewed_at=at)
    change_matching(tx, mark, answers.c.id, answer_ids)


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

    A correction that nobody marked as reviewed counts as reviewed by its author at the time of the
    correction. For another answer that nobody reviewed, person and time are None.

    Args:
        row_id: Id of the row.
        preference: The task, and which of the row's answers is preferred.
    """
    query = select(answers).where(is_preferred(preference), answers.c.item_id == row_id)
    row = tx.execute(query).first()
    if row is None:
        return None
    if row.reviewed_at is None and row.extractor == PERSON:
        return Review(row.id, row.who, row.at, is_marked=False)
    return Review(row.id, row.reviewed_by, row.reviewed_at, is_marked=row.reviewed_at is not None)


def set_review(tx: Connection, answer_id: int, *, who: str | None, at: datetime | None) -> None:
    """Mark an answer as reviewed; None removes the mark."""
    mark = update(answers).where(answers.c.id == answer_id)
    tx.execute(mark.values(reviewed_by=who, reviewed_at=at))
