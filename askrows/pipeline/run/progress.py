"""The progress of a run: a batch of the Batch API, or all batches of a live run.

Progress counts requests. Rows with equal inputs share a request, so a request may cover several
rows. A request that was asked again counts once, and progress never goes back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from askrows.pipeline.batch import batch_files
from askrows.pipeline.batch.held_batches import make_hold_hint
from askrows.pipeline.batch.report import BatchWait
from askrows.pipeline.core.states import BatchState, Mode, describe_remote_state
from askrows.pipeline.core.text import duration_in_words, plural, shorten
from askrows.pipeline.store import batches
from askrows.pipeline.store.batches import BatchRow
from askrows.pipeline.store.runs import TagRunRow
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
    rows: int | None
    # Its process is dead. The next command that asks rows continues it.
    is_killed: bool
    # Since the run began, in seconds.
    age_s: float
    # How long the batch has waited at the API; None for other runs.
    wait: BatchWait | None

    @property
    def number(self) -> int:
        """Return the number of the run, which is that of its first batch."""
        return self.batch.run or self.batch.number

    @property
    def is_live(self) -> bool:
        """Return whether the run makes single calls."""
        return self.batch.mode is not Mode.BATCH

    @property
    def phase(self) -> str:
        """Return in a word or two what happens to the run now."""
        if self.batch.is_held:
            return "held"
        if self.is_killed:
            return "stopped"
        if self.is_live:
            return "asking"
        return describe_remote_state(self.batch.remote_word or self.batch.state)

    @property
    def eta_s(self) -> float | None:
        """Return the estimated seconds to the end of a live run; None if that is not known.

        It is not known before the first reply, and if the run is killed.
        """
        is_asking = self.is_live and self.batch.state is BatchState.ASKING and not self.is_killed
        if not is_asking or not self.done:
            return None
        return (self.requests - self.done) * self.age_s / self.done

    @property
    def failed(self) -> int | None:
        """Return how many requests failed by the service's own count; None without a count."""
        return self.batch.remote_failed

    @property
    def size(self) -> str:
        """Return the number of requests, and of the rows that they cover, in words."""
        if self.rows is None or self.rows == self.requests:
            return plural(self.requests, "row")
        return f"{plural(self.requests, 'request')} for {plural(self.rows, 'row')}"

    @property
    def counts(self) -> str:
        """Return how many requests ended and failed; "" if that is not known."""
        if self.is_live:
            return f"{plural(self.done, 'reply', 'replies')}"
        if self.batch.remote_done is None or self.batch.state is not BatchState.SUBMITTED:
            return ""
        failures = f", {self.failed:,} failed" if self.failed else ""
        return f"{self.done:,} of {self.requests:,} done{failures}"

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
            "failed": self.failed,
            "eta_s": None if self.eta_s is None else round(self.eta_s),
        }

    def describe(self, nouns: TaskNouns) -> str:
        """Return a line about the run: size, phase, age and notes.

        Notes are the progress, why a batch is held and what ends that, the reason of a cancel or of
        a refused create call, and a long wait at the API.

        Args:
            nouns: The nouns of its task.
        """
        name = f"live run {self.number}" if self.is_live else f"batch {self.batch.number}"
        line = f"{name}, {self.size}, {self.phase} for {duration_in_words(self.age_s)}"
        notes = [line, self.counts]
        if self.batch.is_held:
            notes += [self.batch.held or "", str(make_hold_hint(self.batch.number, nouns))]
        elif not self.is_live:
            notes.append(shorten(self.batch.reason or "", MAX_REFUSAL_CHARACTERS))
        if self.wait is not None:
            notes.append(self.wait.describe())
        return "; ".join(filter(None, notes))


def measure_run(
    data: Path,
    parts: Sequence[BatchRow],
    tag_run: TagRunRow | None,
    *,
    is_killed: bool,
    wait: BatchWait | None,
    now: datetime,
) -> RunProgress:
    """Return the progress of a run.

    Replies of live batches are counted in their files, which are newer than the database.

    Args:
        data: The folder of the workspace.
        parts: All batches of a live run, or one batch; oldest first.
        tag_run: The unfinished `tag` of the task, which knows how many requests it will make.
        is_killed: The process of a live run is dead.
        wait: How long the batch has waited at the API.
        now: The present time.
    """
    run = batches.combine_run(parts)
    request_count = run.requests
    row_count = None
    is_part_of_tag = tag_run is not None and run.run is not None
    if tag_run is not None and is_part_of_tag and tag_run.requests:
        request_count = tag_run.requests
        row_count = tag_run.rows
    done_count = sum(_count_ended_requests(data, part) for part in parts)
    return RunProgress(
        batch=run,
        requests=request_count,
        done=min(done_count, request_count),
        rows=row_count,
        is_killed=is_killed,
        age_s=(now - run.created_at).total_seconds(),
        wait=wait,
    )


def _count_ended_requests(data: Path, batch: BatchRow) -> int:
    """Return how many requests of a batch ended, at most all."""
    if batch.state is BatchState.ASKING:
        return min(batch_files.count_replies(data, batch.number), batch.requests)
    if batch.state is BatchState.SUBMITTED:
        return min(batch.remote_done or 0, batch.requests)
    if batch.is_finished or batch.state is BatchState.DOWNLOADED:
        return batch.requests
    return 0
