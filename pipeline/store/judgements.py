"""Read answers with their probabilities, to judge them and to compare them with corrections.

An answer counts if it is the preferred applied answer of its row. To judge an answer is to let a
decision model read it and its text, and store the probability of each field.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, or_, select

from pipeline.store.answers import PERSON, VersionPreference, is_applied, is_preferred
from pipeline.store.confidences import FieldConfidence, decode_confidences
from pipeline.store.database import PAGE_ROWS, select_matching, stream_rows
from pipeline.store.schema import answers


class JudgedAnswer(NamedTuple):
    """An answer with the probabilities of its fields."""

    answer_id: int
    row_id: str
    version: str
    # Hash of the input that was asked or corrected.
    input_hash: str
    # JSON.
    answer: str
    # By field. Fields without a probability are not members.
    confidences: Mapping[str, FieldConfidence]


_JUDGED_COLUMNS = (
    answers.c.id,
    answers.c.item_id,
    answers.c.extractor,
    answers.c.input_hash,
    answers.c.answer,
    answers.c.confidences,
)


def _select_counting_answers(preference: VersionPreference) -> Select[Any]:
    """Return a SELECT of `_JUDGED_COLUMNS` of the answers that count, without corrections."""
    return select(*_JUDGED_COLUMNS).where(is_preferred(preference), answers.c.extractor != PERSON)


def _to_judged_answer(row: Row[Any]) -> JudgedAnswer:
    return JudgedAnswer(
        row.id,
        row.item_id,
        row.extractor,
        row.input_hash,
        row.answer,
        decode_confidences(row.confidences),
    )


def read_counting_answers_page(
    tx: Connection,
    preference: VersionPreference,
    *,
    after: str = "",
) -> list[JudgedAnswer]:
    """Return the next page of the rows' preferred answers, by row id, without corrections.

    Args:
        after: Return only rows with a greater id.

    Returns:
        At most PAGE_ROWS answers.
    """
    query = (
        _select_counting_answers(preference)
        .where(answers.c.item_id > after)
        .order_by(answers.c.item_id)
        .limit(PAGE_ROWS)
    )
    return list(map(_to_judged_answer, tx.execute(query)))


def read_counting_answers(
    tx: Connection,
    preference: VersionPreference,
    row_ids: Sequence[str],
) -> dict[str, JudgedAnswer]:
    """Return the preferred answers of some rows by row id, without corrections.

    A row whose preferred answer is a correction is left out.
    """
    rows = select_matching(tx, _select_counting_answers(preference), answers.c.item_id, row_ids)
    counting_answers = map(_to_judged_answer, rows)
    return {answer.row_id: answer for answer in counting_answers}


def read_applied_answers(
    tx: Connection,
    task: str,
    row_ids: Sequence[str],
) -> dict[str, list[JudgedAnswer]]:
    """Return all applied answers of some rows, newest first, by row id; corrections, too."""
    query = select(*_JUDGED_COLUMNS).where(is_applied(task)).order_by(answers.c.id.desc())
    answers_by_id: dict[str, list[JudgedAnswer]] = {}
    for row in select_matching(tx, query, answers.c.item_id, row_ids):
        answers_by_id.setdefault(row.item_id, []).append(_to_judged_answer(row))
    return answers_by_id


def stream_confidences(
    tx: Connection,
    task: str,
    version: str | None,
) -> Iterator[Mapping[str, FieldConfidence]]:
    """Yield the confidences of each row's newest answer of a version, if it has any.

    Args:
        version: None means all versions; corrected rows are left out then.
    """
    query = select(answers.c.confidences).where(
        is_preferred(VersionPreference(task), version=version),
        answers.c.confidences.is_not(None),
        answers.c.extractor != PERSON,
    )
    for (encoded_confidences,) in stream_rows(tx, query, page=PAGE_ROWS):
        yield decode_confidences(encoded_confidences)


def stream_labelled_answers(tx: Connection, task: str) -> Iterator[JudgedAnswer]:
    """Yield all applied answers to the rows that a person corrected or reviewed, row by row.

    Answers to a row follow each other, oldest first. Undone corrections are left out.
    """
    labelled_ids = select(answers.c.item_id).where(
        is_applied(task),
        or_(answers.c.extractor == PERSON, answers.c.reviewed_at.is_not(None)),
    )
    query = (
        select(*_JUDGED_COLUMNS)
        .where(is_applied(task), answers.c.item_id.in_(labelled_ids))
        .order_by(answers.c.item_id, answers.c.id)
    )
    yield from map(_to_judged_answer, stream_rows(tx, query, page=PAGE_ROWS))
