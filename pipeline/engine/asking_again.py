"""Ask for answered rows again: mark them, or take their marks back; see `store.again`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, true

from pipeline.core.row_listing import RowFilter
from pipeline.core.text import plural
from pipeline.engine.task import Task
from pipeline.store import again, answers, claims, runs
from pipeline.store.database import Connection
from pipeline.store.schema import row_claims


@dataclass(frozen=True)
class AgainReport:
    """The rows of a filter, by what asking for them again does."""

    # Rows to mark.
    markable: int
    # Of these, rows whose answer a person reviewed.
    reviewed: int
    # Rows that are marked and were not asked yet.
    already_marked: int
    # Rows that a command which is not over has asked already.
    asked_already: int
    # Rows that a person corrected.
    corrected: int
    # Rows in batches that are not over, and parked rows.
    claimed: int
    parked: int

    def describe(self) -> str:
        """Return the numbers in words; numbers of 0 are left out, except the first."""
        counts = {
            "of them reviewed, whose right values stay": self.reviewed,
            "marked before and not asked yet": self.already_marked,
            "asked before by this run, which is not over": self.asked_already,
            "left out because a person corrected them; undo the correction first": self.corrected,
            "left out because their batch is not over": self.claimed,
            "left out because they are parked": self.parked,
        }
        parts = [f"{plural(self.markable, 'answered row')} to ask again; the old answers stay"]
        parts += [f"{count:,} {text}" for text, count in counts.items() if count]
        return "; ".join(parts)


def count_rows_to_ask_again(tx: Connection, task: Task, row_filter: RowFilter) -> AgainReport:
    """Count the rows of a filter by what asking for them again would do; write nothing.

    Raises:
        InputError: The filter is invalid.
    """
    grid = task.make_grid(tx)
    table = grid.table
    conditions = grid.make_conditions(tx, row_filter)
    is_markable = make_condition_to_ask_again(tx, task, row_filter)
    counts_by_state = table.count_by_state(tx, *conditions)
    was_marked = _make_marked_by_unfinished_command_condition(tx, task)
    is_corrected = answers.is_answered(task.name, table.row_id, answers.PERSON)
    return AgainReport(
        markable=table.count_rows(tx, is_markable),
        reviewed=table.count_rows(
            tx, is_markable, *grid.make_conditions(tx, RowFilter(is_reviewed=True))
        ),
        already_marked=table.count_rows(tx, *conditions, table.is_marked),
        asked_already=table.count_rows(
            tx, *conditions, was_marked, table.is_askable_again, ~table.is_marked
        ),
        corrected=table.count_rows(tx, *conditions, is_corrected),
        claimed=counts_by_state["claimed"],
        parked=counts_by_state["parked"],
    )


def mark_rows(tx: Connection, task: Task, row_filter: RowFilter, *, who: str, now: datetime) -> int:
    """Mark the rows of a filter, so that they are asked again; return how many are new marks.

    Runs in the caller's transaction.

    Args:
        who: Who asks for the rows again.

    Raises:
        InputError: The filter is invalid.
    """
    table = task.make_row_table(tx)
    is_markable = make_condition_to_ask_again(tx, task, row_filter)
    return again.mark_rows(
        tx,
        task.name,
        table.table,
        table.row_id,
        is_markable,
        who=who,
        now=now,
    )


def take_marks_back(tx: Connection, task: Task, row_filter: RowFilter) -> int:
    """Delete the marks of a filter's rows that are not done, and return their number.

    Raises:
        InputError: The filter is invalid.
    """
    table = task.make_row_table(tx)
    conditions = task.make_grid(tx).make_conditions(tx, row_filter)
    return again.remove_marks(
        tx,
        task.name,
        table.table,
        table.row_id,
        and_(true(), *conditions),
    )


def make_condition_to_ask_again(
    tx: Connection, task: Task, row_filter: RowFilter
) -> ColumnElement[bool]:
    """Return the SQL condition that a row of a filter may be marked, to be asked again.

    The row has a model's answer that counts, and no correction. It is not claimed, not parked,
    and not marked already. A killed command with a condition may be repeated: rows that it has
    asked are not marked again; see `_make_marked_by_unfinished_command_condition`.

    Raises:
        InputError: The filter is invalid.
    """
    table = task.make_row_table(tx)
    unavailable = claims.claimed_or_parked(task.name, task.parked_version)
    conditions = [
        *task.make_grid(tx).make_conditions(tx, row_filter),
        table.is_askable_again,
        ~unavailable.where(row_claims.c.item_id == table.row_id).exists(),
        ~again.is_marked(task.name, table.row_id),
    ]
    if row_filter.where:
        conditions.append(~_make_marked_by_unfinished_command_condition(tx, task))
    return and_(*conditions)


def _make_marked_by_unfinished_command_condition(tx: Connection, task: Task) -> ColumnElement[bool]:
    """Return the SQL condition that a command that is not over marked a row to be asked again.

    A command is not over if its run has no end, or if another row that it marked waits to be
    asked.
    """
    table = task.make_row_table(tx)
    is_waiting = table.is_askable_again & ~table.is_parked
    times = again.list_unfinished_times(tx, task.name, table.table, table.row_id, is_waiting)
    run = runs.find_unfinished_run(tx, task.name)
    since = None if run is None else run.started_at
    return again.was_marked_at(task.name, table.row_id, times, since=since)


def read_marks(tx: Connection, task: Task, row_ids: Sequence[str]) -> dict[str, int]:
    """Return the answer of each row that was asked for again, by row id; see `store.again`.

    A copy of an answer must be newer. In an estimate these are also rows that will be marked.
    """
    marks = again.read_marks(tx, task.name, row_ids)
    if task.asked_rows.will_mark:
        is_markable = make_condition_to_ask_again(tx, task, task.asked_rows.row_filter)
        markable_ids = task.make_row_table(tx).filter_ids(tx, row_ids, is_markable)
        marks |= dict.fromkeys(markable_ids, answers.newest_model_answer_id(tx))
    return marks
