"""Ask for answered rows again: mark them, or take their marks back; see `store.again`."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, true

from pipeline.core.row_listing import RowFilter
from pipeline.core.text import plural
from pipeline.engine.task import Task
from pipeline.store import again, answers
from pipeline.store.database import Connection


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


def count_again(tx: Connection, task: Task, row_filter: RowFilter) -> AgainReport:
    """Count the rows of a filter by what asking for them again would do; write nothing.

    Raises:
        InputError: The filter is invalid.
    """
    grid = task.rows.grid(tx)
    table = grid.table
    conditions = grid.make_conditions(tx, row_filter)
    is_markable = task.rows.make_markable_condition(tx, row_filter)
    counts_by_state = table.count_by_state(tx, *conditions)
    is_asked_already = task.rows.make_asked_already_condition(tx) & table.is_askable_again
    is_corrected = answers.is_answered(task.name, table.row_id, answers.PERSON)
    return AgainReport(
        markable=table.count_rows(tx, is_markable),
        reviewed=table.count_rows(
            tx, is_markable, *grid.make_conditions(tx, RowFilter(is_reviewed=True))
        ),
        already_marked=table.count_rows(tx, *conditions, table.is_marked),
        asked_already=table.count_rows(tx, *conditions, is_asked_already, ~table.is_marked),
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
    table = task.rows.table(tx)
    is_markable = task.rows.make_markable_condition(tx, row_filter)
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
    table = task.rows.table(tx)
    conditions = task.rows.grid(tx).make_conditions(tx, row_filter)
    return again.remove_marks(
        tx,
        task.name,
        table.table,
        table.row_id,
        and_(true(), *conditions),
    )
