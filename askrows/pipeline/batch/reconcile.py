"""Resolve an unclear create by the remote list, and cancel duplicate remote batches.

- A remote batch belongs to a batch if it has the name of any of its tries.
- The oldest remote batch that may give answers is adopted. If none may, the oldest is adopted.
- All other remote batches with such a name are recorded as duplicates with their cost, and
  cancelled. So is the remote batch of a batch that was given up because the API did not show it.
- The remote batch of a cancelled or given-up batch may succeed later. It is recorded as a
  duplicate, too, with the cost that was not counted yet.
- Only a list that is read late enough proves that nothing was created.
"""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from askrows.pipeline.batch.run import Run
from askrows.pipeline.core import errors
from askrows.pipeline.core.progress import Progress
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.core.states import ENDED_STATES, BatchState, RemoteState, parse_remote_state
from askrows.pipeline.core.text import format_usd
from askrows.pipeline.provider.remote_batch import RemoteBatch
from askrows.pipeline.store import batches
from askrows.pipeline.store.batches import BatchRow
from askrows.pipeline.store.database import Connection, Store
from askrows.pipeline.store.money import calculate_batch_spending

# States of remote batches that give no answers.
USELESS_STATES = frozenset({RemoteState.FAILED, RemoteState.CANCELLED, RemoteState.EXPIRED})
MIN_LOOK_WAIT_S = 0.05
# Our choice: the list is read again after this time at most, however long a new batch may be
# unlisted.
MAX_LOOK_WAIT_S = 60.0
# A time after all others, for remote batches without a creation time.
FARTHEST_TIME = datetime.max.replace(tzinfo=UTC)
# Our choice: a batch of a create whose reply was lost is searched for this long, and a cancelled or
# given-up batch is looked at for this long after its end.
LATE_DUPLICATE_WINDOW = timedelta(days=2)
# States of batches that were created at the API, or may have been.
CREATED_STATES = (
    BatchState.SUBMITTED,
    BatchState.DOWNLOADED,
    BatchState.INGESTED,
    BatchState.FAILED,
)


class ReconcileResult(NamedTuple):
    """The proof of the remote list about an unclear create; no proof if both booleans are false."""

    # A remote batch was found, and the batch is submitted.
    adopted: bool = False
    # No remote batch was created. The batch is still submitting.
    absent: bool = False
    # Seconds until the list should be read again.
    wait_s: float = 0.0


def find_and_adopt_remote_batch(
    run: Run,
    batch: BatchRow,
    listing: Sequence[RemoteBatch] | None = None,
) -> ReconcileResult:
    """Search the remote list for the batch of an unclear create, and adopt it.

    If several remote batches have the name of a try of this batch, the oldest that did not fail,
    expire or get cancelled is adopted, or else the oldest. It is stored as the submitted batch, and
    its name is printed. The others are recorded as duplicates and cancelled. If none is found,
    nothing is written.

    The list proves that nothing was created only if it is read late enough after this process first
    searched for this create: after the lag of the list, and also the create's time-out if nobody
    recorded how the create ended. This is measured by the monotonic clock, because recorded times
    may come from a wrong clock.

    Args:
        batch: A batch in state submitting.
        listing: A list that was read before; it proves no absence. None reads the list now.

    Returns:
        `adopted` or `absent` is true, or neither with the seconds until the list should be read
        again: MIN_LOOK_WAIT_S to MAX_LOOK_WAIT_S.

    Raises:
        ConfigurationError: The batch was sent to another address.
        RemoteError: The list cannot be read.
        StateConflictError: Another process moved the batch to another state.
    """
    run.check_batch_address(batch)
    started = run.workspace.monotonic()
    create_key = (batch.number, batch.tries, batch.create_ended_at)
    first_look = run.service.first_lookup_times.setdefault(create_key, started)
    prefixes = run.workspace.store.query(batches.read_batch_numbers_by_try_name, batch.number)
    remote_batches = run.client.list_batches() if listing is None else listing
    own_batches = [
        remote
        for remote in remote_batches
        if batches.strip_try_number(remote.display_name) in prefixes
    ]
    own_batches.sort(
        key=lambda remote: (
            remote.state in USELESS_STATES,
            remote.created_at or FARTHEST_TIME,
            remote.name,
        ),
    )

    if own_batches:
        adopted = own_batches[0]
        with run.workspace.store.write() as tx:
            now = run.workspace.now()
            batches.record_submitted(
                tx,
                batch,
                remote_name=adopted.name,
                display_name=adopted.display_name,
                outcome="adopted",
                now=now,
            )
            submitted_batch = batches.get_batch(tx, batch.number)
            _record_duplicates_and_list_late_costs(tx, submitted_batch, own_batches, now=now)
        run.workspace.display.say(f"batch {batch.number}: found again as {adopted.name}")
        record_and_cancel_duplicates(run, batch.number)
        return ReconcileResult(adopted=True)

    proves_absence_at = first_look + run.workspace.settings.list_lag
    if batch.create_ended_at is None:
        proves_absence_at += run.workspace.settings.create_timeout
    if listing is None and started >= proves_absence_at:
        return ReconcileResult(absent=True)
    wait_s = max(MIN_LOOK_WAIT_S, proves_absence_at - run.workspace.monotonic())
    return ReconcileResult(wait_s=min(MAX_LOOK_WAIT_S, wait_s))


