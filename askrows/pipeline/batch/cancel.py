"""Cancel a batch: ask the API to cancel it, give it up, or ask its rows in another mode.

- To give up a batch is to move it to failed and to release its rows, which can be asked again.
- A held batch is downloaded, but its result gives replies to the wrong requests, so nothing of it
  is stored.
- `batch-poll` reads the effect of a cancel at the API. The batch may still succeed; its result is
  then downloaded.
- A cancel waits for no other process. A poll that downloads the result, or a submit that uploads
  the file, notices the change by the batch's state.
- A cancel waits only until the remote list must show the batch of an unclear create.
- To move a batch is to cancel it and ask its rows in another mode. The rows stay claimed until
  `get` reports that the batch is over. Then its answers are ingested, and the rows without an
  answer are open. After a kill the same command continues. Other commands ask the open rows as all
  others.
"""

import contextlib
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

from askrows.pipeline.batch import budget
from askrows.pipeline.batch.batch_files import (
    get_checked_request_path,
    get_checked_result_path,
    make_batch_lock_name,
    retry_on_conflict,
)
from askrows.pipeline.batch.budget import BudgetError
from askrows.pipeline.batch.reconcile import find_and_adopt_remote_batch, wait_for_next_list
from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.send import fail_batch_and_release_claims, try_delete_upload
from askrows.pipeline.core import files
from askrows.pipeline.core.command_hint import CommandHint, OptionHint
from askrows.pipeline.core.errors import AskrowsError, InputError, MissingError, RemoteError
from askrows.pipeline.core.states import BatchState, Mode
from askrows.pipeline.core.text import format_usd, plural
from askrows.pipeline.provider.models import Model
from askrows.pipeline.provider.usage import Usage, calculate_cost
from askrows.pipeline.store import answers, batches, journal
from askrows.pipeline.store.batches import (
    CANCELLED_BEFORE_SENT,
    CANCELLED_BY_USER,
    MOVED_REASON,
    BatchRow,
)
from askrows.pipeline.store.database import Connection
from askrows.pipeline.tasks import claiming
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.task_values import TaskNouns


def copy_with_task_of_batch(run: Run, number: int) -> Run:
    """Return a run whose task is that of a batch.

    Raises:
        InputError: There is no such batch, or its task cannot be used.
    """
    batch = run.workspace.store.query(batches.get_batch, number)
    return (
        run
        if batch.task == run.task.name
        else replace(run, task=run.find_task_or_current(batch.task))
    )


def cancel_batch(run: Run, *, number: int) -> str:
    """Cancel one batch, of any task; return the result in words.

    A prepared batch is given up: it moves to failed, and its rows can be asked again. A submitted
    batch is cancelled at the API. If it is unclear whether the API created the batch, this waits
    until the remote list shows it. A batch can also be given up in these cases, after a person
    confirmed it:

    - The API does not show the batch.
    - The batch is downloaded, but its result file is lost or damaged.
    - The batch is held, because its replies are mixed up.

    Raises:
        InputError: There is no such batch, there is nothing to cancel in its state, or a person did
            not confirm. A running live batch cannot be cancelled.
        RemoteError: The API cannot be reached or refuses the cancel, or another process creates the
            batch. The batch is not cancelled.
        StateConflictError: Another process changed the state of the batch in each of MAX_TRIES
            tries.
    """
    return retry_on_conflict(
        partial(_cancel_by_state, copy_with_task_of_batch(run, number), number)
    )


