"""Read batches and change their state.

Only this module writes a batch's state, and only in `_update_batch_state`. The transaction that
ends a batch also writes its counts and costs.

- A batch is over when its result is on disk, or when it failed.
- A live batch was sent as single API calls. The live batches of a command form a run.
- A try is one call that creates the remote batch of a batch. `askrows_creates` has a record of
  each try.
- A duplicate is a second remote batch of a batch.
- A held batch is downloaded, but waits until a person decides about its suspicious result.
- A trial stores a batch only for its cost; it claims no rows.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime
from functools import reduce
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    and_,
    cast,
    func,
    insert,
    or_,
    select,
    true,
    update,
)

from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.errors import InconsistentError, InputError, StateConflictError
from askrows.pipeline.core.files import SealedFile
from askrows.pipeline.core.states import (
    BATCH_MOVES,
    DISPLAY_NAME_PREFIX,
    ENDED_STATES,
    OPEN_STATES,
    BatchState,
    Mode,
    Outcome,
)
from askrows.pipeline.store import workspace
from askrows.pipeline.store.database import compute_next_value, has_row
from askrows.pipeline.store.schema import (
    BatchRow,
    attempts,
    batches,
    creates,
    events,
)

__all__ = ["BatchRow"]

# Our own choice: the newest live batches whose reply times are averaged.
MAX_TIMED_LIVE_BATCHES = 10
# Our own choice: so many batches in a row without a reply are an outage.
MIN_OUTAGE_BATCHES = 3
_DUPLICATE = "duplicate"
_IS_DUPLICATE = creates.c.outcome == _DUPLICATE
# Outcome of a create call that was refused because the model does not exist or is retired.
MODEL_REFUSED = "model refused"
# The end of a display name: the number of the try.
_TRY_SUFFIX = re.compile(r"-t(\d{1,9})\Z")
_ABSENT_REASON = "the list does not contain it"
SAME_RESULT_REASON = "downloaded again: the same bytes"
# The figures that the ingest of a batch records, without its cost.
INGEST_COLUMNS = (
    "answered",
    "refused",
    "invalid",
    "missing",
    "not_applied",
    "unknown",
    "duplicates",
    "unreadable",
    "tokens_in",
    "tokens_out",
)
# Columns that are added up if the batches of a live run are combined.
_SUMMED_COLUMNS = (
    "requests",
    "request_size",
    "estimated_in",
    "estimated_out",
    "estimated_cost",
    "counted_in",
    "calls",
    "seconds",
    *INGEST_COLUMNS,
    "cost",
    "uncounted",
)
# Beginnings of the reason of a batch that a person cancelled.
CANCELLED_BY_USER = "cancelled by hand"
CANCELLED_BEFORE_SENT = "cancelled before it was sent"
# Beginning of the reason of a submitted batch that is cancelled because its rows are moved.
MOVED_REASON = "cancelled to ask its rows by "
CANCEL_REASONS = (CANCELLED_BY_USER, CANCELLED_BEFORE_SENT, MOVED_REASON)


def is_cancelled_without_move(batch: BatchRow) -> bool:
    """Return whether a person asked to cancel a batch and does not wait for its result.

    False if the batch is cancelled to move its rows: then a result must not be lost.
    """
    is_moved = (batch.reason or "").startswith(MOVED_REASON)
    return batch.cancel_asked_at is not None and not is_moved


def list_batches_in_states(
    tx: Connection,
    *states: BatchState,
    task: str | None = None,
    only_live: bool = False,
    sent_since: datetime | None = None,
) -> list[BatchRow]:
    """Return the batches that meet all conditions, oldest first.

    Args:
        states: Only batches in these states. Without states, batches in all states are returned.
        task: Only batches of this task.
        only_live: Only live batches, which record single API calls.
        sent_since: Only batches that were sent at this time or later, or whose state can still
            change, even if they were never sent.

    Raises:
        InconsistentError: A batch has an unknown state.
    """
    conditions: list[ColumnElement[bool]] = []
    if only_live:
        conditions.append(batches.c.mode != Mode.BATCH)
    if task is not None:
        conditions.append(batches.c.task == task)
    if states:
        conditions.append(batches.c.state.in_(states))
    if sent_since is not None:
        conditions.append(
            or_(batches.c.create_sent_at >= sent_since, batches.c.state.in_(OPEN_STATES)),
        )
    query = select(batches).where(*conditions).order_by(batches.c.number)
    return [_to_batch(row) for row in tx.execute(query).mappings()]


def list_claiming_batches(tx: Connection) -> list[BatchRow]:
    """Return all batches that claim rows, oldest first; trials do not, and keep no files."""
    return [batch for batch in list_batches_in_states(tx) if batch.mode.facts.claims_rows]


def find_last_batch_if_outage(tx: Connection, task: str) -> BatchRow | None:
    """Return the last batch of an outage of a task; None if there is no outage.

    In an outage, the MIN_OUTAGE_BATCHES batches of the task that ended last failed or expired
    without a reply to a row. Any later reply ends it, also to a live call. Batches that a person
    cancelled or gave up, or that were not created, do not count, and neither do lost live calls.
    The order is that of the journal, because a clock may be wrong.
    """
    has_reply = or_(
        batches.c.answered > 0,
        batches.c.refused > 0,
        batches.c.invalid > 0,
    )
    # A batch that a person gave up, or that was not created, has no missing reply.
    missing_replies = select(attempts.c.id).where(
        attempts.c.batch == batches.c.number, attempts.c.outcome == Outcome.MISSING
    )
    is_without_reply = and_(
        batches.c.mode == Mode.BATCH,
        batches.c.cancel_asked_at.is_(None),
        missing_replies.exists(),
    )
    is_end = and_(
        events.c.kind == "batch",
        events.c.name == cast(batches.c.number, Text),
        events.c.new.in_(ENDED_STATES),
    )
    query = (
        select(batches, has_reply.label("has_reply"))
        .join(events, is_end)
        .where(batches.c.task == task, or_(has_reply, is_without_reply))
        .order_by(events.c.id.desc())
        .limit(MIN_OUTAGE_BATCHES)
    )
    last_ends = tx.execute(query).mappings().all()
    if len(last_ends) < MIN_OUTAGE_BATCHES or any(end["has_reply"] for end in last_ends):
        return None
    return _to_batch(last_ends[0])


def list_unknown_state_messages(tx: Connection) -> list[str]:
    """Return a message for each batch whose state is unknown, by number."""
    query = (
        select(batches.c.number, batches.c.state)
        .where(batches.c.state.not_in(list(BatchState)))
        .order_by(batches.c.number)
    )
    return [_unknown_state_message(number, state) for number, state in tx.execute(query)]


def _unknown_state_message(number: int, state: str) -> str:
    return f"batch {number} has an unknown state: {state!r}"


def combine_batches_by_run(batch_rows: Iterable[BatchRow]) -> list[BatchRow]:
    """Return batches, with those of each live run combined into one batch.

    The combined batch has the number and the place of the run's first batch in the input, and the
    sums (of requests, costs and so on) of all its batches. Its state is that of the run's last
    batch in the input that has not ended, or of the last batch if all have ended. Batches of no run
    are returned as they are. Trials, which claim no rows, are left out.
    The order is that of the input.
    """
    return [combine_batches(parts) for parts in group_batches_by_run(batch_rows)]


def group_batches_by_run(batch_rows: Iterable[BatchRow]) -> list[list[BatchRow]]:
    """Group batches by their live run; a batch without a run is alone. Trials are left out."""
    parts_by_number: dict[int, list[BatchRow]] = {}
    for batch in batch_rows:
        if batch.mode.facts.claims_rows:
            parts_by_number.setdefault(batch.run or batch.number, []).append(batch)
    return list(parts_by_number.values())


def combine_batches(parts: Iterable[BatchRow]) -> BatchRow:
    """Return all batches of a live run combined into one batch, or the only batch.

    Args:
        parts: At least one batch; a trial is the only one.
    """
    return reduce(_add_batch_figures_to_run, parts)


def _add_batch_figures_to_run(run: BatchRow, batch: BatchRow) -> BatchRow:
    """Return the batch `run` with the figures of `batch` added to its own.

    A sum is None if both values are None. State and end are those of `batch`, except if `batch` has
    ended and `run` has not.
    """
    sums: dict[str, Any] = {}
    for name in _SUMMED_COLUMNS:
        values = (getattr(run, name), getattr(batch, name))
        known_values = [value for value in values if value is not None]
        sums[name] = sum(known_values) if known_values else None

    is_only_run_open = batch.is_finished and not run.is_finished
    latest = run if is_only_run_open else batch
    return replace(run, state=latest.state, ended_at=latest.ended_at, **sums)


def get_batch(tx: Connection, number: int) -> BatchRow:
    """Return one batch.

    Raises:
        InputError: There is no batch of this number.
        InconsistentError: Its state is unknown.
    """
    row = tx.execute(select(batches).where(batches.c.number == number)).mappings().first()
    if row is None:
        raise InputError(
            f"there is no batch {number}",
            hint=f"`{CommandHint('batches')}` lists all batches",
        )
    return _to_batch(row)


def compute_next_batch_number(tx: Connection) -> int:
    """Return the number of the next batch.

    In a transaction that writes, no other process can get the same number.
    """
    return compute_next_value(tx, batches.c.number)


def insert_and_journal_batch(tx: Connection, *, mode: Mode, now: datetime, **columns: Any) -> None:
    """Insert a batch in the transaction that claims its rows, and journal it.

    Its state is *prepared* for mode batch, else *asking*; a live batch counts as sent now.

    Args:
        columns: The other columns by name; `number` is required.
    """
    times = {"created_at": now}
    state = BatchState.PREPARED
    if mode is not Mode.BATCH:
        state = BatchState.ASKING
        times |= {"create_sent_at": now, "submitted_at": now}
    tx.execute(insert(batches).values(mode=mode, state=state, **times, **columns))
    workspace.record_event(
        tx,
        "batch",
        columns["number"],
        old=None,
        new=state,
        reason="sealed and claimed",
        now=now,
    )


def update_batch_columns(tx: Connection, number: int, **columns: Any) -> None:
    """Set columns of a batch; its state stays."""
    tx.execute(update(batches).where(batches.c.number == number).values(**columns))


def count_live_calls_of_day(tx: Connection, model: str, *, day: str) -> int:
    """Return how many live calls to a model, by all processes, count towards a day's quota.

    Args:
        day: The day as the provider counts it, as in the column `day`.
    """
    query = select(func.sum(batches.c.calls)).where(batches.c.model == model, batches.c.day == day)
    return int(tx.execute(query).scalar() or 0)


def list_recent_live_batches(
    tx: Connection,
    model: str,
    *,
    ended_after: datetime,
    excluded_batches: Collection[int],
) -> list[BatchRow]:
    """Return the live batches of a model that made calls and are running or ended since a time.

    The batches are in any order.

    Args:
        ended_after: Leave out batches that ended before this time.
        excluded_batches: Numbers of batches to leave out.
    """
    query = select(batches).where(
        batches.c.model == model,
        batches.c.calls > 0,
        batches.c.number.not_in(list(excluded_batches)),
        or_(batches.c.over_at.is_(None), batches.c.over_at >= ended_after),
    )
    return [_to_batch(row) for row in tx.execute(query).mappings()]


def compute_mean_call_seconds(tx: Connection, model: str, mode: Mode) -> float | None:
    """Return the mean seconds of live calls to a model, in its newest batches with answers.

    Reads at most MAX_TIMED_LIVE_BATCHES batches, in all modes of the same service tier.

    Returns:
        The summed seconds of all replies, divided by the number of answers; None if there is no
        such batch.
    """
    modes = [candidate for candidate in Mode if candidate.facts.tier == mode.facts.tier]
    query = (
        select(batches.c.seconds, batches.c.answered)
        .where(
            batches.c.model == model,
            batches.c.mode.in_(modes),
            batches.c.seconds > 0,
            batches.c.answered > 0,
        )
        .order_by(batches.c.number.desc())
        .limit(MAX_TIMED_LIVE_BATCHES)
    )
    rows = tx.execute(query).all()
    if not rows:
        return None
    total_seconds, answer_count = (sum(column) for column in zip(*rows, strict=True))
    return float(total_seconds / answer_count)


def read_last_create_outcome(tx: Connection, model: str) -> str | None:
    """Return the outcome of the newest create call for a model; None without a call."""
    query = (
        select(creates.c.outcome)
        .join(batches, batches.c.number == creates.c.batch)
        .where(batches.c.model == model, creates.c.sent_at.is_not(None))
        .order_by(creates.c.sent_at.desc(), creates.c.id.desc())
        .limit(1)
    )
    return tx.execute(query).scalar()


def record_submitting(
    tx: Connection,
    batch: BatchRow,
    *,
    display_name: str,
    now: datetime,
) -> None:
    """Record the next try to create a remote batch; the batch becomes *submitting*.

    The batch is *prepared* or *submitting* before. The caller commits before it calls the API.

    Raises:
        StateConflictError: Another process changed the batch.
        ValueError: The batch is in another state.
    """
    try_number = batch.tries + 1
    columns = {"tries": try_number, "create_sent_at": now, "create_ended_at": None}
    _update_batch_state(
        tx, batch, BatchState.SUBMITTING, columns, reason=f"create, try {try_number}", now=now
    )
    new_try = {
        "outcome": "sent",
        "batch": batch.number,
        "try": try_number,
        "display_name": display_name,
        "sent_at": now,
    }
    tx.execute(insert(creates).values(new_try))


def record_submitted(
    tx: Connection,
    batch: BatchRow,
    *,
    remote_name: str,
    display_name: str,
    outcome: str,
    now: datetime,
) -> None:
    """Move a batch to *submitted*, store its remote batch, and journal the move.

    A try is one call that creates a remote batch. The outcome of the try that created it is set. If
    the database has no record of that try, because it was restored from an older backup, the try is
    inserted. The reason of an earlier failed try is deleted. Runs in the caller's transaction.

    Args:
        remote_name: The name that the API gave.
        display_name: The name of the remote batch. It ends with the number of the try, for example
            `-t2`.
        outcome: `created`, or `adopted` if the remote batch was found in the API's list.

    Raises:
        StateConflictError: Another process changed the batch.
        ValueError: The batch is in a state from which it cannot become *submitted*.
    """
    suffix = _TRY_SUFFIX.search(display_name)
    try_number = int(suffix[1]) if suffix else batch.tries
    columns = {
        "remote_name": remote_name,
        "submitted_at": now,
        "create_ended_at": batch.create_ended_at or now,
        "tries": max(batch.tries, try_number),
        # Why an earlier try failed.
        "reason": None,
    }
    _update_batch_state(
        tx, batch, BatchState.SUBMITTED, columns, reason=f"{outcome} {remote_name}", now=now
    )

    is_try = (creates.c.display_name == display_name) & ~_IS_DUPLICATE
    updated = tx.execute(update(creates).where(is_try).values(outcome=outcome))
    if not updated.rowcount:
        # This database was restored from a backup that is older than the try.
        missing_try = {
            "outcome": outcome,
            "batch": batch.number,
            "try": try_number,
            "display_name": display_name,
            "sent_at": now,
        }
        tx.execute(insert(creates).values(missing_try))


def record_refused(
    tx: Connection,
    batch: BatchRow,
    *,
    reason: str,
    outcome: str,
    now: datetime,
    **columns: Any,
) -> None:
    """Record that the API refused the last create call: *submitting* -> *prepared*.

    Args:
        outcome: The outcome of the try.
        columns: More columns of the batch to set, by name.

    Raises:
        StateConflictError: Another process changed the batch.
    """
    refusal = {"create_ended_at": now, "reason": reason, **columns}
    _update_batch_state(tx, batch, BatchState.PREPARED, refusal, reason=reason, now=now)
    _record_try_outcome(tx, batch, outcome=outcome)


def make_try_name(batch: BatchRow, try_number: int, *, workspace_id: str) -> str:
    """Return the remote name of a try to create a batch.

    It contains the workspace, the task, the batch number, the hash of the request file and the try.
    """
    file_hash = batch.request_sha256[:16]
    return (
        f"{DISPLAY_NAME_PREFIX}{workspace_id}-{batch.task}-{batch.number}-{file_hash}-t{try_number}"
    )


def strip_try_number(display_name: str) -> str:
    """Return a display name without the number of the try at its end.

    All tries to create a remote batch of the same request file have the same stripped name.
    """
    return _TRY_SUFFIX.sub("", display_name)


def record_possible_create_after_backup(
    tx: Connection,
    batch: BatchRow,
    *,
    workspace_id: str,
    now: datetime,
) -> None:
    """Record the create of a restored batch as unclear: it may have been sent after the backup.

    A *prepared* batch becomes *submitting*, with a record of a try that may have been sent. Any
    other batch stays in its state.

    Raises:
        StateConflictError: Another process changed a *prepared* batch.
    """
    if batch.state is BatchState.PREPARED:
        name = make_try_name(batch, batch.tries + 1, workspace_id=workspace_id)
        record_submitting(tx, batch, display_name=name, now=now)
    reason = "restored from a backup: it may have been sent since"
    update_batch_columns(tx, batch.number, create_ended_at=now, reason=reason)


def record_lost_create_reply(
    tx: Connection, batch: BatchRow, *, reason: str, now: datetime
) -> None:
    """Record that the last create call ended without a clear reply; the state stays.

    The batch is left alone if another process changed it; the try is recorded in any case.
    """
    tx.execute(
        update(batches).where(_is_unchanged(batch)).values(create_ended_at=now, reason=reason),
    )
    _record_try_outcome(tx, batch, outcome="unclear")


def record_try_created_nothing(tx: Connection, batch: BatchRow) -> None:
    """Record that the last try created nothing: a complete list of remote batches lacks it."""
    _record_try_outcome(tx, batch, outcome="absent")


def record_nothing_created(tx: Connection, batch: BatchRow, *, now: datetime) -> None:
    """Record that no try created a remote batch: *submitting* -> *prepared*.

    Raises:
        StateConflictError: Another process changed the batch.
    """
    _update_batch_state(tx, batch, BatchState.PREPARED, {}, reason=_ABSENT_REASON, now=now)
    record_try_created_nothing(tx, batch)


def update_columns_if_submitted(tx: Connection, batch: BatchRow, **columns: Any) -> bool:
    """Set columns of a batch if it is still *submitted*.

    Returns:
        False if the batch is in another state; nothing is written then.
    """
    is_submitted = (batches.c.number == batch.number, batches.c.state == BatchState.SUBMITTED)
    return tx.execute(update(batches).where(*is_submitted).values(**columns)).rowcount == 1


def record_cancel_request(tx: Connection, batch: BatchRow, *, reason: str, now: datetime) -> None:
    """Record that the API is asked to cancel a *submitted* batch; the state stays.

    Raises:
        StateConflictError: The batch is no longer *submitted*.
    """
    if not update_columns_if_submitted(tx, batch, cancel_asked_at=now, reason=reason):
        raise _make_conflict_error(tx, batch, target=batch.state)
    _record_event(tx, batch, reason=reason, now=now)


def undo_cancel_request(tx: Connection, batch: BatchRow, *, reason: str, now: datetime) -> None:
    """Restore the columns that `record_cancel_request` set, if the batch is still *submitted*.

    The API could not be asked. The reason is journaled in any case.
    """
    update_columns_if_submitted(
        tx, batch, cancel_asked_at=batch.cancel_asked_at, reason=batch.reason
    )
    _record_event(tx, batch, reason=reason, now=now)


def _record_event(tx: Connection, batch: BatchRow, *, reason: str, now: datetime) -> None:
    """Add a line about a batch whose state stays to the journal."""
    workspace.record_event(
        tx,
        "batch",
        batch.number,
        old=batch.state,
        new=batch.state,
        reason=reason,
        now=now,
    )


def record_downloaded(
    tx: Connection,
    batch: BatchRow,
    path: Path,
    sealed_file: SealedFile,
    *,
    event_reason: str,
    now: datetime,
    **columns: Any,
) -> None:
    """Record the sealed result file: *submitted* or *asking* -> *downloaded*.

    Args:
        path: The result file, in a folder directly below the workspace's directory.
        columns: More columns of the batch to set, by name.

    Raises:
        StateConflictError: Another process changed the batch.
    """
    result_columns = {
        "over_at": now,
        "result_file": f"{path.parent.name}/{path.name}",
        "result_sha256": sealed_file.sha256,
    }
    _update_batch_state(
        tx, batch, BatchState.DOWNLOADED, result_columns | columns, reason=event_reason, now=now
    )


def record_held(tx: Connection, batch: BatchRow, *, reason: str, now: datetime) -> None:
    """Record why a *downloaded* batch must wait for a person's decision; the state stays.

    Raises:
        StateConflictError: Another process changed the batch.
    """
    _update_downloaded_batch(tx, batch, f"held: {reason}", now=now, held=reason)


def record_held_accepted(tx: Connection, batch: BatchRow, *, now: datetime) -> None:
    """Record that a person wants a held batch to be ingested; the state stays.

    Raises:
        StateConflictError: Another process changed the batch.
    """
    _update_downloaded_batch(tx, batch, f"accepted in spite of: {batch.held}", now=now, held="")


def record_replaced_result(
    tx: Connection,
    batch: BatchRow,
    sealed_file: SealedFile,
    *,
    download_sha256: str,
    now: datetime,
) -> None:
    """Record another result file of a *downloaded* batch, which is not held any more.

    Raises:
        StateConflictError: Another process changed the batch.
    """
    _update_downloaded_batch(
        tx,
        batch,
        "downloaded again",
        now=now,
        held=None,
        result_sha256=sealed_file.sha256,
        download_sha256=download_sha256,
    )


def record_same_result(tx: Connection, batch: BatchRow, *, now: datetime) -> None:
    """Record that a repeated download of a result had the same bytes; the batch stays as it is."""
    _record_event(tx, batch, reason=SAME_RESULT_REASON, now=now)


def is_repeated_download_unchanged(tx: Connection, number: int) -> bool:
    """Return whether a repeated download was the last event of a batch, and had the same bytes."""
    batch_events = workspace.list_events(tx, "batch", number)
    return [event["why"] for event in batch_events[-1:]] == [SAME_RESULT_REASON]


def _update_downloaded_batch(
    tx: Connection, batch: BatchRow, event_reason: str, *, now: datetime, **columns: Any
) -> None:
    """Set columns of a *downloaded* batch, and add a line with a reason to the journal.

    Runs in the caller's transaction.

    Raises:
        StateConflictError: The batch is no longer *downloaded*, or its result file has another
            SHA-256 than `batch` says.
    """
    query = (
        update(batches)
        .where(
            batches.c.number == batch.number,
            batches.c.state == BatchState.DOWNLOADED,
            batches.c.result_sha256 == batch.result_sha256,
        )
        .values(**columns)
    )
    if tx.execute(query).rowcount != 1:
        raise _make_conflict_error(tx, batch, target=BatchState.DOWNLOADED)
    _record_event(tx, batch, reason=event_reason, now=now)


def record_failed(tx: Connection, batch: BatchRow, *, reason: str, now: datetime) -> None:
    """End a batch without a result. The caller releases its rows in the same transaction.

    Raises:
        StateConflictError: Another process changed the batch.
    """
    columns = {"reason": reason, "over_at": now, "ended_at": now}
    _update_batch_state(tx, batch, BatchState.FAILED, columns, reason=reason, now=now)


def record_ingested(tx: Connection, batch: BatchRow, *, now: datetime, **columns: Any) -> None:
    """End a batch whose requests all have an outcome; it becomes *ingested*.

    Args:
        columns: Its counts and costs, by column name.

    Raises:
        StateConflictError: Another process changed the batch.
    """
    _update_batch_state(
        tx,
        batch,
        BatchState.INGESTED,
        {"ended_at": now, **columns},
        reason="accounted for",
        now=now,
    )


def read_batch_numbers_by_try_name(tx: Connection, number: int | None = None) -> dict[str, int]:
    """Return the batch number of each display name that was tried, without the try's number.

    A remote batch is recognized by this name.

    Args:
        number: Only the tries of this batch; None means all batches.
    """
    is_of_batch = true() if number is None else creates.c.batch == number
    query = select(creates.c.display_name, creates.c.batch).where(~_IS_DUPLICATE, is_of_batch)
    return {strip_try_number(name): batch_number for name, batch_number in tx.execute(query)}


def insert_duplicate_if_new(
    tx: Connection,
    batch: BatchRow,
    *,
    remote_name: str,
    display_name: str,
    estimated_cost: float,
    now: datetime,
) -> bool:
    """Record a duplicate batch with its estimated cost, and journal it.

    A duplicate is a second remote batch of one batch, which may be paid, too. Nothing is written if
    a duplicate of this remote name is recorded. Runs in the caller's transaction.

    Args:
        batch: The original batch.
        remote_name: The API's name of the duplicate.
        display_name: The display name of the duplicate.
        estimated_cost: What it costs beside its original, in USD.
        now: The time at which the duplicate was found.

    Returns:
        Whether the duplicate is new.
    """
    recorded = select(creates.c.id).where(creates.c.remote_name == remote_name)
    if has_row(tx, recorded):
        return False

    tx.execute(
        insert(creates).values(
            outcome=_DUPLICATE,
            estimated_cost=estimated_cost,
            remote_name=remote_name,
            batch=batch.number,
            display_name=display_name,
            found_at=now,
        ),
    )
    _record_event(tx, batch, reason=f"twin {remote_name}", now=now)
    return True


def list_uncancelled_duplicate_names(tx: Connection, number: int) -> list[str]:
    """Return the remote names of a batch's duplicates that nobody cancelled yet."""
    return [
        duplicate["remote_name"]
        for duplicate in list_duplicates(tx)
        if duplicate["batch"] == number and duplicate["cancelled_at"] is None
    ]