def wait_for_next_list(
    display: Progress,
    sleep: Callable[[float], None],
    number: int,
    reconciled: ReconcileResult,
) -> None:
    """Print that a create stays unclear, and sleep until the next look; the caller has no lock."""
    wait_s = reconciled.wait_s
    display.say(
        f"batch {number}: it is still unclear whether it was created; "
        f"checking again in {wait_s:.0f} s",
    )
    sleep(wait_s)


def compute_seconds_until_listed(batch: BatchRow, settings: Settings, *, now: datetime) -> float:
    """Return for how many seconds more the API may not show a batch that it has created.

    Returns:
        0 if the API must show it: `list_lag` seconds after it was submitted. A creation time in the
        future, or none, counts as now.
    """
    created_at = min(now, batch.submitted_at or now)
    visible_at = created_at + timedelta(seconds=settings.list_lag)
    return max(0.0, (visible_at - now).total_seconds())


def record_and_cancel_duplicates(
    run: Run,
    number: int,
    listing: Iterable[RemoteBatch] = (),
) -> None:
    """Record and cancel the duplicates of a batch: remote batches of its tries, except its own.

    Its own is cancelled, too, if the batch was given up while the API did not show it. Each try to
    create the batch has a name, and a remote batch has the name of its try. Does nothing while the
    create of the batch is unclear, because reconciliation may adopt such a batch. Prints a warning
    for each duplicate that was cancelled or could not be cancelled, and prints the cost if its own
    remote batch succeeded although the batch was cancelled or given up. A duplicate that the API
    does not know counts as cancelled. No error is raised if a cancel fails; the next call tries it
    again.

    Args:
        listing: Remote batches to search for duplicates. Duplicates that were recorded earlier are
            cancelled even if they are not in it.
    """
    with run.workspace.store.write() as tx:
        batch = batches.get_batch(tx, number)
        if batch.state is BatchState.SUBMITTING:
            return
        late_costs = _record_duplicates_and_list_late_costs(
            tx, batch, listing, now=run.workspace.now()
        )
        open_duplicates = batches.list_uncancelled_duplicate_names(tx, number)

    for late_cost in late_costs:
        run.workspace.display.warn(
            f"batch {number}: {batch.remote_name} succeeded after it was cancelled or given up; "
            f"it costs up to {format_usd(late_cost)}, and its answers are not used",
        )
    for remote_name in open_duplicates:
        label = "a second remote batch"
        if remote_name == batch.remote_name:
            label = "its given-up remote batch"
        try:
            with contextlib.suppress(errors.MissingError):
                run.client.cancel_batch(remote_name)
        except errors.RemoteError as error:
            run.workspace.display.warn(
                f"batch {number}: {label}, {remote_name}, could not be cancelled yet: "
                f"{error.message}",
            )
            continue
        with run.workspace.store.write() as tx:
            batches.record_duplicate_cancelled(tx, remote_name, now=run.workspace.now())
        run.workspace.display.warn(
            f"batch {number}: {label}, {remote_name}, was cancelled and recorded",
        )


def _record_duplicates_and_list_late_costs(
    tx: Connection,
    batch: BatchRow,
    listing: Iterable[RemoteBatch],
    *,
    now: datetime,
) -> list[float]:
    """Record remote batches with a name of this batch as duplicates, except the adopted batch.

    The adopted batch is recorded, too, if it runs although its batch was given up, or succeeded
    although its batch was cancelled or given up. Its cost is missing in the spending of the batch.
    Duplicates that are over are recorded as cancelled. Runs in the caller's transaction; the API is
    not called.

    Returns:
        A list with the estimated cost of the adopted batch in USD if it is new that it succeeded;
        otherwise an empty list.
    """
    late_costs = []
    prefixes = batches.read_batch_numbers_by_try_name(tx, batch.number)
    for remote in listing:
        has_own_name = batches.strip_try_number(remote.display_name) in prefixes
        is_adopted = remote.name == batch.remote_name
        has_late_success = (
            is_adopted and _may_succeed_late(batch) and remote.state is RemoteState.SUCCEEDED
        )
        is_duplicate = not is_adopted or has_late_success or is_given_up_and_runs(batch, remote)
        if not has_own_name or not is_duplicate:
            continue

        extra_cost = batch.estimated_cost
        if is_adopted:
            remote_spending = calculate_batch_spending(
                replace(batch, remote_word=remote.state_name)
            )
            extra_cost = remote_spending.lost_usd - calculate_batch_spending(batch).lost_usd
        is_new = batches.insert_duplicate_if_new(
            tx,
            batch,
            remote_name=remote.name,
            display_name=remote.display_name,
            estimated_cost=extra_cost,
            now=now,
        )
        if is_new and has_late_success:
            late_costs.append(remote_spending.lost_usd)
        if remote.state.is_final:
            batches.record_duplicate_cancelled(tx, remote.name, now=now)
    return late_costs


