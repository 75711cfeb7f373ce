"""Move a batch that is older than MOVE_AFTER to the mode MOVE_TO, with nobody at the keyboard."""

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
    """Return when `tag` or `work` moves a submitted batch; None if they never do.

    A batch that is being cancelled is not moved again.
    """
    created_at = batch.create_sent_at
    is_waiting = batch.way is Mode.BATCH and batch.state is BatchState.SUBMITTED
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
        """Begin the move of a waiting batch if it is older than MOVE_AFTER.

        If an earlier process recorded the move of the batch, the API is asked again to cancel it.
        Does nothing if a person cancelled the batch, if it asks as another version, or if this
        process handled it before. If the cost or the model prevents the move, that is printed.

        Raises:
            RemoteError: The API could not be asked to cancel.
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
        if move_time is None or ws.now() < move_time or batch.extractor != ws.extractor:
            return
        self._move_if_allowed(batch, Mode(ws.settings.move_to), remote)
        self._handled_batches.add(number)

    def begin_move(self, batch: BatchRow, mode: Mode, remote: RemoteBatch) -> None:
        """Record a move and ask the API to cancel the batch.

        Raises:
            RemoteError: The API could not be asked to cancel; a later command asks again.
        """
        self._handled_batches.add(batch.number)
        move.begin_move(self._ws, batch, mode, remote=remote)

    def _move_if_allowed(self, batch: BatchRow, mode: Mode, remote: RemoteBatch) -> None:
        """Print a move and begin it, or print why it cannot begin without a person."""
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
        """Return why a move cannot begin without a person; "" if it can.

        It cannot begin if the model is not served by flex, the other mode costs more than
        `max_usd`, or a budget has no room.
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
    """Return when and to which mode MOVE_AFTER moves batches, and the price if it moves all.

    The price is that of the new rows, and of the prepared, submitting and submitted batches of the
    task and the version in use. Batches that are being cancelled are left out.

    Args:
        new_rows_usd: Price of the rows that are not in a batch yet, in the mode MOVE_TO.

    Returns:
        None without MOVE_AFTER.
    """
    settings = ws.settings
    if settings.move_after is None:
        return None
    mode = Mode(settings.move_to)
    waiting_usd = sum(
        estimate_move(batch, mode, model=ws.model, now=ws.now()).other_mode_usd
        for batch in batches.batches_in_states(tx, *budget.QUEUED_STATES, task=ws.task.name)
        if batch.cancel_asked_at is None and batch.extractor == ws.extractor
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
