"""Tell whether a batch has waited at the API longer than Google's target.

The local engine has no such target: its batches run when a command looks at them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.batch.key_fingerprint import has_other_key, other_key_hint, other_key_message
from pipeline.core.command_hint import CommandHint
from pipeline.core.settings import Settings
from pipeline.core.states import BatchState, Mode, remote_state
from pipeline.core.text import duration_in_words
from pipeline.gemini.models import MAX_BATCH_AGE, TARGET_BATCH_AGE
from pipeline.store.batches import BatchRow
from pipeline.store.database import Connection


@dataclass(frozen=True, kw_only=True)
class BatchWait:
    """How long a batch has waited at the API."""

    batch: int
    elapsed_s: float
    # The batch was created with a key other than the key in use.
    has_other_key: bool
    # When the API ends the batch.
    expires_at: datetime
    # When this was computed.
    now: datetime

    @property
    def is_slow(self) -> bool:
        """Return whether the batch has waited longer than Google's target."""
        return self.elapsed_s > TARGET_BATCH_AGE.total_seconds()

    @property
    def document(self) -> dict[str, Any]:
        """Return the wait for JSON."""
        return {
            "batch": self.batch,
            "elapsed_s": round(self.elapsed_s),
            "is_slow": self.is_slow,
            "expires_at": self.expires_at.isoformat(),
            "has_other_key": self.has_other_key,
        }

    def describe(self, *, checked_at: datetime | None = None) -> str:
        """Return a note that the batch is slow, that another API key created it, or both.

        For a slow batch the note has the time of the next check and of the batch's expiry, and the
        command that asks its rows in another mode. For another key it says to set that key or to
        give up the batch.

        Args:
            checked_at: When the batch is looked at again; None if that is not known.

        Returns:
            The note; "" if the batch is neither slow nor of another key.
        """
        notes = []
        if self.is_slow:
            target_text = duration_in_words(TARGET_BATCH_AGE.total_seconds())
            notes.append(f"longer than Google's target of {target_text}")
            if checked_at is not None:
                notes.append(f"checked again at {checked_at:%Y-%m-%d %H:%M} UTC")
            expiry_text = "expires" if self.expires_at > self.now else "should have expired"
            notes.append(f"{expiry_text} at {self.expires_at:%Y-%m-%d %H:%M} UTC")
            move = CommandHint("batch-move", batch=self.batch, to=Mode.FLEX.value)
            notes.append(f"`{move}` asks its rows in another mode")
        if self.has_other_key:
            notes.append(f"{other_key_message(self.batch)}: {other_key_hint(self.batch)}")
        return "; ".join(notes)


def read_waits(
    tx: Connection,
    open_batches: Iterable[BatchRow],
    *,
    settings: Settings,
    now: datetime,
) -> dict[int, BatchWait]:
    """Return the wait of each submitted batch that is not over at the API, by batch number.

    A wait is the time since the batch was created. A creation time in the future was recorded by a
    wrong clock, and counts as now. Live batches, batches in other states, and batches that the API
    reported as over are left out.

    Args:
        open_batches: The batches to look at. The local engine's batches must not be among them.
        settings: The key of the settings tells which batches another key created.
    """
    waits = {}
    for batch in open_batches:
        if batch.mode is not Mode.BATCH or batch.state is not BatchState.SUBMITTED:
            continue
        if remote_state(batch.remote_word).is_final:
            continue
        sent_at = min(now, batch.create_sent_at or batch.submitted_at or batch.created_at)
        waits[batch.number] = BatchWait(
            batch=batch.number,
            elapsed_s=(now - sent_at).total_seconds(),
            has_other_key=has_other_key(tx, batch.number, settings),
            expires_at=sent_at + MAX_BATCH_AGE,
            now=now,
        )
    return waits
