"""The progress of live calls."""

import math
from dataclasses import dataclass

from askrows.pipeline.batch.run_result import RunResult
from askrows.pipeline.core.states import describe_reason
from askrows.pipeline.core.text import format_usd, shorten

# A shorter wait for the API is normal and not shown.
MIN_SHOWN_WAIT_S = 5.0
MAX_SHOWN_REASON_CHARS = 90


@dataclass
class LiveProgress:
    """The progress of the calls of a run, for a person who watches them."""

    # The name of the provider that is called.
    provider: str
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

    def describe(self, result: RunResult) -> str:
        """Return a note about the calls.

        It has, in this order:

        - the number of calls at the same time
        - a failure of the provider
        - how long the next call must wait, from MIN_SHOWN_WAIT_S; a wait without a known end is
          left out
        - the number of failures and the newest reason
        - the cost, except 0

        Reasons are cut to MAX_SHOWN_REASON_CHARS.
        """
        notes = [f"{self.max_parallel_calls} at once"]
        if self.service_failure:
            failure = self.service_failure.removeprefix(
                f"{self.provider} failed on the request to "
            )
            notes.append(f"{self.provider} fails ({shorten(failure, MAX_SHOWN_REASON_CHARS)})")
        if MIN_SHOWN_WAIT_S <= self.pause_s < math.inf:
            notes.append(f"waits {self.pause_s:.0f} s for the API")
        if result.failed:
            failure = shorten(describe_reason(self.newest_failure), MAX_SHOWN_REASON_CHARS)
            notes.append(f"{result.failed.total()} failed ({failure})")
        if result.calls_cost:
            notes.append(format_usd(result.calls_cost))
        return ", ".join(notes)
