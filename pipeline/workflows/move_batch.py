"""Move a batch by hand: cancel it, wait, store its answers, and ask the other rows.

A move is recorded with the mode in which the other rows are asked. It is open until no row of the
batch is left to ask, and then complete.
"""

from dataclasses import dataclass, replace

from pipeline.batch import budget, move
from pipeline.core.command_hint import CommandHint
from pipeline.core.errors import FindableError, MissingError
from pipeline.core.settings import Budget
from pipeline.core.states import ENDED_STATES, BatchState, Mode
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import Task
from pipeline.store import batches, marks
from pipeline.store.database import Store
from pipeline.workflows import rounds
from pipeline.workflows.tag_report import TagReport


@dataclass(frozen=True)
class MoveReport:
    """Result of a command that moves a batch."""

    # The batch when the command ended.
    batch: batches.BatchRow
    mode: Mode
    # Rows of the batch that are still open.
    left: int
    # What the command ingested and asked.
    report: TagReport

    def document(self) -> dict[str, object]:
        """Return the report for JSON."""
        return {
            "batch": self.batch.number,
            "to": self.mode.value,
            "state": self.batch.state.value,
            "remote_state": self.batch.remote_word,
            "requests": self.batch.requests,
            "kept": self.batch.answered or 0,
            "answered": self.report.moved_rows,
            "submitted": self.report.submitted,
            "left": self.left,
            "spent": self.report.spent,
        }


def plan_move(
    ws: WorkspaceSession,
    number: int,
    mode: Mode,
    *,
    budget_usd: float | None = None,
) -> dict[str, object]:
    """Return the costs of moving a batch of any task to a mode, for JSON; nothing is written.

    The costs are that of the cancelled batch and that of asking its rows again in the mode. A
    budget without room does not raise: its message is the member `refusal`, which is "" otherwise.

    Args:
        ws: The workspace, with any task.
        number: The number of the batch.
        mode: The mode of the calls that would ask the rows again.
        budget_usd: The most that the move may spend; if None, the budget of the task's unfinished
            `tag` command.

    Raises:
        InputError: The batch does not exist, is not sent or is over, consists of live calls, or
            asked for another version than the version in use; or the budget is negative or NaN.
    """
    ws, batch = _open_task(ws, number)
    open_mode = ws.store.query(move.find_move_mode, number)
    move.check_movable(batch, open_mode, labels=ws.task.labels, version=ws.version)
    _set_budget(ws, budget_usd)
    other_mode_usd = move.estimate_move(batch, mode, model=ws.model, now=ws.now())
    return {
        "batch": number,
        "to": mode.value,
        "requests": batch.requests,
        "cancelled_usd": batch.estimated_cost,
        "other_mode_usd": other_mode_usd,
        "refusal": move.find_budget_refusal(ws, other_mode_usd),
    }


def _set_budget(ws: WorkspaceSession, budget_usd: float | None) -> None:
    """Set the session's budget: the given amount, else that of the task's unfinished `tag`.

    A given amount counts the spending from now on, that of a `tag` the spending since its start. If
    there is neither, the session keeps its budget.

    Args:
        ws: The session, which is changed.
        budget_usd: The given amount, or None.

    Raises:
        InputError: The amount is negative or NaN.
    """
    if budget_usd is not None:
        budget.check_budget_amount(budget_usd)
        ws.budget = Budget(budget_usd, ws.now(), "BUDGET")
        return
    with ws.store.read() as tx:
        ws.budget = budget.find_unfinished_tag_budget(tx, ws.task) or ws.budget


