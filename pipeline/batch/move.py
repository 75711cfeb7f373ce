"""Move the rows of a batch to another mode: cancel the batch, and list the rows that it lacks.

- The journal records the mode before the API is asked to cancel, so any later command continues.
  From then on the batch has an open move, until none of its rows is open.
- The rows stay claimed until `get` reports that the batch is over. Then its answers are ingested,
  and the rows without an answer are open.
- A batch may succeed in spite of the cancel. Its result is downloaded like any other.
"""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from pipeline.batch import budget
from pipeline.batch.budget import BudgetError
from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import InputError
from pipeline.core.states import ENDED_STATES, BatchState, Mode
from pipeline.core.text import format_usd, plural
from pipeline.engine import claiming
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import Task
from pipeline.engine.task_parts import TaskLabels
from pipeline.gemini.models import Model
from pipeline.gemini.remote import RemoteBatch
from pipeline.gemini.usage import Usage, calculate_cost
from pipeline.store import answers, batches, marks
from pipeline.store.batches import MOVED_REASON, BatchRow
from pipeline.store.database import Connection, Store

# Modes in which the rows of a batch can be asked instead.
MOVE_MODES = (Mode.FLEX, Mode.LIVE, Mode.BATCH)


class WaitingMove(NamedTuple):
    """A move whose batch is over, and whose rows were not all asked yet."""

    batch_number: int
    mode: Mode
    # Rows that are still open.
    row_count: int

    @property
    def command(self) -> CommandHint:
        """Return the command that asks the rows."""
        return CommandHint("batch-move", batch=self.batch_number, to=self.mode.value)


def estimate_move(batch: BatchRow, mode: Mode, *, model: Model, now: datetime) -> float:
    """Estimate what asking all rows of a batch in another mode costs, in USD."""
    usage = Usage(batch.estimated_in, batch.estimated_out)
    return calculate_cost(model, usage, mode.tier, day=now.date())


def describe_move(batch: BatchRow, mode: Mode, other_mode_usd: float) -> str:
    """Return in words what the cancelled batch and the other mode may cost."""
    return (
        f"batch {batch.number} may cost up to {format_usd(batch.estimated_cost)} even if it is "
        f"cancelled; asking its {plural(batch.requests, 'row')} by {mode} costs up to "
        f"{format_usd(other_mode_usd)}"
    )


def find_move_mode(tx: Connection, number: int) -> Mode | None:
    """Return the mode of the open move of a batch, or None if no move of it is open."""
    return list_open_moves(tx, number).get(number)


def list_open_moves(tx: Connection, number: int | None = None) -> dict[int, Mode]:
    """Return the mode of each batch with an open move, of all tasks, oldest first.

    Args:
        number: Only this batch.
    """
    return {
        moved_number: Mode(mode)
        for moved_number, mode in marks.read_moves(tx, number).items()
        if mode != marks.MOVE_COMPLETED
    }


def list_ended_moves(tx: Connection, task: Task, version: str) -> list[tuple[BatchRow, Mode]]:
    """Return the ended batches whose rows another mode must still ask, each with this mode.

    Such a batch was cancelled so that another mode asks its rows (a move). The batch is ingested or
    failed by now, and its move is not completed. It may have no row left to ask, if it succeeded in
    spite of the cancel. The oldest batch is first. Batches of another task or version are left out,
    because the present task and model would ask their rows something else.

    Args:
        version: The version, such as `task@2/model`.
    """
    ended_moves = []
    for number, mode in list_open_moves(tx).items():
        batch = batches.get_batch(tx, number)
        is_of_version = batch.task == task.name and batch.version == version
        if is_of_version and batch.state in ENDED_STATES:
            ended_moves.append((batch, mode))
    return ended_moves


