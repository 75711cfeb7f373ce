"""Store the closed fields of rows whose other fields are still to be answered.

A closed field has a fixed list of values, from which a decision model can choose; a mixed task also
has other fields. A decision model answers the closed fields first. This makes a partial answer,
until another model answers the other fields. A partial answer belongs to the version that decided
and to an input, so it never counts for a row whose input changed. It stays stored after the whole
answer, for later requests about the same input.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select

from pipeline.store.confidences import FieldConfidence, decode_confidences, encode_confidences
from pipeline.store.database import change_matching, has_row, run_many, select_matching
from pipeline.store.schema import partial_answers


class PartialAnswer(NamedTuple):
    """The closed fields of an answer."""

    row_id: str
    input_hash: str
    # JSON of the fields, in the form of a reply.
    answer: str
    confidences: Mapping[str, FieldConfidence]


def insert_partial_answers(
    tx: Connection,
    new_answers: Sequence[PartialAnswer],
    *,
    task: str,
    version: str,
    batch: int | None,
    fingerprint: str | None,
    now: datetime,
) -> None:
    """Insert partial answers; they replace those of the same task, version and inputs.

    A partial answer has only the closed fields of an answer, which a decision model chose. Runs in
    the caller's transaction. Nothing happens without new answers.

    Args:
        version: Version (`task@n/model`) that gave the answers.
        batch: Number of the batch that asked, or None.
        fingerprint: Fingerprint of the declaration that was asked, or None.
        now: Time of the answers.
    """
    shared_columns: dict[str, Any] = {
        "task": task,
        "extractor": version,
        "batch": batch,
        "fingerprint": fingerprint,
        "at": now,
    }
    records = [
        shared_columns
        | {
            "item_id": new_answer.row_id,
            "input_hash": new_answer.input_hash,
            "answer": new_answer.answer,
            "confidences": encode_confidences(new_answer.confidences),
        }
        for new_answer in new_answers
    ]
    # An answer to another declaration of the same version may be stored.
    delete_older = delete(partial_answers).where(
        partial_answers.c.task == task,
        partial_answers.c.extractor == version,
    )
    hashes = [new_answer.input_hash for new_answer in new_answers]
    change_matching(tx, delete_older, partial_answers.c.input_hash, hashes)
    run_many(tx, insert(partial_answers), records)


def read_partial_answers(
    tx: Connection,
    task: str,
    version: str,
    fingerprint: str | None,
    hashes: Sequence[str],
    *,
    asked_at: datetime | None = None,
) -> dict[str, PartialAnswer]:
    """Return the partial answers to some inputs, by input hash.

    Args:
        version: The version that decided, `task@n/model`.
        fingerprint: The declaration that was asked.
        asked_at: When the other fields were asked. With this time, partial answers of all decision
            models may be returned. Of several for an input, one that was given by this time is
            preferred, then one of `version`, then the newest. None returns only partial answers of
            `version`.
    """
    label = version.partition("/")[0]
    query = select(partial_answers).where(
        partial_answers.c.task == task,
        partial_answers.c.extractor.startswith(f"{label}/", autoescape=True),
        partial_answers.c.fingerprint.is_not_distinct_from(fingerprint),
    )
    if asked_at is None:
        query = query.where(partial_answers.c.extractor == version)
    rows = sorted(
        select_matching(tx, query, partial_answers.c.input_hash, hashes),
        key=lambda row: (
            asked_at is not None and row.at <= asked_at,
            row.extractor == version,
            row.at,
        ),
    )
    return {
        row.input_hash: PartialAnswer(
            row.item_id,
            row.input_hash,
            row.answer,
            decode_confidences(row.confidences),
        )
        for row in rows
    }


def has_partial_answers(
    tx: Connection, task: str, *, versions: Collection[str] | None = None
) -> bool:
    """Return whether a task has partial answers, of some versions or (None) of any version."""
    query = select(partial_answers.c.task).where(partial_answers.c.task == task)
    if versions is not None:
        query = query.where(partial_answers.c.extractor.in_(versions))
    return has_row(tx, query)


def has_partial_answer(
    task: str,
    version: str,
    fingerprint: str | None,
    hash_column: ColumnElement[str],
) -> ColumnElement[bool]:
    """Return the SQL condition that a row's input has a partial answer.

    Args:
        version: The version that decided, `task@n/model`.
        hash_column: The column with the hash of the row's input in the outer query.
    """
    return (
        select(partial_answers.c.input_hash)
        .where(
            _is_of_version(task, version, fingerprint),
            partial_answers.c.input_hash == hash_column,
        )
        .correlate_except(partial_answers)
        .exists()
    )


def _is_of_version(task: str, version: str, fingerprint: str | None) -> ColumnElement[bool]:
    """Return the SQL condition that a partial answer is of a task, version and declaration."""
    return and_(
        partial_answers.c.task == task,
        partial_answers.c.extractor == version,
        partial_answers.c.fingerprint.is_not_distinct_from(fingerprint),
    )