def record_duplicate_cancelled(tx: Connection, remote_name: str, *, now: datetime) -> None:
    """Record that a duplicate batch was cancelled, or is over."""
    tx.execute(update(creates).where(creates.c.remote_name == remote_name).values(cancelled_at=now))


def list_duplicates(tx: Connection) -> list[dict[str, Any]]:
    """Return all duplicate batches by column name, oldest first.

    Their columns are `remote_name`, `batch`, `display_name`, `estimated_cost` (USD), `found_at` and
    `cancelled_at`.
    """
    names = ("remote_name", "batch", "display_name", "estimated_cost", "found_at", "cancelled_at")
    query = (
        select(*(creates.c[name] for name in names))
        .where(_IS_DUPLICATE)
        .order_by(creates.c.found_at, creates.c.id)
    )
    return [dict(row) for row in tx.execute(query).mappings()]


def _to_batch(row: Any) -> BatchRow:
    """Convert a row of the database; an unknown state is an InconsistentError."""
    if row["state"] not in set(BatchState):
        raise InconsistentError(
            _unknown_state_message(row["number"], row["state"]),
            hint=f"run `{CommandHint('doctor')}`",
        )
    values = {name: row[name] for name in batches.c.keys()}  # noqa: SIM118 - no mapping
    enums = {"state": BatchState(row["state"]), "mode": Mode(row["mode"])}
    return BatchRow(**values | enums)


