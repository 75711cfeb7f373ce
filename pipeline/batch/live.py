"""Send the requests of live batches as single API calls, many at once, within every limit.

- A reply is appended to the batch's unsealed result file before its call slot is free, so a killed
  process loses no reply.
- Call slots belong to the run: requests of the next batch start while the last calls of the
  previous batch are still running.
- A request that fails because of the service is tried again for a while and blocks no other
  request. After that its row is open again and no attempt is charged.
- The next command seals the replies that a dead process left (`ingest.recover_dead_runs`). Rows
  without a reply are open again.

A single row can be asked alone, in a batch that belongs to no run. If that fails, the row is due:
an open row whose last attempt was made alone, or whose first attempt was postponed. Two threads or
processes never ask about the same row at once, because each has to INSERT the row's claim.
"""

import asyncio
import contextlib
import math
import os
import random
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from pipeline.batch import budget, ingest
from pipeline.batch.batch_files import OpenLiveBatch, account_trial, part_path, seal_replies
from pipeline.batch.batch_plan import Selection, StopReason
from pipeline.batch.ingest import RowOutcome
from pipeline.batch.live_throttle import MAX_BACKOFF_EXPONENT, MAX_PAUSE_S, LiveThrottle
from pipeline.batch.prepare import Preparation, Prepared
from pipeline.core import errors
from pipeline.core.command_hint import OptionHint
from pipeline.core.progress import NoProgress
from pipeline.core.states import Mode
from pipeline.engine import claiming
from pipeline.engine.request_builder import PlannedRequest, explain_schema_refusal
from pipeline.engine.session import WorkspaceSession
from pipeline.gemini import requests, responses
from pipeline.gemini.api_errors import next_midnight_pacific
from pipeline.gemini.pace import WINDOW_S, StartedCall
from pipeline.gemini.usage import calculate_cost
from pipeline.store import batches
from pipeline.store.answer_counts import LOST_CALL_PREFIX
from pipeline.store.locks import LockLostError

# If the rate limits allow no call for longer than this, a due row waits for the next command.
RATE_LIMIT_TIMEOUT_S = 60.0
# How often replies are synced to disk, and calls of this and other processes are counted.
SYNC_INTERVAL_S = 1.0
# Time for running calls to end after the first Ctrl-C.
GRACE_S = 5.0
# How long an interrupted run waits for another writer; the next command does the rest.
INTERRUPTED_WRITE_TIMEOUT_S = 1.0
# Warn before the daily quota stops the run.
DAILY_QUOTA_WARNING_SHARE = 0.8
# After this many 400s without any answer, the request itself must be wrong.
MAX_INITIAL_400S = 3
MAX_FAILURE_SAMPLES = 3
# A call without a reply may have been paid for. After this many for one row, the row is given up.
MAX_UNANSWERED_CALLS = 2
# The lowest HTTP status code of an error.
MIN_ERROR_CODE = 400
# Flex returns this status code if it does not serve a call.
OVERLOADED_CODE = 503
# Threads for single rows; a thread may wait for as long as a call may take.
RETRY_THREADS = 8
# Time between two searches for due rows.
RETRY_INTERVAL_S = 60.0

NOT_ASKED_REASON = "not asked"
LATE_REASON = "no reply came in time"


class TrialOutcome(NamedTuple):
    """Result of one row of a trial: the raw reply, or the reason why there is no reply."""

    reply: Any
    reason: str
    # Duration of the call.
    seconds: float = 0.0
    # The service refused this request by a 400.
    is_refused: bool = False


@dataclass
class LiveReport:
    """Counts and cost of a live run, and the error that stopped it."""

    # Calls to the API. All other counts are rows.
    calls: int = 0
    answered: int = 0
    # Rows that got no valid answer and are not asked again in this run, by reason.
    failed: Counter[str] = field(default_factory=Counter)
    # Row id and reason of the first failures.
    samples: list[tuple[str, str]] = field(default_factory=list)
    # In USD.
    cost: float = 0.0
    stopped: errors.FindableError | None = None
    interrupted: bool = False
    # Calls that may run at the same time now.
    max_parallel_calls: int = 1
    # Seconds from now until the limits or the service allow another call.
    pause_s: float = 0.0
    # Why the service failed last; empty if it has replied since.
    service_failure: str = ""
    # Seconds without a reply to running calls.
    silent_s: float = 0.0
    # Number of the first batch that was ingested.
    run: int | None = None
    # Replies that arrived and rows that were given up, without those that are asked again.
    replies: int = 0
    # Why a run for single rows asked nothing.
    idle_reason: str = ""
    # Only of a trial: its outcomes by row id.
    trial_outcomes: dict[str, TrialOutcome] = field(default_factory=dict)

    @property
    def finished_rows(self) -> int:
        """Number of rows that this run is finished with."""
        return self.answered + self.failed.total()

    def fail(self, item_id: str, reason: str) -> None:
        """Count a row that failed and is not asked again in this run.

        The reason is counted up to its first colon. The first MAX_FAILURE_SAMPLES rows are kept as
        samples.
        """
        self.failed[reason.partition(":")[0]] += 1
        if len(self.samples) < MAX_FAILURE_SAMPLES:
            self.samples.append((item_id, reason))


