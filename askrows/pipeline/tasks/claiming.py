"""Rows of a task that the next batch can claim, the claims on them, and marks to ask rows again.

- A row can be asked if it is open, or if the command also asks answered rows like it (see
  `make_rows_to_ask_condition`).
- A claim is the record that a batch asks a row under a version. It ends when the reply is stored.
- A parked row is not asked again until a user unparks it, for example because it failed too often.
- A row can be claimed if it can be asked, and is neither claimed nor parked.
- A due row was asked alone, got no reply, and is to be asked again soon.
- An answered row is asked again if a person marked it; see `store.again`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, select, true

from askrows.pipeline.core.errors import StateConflictError
from askrows.pipeline.core.row_listing import NO_FILTER, RowFilter
from askrows.pipeline.core.text import plural
from askrows.pipeline.rows.row_state import RowState
from askrows.pipeline.rows.stored_rows import HASH_COLUMN, KEY_COLUMN, ROW_NUMBER_COLUMN
from askrows.pipeline.store import again, answers, claims
from askrows.pipeline.store.claims import RowClaim
from askrows.pipeline.store.database import read_matching_rows, stream_rows
from askrows.pipeline.tasks.task import Task

# Rows with their content that are in memory at once.
READ_PAGE_ROWS = 500


def make_rows_to_ask_condition(tx: Connection, task: Task) -> ColumnElement[bool]:
    """Return the SQL condition of the rows that the command asks about.

    These are open and marked rows. Rows that changed, or that the command will mark, are among them
    if `AskedRows` says so. Its filter limits all of them.

    Claimed and parked rows are included: callers that claim rows leave them out.
    """
    table = task.rows
    condition = table.is_open | table.is_marked
    if task.asked_rows.has_changed:
        condition |= table.is_changed
    if task.asked_rows.will_mark:
        condition |= make_markable_condition(tx, task, task.asked_rows.row_filter)
    if task.asked_rows.row_filter == NO_FILTER:
        return condition
    return and_(condition, *task.make_grid(tx).make_row_conditions(tx, task.asked_rows.row_filter))


def select_claimable_rows(
    tx: Connection,
    task: Task,
    *,
    column_names: Sequence[str] = (),
    after_row_id: str | None = None,
) -> Select[Any]:
    """Return a SELECT of the rows that the next batch can claim: the named columns, then the id.

    Args:
        after_row_id: Only rows after this row id.
    """
    table = task.rows
    condition = make_rows_to_ask_condition(tx, task) & ~table.is_blocked
    return table.select_rows(condition, names=column_names, after=after_row_id)


def read_claimable_rows(
    tx: Connection,
    task: Task,
    *,
    after_row_id: str | None,
) -> Iterator[Mapping[str, Mapping[str, Any]]]:
    """Yield pages of the rows that the next batch can claim, in the order of the task.

    Args:
        after_row_id: Only rows after this row id.

    Yields:
        At most READ_PAGE_ROWS rows by id, each as `Task.unpack_row` returns it.
    """
    names = task.row_columns
    query = select_claimable_rows(tx, task, column_names=names, after_row_id=after_row_id)
    for records in stream_rows(tx, query, page=READ_PAGE_ROWS).partitions():
        # A record has the row id after the named columns.
        yield {
            record[-1]: task.unpack_row(dict(zip(names, record, strict=False)))
            for record in records
        }


def find_asked_row_ids_by_hash(
    tx: Connection, task: Task, hashes: Sequence[str]
) -> Mapping[str, Sequence[str]]:
    """Return the ids of rows that the command asks, by input hash.

    The ids of a hash are in the order of the source. Claimed and parked rows are among them;
    `filter_claimable_ids` leaves them out. Hashes without such a row are left out. The result is
    empty if the table of the task stores no hashes; equal rows are then found when they are about
    to be asked.
    """
    columns = task.rows.table.c
    ids_by_hash = dict[str, list[str]]()
    if HASH_COLUMN not in columns:
        return ids_by_hash
    query = (
        select(columns[HASH_COLUMN], columns[KEY_COLUMN])
        .where(make_rows_to_ask_condition(tx, task))
        .order_by(columns[ROW_NUMBER_COLUMN])
    )
    for input_hash, row_id in read_matching_rows(tx, query, columns[HASH_COLUMN], hashes):
        ids_by_hash.setdefault(input_hash, []).append(row_id)
    return ids_by_hash


def filter_claimable_ids(tx: Connection, task: Task, row_ids: Sequence[str]) -> list[str]:
    """Return those of the row ids that the next batch can claim, in the given order; only read.

    These rows can be asked, no batch asks them now (claimed), and they were not stopped
    after failures (parked).
    """
    table = task.rows
    condition = make_rows_to_ask_condition(tx, task)
    claimable_ids = table.filter_ids(tx, row_ids, condition, ~table.is_blocked)
    return [row_id for row_id in row_ids if row_id in claimable_ids]


def count_claimable(tx: Connection, task: Task) -> int:
    """Count the rows that the next batch can claim."""
    claimable_rows = select_claimable_rows(tx, task).order_by(None).subquery()
    query = select(func.count()).select_from(claimable_rows)
    return tx.execute(query).scalar() or 0


def find_due_ids(tx: Connection, task: Task) -> list[str]:
    """Return the ids of due rows that the next batch can claim, oldest first."""
    return filter_claimable_ids(
        tx,
        task,
        [retry.row_id for retry in claims.iterate_rows_with_failed_single_calls(tx, task.name)],
    )


def claim_all_rows_or_raise(
    tx: Connection,
    task: Task,
    version: str,
    rows: Sequence[RowClaim],
    *,
    batch: int,
    asks_each: bool,
    now: datetime,
) -> None:
    """Claim all these rows for a batch that asks them under a version, or raise.

    Runs in the caller's transaction, which the caller rolls back after an error.

    Args:
        version: The version (`task@n/model`) that asks.
        batch: Number of the batch.
        asks_each: The batch asks each row itself, so rows with equal inputs can be claimed.
            Otherwise a row is refused if a row with the same input is claimed under the version.

    Raises:
        StateConflictError: A row is not open, is claimed or parked, or is refused because of its
            input.
    """
    # All rows are checked before the first INSERT, while PostgreSQL still plans for the table as
    # it was.
    has_running_input = False
    if not asks_each:
        hashes = [row.input_hash for row in rows]
        earlier_rows = claims.find_claimed_or_answered_rows(tx, task.name, version, hashes).values()
        has_running_input = any(claim.state == claims.CLAIMED for claim in earlier_rows)
    row_ids = [row.row_id for row in rows]
    if has_running_input or len(filter_claimable_ids(tx, task, row_ids)) != len(row_ids):
        raise StateConflictError(
            "a row of",
            task.name,
            expected_state="open",
            target_state="claimed",
        )

    claims.insert_claims(
        tx,
        task.name,
        version,
        rows,
        batch=batch,
        now=now,
    )


# ---- asking again


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


def filter_askable_ids(tx: Connection, task: Task, row_ids: Sequence[str]) -> set[str]:
    """Return those of some rows that a person can ask for: open, stale, answered or parked rows.

    The result is for display: `ask_again` checks again whether it may mark the rows.
    """
    table = task.rows
    is_askable = table.is_open | table.is_askable_again
    is_free = ~table.has_state(RowState.CLAIMED)
    return table.filter_ids(tx, row_ids, is_askable, is_free)


def count_rows_by_effect_of_asking_again(
    tx: Connection, task: Task, row_filter: RowFilter
) -> AgainReport:
    """Count the rows of a filter by the effect that asking for them again would have.

    Rows that cannot be marked are counted by their reason. Writes nothing.

    Raises:
        InputError: The filter is invalid.
    """
    grid = task.make_grid(tx)
    table = grid.table
    conditions = grid.make_row_conditions(tx, row_filter)
    is_markable = make_markable_condition(tx, task, row_filter)
    counts_by_state = table.count_rows_by_state(tx, *conditions)
    was_marked = table.make_marked_by_unfinished_command_condition(tx)
    return AgainReport(
        markable=table.count_rows(tx, is_markable),
        reviewed=table.count_rows(
            tx,
            is_markable,
            *grid.make_row_conditions(tx, RowFilter(where=f"{grid.judgements.review_name} = true")),
        ),
        already_marked=table.count_rows(tx, *conditions, table.is_marked),
        asked_already=table.count_rows(
            tx, *conditions, was_marked, table.is_askable_again, ~table.is_marked
        ),
        corrected=table.count_rows(tx, *conditions, table.is_corrected),
        claimed=counts_by_state.claimed,
        parked=counts_by_state.parked,
    )


def mark_to_ask_again(
    tx: Connection, task: Task, row_filter: RowFilter, *, who: str, now: datetime
) -> int:
    """Mark the rows of a filter, so that they are asked again; return how many are new marks.

    Runs in the caller's transaction.

    Args:
        who: Who asks for the rows again.

    Raises:
        InputError: The filter is invalid.
    """
    table = task.rows
    is_markable = make_markable_condition(tx, task, row_filter)
    row_ids = select(table.row_id).select_from(table.table).where(is_markable)
    return again.mark_to_ask_again_and_forgive(tx, task.name, row_ids, who=who, now=now)


def unmark_rows(tx: Connection, task: Task, row_filter: RowFilter) -> int:
    """Delete the marks without a newer answer of a filter's rows; return their number.

    Raises:
        InputError: The filter is invalid.
    """
    table = task.rows
    conditions = task.make_grid(tx).make_row_conditions(tx, row_filter)
    row_ids = select(table.row_id).select_from(table.table).where(true(), *conditions)
    return again.delete_unfinished_marks(tx, task.name, row_ids)


def make_markable_condition(
    tx: Connection, task: Task, row_filter: RowFilter
) -> ColumnElement[bool]:
    """Return the SQL condition that a row of a filter may be marked, to be asked again.

    See `TaskRows.is_markable`. A killed command with a condition may be repeated: rows that it has
    asked are not marked again; see `TaskRows.make_marked_by_unfinished_command_condition`.

    Raises:
        InputError: The filter is invalid.
    """
    table = task.rows
    conditions = [*task.make_grid(tx).make_row_conditions(tx, row_filter), table.is_markable]
    if row_filter.where:
        conditions.append(~table.make_marked_by_unfinished_command_condition(tx))
    return and_(*conditions)


def read_newest_answer_ids_when_marked(
    tx: Connection, task: Task, row_ids: Sequence[str]
) -> dict[str, int]:
    """Return the id of the newest answer of a model when each row was marked, by row id.

    Only an answer with a greater id may be copied to the row; see `store.again`. Rows without a
    mark are left out. In an estimate, rows that will be marked are included, with the newest id of
    now.
    """
    marks = again.read_answer_ids_of_unfinished_marks(tx, task.name, row_ids)
    if task.asked_rows.will_mark:
        is_markable = make_markable_condition(tx, task, task.asked_rows.row_filter)
        markable_ids = task.rows.filter_ids(tx, row_ids, is_markable)
        marks |= dict.fromkeys(markable_ids, answers.read_newest_model_answer_id(tx))
    return marks
