"""The progress of a run: a batch of the Batch API, or all batches of a live run.

Progress counts requests. Rows with equal inputs share a request, so a request may cover several
rows. A request that was asked again counts once, and progress never goes back.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from askrows.pipeline.batch import batch_files
from askrows.pipeline.batch.held_batches import make_hold_hint
from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.states import BatchState, Mode, describe_remote_state, remote_state
from askrows.pipeline.core.text import duration_in_words, plural, shorten
from askrows.pipeline.gemini.models import MAX_BATCH_AGE, TARGET_BATCH_AGE
from askrows.pipeline.store.batches import BatchRow
from askrows.pipeline.tasks.task_values import TaskNouns

MAX_REFUSAL_CHARACTERS = 300


@dataclass(frozen=True, kw_only=True)
class RunProgress:
    """A run that is not over."""

    # The batch, or the sums of all batches of the live run.
    batch: BatchRow
    # Distinct requests of the run, and those of them that ended.
    requests: int
    done: int
    # The rows that the requests cover; None if that is not known.
    rows: int | None = None
    # Its process is dead. The next command that asks rows continues it.
    is_killed: bool
    # When the batch was sent, if it waits at the API; None with the local engine.
    waits_since: datetime | None
    # The time of this account.
    now: datetime

    @property
    def number(self) -> int:
        """Return the number of the run, which is that of its first batch."""
        return self.batch.number

    @property
    def is_live(self) -> bool:
        """Return whether the run makes single calls."""
        return self.batch.mode is not Mode.BATCH

    @property
    def phase(self) -> str:
        """Return in a word or two what happens to the run now."""
        if self.batch.is_held:
            return "held"
        if self.is_live:
            return "stopped" if self.is_killed else "asking"
        return describe_remote_state(self.batch.remote_word or self.batch.state)

    @property
    def age_s(self) -> float:
        """Return the seconds since the run began."""
        return (self.now - self.batch.created_at).total_seconds()

    @property
    def eta_s(self) -> float | None:
        """Return the estimated seconds to the end of a live run; None if that is not known.

        It is not known before the first reply, and if the run is killed.
        """
        if self.phase != "asking" or not self.done:
            return None
        return (self.requests - self.done) * self.age_s / self.done

    @property
    def wait(self) -> dict[str, Any] | None:
        """Return how long the batch has waited at the API, for JSON; None if it does not wait.

        A batch is slow if it waits longer than Google's target. The API ends it at `expires_at`.
        """
        if self.waits_since is None:
            return None
        elapsed = self.now - self.waits_since
        return {
            "batch": self.batch.number,
            "elapsed_s": round(elapsed.total_seconds()),
            "is_slow": elapsed > TARGET_BATCH_AGE,
            "expires_at": (self.waits_since + MAX_BATCH_AGE).isoformat(),
        }

    @property
    def size(self) -> str:
        """Return the number of requests, and of the rows that they cover, in words."""
        if self.rows in {None, self.requests}:
            return plural(self.requests, "row")
        return f"{plural(self.requests, 'request')} for {plural(self.rows or 0, 'row')}"

    @property
    def counts(self) -> str:
        """Return how many requests ended and, by the service's own count, failed; "" if none."""
        if not self.done:
            return ""
        counts = f"{self.done:,} of {self.requests:,} done"
        return (
            f"{counts}, {self.batch.remote_failed:,} failed" if self.batch.remote_failed else counts
        )

    @property
    def document(self) -> dict[str, Any]:
        """Return the progress for JSON."""
        return {
            "number": self.number,
            "task": self.batch.task,
            "mode": self.batch.mode.value,
            "phase": self.phase,
            "requests": self.requests,
            "rows": self.rows,
            "done": self.done,
            "failed": self.batch.remote_failed,
            "eta_s": self.eta_s and round(self.eta_s),
        }

    def describe(self, nouns: TaskNouns) -> str:
        """Return a line about the run: size, phase, age and notes.

        Notes are the progress, why a batch is held and what ends that, the reason of a cancel or of
        a refused create call, and a long wait at the API.

        Args:
            nouns: The nouns of its task.
        """
        name = f"live run {self.number}" if self.is_live else f"batch {self.number}"
        notes = [
            f"{name}, {self.size}, {self.phase} for {duration_in_words(self.age_s)}",
            self.counts,
        ]
        if self.eta_s is not None:
            notes.append(f"about {duration_in_words(self.eta_s)} left")
        if self.batch.is_held:
            notes += [self.batch.held or "", str(make_hold_hint(self.number, nouns))]
        elif not self.is_live:
            notes.append(shorten(self.batch.reason or "", MAX_REFUSAL_CHARACTERS))
        notes.append(self.describe_slow_wait())
        return "; ".join(filter(None, notes))

    def describe_slow_wait(self) -> str:
        """Return that the batch is slower than the target, when it expires, and another mode.

        "" if it is not slow.
        """
        if self.waits_since is None or self.now - self.waits_since <= TARGET_BATCH_AGE:
            return ""
        target = duration_in_words(TARGET_BATCH_AGE.total_seconds())
        expires_at = self.waits_since + MAX_BATCH_AGE
        expiry = "expires" if expires_at > self.now else "should have expired"
        move = CommandHint("batch-move", batch=self.number, to=Mode.FLEX.value)
        return (
            f"longer than Google's target of {target}; "
            f"{expiry} at {expires_at:%Y-%m-%d %H:%M} UTC; `{move}` asks its rows in another mode"
        )


def count_ended_requests(data: Path, batch: BatchRow) -> int:
    """Return how many requests of a batch ended, at most all.

    Replies of a live batch are counted in its file, which is newer than the database.
    """
    ended_count = 0
    if batch.state is BatchState.ASKING:
        ended_count = batch_files.count_replies(data, batch.number)
    elif batch.state is BatchState.SUBMITTED:
        ended_count = batch.remote_done or 0
    elif batch.is_finished or batch.state is BatchState.DOWNLOADED:
        ended_count = batch.requests
    return min(ended_count, batch.requests)


def find_wait_start(batch: BatchRow, *, now: datetime) -> datetime | None:
    """Return when a batch that waits at the API was sent; None for any other batch.

    A time in the future was recorded by a wrong clock, and counts as now. A batch that the API
    reported as over does not wait.
    """
    is_submitted = batch.mode is Mode.BATCH and batch.state is BatchState.SUBMITTED
    if not is_submitted or remote_state(batch.remote_word).is_final:
        return None
    return min(now, batch.create_sent_at or batch.submitted_at or batch.created_at)
