"""Measure how long work of a thread takes, as on a machine that does nothing else."""

import time

# On a busy machine, work may take this many times as long as its limit. Our choice.
MAX_BUSY_FACTOR = 20


class WorkTimer:
    """The time that work in this thread has taken since the timer was made.

    It is the thread's computing time, because other programs may use the processor meanwhile. It is
    at least a twentieth of the time that passes, because the work may wait for a disk.
    """

    def __init__(self) -> None:
        """Start now; the timer can be read only by this thread."""
        self._started_s = time.monotonic()
        self._thread_started_s = time.thread_time()

    @property
    def seconds(self) -> float:
        """Return the time that the work has taken until now."""
        passed_s = time.monotonic() - self._started_s
        computing_s = time.thread_time() - self._thread_started_s
        return max(computing_s, passed_s / MAX_BUSY_FACTOR)
