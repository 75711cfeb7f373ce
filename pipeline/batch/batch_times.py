"""Tell whether a waiting batch is slower than batches like it, from the times of ended batches.

Batches are alike if they have the same model and a similar number of requests. With too few ended
batches, Google's documented times are used. The local engine has no such times: its batches run
when a command looks at them.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.batch.key_fingerprint import has_other_key, other_key_hint, other_key_message
from pipeline.batch.report import duration_in_words
from pipeline.core.settings import Settings
from pipeline.core.states import BatchState, Mode, is_running_state, remote_state
from pipeline.core.text import plural
from pipeline.gemini.models import MAX_BATCH_AGE, TARGET_BATCH_AGE
from pipeline.store import batches
from pipeline.store.batches import BatchRow, RemoteTimes
from pipeline.store.database import Connection

# A batch is slow if it takes longer than this share of the batches like it.
SLOW_SHARE = 0.95
# Our choice: from 20 batches on, the share of 95 of 100 leaves out at least one batch.
MIN_LIKE_BATCHES = 20
# Our choice: batches are alike up to this factor between their numbers of requests.
MAX_SIZE_FACTOR = 4


@dataclass(frozen=True, kw_only=True)
class BatchWait:
    """How long a batch has waited at the API, compared with the batches like it."""

    batch: int
    elapsed_s: float
    # Seconds after which the batch is slow; the first is about batches that do not run yet.
    pending_limit_s: float | None
    total_limit_s: float
    # The number of ended batches that this comes from; 0 if it is Google's documented time.
    similar_batch_count: int
    is_running: bool
    # The batch was created with a key other than the key in use.
    has_other_key: bool
    # When the API ends the batch.
    expires_at: datetime
    # When this was computed.
    now: datetime

    @property
    def is_slow(self) -> bool:
        """Return whether the batch has waited longer than 95 of 100 batches like it."""
        return self.elapsed_s > self.slow_after_s

    @property
    def slow_after_s(self) -> float:
        """Return the age in seconds from which on the batch is slow in its present state."""
        if self.is_running or self.pending_limit_s is None:
            return self.total_limit_s
        return min(self.pending_limit_s, self.total_limit_s)

    @property
    def document(self) -> dict[str, Any]:
        """Return the wait for JSON."""
        return {
            "batch": self.batch,
            "elapsed_s": round(self.elapsed_s),
            "slow_after_s": round(self.slow_after_s),
            "like_batches": self.similar_batch_count,
            "is_slow": self.is_slow,
            "expires_at": self.expires_at.isoformat(),
            "has_other_key": self.has_other_key,
        }

    def describe(self, *, checked_at: datetime | None = None) -> str:
        """Return a note that the batch is slow, that another API key created it, or both.

        For a slow batch the note has the time of the next check and of the batch's expiry. For
        another key it says to set that key or to give up the batch.

        Args:
            checked_at: When the batch is looked at again; None if that is not known.

        Returns:
            The note; "" if the batch is neither slow nor of another key.
        """
        notes = []
        if self.is_slow:
            notes.append(self._describe_slowness(checked_at))
        if self.has_other_key:
            notes.append(f"{other_key_message(self.batch)}: {other_key_hint(self.batch)}")
        return "; ".join(notes)

    def _describe_slowness(self, checked_at: datetime | None) -> str:
        """Return in words that the batch takes longer than 95 of 100 ended batches like it.

        Batches are like it if they have a similar number of requests. If too few of them have
        ended, the text names Google's target time instead. Then follow the time of the next look
        and, at the end, the time at which the batch expires or should have expired. The caller
        checks before that the batch is slow.

        Args:
            checked_at: When the batch is looked at again; None leaves that out.
        """
        limit_text = duration_in_words(self.slow_after_s)
        text = f"longer than Google's target of {limit_text}"
        if self.similar_batch_count:
            phase_text = "" if self.slow_after_s == self.total_limit_s else " to run"
            text = (
                f"slower than 95 of 100 like it ({limit_text}{phase_text}, from "
                f"{plural(self.similar_batch_count, 'batch', 'batches')})"
            )
        if checked_at is not None:
            text += f"; checked again at {checked_at:%Y-%m-%d %H:%M} UTC"
        if self.expires_at > self.now:
            return f"{text}; expires at {self.expires_at:%Y-%m-%d %H:%M} UTC"
        return f"{text}; should have expired at {self.expires_at:%Y-%m-%d %H:%M} UTC"


def read_waits(
    tx: Connection,
    open_batches: Iterable[BatchRow],
    *,
    settings: Settings,
    now: datetime,
) -> dict[int, BatchWait]:
    """Return the wait of each submitted batch that is not over at the API, by batch number.

    A wait is the time since the batch was created, and the time after which it is slow, measured at
    earlier batches of its model. Live batches, batches in other states, and batches that the API
    reported as over are left out.

    Args:
        open_batches: The batches to look at. The local engine's batches must not be among them,
            because they would be compared with times of the API.
        settings: The key of the settings tells which batches another key created.
    """
    waits = {}
    times_by_model: dict[str, list[RemoteTimes]] = {}
    for batch in open_batches:
        if batch.mode is not Mode.BATCH or batch.state is not BatchState.SUBMITTED:
            continue
        if remote_state(batch.remote_word).is_final:
            continue
        if batch.model not in times_by_model:
            times_by_model[batch.model] = batches.list_remote_times(tx, batch.model)
        waits[batch.number] = measure_wait(
            batch,
            times_by_model[batch.model],
            is_of_other_key=has_other_key(tx, batch.number, settings),
            now=now,
        )
    return waits


def measure_wait(
    batch: BatchRow,
    times: Sequence[RemoteTimes],
    *,
    is_of_other_key: bool,
    now: datetime,
) -> BatchWait:
    """Return how long a batch has waited at the API, and from what age on it is slow.

    The batch is slow if it takes longer than 95 of 100 ended batches like it. Batches are alike if
    their numbers of requests differ at most by MAX_SIZE_FACTOR. There is a limit for the whole
    time, and another for the time until a batch runs. A batch that does not run yet is slow if it
    exceeds any of the two limits. If there are fewer than MIN_LIKE_BATCHES ended batches like it,
    the limit for the whole time is TARGET_BATCH_AGE, and the other does not exist. A creation time
    in the future was recorded by a wrong clock, and counts as now.

    Args:
        times: Times of ended batches of the same model.
        is_of_other_key: The batch was created with another key than the key in use. It is only
            copied to the result.
    """
    sent_at = min(now, batch.create_sent_at or batch.submitted_at or batch.created_at)
    like_times = [like for like in times if _is_like(batch.requests, like.requests)]
    total_limit_s = _find_slow_limit([like.total_s for like in like_times])
    pending_limit_s = _find_slow_limit(
        [like.pending_s for like in like_times if like.pending_s is not None],
    )
    is_learnt = total_limit_s is not None
    return BatchWait(
        batch=batch.number,
        elapsed_s=(now - sent_at).total_seconds(),
        pending_limit_s=pending_limit_s,
        total_limit_s=TARGET_BATCH_AGE.total_seconds() if total_limit_s is None else total_limit_s,
        similar_batch_count=len(like_times) if is_learnt else 0,
        is_running=batch.running_at is not None or is_running_state(batch.remote_word),
        has_other_key=is_of_other_key,
        expires_at=sent_at + MAX_BATCH_AGE,
        now=now,
    )


def _is_like(requests: int, other_requests: int) -> bool:
    """Return whether two batches have a similar number of requests."""
    smaller, larger = sorted((requests, other_requests))
    return larger <= smaller * MAX_SIZE_FACTOR


def _find_slow_limit(seconds: Sequence[float]) -> float | None:
    """Return the time in seconds that 95 of 100 times do not exceed; None with too few times."""
    if len(seconds) < MIN_LIKE_BATCHES:
        return None
    rank = math.ceil(SLOW_SHARE * len(seconds))
    return sorted(seconds)[rank - 1]
