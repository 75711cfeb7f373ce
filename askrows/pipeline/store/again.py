"""Marks: rows that a person asked for again.

- A mark has the id of the newest model answer at that time, of any row, because a copy of an old
  answer has a higher id than that answer. The mark is done when its row has a model answer with a
  higher id, applied or not; nothing else records that.
- The old answer counts until a new answer is applied.
- All marks of one command have the same time. A mark that is done is replaced by the next one.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    delete,
    literal,
    select,
)

from askrows.pipeline.store.answers import is_of_model, read_newest_model_answer_id
from askrows.pipeline.store.claims import forgive_attempts
from askrows.pipeline.store.database import make_insert, read_matching_rows
from askrows.pipeline.store.schema import again, answers

# Condition that a mark is done.
HAS_NEWER_ANSWER = (
    select(answers.c.id)
    .where(
        answers.c.task == again.c.task,
        answers.c.row_id == again.c.row_id,
        is_of_model(answers.c.version),
        answers.c.id > again.c.answer_id,
    )
    .correlate(again)
    .exists()
)


def read_answer_ids_of_unfinished_marks(
    tx: Connection, task: str, row_ids: Sequence[str]
) -> dict[str, int]:
    """Return the answer id of each mark that is not done, by row id."""
    query = select(again.c.row_id, again.c.answer_id).where(again.c.task == task, ~HAS_NEWER_ANSWER)
    return {row[0]: row[1] for row in read_matching_rows(tx, query, again.c.row_id, row_ids)}


def find_marking_person(tx: Connection, task: str, row_id: str) -> str | None:
    """Return who marked a row to be asked again; None without a mark that is not done."""
    query = select(again.c.who).where(
        again.c.task == task, again.c.row_id == row_id, ~HAS_NEWER_ANSWER
    )
    return tx.execute(query).scalar()


def list_times_of_unfinished_marks(
    tx: Connection,
    task: str,
    rows: FromClause,
    row_id: ColumnElement[str],
    condition: ColumnElement[bool],
) -> Sequence[datetime]:
    """Return the times of the commands of which a marked row is still to be asked.

    Args:
        rows: The table of the task's rows.
        row_id: Expression for a row's id.
        condition: Condition that a marked row is still to be asked.
    """
    query = (
        select(again.c.at)
        .select_from(rows.join(again, again.c.row_id == row_id))
        .where(again.c.task == task, ~HAS_NEWER_ANSWER, condition)
        .distinct()
    )
    return tx.execute(query).scalars().all()


def mark_to_ask_again_and_forgive(
    tx: Connection,
    task: str,
    row_ids: Select[str],
    *,
    who: str,
    now: datetime,
) -> int:
    """Mark selected rows to be asked again, forgive their failed attempts, and count them.

    A mark is done by a later answer of a model. It replaces an earlier mark of the row. Runs in the
    caller's transaction.

    Args:
        row_ids: The SELECT of the ids of the rows.
        who: Who asks for the rows again.
    """
    marked_rows = row_ids.add_columns(
        literal(task),
        literal(read_newest_model_answer_id(tx)),
        literal(who),
        literal(now, again.c.at.type),
    )
    statement = make_insert(again, tx.dialect.name).from_select(
        ["row_id", "task", "answer_id", "who", "at"], marked_rows
    )
    new_values = {name: statement.excluded[name] for name in ("answer_id", "who", "at")}
    statement = statement.on_conflict_do_update(index_elements=["task", "row_id"], set_=new_values)
    marked_count = tx.execute(statement).rowcount

    marked_ids = select(again.c.row_id).where(again.c.task == task, again.c.at == now)
    forgive_attempts(tx, task, marked_ids)
    return marked_count


def delete_unfinished_marks(tx: Connection, task: str, row_ids: Select[str]) -> int:
    """Delete the marks of selected rows that are not done; return their number."""
    remove = delete(again).where(
        again.c.task == task, ~HAS_NEWER_ANSWER, again.c.row_id.in_(row_ids)
    )
    return tx.execute(remove).rowcount