def _cancel_by_state(run: Run, number: int) -> str:
    """Cancel a batch as its state requires; return the result in words.

    - prepared: give the batch up.
    - submitting: resolve the unclear create first, then continue as prepared or submitted.
    - submitted: ask the API to cancel. If the API does not know the batch, ask a person, send a
      cancel in case the batch is only hidden, and give it up.
    - downloaded, with a lost or changed result file: ask a person, and give the batch up.
    - downloaded and held, because its replies are mixed up: ask a person, and give the batch up.

    Raises:
        InputError: None of these cases applies, or a person did not confirm.
        RemoteError: The API cannot be reached or refuses the cancel, or another process creates the
            batch.
        StateConflictError: Another process has moved the batch to another state.
    """
    batch = run.workspace.store.query(batches.get_batch, number)
    if batch.state is BatchState.SUBMITTING:
        batch = _resolve_unclear_create(run, number)
    if batch.state is BatchState.PREPARED:
        return _fail_and_release_rows(run, batch, reason=CANCELLED_BEFORE_SENT)

    if batch.state is BatchState.DOWNLOADED and not _has_intact_result(run.workspace.data, batch):
        poll = CommandHint("batch-poll")
        run.workspace.confirm(
            f"the result of batch {number} is lost or damaged; `{poll}` may download it again. "
            "Give up the batch, so that its rows can be asked again?",
        )
        return _fail_and_release_rows(run, batch, reason="given up: its result was lost")

    if batch.is_held:
        run.workspace.confirm(
            f"batch {number} is held: {batch.held}. Its replies are paid for "
            f"(about {format_usd(batch.estimated_cost)}). "
            "Give up the batch, so that its rows are asked and paid for again?",
        )
        return _fail_and_release_rows(run, batch, reason=f"given up: {batch.held}")

    if batch.state is not BatchState.SUBMITTED:
        raise InputError(
            f"batch {number} is {batch.state}; there is nothing to cancel",
            hint=f"`{CommandHint('batches')}` lists all batches",
        )
    try:
        return _record_and_request_cancel(run, batch)
    except MissingError as error:
        run.workspace.confirm(
            f"batch {number} was not found at the API ({error.message}). If it is in the project "
            "of another key, it may still run, and may be paid twice. "
            "Give up the batch, so that its rows can be asked again?",
        )
        # The API may have the batch although it does not show it.
        with contextlib.suppress(RemoteError):
            run.client.cancel_batch(batch.remote_name or "")
        outcome = _fail_and_release_rows(run, batch, reason=f"given up: {error.message}")
        poll = run.task.nouns.command("batch-poll")
        cost = format_usd(batch.estimated_cost)
        return f"{outcome}; if it runs on ({cost}), `{poll}` with its key cancels it"


def _resolve_unclear_create(run: Run, number: int) -> BatchRow:
    """Search the remote list until an unclear create is resolved, and return the batch.

    Sleeps between two searches, without the lock, until the list shows the batch or proves that
    there is none. The batch is then submitted if it was found, or prepared if nothing was created.
    If another process changed the state of the batch meanwhile, the batch is returned in that
    state.

    Raises:
        RemoteError: Another process creates the batch, or the API cannot be reached.
    """
    lock_name = make_batch_lock_name(number)
    while True:
        with run.workspace.locks.try_lock(lock_name) as lock:
            if lock is None:
                holder = run.workspace.locks.describe_lock_holder(lock_name)
                raise RemoteError(
                    f"batch {number} is being created, {holder}; nothing was changed",
                    hint="run the command again in a moment",
                )
            batch = run.workspace.store.query(batches.get_batch, number)
            if batch.state is not BatchState.SUBMITTING:
                return batch
            reconciled = find_and_adopt_remote_batch(run, batch)
            if reconciled.adopted or reconciled.absent:
                with run.workspace.store.write() as tx:
                    if reconciled.absent:
                        batches.record_nothing_created(tx, batch, now=run.workspace.now())
                    return batches.get_batch(tx, number)

        wait_for_next_list(run.workspace.display, run.workspace.sleep, number, reconciled)


