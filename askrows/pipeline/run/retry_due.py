"""Ask about single rows outside of a run, and about rows that are due.

A single row can be asked alone, in a batch that belongs to no run. If that fails, the row is due:
an open row whose last attempt was made alone, or whose first attempt was postponed. Two threads or
processes never ask about the same row at once, because each has to INSERT the row's claim.
"""

import contextlib
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace

from askrows.pipeline.batch import ingest
from askrows.pipeline.batch.batch_plan import Selection
from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.run_result import RunResult
from askrows.pipeline.core.errors import AskrowsError
from askrows.pipeline.core.states import Mode
from askrows.pipeline.run.live import ask_rows
from askrows.pipeline.run.modes import choose_mode
from askrows.pipeline.tasks import claiming

# If the rate limits allow no call for longer than this, a due row waits for the next command.
RATE_LIMIT_TIMEOUT_S = 60.0
# Threads for single rows; a thread may wait for as long as a call may take.
RETRY_THREADS = 8
# Time between two searches for due rows.
RETRY_INTERVAL_S = 60.0


def ask_single_rows(
    run: Run,
    result: RunResult,
    row_ids: Sequence[str] | None = None,
    *,
    patience_s: float = RATE_LIMIT_TIMEOUT_S,
    deadline_s: float = math.inf,
) -> None:
    """Ask about single rows in live calls outside of a run.

    Without `row_ids`, dead live runs are ended first, and the rows are all due rows of the task.
    Due are open rows that were asked alone before and got no reply, or whose first attempt was
    postponed.

    A row that gets no reply is not asked again by this command. It becomes or stays due, with its
    new reason. Errors of the calls are in the result.

    Args:
        run: The run.
        result: Gets the figures; none if no row is due.
        row_ids: The open rows among these are asked; None asks all due rows.
        patience_s: Stop if a rate limit makes a call wait longer than this.
        deadline_s: Stop this many seconds after the start, without waiting for running calls.

    Raises:
        KeyboardInterrupt: The run was interrupted.
        AskrowsError: A batch of a dead run could not be ingested, or there is no usable key.
    """
    if row_ids is None:
        ingest.recover_dead_runs(run)
        row_ids = run.workspace.store.query(claiming.find_due_ids, run.task)
        if not row_ids:
            return

    single_ws = replace(
        choose_mode(run, Mode.LIVE),
        is_single_batch=True,
        patience_s=patience_s,
        deadline_s=deadline_s,
        stops_without_connection=True,
    )
    ask_rows(single_ws, Selection(row_ids=row_ids), result)
    if result.is_interrupted:
        raise KeyboardInterrupt


class RetryThreads:
    """Threads that ask about due rows from `start` until `stop`; outcomes are in the database."""

    def __init__(
        self,
        open_run: Callable[[], contextlib.AbstractContextManager[Run]],
    ) -> None:
        """Prepare the threads without starting them.

        Args:
            open_run: Opens the workspace for writing.
        """
        self._open_run = open_run
        self._stop_event = threading.Event()
        self._pool = ThreadPoolExecutor(RETRY_THREADS, thread_name_prefix="due")
        self.running_asks: set[Future[None]] = set()

    def start(self) -> None:
        """Ask about all due rows now and then every RETRY_INTERVAL_S, in the background."""
        threading.Thread(target=self._repeat, name="due-rounds", daemon=True).start()

    def submit(self, ids: list[str] | None = None) -> Future[None]:
        """Start to ask about these rows, or all due rows, when a thread is free; return the future.

        Errors are ignored: the rows stay due, with the reason in the database. After `stop` nothing
        is asked, and the returned future is complete.

        Args:
            ids: The rows, or None for all due rows.
        """
        try:
            asking = self._pool.submit(self.ask_and_wait, ids)
        except RuntimeError:
            # The pool was shut down.
            asking = Future()
            asking.set_result(None)
        self.running_asks.add(asking)
        asking.add_done_callback(self.running_asks.discard)
        return asking

    def ask_and_wait(self, ids: list[str] | None = None) -> None:
        """Ask about these rows, or all due rows, and wait for their outcomes.

        Errors are ignored: the rows stay due, with the reason in the database.
        """
        with (
            contextlib.suppress(AskrowsError, KeyboardInterrupt),
            self._open_run() as run,
        ):
            ask_single_rows(run, RunResult(), ids)

    def stop(self) -> None:
        """Start nothing more, and do not wait for running calls."""
        self._stop_event.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _repeat(self) -> None:
        while not self._stop_event.is_set():
            wait([self.submit()])
            self._stop_event.wait(RETRY_INTERVAL_S)
