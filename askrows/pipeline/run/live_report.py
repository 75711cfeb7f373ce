"""The rules of a live run, and its report."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from askrows.pipeline.core.errors import AskrowsError

MAX_NAMED_FAILURES = 3


@dataclass(frozen=True)
class RunPolicy:
    """The rules of a live run. The defaults are the rules for asking about all selected rows."""

    # Ask in a single batch that belongs to no run. No row is asked again after an invalid answer or
    # after a call without a reply.
    is_single_batch: bool = False
    # The run stops if a rate limit makes a call wait longer than this, in seconds.
    patience_s: float = math.inf
    # The run stops after this many seconds, without waiting for running calls.
    deadline_s: float = math.inf
    # A missing connection stops the run, because a person waits for it.
    stops_without_connection: bool = False

    @property
    def late_reason(self) -> str:
        """Return the reason of a call that did not end before the deadline."""
        return f"no reply came within {self.deadline_s:g} s"


ASK_ALL_ROWS = RunPolicy()


class TrialOutcome(NamedTuple):
    """Result of one row of a trial: the raw reply, or the reason why there is no reply."""

    reply: Any
    reason: str
    # Duration of the call.
    seconds: float = 0.0
    # The service refused this request by a 400.
    is_refused: bool = False


# Reason of a call that a person ended.
INTERRUPTED_REASON = "interrupted"


@dataclass
class LiveReport:
    """Counts and cost of a live run, and the error that stopped it."""

    # Calls of ended batches that were or may have been paid for, as `costs` counts them: without
    # refused, unsent and overloaded (503) ones. All other counts are rows.
    calls: int = 0
    answered: int = 0
    # Rows that got no valid answer and are not asked again in this run, by reason.
    failed: Counter[str] = field(default_factory=Counter)
    # Row id and reason of the first failures.
    first_failures: list[tuple[str, str]] = field(default_factory=list)
    # Reason of the newest failure.
    newest_failure: str = ""
    # In USD.
    cost: float = 0.0
    # Models that replied although another model was asked.
    other_models: set[str] = field(default_factory=set)
    stopped: AskrowsError | None = None
    interrupted: bool = False
    # Calls that may run at the same time now.
    max_parallel_calls: int = 1
    # Seconds from now until the limits or the service allow another call.
    pause_s: float = 0.0
    # Why the service failed last; empty if it has replied since.
    service_failure: str = ""
    # Number of the first batch that was ingested.
    run: int | None = None
    # Replies that arrived and rows that were given up, without those that are asked again.
    replies: int = 0
    # Why a run for single rows asked nothing.
    idle_reason: str = ""
    # Only of a trial: its outcomes by row id.
    trial_outcomes: dict[str, TrialOutcome] = field(default_factory=dict)

    def fail(self, row_id: str, reason: str) -> None:
        """Count a row that failed and is not asked again in this run.

        Rows are counted by the beginning of the reason, up to a colon and a blank. The first
        MAX_NAMED_FAILURES rows are kept with their reasons. A call that a person interrupted is
        counted as INTERRUPTED_REASON, and its row is not kept. The reason becomes `newest_failure`.
        """
        self.newest_failure = reason
        if self.interrupted and reason.endswith(INTERRUPTED_REASON):
            self.failed[INTERRUPTED_REASON] += 1
            return
        self.failed[reason.partition(": ")[0]] += 1
        if len(self.first_failures) < MAX_NAMED_FAILURES:
            self.first_failures.append((row_id, reason))


OnProgress = Callable[[LiveReport], None]