def list_waiting_moves(tx: Connection, task: Task, version: str) -> list[WaitingMove]:
    """Return those batches of `list_ended_moves` that have open rows, and count these rows.

    They are batches of a version that were cancelled so that another mode asks their rows. The
    oldest is first.

    Args:
        version: The version, such as `task@2/model`.
    """
    waiting_moves = []
    for batch, mode in list_ended_moves(tx, task, version):
        row_count = len(list_remaining_rows(tx, task, batch.number))
        if row_count:
            waiting_moves.append(WaitingMove(batch.number, mode, row_count))
    return waiting_moves


def list_remaining_rows(tx: Connection, task: Task, number: int) -> list[str]:
    """Return the ids of the rows of an ended batch that are open: neither answered nor parked."""
    row_ids = set(answers.list_row_ids_of_batch(tx, number))
    return claiming.filter_claimable(tx, task, sorted(row_ids))


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
    other_mode_usd = estimate_move(batch, mode, model=ws.model, now=ws.now())
    ws.display.say(describe_move(batch, mode, other_mode_usd))
    refusal = find_budget_refusal(ws, other_mode_usd)
    if refusal:
        raise BudgetError(
            f"{refusal}; nothing was changed",
            hint=f"set a larger budget, or wait: {CommandHint('batch-poll', task=ws.task.subject)}",
        )
    # Both costs together are the most that the rows can cost.
    max_usd = batch.estimated_cost + other_mode_usd
    ws.confirm_cost(max_usd, unchanged_text="nothing was changed")


def begin_move(
    ws: WorkspaceSession,
    batch: BatchRow,
    mode: Mode,
    *,
    remote: RemoteBatch,
) -> None:
    """Record a move of a submitted batch, then ask the API to cancel the batch if it is not over.

    The cancel is recorded with the move. If the batch is over, only the move is recorded. After an
    error of the API the record stays, because the next command asks the API again.

    Raises:
        StateConflictError: The batch is no longer submitted. Nothing was changed.
        RemoteError: The API could not be asked.
    """
    reason = f"{MOVED_REASON}{mode}"
    now = ws.now()
    with ws.store.write() as tx:
        if not remote.state.is_final:
            batches.record_cancel_request(tx, batch, reason=reason, now=now)
        if find_move_mode(tx, batch.number) is not mode:
            marks.record_move(tx, batch.number, mode=mode, reason=reason, now=now)
    if not remote.state.is_final:
        ws.client.cancel_batch(batch.remote_name or "")


def change_move_mode(
    store: Store, batch: BatchRow, *, mode: Mode, now: Callable[[], datetime]
) -> None:
    """Change the mode of the open move of a batch that is over."""
    with store.write() as tx:
        marks.record_move(
            tx,
            batch.number,
            mode=mode,
            reason=f"{MOVED_REASON}{mode}",
            now=now(),
        )


def end_move_if_done(
    store: Store, task: Task, *, number: int, mode: Mode, now: Callable[[], datetime]
) -> bool:
    """End the move of an ended batch if none of its rows is open; return whether it is ended."""
    with store.write() as tx:
        if list_remaining_rows(tx, task, number):
            return False
        marks.end_move(tx, number, mode=mode, now=now())
    return True


def check_movable(
    batch: BatchRow,
    mode: Mode | None,
    *,
    labels: TaskLabels,
    version: str,
) -> None:
    """Check that the rows of a batch can be asked in another mode.

    A batch can be moved if it is submitted. Later, only an open move of it can be continued.
    Nothing is changed.

    Args:
        mode: The mode of the batch's open move, which an earlier command began; None without one.
        labels: The labels of the batch's task, for hints.
        version: The version that this command asks, such as `task@2/model`.

    Raises:
        InputError: The batch is live, of another version, or neither submitted nor in an open move.
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
    if mode is None and batch.state is not BatchState.SUBMITTED:
        raise InputError(
            f"batch {number} is {batch.state}, so there is nothing to cancel; {unchanged_text}",
            hint=f"`{labels.command('status')}` shows the next step",
        )
