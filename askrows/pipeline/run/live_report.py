"""The rules of live calls, and their progress."""

import math
from collections.abc import Callable
from dataclasses import dataclass


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


@dataclass
class LiveProgress:
    """The progress of the calls of a run, for a person who watches them."""

    # Calls that may run at the same time now.
    max_parallel_calls: int = 1
    # Seconds from now until the limits or the service allow another call.
    pause_s: float = 0.0
    # Why the service failed last; empty if it has replied since.
    service_failure: str = ""
    # Reason of the newest failure of a row.
    newest_failure: str = ""
    # Replies that arrived and rows that were given up, without those that are asked again.
    replies: int = 0


OnProgress = Callable[[LiveProgress], None]