def move_batch(
    ws: WorkspaceSession,
    number: int,
    mode: Mode,
    *,
    budget_usd: float | None = None,
) -> MoveReport:
    """Cancel a batch of any task, wait until it is over, and ask its unanswered rows in a mode.

    Answers that the batch has when it is over are stored. Before anything is changed, the costs of
    the cancelled batch and of asking its rows again are printed and confirmed. The rows are not
    synced with their source. If this command was stopped, the same command continues the move
    without confirming it again. If it names another mode than the open move, it confirms the new
    costs and changes the mode. If the move is complete, only its report is returned.

    Args:
        ws: The workspace, with any task.
        number: The number of the batch.
        mode: The mode of the calls that ask the rows again.
        budget_usd: The most that this command may spend; if None, the budget of the task's
            unfinished `tag` command.

    Raises:
        InputError: The batch cannot be moved, or nobody confirmed; nothing was changed.
        BudgetError: A budget has no room for the other mode; nothing was changed.
        MissingError: The API does not know the batch; it was not changed.
        FindableError: A step was stopped; the same command continues.
    """
    ws, batch = _open_task(ws, number)
    rounds.sync_and_recover_task(ws, may_be_empty=True, should_sync=False)
    _set_budget(ws, budget_usd)
    with ws.store.read() as tx:
        batch = batches.get_batch(tx, number)
        open_mode = move.find_move_mode(tx, number)
        is_moved = marks.read_moves(tx).get(number) == marks.MOVE_COMPLETED
    tag_rounds = rounds.TagRounds(ws)
    if not is_moved:
        move.check_movable(batch, open_mode, labels=ws.task.labels, version=ws.version)
        _begin_move(ws, tag_rounds, batch, mode, open_mode)
        _wait_and_ingest(ws.store, ws.task, tag_rounds=tag_rounds, number=number)
        tag_rounds.ask_moved_rows()
    report = tag_rounds.complete_report()
    with ws.store.read() as tx:
        return MoveReport(
            batch=batches.get_batch(tx, number),
            mode=mode,
            left=len(move.list_remaining_rows(tx, ws.task, number)),
            report=report,
        )


def _open_task(ws: WorkspaceSession, number: int) -> tuple[WorkspaceSession, batches.BatchRow]:
    """Return a session whose task is that of a batch, and the batch.

    Raises:
        InputError: There is no such batch, or its task cannot be used.
    """
    batch = ws.store.query(batches.get_batch, number)
    if batch.task != ws.task.name:
        ws = replace(ws, task=ws.find_task(batch.task))
    return ws, batch


def _begin_move(
    ws: WorkspaceSession,
    tag_rounds: rounds.TagRounds,
    batch: batches.BatchRow,
    mode: Mode,
    open_mode: Mode | None,
) -> None:
    """Confirm and record the move of a batch to a mode, and cancel the batch at the API.

    A move is open from its record until the rows are asked in the other mode.

    - If a move to this mode is open already, only print a line that says so. If the API could not
      be asked to cancel before, the caller asks it again while it waits for the batch.
    - If the batch is at the API (it is submitted), confirm the costs, record the move, and ask the
      API to cancel the batch. An open move to another mode gets the new mode.
    - Otherwise the batch is over and has an open move to another mode. Confirm the costs, and give
      this move the new mode. There is nothing to cancel.

    Args:
        ws: The workspace, with the task of the batch.
        tag_rounds: The rounds of this command, which remember that the batch is moved.
        batch: A batch at the API, or a batch that is over and has an open move.
        mode: The mode of the calls that will ask its rows.
        open_mode: The mode of its open move, which an earlier command began; None without one.

    Raises:
        InputError: Nobody confirmed; nothing was changed.
        BudgetError: A budget has no room for the other mode; nothing was changed.
        MissingError: The API does not know the batch; it was not changed.
        RemoteError: The API could not be asked to cancel. The move is recorded, and the same
            command continues it.
    """
    if open_mode is mode:
        ws.display.say(f"continuing the move of batch {batch.number} to {mode}")
        return

    if batch.state is not BatchState.SUBMITTED:
        move.confirm_move(ws, batch, mode)
        move.change_move_mode(ws.store, batch, mode=mode, now=ws.now)
        return

    try:
        remote = ws.client.get_batch(batch.remote_name or "")
    except MissingError as error:
        give_up = CommandHint("batch-cancel", batch=batch.number)
        raise MissingError(
            f"batch {batch.number} was not found at the API ({error.message}); nothing was changed",
            hint=f"check the key, or release its rows: `{give_up}`",
        ) from error
    move.confirm_move(ws, batch, mode)
    tag_rounds.begin_move(batch, mode, remote)


def _wait_and_ingest(
    store: Store,
    task: Task,
    *,
    tag_rounds: rounds.TagRounds,
    number: int,
) -> None:
    """Wait until the API reports that a batch is over, and ingest its result.

    Returns as soon as the batch is ingested or failed. If the batch is ingested or failed at the
    start, nothing is polled.

    Raises:
        FindableError: The wait was stopped, or the result cannot be ingested.
    """
    while True:
        batch = store.query(batches.get_batch, number)
        if batch.state in ENDED_STATES:
            return
        if batch.state is BatchState.DOWNLOADED:
            tag_rounds.ingest(number)
            continue

        tag_rounds.poll(wait=True, batch_number=number)
        errors: list[FindableError] = tag_rounds.report.poll.last.list_errors(task.labels)
        if errors:
            raise errors[0]
