"""The progress of live calls."""

from collections.abc import Callable
from dataclasses import dataclass


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
