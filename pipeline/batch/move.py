"""Move the rows of a batch to another mode: costs, checks and the cancel of the batch.

- The rows stay claimed until `get` reports that the batch is over. Then its answers are ingested,
  and the rows without an answer are open.
- A batch may succeed in spite of the cancel. Its result is downloaded like any other.
- After a kill the same command continues. Other commands ask the open rows as all others.
"""

from datetime import datetime

from pipeline.batch import budget
from pipeline.batch.budget import BudgetError
from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import InputError, MissingError
from pipeline.core.states import BatchState, Mode
from pipeline.core.text import format_usd, plural
from pipeline.engine import claiming
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import Task
from pipeline.engine.task_values import TaskNouns
from pipeline.gemini.models import Model
from pipeline.gemini.usage import Usage, calculate_cost
from pipeline.store import answers, batches
from pipeline.store.batches import MOVED_REASON, BatchRow
from pipeline.store.database import Connection

# Modes in which the rows of a batch can be asked instead.
MOVE_MODES = (Mode.FLEX, Mode.LIVE, Mode.BATCH)


def price_in_other_mode(batch: BatchRow, mode: Mode, *, model: Model, now: datetime) -> float:
    """Return the price of a batch's stored estimate of tokens in another mode, in USD."""
    usage = Usage(batch.estimated_in, batch.estimated_out)
    return calculate_cost(model, usage, mode.tier, day=now.date())


def list_remaining_rows(tx: Connection, task: Task, number: int) -> list[str]:
    """Return the ids of the rows of an ended batch that are open: neither answered nor parked."""
    row_ids = set(answers.list_row_ids_of_batch(tx, number))
    return claiming.filter_claimable_ids(tx, task, sorted(row_ids))


def find_budget_refusal(ws: WorkspaceSession, other_mode_usd: float) -> str:
    """Return why a budget does not allow a move; "" if all budgets allow it.

    To move a batch is to cancel it and ask its rows in another mode. The price in that mode must
    fit, with the reserve for the error of estimates. Until the batch is ingested, budgets also
    count the batch itself, so both costs must fit.
    """
    with ws.store.read() as tx:
        remaining_usd = budget.read_current_budgets(ws).remaining_usd(tx)
    needed_usd = budget.add_reserve(other_mode_usd)
    if remaining_usd is None or needed_usd <= remaining_usd:
        return ""
    return (
        f"a budget has {format_usd(remaining_usd)} left, "
        f"and the move needs up to {format_usd(needed_usd)}"
    )


def confirm_move(ws: WorkspaceSession, batch: BatchRow, mode: Mode) -> None:
    """Print what moving a batch to another mode costs, check budgets, and ask to confirm.

    The costs are what the cancelled batch may still cost, and the price of all its rows in the
    other mode. Returns if the move may begin. Nothing is changed in the database or at the API.

    Args:
        mode: The mode in which the rows are asked after the move.

    Raises:
        BudgetError: A budget has no room for the other mode.
        ConfigurationError: The price of the model is unknown, and nobody can confirm it.
        InputError: The model is not served by flex, a person did not confirm, or the costs are
            above the amount that a person agreed to before.
    """
    if mode is Mode.FLEX and not ws.model.flex:
        raise InputError(
            f"{ws.model.name} is not available in flex; nothing was changed",
            hint=f"{OptionHint(to='live')} asks at full price",
        )
    other_mode_usd = price_in_other_mode(batch, mode, model=ws.model, now=ws.now())
    ws.display.say(
        f"batch {batch.number} may cost up to {format_usd(batch.estimated_cost)} even if it is "
        f"cancelled; asking its {plural(batch.requests, 'row')} by {mode} costs up to "
        f"{format_usd(other_mode_usd)}"
    )
    refusal = find_budget_refusal(ws, other_mode_usd)
    if refusal:
        raise BudgetError(
            f"{refusal}; nothing was changed",
            hint=f"set a larger budget, or wait: {CommandHint('batch-poll', task=ws.task.subject)}",
        )
    # Both costs together are the most that the rows can cost.
    max_usd = batch.estimated_cost + other_mode_usd
    ws.confirm_cost(max_usd, unchanged_text="nothing was changed")


def cancel_for_move(ws: WorkspaceSession, batch: BatchRow, mode: Mode) -> None:
    """Confirm the costs of a move, record the cancel of a submitted batch, and ask the API for it.

    The record comes before the call. After a kill between the two, the same command asks the API
    again. The cancel of a batch that is over at the API is only recorded, so that the same command
    can continue after a kill.

    Raises:
        InputError: Nobody confirmed; nothing was changed.
        BudgetError: A budget has no room for the other mode; nothing was changed.
        MissingError: The API does not know the batch; it was not changed.
        StateConflictError: The batch is no longer submitted. Nothing was changed.
        RemoteError: The API could not be asked.
    """
    remote_name = batch.remote_name or ""
    try:
        remote = ws.client.get_batch(remote_name)
    except MissingError as error:
        give_up = CommandHint("batch-cancel", batch=batch.number)
        raise MissingError(
            f"batch {batch.number} was not found at the API ({error.message}); nothing was changed",
            hint=f"check the key, or release its rows: `{give_up}`",
        ) from error

    confirm_move(ws, batch, mode)
    with ws.store.write() as tx:
        reason = f"{MOVED_REASON}{mode}"
        batches.record_cancel_request(tx, batch, reason=reason, now=ws.now())
    if not remote.state.is_final:
        ws.client.cancel_batch(remote_name)


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