@dataclass(eq=False)
class _PendingCall:
    """A request of an open live batch that has no reply yet."""

    request: PlannedRequest
    batch: OpenLiveBatch
    # Monotonic time before which the call is not repeated after a failure of the service.
    not_before: float = -math.inf
    # Monotonic time of the first failure of the service.
    failing_since: float = math.inf
    # Failures of the service.
    failures: int = 0
    # Failures without any reply; each of these calls may have been paid for.
    unanswered_calls: int = 0


OnProgress = Callable[[LiveReport], None]


def ask_rows(
    ws: WorkspaceSession,
    selection: Selection,
    *,
    mode: Mode = Mode.LIVE,
    on_progress: OnProgress = lambda _: None,
    is_single_batch: bool = False,
    patience_s: float = math.inf,
    deadline_s: float = math.inf,
) -> LiveReport:
    """Ask about the selected open rows in live batches; ingest each batch when it is complete.

    A trial also asks about named rows that are not open. It stores only its cost; its replies are
    in the report. A row whose answer is invalid or refused is asked again while it stays open,
    unless `is_single_batch`. Ctrl-C stops the run and is not raised; the report says `interrupted`.

    Args:
        selection: The rows to ask about.
        mode: The mode of the batches: live, flex, priority or trial.
        on_progress: Called with the report after each reply and once a second.
        is_single_batch: Ask in a single batch that belongs to no run.
        patience_s: The run stops if a rate limit makes a call wait longer than this.
        deadline_s: The run stops after this time, without waiting for running calls.

    Returns:
        The report. Its `stopped` is the error that ended the run early, if any.

    Raises:
        ConfigurationError: There is no usable key, or the engine cannot start. Nothing was written.
    """
    live_run = _LiveRun(
        ws,
        selection,
        mode,
        on_progress=on_progress,
        is_single_batch=is_single_batch,
        patience_s=patience_s,
        deadline=ws.monotonic() + deadline_s,
    )
    return live_run.run_to_end()


def ask_alone(
    ws: WorkspaceSession,
    row_ids: Sequence[str] | None = None,
    *,
    mode: Mode = Mode.LIVE,
    patience_s: float = RATE_LIMIT_TIMEOUT_S,
    deadline_s: float = math.inf,
) -> LiveReport:
    """Ask about single rows outside of a run: the open rows among `row_ids`, or all due rows.

    A due row is an open row whose last attempt was made alone and failed, or whose first attempt
    was postponed. Without `row_ids`, dead runs are recovered first. A row that fails again stays
    due, with its new reason. Errors of the run are in the report.

    Args:
        row_ids: The rows, or None for all due rows.
        mode: The mode of the calls.
        patience_s: Stop if a rate limit makes a call wait longer than this.
        deadline_s: Stop after this time, without waiting for running calls.

    Returns:
        The report; an empty report if no row is due.

    Raises:
        KeyboardInterrupt: The run was interrupted.
        FindableError: A batch of a dead run could not be ingested, or there is no usable key.
    """
    if row_ids is None:
        ingest.recover_dead_runs(ws)
        with ws.store.read() as tx:
            row_ids = claiming.due_ids(tx, ws.task)
        if not row_ids:
            return LiveReport()

    report = ask_rows(
        ws,
        Selection(row_ids=row_ids),
        mode=mode,
        is_single_batch=True,
        patience_s=patience_s,
        deadline_s=deadline_s,
    )
    if report.interrupted:
        raise KeyboardInterrupt
    return report