def _record_try_outcome(tx: Connection, batch: BatchRow, *, outcome: str) -> None:
    """Set the outcome of the last try to create a batch's remote batch."""
    is_last_try = (creates.c.batch == batch.number) & (creates.c["try"] == batch.tries)
    tx.execute(update(creates).where(is_last_try).values(outcome=outcome))


def _update_batch_state(
    tx: Connection,
    batch: BatchRow,
    state: BatchState,
    columns: dict[str, Any],
    *,
    reason: str,
    now: datetime,
) -> None:
    """Move a batch to a state, set columns with it, and journal the move.

    The UPDATE expects the state and the try that the caller read. So if two processes move a batch,
    the second fails. Runs in the caller's transaction.

    Raises:
        StateConflictError: Another process changed the batch.
        ValueError: No move leads from the batch's state to `state`.
    """
    if state not in BATCH_MOVES[batch.state]:
        raise ValueError(f"not a move: {batch.state} -> {state}")
    moved = tx.execute(update(batches).where(_is_unchanged(batch)).values(state=state, **columns))
    if moved.rowcount != 1:
        raise _make_conflict_error(tx, batch, target=state)
    workspace.record_event(
        tx,
        "batch",
        batch.number,
        old=batch.state,
        new=state,
        reason=reason,
        now=now,
    )


def _is_unchanged(batch: BatchRow) -> ColumnElement[bool]:
    """Return the SQL condition that a batch still has the state and the tries that were read."""
    return (
        (batches.c.number == batch.number)
        & (batches.c.state == batch.state)
        & (batches.c.tries == batch.tries)
    )


def _make_conflict_error(
    tx: Connection,
    batch: BatchRow,
    *,
    target: BatchState,
) -> StateConflictError:
    """Return the error that a batch is not in the state that was read."""
    query = select(batches.c.state).where(batches.c.number == batch.number)
    return StateConflictError(
        "batch",
        batch.number,
        expected_state=batch.state,
        target_state=target,
        actual_state=tx.execute(query).scalar(),
    )