def _record_and_request_cancel(run: Run, batch: BatchRow) -> str:
    """Record that a person cancels this batch, then ask the API to cancel it if it is not over.

    The record comes before the call: a poll that sees the batch cancelled must know that a person
    did it, because then its requests do not count as failed attempts of their rows. The cancel of a
    batch that is over is recorded, too: the record allows a later poll to give up the batch if its
    result cannot be downloaded. The batch stays submitted.

    The state of the batch is read from the API before anything is recorded. If the call of the
    cancel fails, the record is undone, because no later command repeats the call: a person must
    cancel again. After a kill the record stays, although the API may not have been asked.

    Returns:
        The result in words.

    Raises:
        MissingError: The API does not know the batch.
        RemoteError: The API cannot be reached, or refuses the cancel.
    """
    remote_name = batch.remote_name or ""
    remote = run.client.get_batch(remote_name)
    with run.workspace.store.write() as tx:
        batches.record_cancel_request(tx, batch, reason=CANCELLED_BY_USER, now=run.workspace.now())
    try:
        if not remote.state.is_final:
            run.client.cancel_batch(remote_name)
    except AskrowsError as error:
        with run.workspace.store.write() as tx:
            batches.undo_cancel_request(
                tx,
                batch,
                reason=f"not cancelled: {error.message}",
                now=run.workspace.now(),
            )
        raise

    if remote.state.is_final:
        return f"it is already over ({remote.state})"
    return "asked the API to cancel it"


def _fail_and_release_rows(run: Run, batch: BatchRow, *, reason: str) -> str:
    """Move a batch to failed and release its rows, uncharged; return the result in words.

    Its request and result files are not deleted. If one of them is lost or damaged already, the
    batch is recorded as cleaned, so that later checks do not report the file. The upload of a
    prepared batch is deleted.

    Args:
        reason: Stored as the reason of the batch.

    Raises:
        StateConflictError: Another process has moved the batch to another state.
    """
    with run.workspace.store.write() as tx:
        released_rows = fail_batch_and_release_claims(
            tx, batch, reason=reason, now=run.workspace.now()
        )
        has_request = files.is_sealed(
            get_checked_request_path(run.workspace.data, batch), batch.request_sha256
        )
        has_result = batch.result_file is None or _has_intact_result(run.workspace.data, batch)
        # Otherwise later checks would report the missing file.
        if not has_request or not has_result:
            journal.record_files_cleaned(
                tx, batch.number, reason="lost or damaged", now=run.workspace.now()
            )
    if batch.state is BatchState.PREPARED:
        try_delete_upload(run.client, batch.upload)
    return f"given up; {plural(released_rows, 'row')} can be asked again"


def _has_intact_result(data: Path, batch: BatchRow) -> bool:
    """Return whether the result file of a batch has the recorded bytes."""
    return files.is_sealed(get_checked_result_path(data, batch), batch.result_sha256)


# ---- moves


def calculate_cost_in_mode(
    batch: BatchRow,
    mode: Mode,
    *,
    model: Model,
    now: datetime,
) -> float:
    """Return the price of a batch's stored estimate of tokens in another mode, in USD."""
    usage = Usage(batch.estimated_in, batch.estimated_out)
    return calculate_cost(model, usage, mode.facts.tier, day=now.date())


def list_open_row_ids_of_batch(tx: Connection, task: Task, number: int) -> list[str]:
    """Return the ids of the rows of an ended batch that are open: neither answered nor parked."""
    row_ids = set(answers.list_ended_row_ids(tx, [number]))
    return claiming.filter_claimable_ids(tx, task, sorted(row_ids))


def find_budget_refusal_reason(run: Run, other_mode_usd: float) -> str:
    """Return why a budget does not allow a move; "" if all budgets allow it.

    To move a batch is to cancel it and ask its rows in another mode. The price in that mode must
    fit, with the reserve for the error of estimates. Until the batch is ingested, budgets also
    count the batch itself, so both costs must fit.
    """
    with run.workspace.store.read() as tx:
        remaining_usd = budget.make_current_budgets(run).compute_remaining_usd(tx)
    needed_usd = budget.add_reserve(other_mode_usd)
    if remaining_usd is None or needed_usd <= remaining_usd:
        return ""
    return (
        f"a budget has {format_usd(remaining_usd)} left, "
        f"and the move needs up to {format_usd(needed_usd)}"
    )