@contextlib.contextmanager
def _handling_signals(handle: Callable[[], None]) -> Iterator[None]:
    """Call `handle` in the event loop for each SIGINT and SIGTERM during a block.

    Only the main thread gets signals; in other threads nothing is changed. Ignored signals stay
    ignored. The handlers of before are restored at the end.
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
    """A run of live calls in an event loop; all database access happens in threads.

    The run prepares batch after batch of the selected rows and asks about each row once. Rows whose
    answer was invalid are asked again first.
    """

    def __init__(
        self,
        ws: WorkspaceSession,
        selection: Selection,
        mode: Mode,
        *,
        on_progress: OnProgress,
        is_single_batch: bool,
        patience_s: float,
        deadline: float,
    ) -> None:
        """Prepare a run; nothing is read or sent except the measured duration of past calls.

        Args:
            selection: The rows to ask about. Rows that the run is finished with are excluded later.
            mode: The mode of all batches and calls.
            on_progress: Called with the report after each reply and once a second.
            is_single_batch: Ask in a single batch that belongs to no run. A row is then given up
                after one call without a reply.
            patience_s: The run stops if a rate limit makes a call wait longer than this. If it is
                finite, the second 429 stops the run too.
            deadline: Monotonic time after which no reply is waited for.
        """
        self.report = LiveReport()
        self._ws = ws
        self._mode = mode
        self._on_progress = on_progress
        self._is_single_batch = is_single_batch
        self._patience_s = patience_s
        # Monotonic time after which no reply is waited for.
        self._deadline = deadline
        # A row that is asked alone stays due, and is asked again by a later command.
        self._max_unanswered_calls = 1 if is_single_batch else MAX_UNANSWERED_CALLS
        # Rows whose answer was invalid and that are asked once more.
        self._retry_ids = list[str]()
        # Rows that this run is finished with; `_preparation` excludes them too.
        self._ended_ids = set(selection.excluded_ids)
        selection = Selection(
            limit=selection.limit,
            excluded_ids=self._ended_ids,
            row_ids=selection.row_ids,
        )
        self._preparation = Preparation(
            ws,
            selection,
            NoProgress(),
            mode=mode,
            is_single_batch=is_single_batch,
        )
        self._open_batches: dict[int, OpenLiveBatch] = {}
        self._pending: deque[_PendingCall] = deque()
        self._running_calls: set[asyncio.Task[None]] = set()
        # Batches that are being sealed and ingested.
        self._closing_batches: set[asyncio.Task[None]] = set()
        # Why no further batch is prepared.
        self._end_of_rows: StopReason | None = None
        self._has_warned = False
        self._stop = asyncio.Event()
        # An error that is not ours, raised at the end of the run.
        self._unexpected_error: Exception | None = None
        self._throttle = LiveThrottle(ws, self._stop_with, mode, hurries=not math.isinf(patience_s))
        self._rate_limiter = self._throttle.rate_limiter
        # 400s before any answer: either the row or every request may be at fault.
        self._unsettled_refusals: list[tuple[_PendingCall, errors.RefusedError]] = []

    def run_to_end(self) -> LiveReport:
        """Run until all rows are asked or the run is stopped; return the report.

        If no row was answered and the last call failed because of the service, that failure is the
        report's `stopped`. Errors of the product are in the report.

        Raises:
            ConfigurationError: There is no usable key, or the engine cannot start.
            Exception: An error that is not a FindableError.
        """
        # A missing key or an engine that cannot start is reported before anything is written.
        self._ws.client  # noqa: B018
        asyncio.run(self._run())
        if self._unexpected_error is not None:
            raise self._unexpected_error

        is_service_down = self._throttle.last_failure is not None and not self.report.answered
        if self.report.stopped is None and is_service_down:
            self.report.stopped = self._throttle.last_failure
        return self.report

    def _interrupt(self) -> None:
        """Stop the run: no call starts any more.

        The first time, running calls may end within GRACE_S. The second time they are cancelled.
        """
        if self.report.interrupted:
            for call in self._running_calls:
                call.cancel()
        else:
            self._deadline = min(self._deadline, self._ws.monotonic() + GRACE_S)
        self.report.interrupted = True
        self._stop.set()

    def _stop_with(self, error: Exception) -> None:
        """Start no more calls, and keep the first error for the report.

        An OSError is kept as a ConfigurationError. An error that is not a FindableError is raised
        when the running calls have ended.
        """
        if isinstance(error, OSError):
            error = errors.ConfigurationError(str(error))
        if isinstance(error, errors.FindableError):
            self.report.stopped = self.report.stopped or error
        else:
            self._unexpected_error = self._unexpected_error or error
        self._stop.set()

    async def _run(self) -> None:
        """Start calls until the run ends, then close its batches and release their locks.

        Signals interrupt the run meanwhile, and `_tick` runs once a second.
        """
        ticking = asyncio.create_task(self._tick())
        try:
            with _handling_signals(self._interrupt):
                await self._start_calls()
                await self._finish()
        finally:
            ticking.cancel()
            for open_batch in self._open_batches.values():
                open_batch.close()
                open_batch.lock.release()

    async def _start_calls(self) -> None:
        """Start a call whenever one may start, and prepare batches, until nothing is left.

        Prepares a batch if no pending call may start now. Returns if no call is pending or running,
        no batch is closing and no row is left, or if the run is stopped. If a budget has no room,
        the run is stopped with its error, unless it is a single batch. All errors stop the run and
        are not raised.
        """
        try:
            await asyncio.to_thread(self._count_other_calls)
            while not self._stop.is_set():
                now = self._ws.monotonic()
                call = next((call for call in self._pending if call.not_before <= now), None)
                if call is None and self._end_of_rows is None:
                    await self._open_next_batch()
                    continue

                is_idle = not (self._pending or self._running_calls or self._closing_batches)
                if is_idle:
                    if self._end_of_rows is StopReason.BUDGET and not self._is_single_batch:
                        with self._ws.store.read() as tx:
                            self._stop_with(budget.current_budgets(self._ws).no_room_error(tx))
                    break

                pause_s = self._pause_before(call, now)
                if pause_s > 0 or call is None:
                    await self._wait(pause_s)
                elif not self._stop.is_set() and call in self._pending:
                    self._pending.remove(call)
                    prompt_tokens = call.request.usage.prompt
                    started_call = self._rate_limiter.start(prompt_tokens, at=self._ws.monotonic())
                    self._warn_of_daily_quota()
                    self._spawn(self._make_call(call, started_call), self._running_calls)
        except Exception as error:  # noqa: BLE001 - raised again when the running calls have ended
            self._stop_with(error)

    async def _open_next_batch(self) -> None:
        """Prepare the next batch and queue its requests, or note why no batch is possible now.

        The reason stops preparing until a batch is closed. A single batch keeps the reason in the
        report, and no second batch is prepared.
        """
        prepared = await asyncio.to_thread(self._prepare_next)
        if not isinstance(prepared, Prepared):
            self._end_of_rows = prepared
            self.report.idle_reason = prepared.value if self._is_single_batch else ""
            return

        assert prepared.lock is not None  # noqa: S101 - a live batch has a lock
        open_batch = OpenLiveBatch(
            prepared.number,
            len(prepared.requests),
            prepared.lock,
            part_path(self._ws.data, prepared.number),
        )
        self._open_batches[prepared.number] = open_batch
        self._pending += [_PendingCall(request, open_batch) for request in prepared.requests]
        self._end_of_rows = StopReason.NO_ROWS_LEFT if self._is_single_batch else None

    def _prepare_next(self) -> Prepared | StopReason:
        """Prepare a batch of rows to ask again, or else of new rows.

        The list of rows to ask again is emptied. The first batch gives the run its number. Runs in
        a thread.

        Returns:
            The batch, which is claimed and locked, or the reason why no batch is possible.
        """
        preparation = self._preparation
        prepared: Prepared | StopReason | None = None
        # Retries go first, so that no row with the same input is asked in their place.
        if self._retry_ids:
            selection = Selection(row_ids=self._retry_ids)
            self._retry_ids = []
            retry_preparation = Preparation(
                self._ws,
                selection,
                NoProgress(),
                mode=self._mode,
                run_number=preparation.run_number,
            )
            prepared = retry_preparation.prepare_next()
        if not isinstance(prepared, Prepared):
            prepared = preparation.prepare_next()
        if isinstance(prepared, Prepared):
            preparation.run_number = preparation.run_number or prepared.number
        return prepared

    def _pause_before(self, call: _PendingCall | None, now: float) -> float:
        """Return the seconds to wait before the next call; 0.0 if `call` may start now.

        Stops the run if its deadline is over, the day's quota is used up and no call is running, or
        the limits allow no call within the run's patience. Gives up a request that exceeds the
        tokens of a minute, removes it from the pending calls and returns 0.0. Sets the report's
        `pause_s` and `max_parallel_calls`.

        Args:
            call: The first pending call that may be repeated now, or None if all must wait.
            now: Monotonic time.

        Returns:
            SYNC_INTERVAL_S at most, after which the caller asks again.
        """
        if now >= self._deadline:
            late_error = errors.UnavailableError(
                LATE_REASON,
                hint="run the same command again later",
            )
            self._stop_with(late_error)
            return SYNC_INTERVAL_S

        self.report.max_parallel_calls = self._throttle.max_parallel(
            in_flight=len(self._running_calls),
        )
        if call is None or len(self._running_calls) >= self.report.max_parallel_calls:
            retry_times = [
                pending.not_before for pending in self._pending if pending.not_before > now
            ]
            next_start = min(self._deadline, *retry_times, math.inf)
            self.report.pause_s = 0.0 if self._running_calls else next_start - now
            return min(SYNC_INTERVAL_S, max(0.001, next_start - now))

        tokens = call.request.usage.prompt
        max_tokens = self._ws.limits.tpm
        if max_tokens is not None and tokens > max_tokens:
            self._pending.remove(call)
            reason = (
                f"a call of {tokens} tokens can never start under a limit of {max_tokens} "
                "tokens a minute"
            )
            self._give_up(call, reason, may_be_paid=False)
            return 0.0

        held_s = self._throttle.hold_until - now
        limited_s = self._rate_limiter.wait(tokens, at=now)
        pause_s = max(0.0, held_s, limited_s)
        self.report.pause_s = pause_s
        if math.isinf(pause_s):
            if not self._running_calls:
                self._stop_with(self._daily_quota_error())
            return SYNC_INTERVAL_S
        if pause_s > self._patience_s:
            throttled_error = errors.ThrottledError(
                f"the limits leave no room for another {pause_s:.0f} s",
                retry_after_s=pause_s,
            )
            self._stop_with(throttled_error)
            return SYNC_INTERVAL_S
        return min(pause_s, SYNC_INTERVAL_S)

    def _daily_quota_error(self) -> errors.ThrottledError:
        """Return the error for a used-up daily quota, with the time when it is reset."""
        ws = self._ws
        resets_at = next_midnight_pacific(ws.now())
        message = (
            f"the {ws.limits.rpd:,} requests a day of {ws.model.name} are used up; nothing was lost"
        )
        hint = (
            f"run the same command after {resets_at:%Y-%m-%d %H:%M} UTC, when they begin anew; "
            f"set {OptionHint('tier')} or {OptionHint('rpd')} where your project has more"
        )
        return errors.ThrottledError(message, hint=hint, resets_at=resets_at)

    async def _wait(self, seconds: float) -> None:
        """Wait for a time, or until a call or a batch ends or the run is stopped."""
        waiters = [
            asyncio.ensure_future(self._stop.wait()),
            asyncio.ensure_future(self._ws.async_sleep(seconds)),
        ]
        try:
            await asyncio.wait(
                [*waiters, *self._running_calls, *self._closing_batches],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            for waiter in waiters:
                waiter.cancel()
            await asyncio.gather(*waiters, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None], running: set[asyncio.Task[None]]) -> None:
        """Run a coroutine as a task that is in `running` until it ends; an error stops the run.

        Calls `on_progress` when the coroutine ends.
        """

        async def guard() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - raised when the running calls have ended
                self._stop_with(error)
            finally:
                self._on_progress(self.report)

        task = asyncio.create_task(guard())
        running.add(task)
        task.add_done_callback(running.discard)

    async def _make_call(self, call: _PendingCall, started_call: StartedCall) -> None:
        """Make a call, append its reply to the result file of its batch, and count it.

        The reply is in the file, but not synced, before the slot of the call is free. An error of
        the API is passed to `_handle_failure` and not raised. A trial keeps the reply in the
        report. A cancelled call gives its row up, as a call that may be paid for.

        Raises:
            LockLostError: Another process took over the batch; the call was not made.
            CancelledError: The call was cancelled.
        """
        ws = self._ws
        open_batch = call.batch
        service_tier = self._mode.tier
        started_at = ws.monotonic()
        try:
            await asyncio.to_thread(open_batch.lock.raise_if_lost)
        except LockLostError:
            self._rate_limiter.withdraw(started_call)
            raise

        open_batch.calls += 1
        self.report.calls += 1
        request_body = requests.parse_request(call.request.line)
        try:
            reply = await ws.client.generate(ws.model.name, request_body, service_tier=service_tier)
        except asyncio.CancelledError:
            reason = "interrupted" if self.report.interrupted else LATE_REASON
            self._give_up(call, reason, may_be_paid=True)
            raise
        except errors.RemoteError as error:
            self._handle_failure(call, started_call, error, started_at=started_at)
            return

        # The reply is in the file before the slot of this call is free, so a killed process loses
        # none. The file is synced every second.
        duration_s = ws.monotonic() - started_at
        open_batch.append_reply(requests.make_result_line(call.request.line, response=reply))
        open_batch.seconds += duration_s
        if self._mode is Mode.TRIAL:
            outcome = TrialOutcome(reply, "", duration_s)
            self.report.trial_outcomes[call.request.row.id] = outcome

        parsed_reply = responses.parse_response(reply)
        if parsed_reply.usage.prompt:
            self._rate_limiter.settle(started_call, parsed_reply.usage.prompt)
        self.report.cost += calculate_cost(
            ws.model,
            parsed_reply.usage,
            parsed_reply.served_tier or service_tier,
            day=ws.now().date(),
        )
        self._throttle.note_answer(took_s=duration_s)
        self._settle_refusals()
        self._count_reply(open_batch)

    def _handle_failure(
        self,
        call: _PendingCall,
        started_call: StartedCall,
        error: errors.RemoteError,
        *,
        started_at: float,
    ) -> None:
        """Decide after a failed call: repeat it, give its row up, or stop the run.

        - A 429: the call is repeated first, after the pause that the throttle sets.
        - A lasting refusal, such as a bad key: the run stops.
        - Another 400: the row is charged if a call of this run was answered. Before the first
          answer it is kept, and MAX_INITIAL_400S of them stop the run.
        - A failure of the service: the call is repeated after a pause. Its row is given up after
          too many calls without any reply, or after the throttle's patience.

        Args:
            started_at: Monotonic time at which the call started.
        """
        self._uncount_unpaid_call(call, started_call, error)
        if isinstance(error, errors.ThrottledError):
            self._throttle.note_refusal(error)
            self._pending.appendleft(call)
            return
        if isinstance(error, errors.LASTING_REFUSALS):
            self._stop_with(explain_schema_refusal(self._ws.task, error))
            self._pending.append(call)
            return
        if isinstance(error, errors.RefusedError):
            self._unsettled_refusals.append((call, error))
            if self._throttle.has_answered:
                self._settle_refusals()
            elif len(self._unsettled_refusals) >= MAX_INITIAL_400S:
                self._stop_with(error)
            return

        now = self._ws.monotonic()
        self._throttle.note_failure(error, started_s=started_at, row_id=call.request.row.id)
        call.failures += 1
        call.failing_since = min(call.failing_since, now)
        was_sent = not isinstance(error, errors.NotSentError)
        is_unanswered = (error.code or 0) < MIN_ERROR_CODE and was_sent
        call.unanswered_calls += is_unanswered

        is_too_silent = call.unanswered_calls >= self._max_unanswered_calls
        is_too_old = now - call.failing_since > self._throttle.patience_s(error)
        if is_too_silent or is_too_old:
            self._give_up(call, error.message, may_be_paid=is_unanswered)
            return

        call.not_before = now + self._backoff_s(call, error)
        self._pending.append(call)

    def _uncount_unpaid_call(
        self,
        call: _PendingCall,
        started_call: StartedCall,
        error: errors.RemoteError,
    ) -> None:
        """Take back the count of a call that was certainly not paid for, or not counted by quota.

        A refused or unsent call, or a call with status 503, is not counted as paid for. A throttled
        or unsent call is withdrawn from the rate limiter.
        """
        is_unpaid = isinstance(error, errors.RefusedError | errors.NotSentError)
        if is_unpaid or error.code == OVERLOADED_CODE:
            call.batch.calls -= 1
        if isinstance(error, errors.ThrottledError | errors.NotSentError):
            self._rate_limiter.withdraw(started_call)

    def _backoff_s(self, call: _PendingCall, error: errors.RemoteError) -> float:
        """Return the seconds until a failed call is repeated: doubled each time, with jitter.

        At least the time that the service asked for, and never more than MAX_PAUSE_S.
        """
        exponent = min(call.failures - 1, MAX_BACKOFF_EXPONENT)
        pause_s = min(MAX_PAUSE_S, self._ws.settings.retry_wait * 2.0**exponent)
        jitter = random.uniform(0.5, 1)  # noqa: S311 - no secret
        requested_s = None
        if isinstance(error, errors.UnavailableError):
            requested_s = error.retry_after_s
        return max(pause_s * jitter, min(requested_s or 0.0, MAX_PAUSE_S))

    def _settle_refusals(self) -> None:
        """Charge the rows whose requests got a 400, because other requests were answered.

        Appends each refusal as the reply to its call, so the ingest charges the row. The kept
        refusals are emptied.
        """
        refusals = self._unsettled_refusals
        self._unsettled_refusals = []
        for call, error in refusals:
            error_document = {
                "code": error.code or MIN_ERROR_CODE,
                "message": error.message,
                "status": error.status,
            }
            # The line of the refusal counts as the reply to a call.
            call.batch.calls += 1
            call.batch.append_reply(
                requests.make_result_line(call.request.line, error=error_document),
            )
            outcome = TrialOutcome(None, error.message, is_refused=True)
            self.report.trial_outcomes[call.request.row.id] = outcome
            self._count_reply(call.batch)

    def _give_up(
        self,
        call: _PendingCall,
        reason: str,
        *,
        may_be_paid: bool,
        is_refused: bool = False,
    ) -> None:
        """Record why a row got no reply in this run; its row is open again after the ingest.

        Counts the request as finished, which may close its batch. Nothing is stored yet.

        Args:
            may_be_paid: The call may have been paid for. The reason begins with LOST_CALL_PREFIX
                then.
            is_refused: The service refused the request by a 400. Only a trial's outcome shows it.
        """
        item_id = call.request.row.id
        call.batch.failure_reasons[item_id] = (
            f"{LOST_CALL_PREFIX}{reason}" if may_be_paid else reason
        )
        self.report.trial_outcomes[item_id] = TrialOutcome(None, reason, is_refused=is_refused)
        self._count_reply(call.batch)

    def _count_reply(self, open_batch: OpenLiveBatch) -> None:
        """Count a request that needs no more calls, and close its batch after the last request."""
        open_batch.open_requests -= 1
        self.report.replies += 1
        if not open_batch.open_requests and not self._stop.is_set():
            self._spawn(self._close_batch(open_batch), self._closing_batches)

    async def _close_batch(self, open_batch: OpenLiveBatch) -> None:
        """Seal and ingest a complete batch in a thread, then let the run prepare batches again."""
        await asyncio.to_thread(self._seal_and_ingest, open_batch)
        if not self._is_single_batch:
            # Failed rows may be asked again now, and their money may be free.
            self._end_of_rows = None

    def _seal_and_ingest(self, open_batch: OpenLiveBatch) -> None:
        """Seal and ingest the replies of a batch, count its outcomes, and release its lock.

        A trial stores only its cost, and its files are deleted. Rows without a reply get the error
        that stopped the run as their reason, or "interrupted", or NOT_ASKED_REASON. An interrupted
        run waits INTERRUPTED_WRITE_TIMEOUT_S at most for another writer. The lock is released after
        an error too.

        Raises:
            FindableError: The batch could not be sealed or ingested.
        """
        ws = self._ws
        report = self.report
        patience_s = INTERRUPTED_WRITE_TIMEOUT_S if report.interrupted else None
        self._open_batches.pop(open_batch.number)
        try:
            open_batch.close()
            self._record_calls(open_batch)
            if self._mode is Mode.TRIAL:
                account_trial(ws, open_batch.number, patience_s=patience_s)
                return

            default_reason = NOT_ASKED_REASON
            if report.stopped:
                default_reason = report.stopped.message
            elif report.interrupted:
                default_reason = "interrupted"
            seal_replies(ws, open_batch.number, patience_s=patience_s)
            outcomes = ingest.ingest_live_batch(
                ws,
                open_batch.number,
                open_batch.failure_reasons,
                default_reason=default_reason,
                patience_s=patience_s,
            )
            self._count_outcomes(outcomes)
            report.run = min(open_batch.number, report.run or open_batch.number)
        finally:
            open_batch.lock.release()

    def _count_outcomes(self, outcomes: list[RowOutcome]) -> None:
        """Count answered and failed rows; queue the rows that may be asked again.

        All rows without an applied answer are excluded from later batches of new rows. A single
        batch queues no row. A row that is not queued counts as failed if it was called, and not at
        all otherwise.
        """
        for outcome in outcomes:
            if not outcome.reason:
                self.report.answered += 1
                continue

            self._ended_ids.add(outcome.row_id)
            if outcome.may_retry and not self._is_single_batch:
                self._retry_ids.append(outcome.row_id)
                # The next reply of this row counts instead, so progress never exceeds its total.
                self.report.replies -= outcome.was_called
            elif outcome.was_called:
                self.report.fail(outcome.row_id, outcome.reason)

    async def _finish(self) -> None:
        """End the running calls, then seal and ingest all open batches.

        If the run was not stopped, refusals that no answer settled give their rows up uncharged.
        Rows with a copied answer are added to the report. An error of a batch stops the run and is
        kept for the report, but an interrupted run ignores a batch that it cannot write.
        """
        await self._end_running_calls()

        # No request was answered, so the refusals may be the fault of every request.
        if not self._stop.is_set():
            for refused_call, error in self._unsettled_refusals:
                self._give_up(refused_call, error.message, may_be_paid=False, is_refused=True)

        if self._closing_batches:
            await asyncio.wait(list(self._closing_batches))
        for open_batch in list(self._open_batches.values()):
            try:
                await asyncio.to_thread(self._seal_and_ingest, open_batch)
            except errors.FindableError as error:
                # An interrupted run leaves a batch that it cannot write to the next command.
                is_unavailable = isinstance(error, errors.UnavailableError)
                if not (self.report.interrupted and is_unavailable):
                    self._stop_with(error)
        self.report.answered += self._preparation.copied_rows

    async def _end_running_calls(self) -> None:
        """Wait for running calls until the deadline, then cancel them."""
        while self._running_calls:
            remaining_s = self._deadline - self._ws.monotonic()
            if remaining_s <= 0:
                break
            await asyncio.wait(list(self._running_calls), timeout=min(remaining_s, SYNC_INTERVAL_S))
        for call in self._running_calls:
            call.cancel()
        if self._running_calls:
            await asyncio.wait(list(self._running_calls), timeout=INTERRUPTED_WRITE_TIMEOUT_S)

    async def _tick(self) -> None:
        """Once a second sync replies to disk, count calls, and check for stalls and interrupts.

        Runs until it is cancelled. Errors of the sync are ignored. The session's stop event
        interrupts the run.
        """
        while True:
            await asyncio.sleep(SYNC_INTERVAL_S)
            with contextlib.suppress(errors.FindableError, OSError):
                await asyncio.to_thread(self._sync)
            self._throttle.check_stall(in_flight=len(self._running_calls))
            if self._ws.stop_event.is_set() and not self.report.interrupted:
                self._interrupt()
            failure = self._throttle.last_failure
            self.report.service_failure = failure.message if failure else ""
            self.report.silent_s = self._throttle.silent_s(in_flight=len(self._running_calls))
            self._on_progress(self.report)

    def _sync(self) -> None:
        """Sync new replies to disk, store the number of calls, and count those of other runs.

        Only open batches that made calls since the last sync are synced and stored. The calls of
        other runs are counted each time.
        """
        for open_batch in list(self._open_batches.values()):
            if open_batch.calls != open_batch.recorded_calls:
                os.fdatasync(open_batch.descriptor)
                self._record_calls(open_batch)
        self._count_other_calls()

    def _record_calls(self, open_batch: OpenLiveBatch) -> None:
        """Store the number and duration of the calls of a batch, if their number changed.

        The calls count for today's quota. An interrupted run waits INTERRUPTED_WRITE_TIMEOUT_S at
        most.
        """
        if open_batch.calls == open_batch.recorded_calls:
            return

        calls = open_batch.calls
        quota_day = budget.quota_day(self._ws.now()).isoformat()
        patience_s = INTERRUPTED_WRITE_TIMEOUT_S if self.report.interrupted else None
        with self._ws.store.write(patience_s=patience_s) as tx:
            batches.set_columns(
                tx,
                open_batch.number,
                day=quota_day,
                calls=calls,
                seconds=open_batch.seconds,
            )
        open_batch.recorded_calls = calls

    def _count_other_calls(self) -> None:
        """Report to the rate limiter the calls that other batches made in this minute and day.

        Batches of this and of other processes count alike. The times of their calls are estimated.
        Does nothing without rate limits. May warn of the daily quota.
        """
        ws = self._ws
        if all(limit is None for limit in ws.limits):
            return

        now = ws.now()
        monotonic_now = ws.monotonic()
        model_name = ws.model.name
        window_start = now - timedelta(seconds=WINDOW_S)
        quota_day = budget.quota_day(now).isoformat()
        with ws.store.read() as tx:
            recent_calls = batches.list_past_calls(
                tx,
                model_name,
                ended_after=window_start,
                excluded_batches=list(self._open_batches),
            )
            calls_today = batches.count_calls_of_day(tx, model_name, day=quota_day)

        other_calls = list[tuple[float, int]]()
        for past_calls in recent_calls:
            for called_at in _spread_evenly(past_calls, window_start, now):
                monotonic_time = monotonic_now - (now - called_at).total_seconds()
                other_calls.append((min(monotonic_now, monotonic_time), past_calls.tokens_per_call))
        unrecorded_calls = sum(
            open_batch.calls - open_batch.recorded_calls
            for open_batch in list(self._open_batches.values())
        )
        self._rate_limiter.prime(other_calls, today=calls_today + unrecorded_calls)
        self._warn_of_daily_quota()

    def _warn_of_daily_quota(self) -> None:
        """Warn once in a run when DAILY_QUOTA_WARNING_SHARE of the day's requests are used."""
        max_requests = self._ws.limits.rpd
        if max_requests is None or self._has_warned:
            return

        used_requests = self._rate_limiter.used_today
        if used_requests >= DAILY_QUOTA_WARNING_SHARE * max_requests:
            self._has_warned = True
            self._ws.display.warn(
                f"{used_requests:,} of today's {max_requests:,} requests of "
                f"{self._ws.model.name} are used",
            )