def record_and_cancel_duplicates_of_all_tasks(run: Run) -> None:
    """Record and cancel all duplicates in the remote list, of batches of all tasks.

    A duplicate is a second remote batch of a batch. The list is read only while a batch is
    submitted or suspected. A batch is suspected if a known duplicate of it is not cancelled yet. It
    is also suspected for at least LATE_DUPLICATE_WINDOW after a create call without a reply,
    because the call may have created a remote batch. It is suspected for as long after its end if
    it was given up or cancelled, because it may still run or succeed.

    After that time it is recorded that no more duplicates of the batch are expected. If the list
    cannot be read, nothing is changed; this is printed if a batch is suspected.
    """
    with run.workspace.store.read() as tx:
        duplicates = batches.list_duplicates(tx)
        created_batches = {
            batch.number: batch for batch in batches.list_batches_in_states(tx, *CREATED_STATES)
        }
        numbers_by_prefix = batches.read_batch_numbers_by_try_name(tx)

    running_duplicates = {
        duplicate["batch"] for duplicate in duplicates if duplicate["cancelled_at"] is None
    }
    suspects = {
        batch.number
        for batch in created_batches.values()
        if batch.number in running_duplicates or _may_have_duplicate(batch)
    }
    is_any_submitted = any(
        batch.state is BatchState.SUBMITTED for batch in created_batches.values()
    )
    if not suspects and not is_any_submitted:
        return

    try:
        listing = run.client.list_batches()
    except errors.RemoteError as error:
        if suspects:
            run.workspace.display.warn(f"could not look for duplicate batches: {error.message}")
        return
    recorded_names = {duplicate["remote_name"] for duplicate in duplicates}
    recorded_names |= {batch.remote_name for batch in created_batches.values()}
    unrecorded_numbers = {
        numbers_by_prefix.get(batches.strip_try_number(remote.display_name))
        for remote in listing
        if remote.name not in recorded_names
    }
    for number in sorted(created_batches.keys() & (suspects | unrecorded_numbers)):
        record_and_cancel_duplicates(run, number, listing)
        _record_end_of_duplicate_search_if_due(
            run.workspace.store, created_batches[number], now=run.workspace.now
        )


def _record_end_of_duplicate_search_if_due(
    store: Store, batch: BatchRow, *, now: Callable[[], datetime]
) -> None:
    """Record that no more duplicates are expected, if the batch left the API and is old enough.

    It is old enough LATE_DUPLICATE_WINDOW after its end. Nothing is recorded before, or while one
    of its duplicates is not cancelled.
    """
    with store.write() as tx:
        if batch.ended_at is None or now() - batch.ended_at <= LATE_DUPLICATE_WINDOW:
            return
        if not batches.list_uncancelled_duplicate_names(tx, batch.number):
            batches.update_batch_columns(tx, batch.number, twins_checked=True)


def is_given_up_and_runs(batch: BatchRow, remote: RemoteBatch) -> bool:
    """Return whether a remote batch is that of a batch that was given up, and is not over."""
    is_own = remote.name == batch.remote_name
    return is_own and _was_given_up_after_submit(batch) and not remote.state.is_final


def _was_given_up_after_submit(batch: BatchRow) -> bool:
    """Return whether a submitted batch was given up before the API said that it is over."""
    was_submitted = batch.state is BatchState.FAILED and batch.remote_name is not None
    return was_submitted and not parse_remote_state(batch.remote_word).is_final


def _may_succeed_late(batch: BatchRow) -> bool:
    """Return whether the remote batch of a cancelled or given-up batch may succeed."""
    is_cancelled = parse_remote_state(batch.remote_word) is RemoteState.CANCELLED
    return _was_given_up_after_submit(batch) or (batch.state in ENDED_STATES and is_cancelled)


def _may_have_duplicate(batch: BatchRow) -> bool:
    """Return whether a remote batch may run unnoticed, and the search for it has not ended.

    A create call got no reply if the batch has more tries than known remote batches. The remote
    batch of a given-up batch may appear again, and that of a cancelled batch may succeed.
    """
    known_creates = 1 if batch.remote_name else 0
    is_suspected = batch.tries > known_creates or _may_succeed_late(batch)
    return is_suspected and not batch.twins_checked