def check_budget_and_confirm_move(run: Run, batch: BatchRow, mode: Mode) -> None:
    """Print the costs of moving a batch to another mode, check budgets, and ask to confirm.

    The costs are the possible cost of the cancelled batch, and the price of all its rows in the
    other mode. Returns if the move may begin. Nothing is changed in the database or at the API.

    Args:
        mode: The mode in which the rows are asked after the move.

    Raises:
        BudgetError: A budget has no room for the other mode.
        ConfigurationError: The provider does not have the mode.
        InputError: The model is not served by flex, a person did not confirm, or the costs are
            above the amount that a person agreed to before.
    """
    # Raises if the rows cannot be asked in the mode.
    run.copy_with_mode(mode)
    other_mode_usd = calculate_cost_in_mode(batch, mode, model=run.model, now=run.workspace.now())
    run.workspace.display.say(
        f"batch {batch.number} may cost up to {format_usd(batch.estimated_cost)} even if it is "
        f"cancelled; asking its {plural(batch.requests, 'row')} by {mode} costs up to "
        f"{format_usd(other_mode_usd)}"
    )
    refusal = find_budget_refusal_reason(run, other_mode_usd)
    if refusal:
        wait_command = CommandHint("batch-poll", task=run.task.subject)
        raise BudgetError(
            f"{refusal}; nothing was changed",
            hint=f"set a larger budget, or wait: {wait_command}",
        )
    # Both costs together are the most that the rows can cost.
    max_usd = batch.estimated_cost + other_mode_usd
    run.confirm_cost(max_usd, unchanged_text="nothing was changed")


def confirm_and_cancel_for_move(run: Run, batch: BatchRow, mode: Mode) -> None:
    """Confirm the costs of a move, record the cancel of a submitted batch, and ask the API for it.

    The record comes before the call. After a kill between the two, the same command asks the API
    again. The cancel of a batch that is over at the API is only recorded, so that the same command
    can continue after a kill.

    Raises:
        InputError: Nobody confirmed; nothing was changed.
        BudgetError: A budget has no room for the other mode; nothing was changed.
        MissingError: The API does not know the batch; it was not changed.
        StateConflictError: The batch is no longer submitted. Nothing was changed.
        RemoteError: The API could not be asked. If only the cancel failed, its record stays.
    """
    remote_name = batch.remote_name or ""
    try:
        remote = run.client.get_batch(remote_name)
    except MissingError as error:
        give_up = CommandHint("batch-cancel", batch=batch.number)
        raise MissingError(
            f"batch {batch.number} was not found at the API ({error.message}); nothing was changed",
            hint=f"check the key, or release its rows: `{give_up}`",
        ) from error

    check_budget_and_confirm_move(run, batch, mode)
    with run.workspace.store.write() as tx:
        reason = f"{MOVED_REASON}{mode}"
        batches.record_cancel_request(tx, batch, reason=reason, now=run.workspace.now())
    if not remote.state.is_final:
        run.client.cancel_batch(remote_name)


def check_movable(batch: BatchRow, *, nouns: TaskNouns, version: str) -> None:
    """Check that the rows of a batch can be asked in another mode.

    A batch can be moved if it is submitted. Later, only if a person cancelled it. Nothing is
    changed.

    Args:
        nouns: The nouns of the batch's task, for hints.
        version: The version that this command asks, such as `task@2/model`.

    Raises:
        InputError: The batch is live, of another version, or neither submitted nor cancelled.
    """
    number = batch.number
    unchanged_text = "nothing was changed"
    if batch.mode is not Mode.BATCH:
        raise InputError(
            f"batch {number} consists of live calls ({batch.mode}), which cannot be moved; "
            f"{unchanged_text}",
            hint=f"`{CommandHint('batches')}` lists all batches",
        )
    if batch.version != version:
        raise InputError(
            f"batch {number} asks as {batch.version}, but this command would ask as "
            f"{version}; {unchanged_text}",
            hint=f"set {OptionHint('model')} or {OptionHint('version')} as for the batch",
        )
    if batch.cancel_asked_at is None and batch.state is not BatchState.SUBMITTED:
        raise InputError(
            f"batch {number} is {batch.state}, so there is nothing to cancel; {unchanged_text}",
            hint=f"`{nouns.command('status')}` shows the next step",
        )
