"""Send the requests of live batches as single API calls, many at once, within every limit.

- The requests of open batches are in a queue. A call starts when `LiveThrottle.acquire` returns,
  and runs as a task of its own.
- Call slots belong to the run: requests of the next batch start while the last calls of the
  previous batch are still running.
- `live_calls` handles replies and failures; `live_batches` prepares, seals and
  ingests the batches in threads.
- The next command seals the replies that a dead process left; rows without a reply are open again
  (`ingest.ingest_live_batches_of_dead_processes`).
- A run with `is_single_batch` asks about a few rows in one batch, and no row again.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from askrows.pipeline.batch.batch_plan import Selection
from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.run_result import RunResult, RunStop, StopReason
from askrows.pipeline.core import errors
from askrows.pipeline.core.progress import ProgressBar
from askrows.pipeline.run.live_batches import INTERRUPTED_WRITE_TIMEOUT_S, LiveBatches
from askrows.pipeline.run.live_calls import LiveCalls, PendingCall
from askrows.pipeline.run.live_throttle import CHECK_INTERVAL_S, LiveThrottle

# Time for running calls to end after the first Ctrl-C.
GRACE_S = 5.0


def ask_rows(
    run: Run,
    selection: Selection,
    result: RunResult,
    bar: ProgressBar,
) -> None:
    """Ask about the selected open rows in live batches; ingest each batch when it is complete.

    A trial, which tests a prompt, also asks about named rows that are not open. It stores only
    outcome counts and cost; its replies are in the result. A row whose answer is invalid or refused
    is asked again while it stays open, unless the run has a single batch. Ctrl-C stops the run and
    is not raised: it is the reason in the result, and so is an error that ended the run early.

    Args:
        run: The run, with mode and limits: live, flex or decide, or a trial.
        selection: The rows to ask about.
        result: Gets the counts and costs of the calls.
        bar: Shows the replies, after each reply and once a second.

    Raises:
        ConfigurationError: There is no usable key, or the engine cannot start; no row was claimed.
    """
    batches = LiveBatches(run, selection, result)
    _LiveRun(batches, bar).run_to_end()


@contextlib.contextmanager
def _handling_signals(handle: Callable[[], None]) -> Iterator[None]:
    """Call `handle` in the event loop for each SIGINT and SIGTERM while this context is active.

    Only the main thread gets signals; in other threads nothing is changed. Ignored signals stay
    ignored. The earlier handlers are restored at the end.
    """
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    is_main_thread = threading.current_thread() is threading.main_thread()
    previous_handlers = {name: signal.getsignal(name) for name in signals if is_main_thread}
    unhandled = (signal.SIG_IGN, None)
    handled_signals = [
        name for name, handler in previous_handlers.items() if handler not in unhandled
    ]
    for name in handled_signals:
        loop.add_signal_handler(name, handle)
    try:
        yield
    finally:
        for name in handled_signals:
            loop.remove_signal_handler(name)
            signal.signal(name, previous_handlers[name])


class _LiveRun:
    """A run of live calls in an event loop; all database access happens in threads."""

    def __init__(self, batches: LiveBatches, bar: ProgressBar) -> None:
        """Prepare a run; nothing is read or sent yet.

        Args:
            batches: The batches of the run, with its run and result.
            bar: Shows the replies, after each reply and once a second.
        """
        self.result = batches.result
        self._progress = batches.progress
        self._run = batches.run
        self._bar = bar
        self._batches = batches
        self._throttle = LiveThrottle(self._run, self.result, self._progress)
        self._calls = LiveCalls(self._run, self._throttle, self.result)
        # Batches that are being sealed and ingested.
        self._closing_batches: set[asyncio.Task[None]] = set()

    def run_to_end(self) -> None:
        """Run until all rows are asked or the run is stopped.

        An AskrowsError that stops the run is not raised: it is the reason in the result. If no row
        was answered and the last call failed because of the service, this failure is the reason,
        too.

        Raises:
            ConfigurationError: Before the run, because there is no usable key or the engine cannot
                start.
            Exception: An error that is not a AskrowsError stopped the run.
        """
        # A missing key or an engine that cannot start is reported before anything is written.
        self._run.open_client()
        asyncio.run(self._make_calls())
        if self._throttle.unexpected_error is not None:
            raise self._throttle.unexpected_error

        failure = self._throttle.last_failure
        if failure is not None and not self.result.answered_by_calls:
            self.result.record_calls_error(failure)

    async def _make_calls(self) -> None:
        """Start calls until the run ends, then close its batches and release their locks.

        If this fails, only the locks are released. A signal interrupts the run. Once a second the
        reply files are synced, until the end.
        """
        ticking = asyncio.create_task(self._sync_and_check_stall_each_second())
        try:
            with _handling_signals(self._record_interrupt_and_stop_calls):
                await self._start_calls()
                await self._end_calls_and_ingest_open_batches()
        finally:
            ticking.cancel()
            self._batches.release()

    # Calls

    async def _start_calls(self) -> None:
        """Start the queued calls as the limits allow, until no row is left or the run is stopped.

        All errors stop the run and are not raised. If a budget has too little left for further
        rows, its error stops the run; a run with a single batch ends without an error then.
        """
        try:
            await self._count_other_calls()
            while (call := await self._take_next_call_or_prepare_batch()) is not None:
                started_call = await self._throttle.acquire(call.prompt_tokens)
                if started_call is not None:
                    call_work = self._calls.make_call(call, started_call)
                    self._spawn(call_work, self._throttle.running_calls)
            if not self._throttle.is_stopped:
                self._batches.check_budget()
        except Exception as error:  # noqa: BLE001 - raised again when the running calls have ended
            self._throttle.stop(error)

    async def _take_next_call_or_prepare_batch(self) -> PendingCall | None:
        """Return the next call that may be made now; wait until a call may be made.

        If no queued call may be made now, and another batch may be possible, that batch is prepared
        and its requests are queued. Otherwise the method waits while calls are queued or running or
        batches are closing.

        Returns:
            The call, removed from the queue, or None if the run is stopped, or if no call is
            queued, running or closing and no row is left.

        Raises:
            UnavailableError: The deadline of the run is over.
        """
        while not self._throttle.is_stopped:
            self._throttle.raise_if_late()
            call = self._calls.pop_ready()
            if call is not None:
                return call

            if self._batches.may_have_rows:
                opened = await asyncio.to_thread(self._batches.open_next)
                if opened is not None:
                    open_batch, planned_requests = opened
                    self._calls.queue_requests(open_batch, planned_requests)
                    self._close_complete_batches()
            elif self._calls.queue or self._throttle.running_calls or self._closing_batches:
                await self._wait_for_call()
            else:
                return None
        return None

    async def _wait_for_call(self) -> None:
        """Wait until a queued call may be repeated, the deadline, or the end of a call or batch.

        Returns after CHECK_INTERVAL_S at the latest. Sets the `pause_s` of the progress.
        """
        remaining_s = self._throttle.deadline - self._run.workspace.monotonic()
        pause_s = min(self._calls.seconds_to_next(), remaining_s)
        self._progress.pause_s = 0.0 if self._throttle.running_calls else pause_s
        await self._throttle.wait_for_change(min(CHECK_INTERVAL_S, max(0.001, pause_s)))

    def _spawn(self, work: Coroutine[Any, Any, None], running: set[asyncio.Task[None]]) -> None:
        """Start a coroutine as a task and do not wait for it; an error of it stops the run.

        The task is in `running` until it ends. When the coroutine ends, batches that are complete
        are closed, and the progress is shown.
        """

        async def guard() -> None:
            """Do the work and close complete batches; an error stops the run. Show the progress."""
            try:
                await work
                self._close_complete_batches()
            except Exception as error:  # noqa: BLE001 - raised when the running calls have ended
                self._throttle.stop(error)
            finally:
                self._show_progress()

        def discard(task: asyncio.Task[None]) -> None:
            running.discard(task)
            self._throttle.notify()

        task = asyncio.create_task(guard())
        running.add(task)
        task.add_done_callback(discard)

    # Batches

    def _close_complete_batches(self) -> None:
        """Start to close the batches whose requests need no more calls, unless the run stops."""
        if self._throttle.is_stopped:
            return
        for open_batch in self._batches.pop_complete():
            closing = asyncio.to_thread(self._batches.seal_ingest_and_unlock, open_batch)
            self._spawn(closing, self._closing_batches)

    # The end

    def _record_interrupt_and_stop_calls(self) -> None:
        """Let no further call start after an interrupt, and record it in the result.

        At the first interrupt of a run, running calls may end within GRACE_S. At the second, they
        are cancelled.
        """
        if self.result.is_interrupted:
            for call in self._throttle.running_calls:
                call.cancel()
        else:
            grace_end = self._run.workspace.monotonic() + GRACE_S
            self._throttle.deadline = min(self._throttle.deadline, grace_end)
        self.result.stop = RunStop(StopReason.INTERRUPTED)
        self._throttle.stop()

    async def _end_calls_and_ingest_open_batches(self) -> None:
        """End the running calls, then seal and ingest all open batches.

        If the run was not stopped, but no call was answered, the rows whose request got a 400 are
        given up. The attempts are not charged, because the fault may be in all requests.

        An error of a batch stops the run and becomes the reason in the result. An interrupted run
        ignores the error that the database is not available; the next command ingests the batch.
        Rows that got the answer of an equal row are added to the answered rows of the result.
        """
        await self._end_running_calls()
        if not self._throttle.is_stopped:
            self._calls.give_up_refused()
            self._close_complete_batches()

        if self._closing_batches:
            await asyncio.wait(list(self._closing_batches))
        while self._batches.open:
            open_batch = self._batches.open.pop(min(self._batches.open))
            try:
                await asyncio.to_thread(self._batches.seal_ingest_and_unlock, open_batch)
            except errors.AskrowsError as error:
                # An interrupted run leaves a batch that it cannot write to the next command.
                is_unavailable = isinstance(error, errors.UnavailableError)
                if not (self.result.is_interrupted and is_unavailable):
                    self._throttle.stop(error)
        self.result.answered_by_calls += self._batches.equal_rows

    async def _end_running_calls(self) -> None:
        """Wait for running calls until the throttle's deadline, then cancel them.

        The deadline is that of the run; an interrupt shortens it to GRACE_S. Cancelled calls
        get INTERRUPTED_WRITE_TIMEOUT_S to end.
        """
        while self._throttle.running_calls:
            remaining_s = self._throttle.deadline - self._run.workspace.monotonic()
            if remaining_s <= 0:
                break
            timeout_s = min(remaining_s, CHECK_INTERVAL_S)
            await asyncio.wait(list(self._throttle.running_calls), timeout=timeout_s)
        for call in self._throttle.running_calls:
            call.cancel()
        if self._throttle.running_calls:
            await asyncio.wait(
                list(self._throttle.running_calls), timeout=INTERRUPTED_WRITE_TIMEOUT_S
            )

    # Once a second

    async def _sync_and_check_stall_each_second(self) -> None:
        """Once a second sync the reply files, and check for stalls and interrupts.

        Also counts the calls of other processes for the rate limits. Runs until it is cancelled.
        Errors of the sync are ignored. The run's stop event interrupts the run. Sets
        `service_failure` of the progress, and shows it.
        """
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            with contextlib.suppress(errors.AskrowsError, OSError):
                await asyncio.to_thread(self._batches.sync)
                await self._count_other_calls()
            self._throttle.check_stall()
            if self._run.stop_event.is_set() and not self.result.is_interrupted:
                self._record_interrupt_and_stop_calls()
            failure = self._throttle.last_failure
            self._progress.service_failure = failure.message if failure else ""
            self._show_progress()

    def _show_progress(self) -> None:
        """Show the number of replies in the bar, with a note about the calls."""
        self._bar.show(self._progress.replies, note=self._progress.describe(self.result))

    async def _count_other_calls(self) -> None:
        """Count for the rate limiter the calls of other runs in this minute and day."""
        other_calls, calls_today = await asyncio.to_thread(
            self._batches.read_recent_calls_and_count_today
        )
        self._throttle.rate_limiter.replace_calls_of_other_processes(
            other_calls, used_today=calls_today
        )
