"""Measure how long work takes, as on a machine that does nothing else."""

import time

# On a busy machine, work may take this many times as long as its limit. Our choice.
MAX_BUSY_FACTOR = 20


class WorkTimer:
    """The time that work has taken since the timer was made.

    Work in this thread has its computing time, because other programs may use the processor
    meanwhile. It has at least a twentieth of the time that passes, because it may wait for a disk.
    Work on a server has the time that passes.
    """

    def __init__(self, *, is_in_thread: bool) -> None:
        """Start now; a timer of work in the thread can be read only by this thread."""
        self._is_in_thread = is_in_thread
        self._started_s = time.monotonic()
        self._thread_started_s = time.thread_time()

    @property
    def seconds(self) -> float:
        """Return the time that the work has taken until now; see the class for work in a thread."""
        passed_s = time.monotonic() - self._started_s
        if not self._is_in_thread:
            return passed_s
        computing_s = time.thread_time() - self._thread_started_s
        return max(computing_s, passed_s / MAX_BUSY_FACTOR)
