"""Store which rows a run with a condition (`tag WHERE=`) asks.

A new answer may change whether a row meets the condition, so the rows are listed when the run
begins. A killed run asks the rows of its list. The list is deleted when the run ends.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from pipeline.store.database import run_many
from pipeline.store.runs import TAG, TagRunRow, begin_run
from pipeline.store.schema import rename_columns, runs, selected_rows

NOT_CONFIRMED = "not confirmed"


def add_selection(tx: Connection, task: str, condition: str, *, now: datetime) -> int:
    """Insert a run that is not confirmed, so that no command continues it; return its number."""
    return begin_run(
        tx,
        started_at=now,
        ended_at=now,
        why=NOT_CONFIRMED,
        task=task,
        extractor="",
        mode=TAG,
        items=0,
        estimated_cost=0.0,
        condition=condition,
    )


def add_rows(tx: Connection, run: int, row_ids: Sequence[str]) -> None:
    """Add rows to the list of a run."""
    run_many(tx, insert(selected_rows), [{"run": run, "item_id": row_id} for row_id in row_ids])


def count_rows(tx: Connection, run: int) -> int:
    """Return the number of listed rows of a run."""
    query = select(func.count()).where(selected_rows.c.run == run)
    return tx.execute(query).scalar_one()


def confirm_selection(tx: Connection, run: int, **columns: Any) -> bool:
    """Begin a run that was not confirmed yet; return False if it does not exist.

    Args:
        columns: New values of columns of `findable_runs`.
    """
    is_unconfirmed = (runs.c.number == run) & (runs.c.why == NOT_CONFIRMED)
    begin = update(runs).where(is_unconfirmed).values(ended_at=None, why=None, **columns)
    return tx.execute(begin).rowcount == 1


def delete_unconfirmed(tx: Connection, task: str) -> None:
    """Delete the runs of a task that were not confirmed, with the lists of their rows."""
    is_unconfirmed = (runs.c.task == task) & (runs.c.why == NOT_CONFIRMED)
    numbers = select(runs.c.number).where(is_unconfirmed)
    tx.execute(delete(selected_rows).where(selected_rows.c.run.in_(numbers)))
    tx.execute(delete(runs).where(is_unconfirmed))


def find_unfinished_selection(tx: Connection, task: str) -> TagRunRow | None:
    """Return the newest unfinished run of a task with a condition, or None."""
    query = (
        select(runs)
        .where(runs.c.task == task, runs.c.condition.is_not(None), runs.c.ended_at.is_(None))
        .order_by(runs.c.number.desc())
        .limit(1)
    )
    row = tx.execute(query).mappings().first()
    return None if row is None else TagRunRow(**rename_columns(row, TagRunRow))


def read_conditions(tx: Connection, task: str) -> dict[str, str]:
    """Return the condition (an expression of WHERE=) of the rows that each prompt version asked.

    Only runs of the command `tag` count. If the runs of a prompt version had several conditions,
    the newest is returned. A prompt version is left out if any of its runs had no condition,
    because that run asked all rows.
    """
    query = (
        select(runs.c.extractor, runs.c.condition)
        .where(runs.c.task == task, runs.c.extractor != "", runs.c.mode == TAG)
        .order_by(runs.c.number)
    )
    conditions = dict[str, str | None]()
    for version, condition in tx.execute(query):
        label = version.partition("/")[0]
        is_for_all_rows = condition is None or conditions.get(label, condition) is None
        conditions[label] = None if is_for_all_rows else condition
    return {label: condition for label, condition in conditions.items() if condition is not None}


def is_selected(run: int, id_column: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the SQL condition that a row is in the list of a run.

    Args:
        id_column: The column with the row's id in the outer query.
    """
    return (
        select(selected_rows.c.item_id)
        .where(selected_rows.c.run == run, selected_rows.c.item_id == id_column)
        .correlate_except(selected_rows)
        .exists()
    )


def remove_row(tx: Connection, task: str, row_id: str) -> None:
    """Remove a row from the lists of all runs of a task."""
    numbers = select(runs.c.number).where(runs.c.task == task)
    tx.execute(
        delete(selected_rows).where(
            selected_rows.c.run.in_(numbers), selected_rows.c.item_id == row_id
        )
    )
