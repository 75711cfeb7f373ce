"""Move a batch that is older than MOVE_AFTER to the mode MOVE_TO, with nobody at the keyboard.

To move a batch is to cancel it and to ask its unanswered rows in another mode, flex or live. The
commands `tag` and `work` do it while they wait for batches.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.batch import budget, move
from pipeline.batch.move import MoveEstimate, estimate_move
from pipeline.batch.report import duration_in_words
from pipeline.core.command_hint import CommandHint
from pipeline.core.settings import Settings
from pipeline.core.states import BatchState, Mode
from pipeline.core.text import format_usd
from pipeline.engine.session import WorkspaceSession
from pipeline.gemini.remote import RemoteBatch
from pipeline.store import batches
from pipeline.store.batches import BatchRow
from pipeline.store.database import Connection


def find_move_time(batch: BatchRow, settings: Settings) -> datetime | None:
    """Return when a submitted batch is old enough that its rows are asked in another mode.

    `tag` and `work` do this MOVE_AFTER seconds after the batch was created. The time may be past.

    Returns:
        None without MOVE_AFTER, for a live batch, for a batch that is not submitted, and for one
        that is being cancelled.
    """
    created_at = batch.create_sent_at
    is_waiting = batch.mode is Mode.BATCH and batch.state is BatchState.SUBMITTED
    is_cancelled = batch.cancel_asked_at is not None
    if settings.move_after is None or created_at is None or not is_waiting or is_cancelled:
        return None
    return created_at + timedelta(seconds=settings.move_after)


class LateBatches:
    """Moves waiting batches that are too old, and repeats the cancels of dead processes."""

    def __init__(self, ws: WorkspaceSession) -> None:
        """Start with the amount that was agreed to, or CONFIRM_ABOVE, as the limit of a move."""
        self._ws = ws
        # The most that the other mode may cost, in USD.
        self.max_usd = ws.settings.confirm_above
        if ws.agreed_usd is not None:
            self.max_usd = ws.agreed_usd
        # Batches that this process asked the API to cancel, or whose refused move it reported.
        self._handled_batches = set[int]()

    def move_if_late(self, batch: BatchRow, remote: RemoteBatch) -> None:
        """Move a batch that waits longer than MOVE_AFTER: cancel it and ask its rows in MOVE_TO.

        Nothing is done for a batch that a person cancelled, or whose version is not the version in
        use. Each batch is handled at most once in a process.

        The mode MOVE_TO and the cancel are recorded together, then the API is asked to cancel. The
        rows are asked later. Nobody is asked to confirm: if the cost, a budget or the model forbids
        the move, the reason is printed and the batch stays. If an earlier process recorded the move
        already, only the call to the API is repeated.

        Raises:
            RemoteError: The API could not be asked to cancel.
            StateConflictError: The batch is no longer submitted. Nothing was changed.
        """
        ws = self._ws
        number = batch.number
        if number in self._handled_batches:
            return

        # A move records the cancel and the mode together, so other batches need no journal.
        if batch.cancel_asked_at is not None:
            with ws.store.read() as tx:
                is_moved = move.find_move_mode(tx, number) is not None
            if is_moved:
                # A process may have died between the record of the move and its call.
                ws.client.cancel_batch(batch.remote_name or "")
            self._handled_batches.add(number)
            return

        move_time = find_move_time(batch, ws.settings)
        if move_time is None or ws.now() < move_time or batch.version != ws.version:
            return
        self._move_if_allowed(batch, Mode(ws.settings.move_to), remote)
        self._handled_batches.add(number)

    def begin_move(self, batch: BatchRow, mode: Mode, remote: RemoteBatch) -> None:
        """Record that another mode asks the rows of a batch, and cancel the batch at the API.

        Raises:
            RemoteError: The API could not be asked to cancel; a later command asks again.
        """
        self._handled_batches.add(batch.number)
        move.begin_move(self._ws, batch, mode, remote=remote)

    def _move_if_allowed(self, batch: BatchRow, mode: Mode, remote: RemoteBatch) -> None:
        """Print the costs of a move and begin it, or print why a person must begin it.

        To begin a move is to record it in the database and to ask the API to cancel the batch.

        Args:
            mode: The mode in which the rows are asked then.
            remote: The batch as the API reported it.

        Raises:
            RemoteError: The API could not be asked to cancel.
            StateConflictError: The batch is no longer submitted. Nothing was changed.
        """
        ws = self._ws
        estimate = estimate_move(batch, mode, model=ws.model, now=ws.now())
        refusal = self._find_refusal(batch, mode, estimate)
        if refusal:
            command = CommandHint("batch-move", batch=batch.number, to=mode.value)
            ws.display.warn(
                f"batch {batch.number} is older than MOVE_AFTER, but was not moved: {refusal}; "
                f"`{command}` moves it",
            )
            return
        ws.display.say(f"older than MOVE_AFTER: {move.describe_move(batch, mode, estimate)}")
        self.begin_move(batch, mode, remote)

    def _find_refusal(self, batch: BatchRow, mode: Mode, estimate: MoveEstimate) -> str:
        """Return why a batch cannot be moved to another mode without a person; "" if it can.

        It cannot if flex does not serve the model, if the rows cost more than `self.max_usd` in the
        other mode, or if a budget has too little left.
        """
        ws = self._ws
        if mode is Mode.FLEX and not ws.model.flex:
            return f"{ws.model.name} is not available in flex"
        if estimate.other_mode_usd > self.max_usd:
            return f"{format_usd(estimate.other_mode_usd)} was not confirmed"
        return move.find_budget_refusal(ws, batch, estimate)


@dataclass(frozen=True)
class LateMove:
    """What MOVE_AFTER may do to the batches of a command."""

    after_s: float
    # The mode in which the rows are asked then.
    mode: str
    # Price in USD of asking all rows in that mode, in addition to their batches.
    cost: float

    @property
    def description(self) -> str:
        """Return the rule and its price in words."""
        return (
            f"a batch older than {duration_in_words(self.after_s)} is cancelled, and its rows are "
            f"asked by {self.mode}, for up to {format_usd(self.cost)} more"
        )


def estimate_late_moves(
    ws: WorkspaceSession, tx: Connection, new_rows_usd: float
) -> LateMove | None:
    """Return the time MOVE_AFTER, the mode MOVE_TO, and the price of asking all rows in it.

    All rows are the new rows, and the rows of the prepared, submitting and submitted batches of the
    task and the version in use. Batches that are being cancelled are left out. Nothing is moved.

    Args:
        new_rows_usd: Price of the rows that are not in a batch yet, in the mode MOVE_TO.

    Returns:
        MOVE_AFTER in seconds, the name of the mode MOVE_TO, and the price of all rows in this mode
        in USD. None without MOVE_AFTER.
    """
    settings = ws.settings
    if settings.move_after is None:
        return None
    mode = Mode(settings.move_to)
    waiting_usd = sum(
        estimate_move(batch, mode, model=ws.model, now=ws.now()).other_mode_usd
        for batch in batches.batches_in_states(tx, *budget.QUEUED_STATES, task=ws.task.name)
        if batch.cancel_asked_at is None and batch.version == ws.version
    )
    return LateMove(settings.move_after, mode.value, new_rows_usd + waiting_usd)


def describe_due_move(batch: BatchRow, settings: Settings, now: datetime) -> str:
    """Return, in words, when `tag` or `work` moves a batch to another mode; "" if never.

    The words are "moved to MODE in DURATION" before that time, and afterwards "`tag` or `work`
    moves it to MODE now". If a submitted batch is being cancelled, the stored reason of the cancel
    is returned instead, or "" without a reason.

    Args:
        settings: The settings with `move_to`, the other mode, and `move_after`.
    """
    if batch.cancel_asked_at is not None and batch.state is BatchState.SUBMITTED:
        return batch.reason or ""
    move_time = find_move_time(batch, settings)
    if move_time is None:
        return ""
    remaining_s = (move_time - now).total_seconds()
    if remaining_s <= 0:
        return f"`tag` or `work` moves it to {settings.move_to} now"
    return f"moved to {settings.move_to} in {duration_in_words(remaining_s)}"
