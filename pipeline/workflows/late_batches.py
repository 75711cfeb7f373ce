"""Move a batch that is older than MOVE_AFTER to the mode MOVE_TO, with nobody at the keyboard."""

from datetime import datetime, timedelta

from pipeline.batch import budget, move
from pipeline.batch.move import MoveEstimate
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
    if settings.move_after is None or created_at is None or not is_waiting:
        return None
    if batch.cancel_asked_at is not None:
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

    def check(self, batch: BatchRow, remote: RemoteBatch) -> None:
        """Begin the move of a waiting batch if it is too old.

        Does nothing if a person cancelled it, or if it asks as another version. A cost that
        prevents the move is printed once.

        Raises:
            RemoteError: The API could not be asked to cancel.
        """
        ws = self._ws
        number = batch.number
        if number in self._handled_batches:
            return

        with ws.store.read() as tx:
            open_mode = move.find_move_mode(tx, number)
        if open_mode is not None:
            # A process may have died between the record of the move and its call.
            ws.client.cancel_batch(batch.remote_name or "")
            self._handled_batches.add(number)
            return

        move_time = find_move_time(batch, ws.settings)
        if move_time is None or ws.now() < move_time or batch.extractor != ws.extractor:
            return
        self._move(batch, Mode(ws.settings.move_to), remote)
        self._handled_batches.add(number)

    def begin(self, batch: BatchRow, mode: Mode, remote: RemoteBatch) -> None:
        """Record a move and ask the API to cancel the batch.

        Raises:
            RemoteError: The API could not be asked to cancel; a later command asks again.
        """
        self._handled_batches.add(batch.number)
        move.begin_move(self._ws, batch, mode, remote=remote)

    def _move(self, batch: BatchRow, mode: Mode, remote: RemoteBatch) -> None:
        """Begin a move, or print why it cannot begin."""
        ws = self._ws
        estimate = move.estimate_move(ws, batch, mode)
        refusal = self._find_refusal(batch, mode, estimate)
        if refusal:
            command = CommandHint("batch-move", batch=batch.number, to=mode.value)
            ws.display.warn(
                f"batch {batch.number} is older than MOVE_AFTER, but was not moved: {refusal}; "
                f"`{command}` moves it",
            )
            return
        ws.display.say(f"older than MOVE_AFTER: {move.describe_move(batch, mode, estimate)}")
        self.begin(batch, mode, remote)

    def _find_refusal(self, batch: BatchRow, mode: Mode, estimate: MoveEstimate) -> str:
        """Return why a move cannot begin without a person; "" if it can."""
        ws = self._ws
        if mode is Mode.FLEX and not ws.model.flex:
            return f"{ws.model.name} is not available in flex"
        if estimate.other_mode_usd > self.max_usd:
            return f"{format_usd(estimate.other_mode_usd)} was not confirmed"
        return move.check_budgets(ws, batch, estimate)


def estimate_open_moves(tx: Connection, ws: WorkspaceSession) -> float:
    """Return the price in USD of asking the rows of all waiting batches in the mode MOVE_TO.

    0.0 without MOVE_AFTER. Batches that are being cancelled are left out.
    """
    if ws.settings.move_after is None:
        return 0.0
    mode = Mode(ws.settings.move_to)
    return sum(
        move.estimate_move(ws, batch, mode).other_mode_usd
        for batch in batches.batches_in_states(tx, *budget.QUEUED_STATES, task=ws.task.name)
        if batch.cancel_asked_at is None and batch.extractor == ws.extractor
    )