def _spread_evenly(
    past_calls: batches.PastCalls,
    window_start: datetime,
    now: datetime,
) -> Iterator[datetime]:
    """Yield assumed times of the calls of a batch: evenly spread, and not before the window.

    Times more than one window in the future are left out.
    """
    finished_at = past_calls.finished_at or now
    interval = (finished_at - past_calls.started_at) / past_calls.call_count
    # A call further in the future was recorded by a wrong clock, and would fill each minute anew.
    latest = now + timedelta(seconds=WINDOW_S)
    for number in range(1, past_calls.call_count + 1):
        called_at = past_calls.started_at + interval * number
        if window_start <= called_at <= latest:
            yield called_at


class RetryThreads:
    """Threads that ask about due rows from `start` until `stop`; outcomes are in the database."""

    def __init__(
        self,
        open_session: Callable[[], contextlib.AbstractContextManager[WorkspaceSession]],
    ) -> None:
        """Prepare the threads without starting them.

        Args:
            open_session: Opens the workspace for writing.
        """
        self._open_session = open_session
        self._stop_event = threading.Event()
        self._pool = ThreadPoolExecutor(RETRY_THREADS, thread_name_prefix="due")
        self.running_asks: set[Future[None]] = set()

    def start(self) -> None:
        """Ask about all due rows now and then every RETRY_INTERVAL_S, in the background."""
        threading.Thread(target=self._repeat, name="due-rounds", daemon=True).start()

    def submit(self, ids: list[str] | None = None) -> Future[None]:
        """Ask about these rows, or all due rows, when a thread is free.

        After `stop` nothing is asked, and the returned future is complete.

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
            contextlib.suppress(errors.FindableError, KeyboardInterrupt),
            self._open_session() as ws,
        ):
            ask_alone(ws, ids)

    def stop(self) -> None:
        """Start nothing more, and do not wait for running calls."""
        self._stop_event.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _repeat(self) -> None:
        while not self._stop_event.is_set():
            wait([self.submit()])
            self._stop_event.wait(RETRY_INTERVAL_S)
