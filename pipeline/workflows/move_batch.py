"""Move a batch by hand: cancel it, wait, store its answers, and ask the other rows."""

from pipeline.batch import budget, move
from pipeline.core.errors import FindableError
from pipeline.core.settings import Budget
from pipeline.core.states import ENDED_STATES, BatchState, Mode
from pipeline.core.text import plural
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import Task
from pipeline.store import batches
from pipeline.store.database import Store
from pipeline.workflows import rounds
from pipeline.workflows.tag_report import TagReport


def plan_move(
    ws: WorkspaceSession,
    number: int,
    mode: Mode,
    *,
    budget_usd: float | None = None,
) -> dict[str, object]:
    """Return the costs of moving a batch to a mode, for JSON; nothing is written.

    The costs are that of the cancelled batch and that of asking its rows again in the mode. A
    budget without room does not raise: its message is the member `refusal`, which is "" otherwise.

    Args:
        ws: The workspace, with the task of the batch.
        number: The number of the batch.
        mode: The mode of the calls that would ask the rows again.
        budget_usd: The most that the move may spend; if None, the budget of the task's unfinished
            `tag` command.

    Raises:
        InputError: The batch does not exist, is not sent or is over, consists of live calls, or
            asked for another version than the version in use; or the budget is negative or NaN.
    """
    batch = ws.store.query(batches.get_batch, number)
    move.check_movable(batch, nouns=ws.task.nouns, version=ws.version)
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
) -> tuple[dict[str, object], TagReport]:
    """Cancel a batch, wait until it is over, and ask its unanswered rows in a mode.

    Answers that the batch has when it is over are stored. Before anything is changed, the costs of
    the cancelled batch and of asking its rows again are printed and confirmed. The rows are not
    synced with their source. If this command was stopped, the same command continues. If no row of
    the batch is open, only the report is returned.

    Args:
        ws: The workspace, with the task of the batch.
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
    rounds.sync_and_recover_task(ws, may_be_empty=True, should_sync=False)
    _set_budget(ws, budget_usd)
    batch = ws.store.query(batches.get_batch, number)
    move.check_movable(batch, nouns=ws.task.nouns, version=ws.version)

    tag_rounds = rounds.TagRounds(ws)
    if batch.state is BatchState.SUBMITTED:
        move.cancel_for_move(ws, batch, mode)
    _wait_and_ingest(ws.store, ws.task, tag_rounds=tag_rounds, number=number)
    row_ids = ws.store.query(move.list_remaining_rows, ws.task, number)
    if row_ids:
        ws.display.say(f"batch {number}: asking its other {plural(len(row_ids), 'row')} by {mode}")
        if batch.state is not BatchState.SUBMITTED:
            move.confirm_move(ws, batch, mode)
        tag_rounds.row_ids = row_ids
        if mode is Mode.BATCH:
            tag_rounds.submit(should_report_full_api=True)
        else:
            tag_rounds.ask_live(mode)
    report = tag_rounds.complete_report()
    with ws.store.read() as tx:
        batch = batches.get_batch(tx, number)
        open_count = len(move.list_remaining_rows(tx, ws.task, number))
    document: dict[str, object] = {
        "batch": number,
        "to": mode.value,
        "state": batch.state.value,
        "remote_state": batch.remote_word,
        "requests": batch.requests,
        "kept": batch.answered or 0,
        "answered": 0 if report.live is None else report.live.answered,
        "submitted": report.submitted,
        "left": open_count,
        "spent": report.spent,
    }
    return document, report


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
        errors: list[FindableError] = tag_rounds.report.last_poll.list_errors(task.nouns)
        if errors:
            raise errors[0]
