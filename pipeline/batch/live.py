"""Ask the lines of batches by our own calls: many at once through ordinary requests, within every limit.

Each reply is written as a line of the result that is not sealed yet before its slot is free, so that a killed process
loses none; the slots belong to the run, and the lines of the next batch start in those that are free. A line that fails
for the service's sake is tried again for a while and holds no other back; then its row goes back uncharged. Who comes
next ends what a dead process left: `end_dead` seals what is on disk, and the rest is open again.

An item may be asked alone, in a batch that belongs to no run. Where that was in vain it is due: an open row whose last
attempt was made alone, or that was noted as not asked yet. Two threads, or processes, never ask about one item at once:
its claim is an INSERT.
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
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from pipeline.batch import budget, ingest
from pipeline.batch.batch_files import OpenLiveBatch, account_trial, part_path, seal
from pipeline.batch.ingest import RowOutcome
from pipeline.batch.live_throttle import LONGEST_PAUSE_S, LiveThrottle
from pipeline.batch.prepare import Preparation, Prepared, Selection, StopReason
from pipeline.core import errors
from pipeline.core.command_hint import OptionHint
from pipeline.core.progress import NoProgress
from pipeline.core.states import Mode
from pipeline.engine.record import PlannedRequest, schema_refusal
from pipeline.engine.workspace import WorkspaceSession
from pipeline.gemini import requests, responses
from pipeline.gemini.models import usage_cost
from pipeline.gemini.pace import WINDOW_S, StartedCall
from pipeline.gemini.remote import next_midnight_pacific
from pipeline.store import batches, claims
from pipeline.store.answers import LOST
from pipeline.store.locks import LockLostError

PATIENCE_S = (
    60.0  # ours: where the limits leave no room for longer, what is due waits for the next command
)
LOOK_S = (
    1.0  # how often replies are synced, calls counted in the database, and others' calls looked at
)
GRACE_S = 5.0  # what is under way has so long to end after the first Ctrl-C
HASTE_S = (
    1.0  # so long an interrupted run waits for another writer; who comes next does what is left
)
WARN_AT = 0.8  # of the day's requests
REFUSALS = 3  # clear refusals (400) before any answer, after which the request itself must be wrong
SAMPLES = 3
SILENT = 2  # calls about a row in one run that got no reply, after which nothing more is paid for
BAD_REQUEST = 400  # the least HTTP code of an error
OVERLOADED = 503  # the HTTP code of a call that was not served: by flex it was shed
THREADS = (
    8  # calls about single items under way at once; each may hang for as long as a call may take
)
EVERY_S = 60.0  # between two looks at what is due
UNASKED = "not asked"
LATE = "no reply came in time"


class TrialOutcome(NamedTuple):
    """What came of one row of a trial: the reply as it came, or why there is none; and its seconds."""

    reply: Any
    reason: str
    seconds: float = 0.0
    is_refused: bool = False  # by a clear no to this one request


@dataclass
class LiveReport:
    """What became of a run: counts of items but for `calls`; `cost` in USD; what stopped it, if anything did."""

    calls: int = 0
    answered: int = 0
    failed: Counter[str] = field(
        default_factory=Counter
    )  # by reason; recorded, and not asked again in this run
    samples: list[tuple[str, str]] = field(default_factory=list)  # (item id, reason) of the first
    cost: float = 0.0
    stopped: errors.FindableError | None = None
    interrupted: bool = False
    at_once: int = 1
    waits_s: float = 0.0  # so long, by now, until the limits or the service allow another call
    run: int | None = None  # the number of the first batch that was ingested
    replies: int = (
        0  # that came, and rows that were given up; not those of rows that are asked again
    )
    why_not: str = ""  # nothing was asked alone
    tried: dict[str, TrialOutcome] = field(default_factory=dict)  # of a trial, by item id

    @property
    def done(self) -> int:
        """Return how many items need nothing more of this run."""
        return self.answered + self.failed.total()

    def fail(self, item_id: str, reason: str) -> None:
        """Count an item that failed for good in this run."""
        self.failed[reason.partition(":")[0]] += 1
        if len(self.samples) < SAMPLES:
            self.samples.append((item_id, reason))


@dataclass(eq=False)
class _PendingCall:
    request: PlannedRequest
    batch: OpenLiveBatch
    not_before: float = -math.inf  # it failed for the service's sake, and waits
    failing_since: float = math.inf  # for the service's sake
    failures: int = 0
    silent: int = 0  # of these, calls without a reply, each of which may have been paid for


OnProgress = Callable[[LiveReport], None]


def ask_rows(
    ws: WorkspaceSession,
    wanted: Selection,
    *,
    way: Mode = Mode.LIVE,
    on_progress: OnProgress = lambda _: None,
    is_alone: bool = False,
    patience_s: float = math.inf,
    deadline_s: float = math.inf,
) -> LiveReport:
    """Ask every row that is wanted, batch after batch, each ingested as it is over; of a trial what it cost is kept.

    What `is_alone` goes in one batch, of no run. A limit may make it wait for `patience_s`; no reply is waited for
    after `deadline_s`.
    """
    return _LiveRun(
        ws,
        wanted,
        way,
        on_progress=on_progress,
        is_alone=is_alone,
        patience_s=patience_s,
        deadline=ws.monotonic() + deadline_s,
    ).carried_out()


def ask_alone(
    ws: WorkspaceSession,
    ids: Sequence[str] | None = None,
    *,
    way: Mode = Mode.LIVE,
    patience_s: float = PATIENCE_S,
    deadline_s: float = math.inf,
) -> LiveReport:
    """Ask about those of some items that can be asked, alone, or all that are due; only an interrupt is raised.

    What fails again stays due, with its new reason.
    """
    if ids is None:
        ingest.end_dead(ws)
        with ws.store.read() as tx:
            ids = claims.due_ids(tx, ws.task)
        if not ids:
            return LiveReport()
    report = ask_rows(
        ws,
        Selection(among=ids),
        way=way,
        is_alone=True,
        patience_s=patience_s,
        deadline_s=deadline_s,
    )
    if report.interrupted:
        raise KeyboardInterrupt
    return report


@contextlib.contextmanager
def _on_signal(do: Callable[[], None]) -> Iterator[None]:
    """Call `do` for each SIGINT and SIGTERM during a block, in its loop; they come to the main thread alone."""
    loop = asyncio.get_running_loop()
    names = (signal.SIGINT, signal.SIGTERM)
    is_main = threading.current_thread() is threading.main_thread()
    before = {one: signal.getsignal(one) for one in names if is_main}
    ours = [one for one, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for one in ours:
        loop.add_signal_handler(one, do)
    try:
        yield
    finally:
        for one in ours:
            loop.remove_signal_handler(one)
            signal.signal(one, before[one])


class _LiveRun:
    """One run of our own calls, in an event loop; what reads or writes the database does so in threads.

    It asks batch after batch of what is wanted, each row once; those that failed for their own sake go first again.
    """

    def __init__(
        self,
        ws: WorkspaceSession,
        wanted: Selection,
        way: Mode,
        *,
        on_progress: OnProgress,
        is_alone: bool,
        patience_s: float,
        deadline: float,
    ) -> None:
        self.report = LiveReport()
        self._ws = ws
        self._way = way
        self._on_progress = on_progress
        self._is_alone = is_alone
        self._patience_s = patience_s
        self._deadline = deadline
        self._silent = 1 if is_alone else SILENT  # one that is alone is asked again and again
        self._invalid = list[str]()
        self._ended = set(wanted.without)
        wanted = replace(wanted, without=self._ended)
        self._preparation = Preparation(ws, wanted, NoProgress(), way=way, is_alone=is_alone)
        self._open: dict[int, OpenLiveBatch] = {}
        self._ready: deque[_PendingCall] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._ends: set[asyncio.Task[None]] = set()  # batches that are sealed and ingested
        self._no_more: StopReason | None = None  # why no further batch is prepared
        self._has_warned = False
        self._stop = asyncio.Event()
        self._broken: Exception | None = None
        self._service = LiveThrottle(ws, self._end, way, hurries=not math.isinf(patience_s))
        self._pace = self._service.pace
        self._refused: list[
            tuple[_PendingCall, errors.RefusedError]
        ] = []  # before any answer: whose fault is not known yet

    def carried_out(self) -> LiveReport:
        self._ws.client  # noqa: B018 - a missing key or an engine that cannot start is said before anything is written
        asyncio.run(self._run())
        if self._broken is not None:
            raise self._broken
        is_down = self._service.down is not None and not self.report.answered
        if self.report.stopped is None and is_down:
            self.report.stopped = self._service.down
        return self.report

    def _interrupt(self) -> None:
        if self.report.interrupted:
            for call in self._calls:
                call.cancel()
        else:
            self._deadline = min(self._deadline, self._ws.monotonic() + GRACE_S)
        self.report.interrupted = True
        self._stop.set()

    def _end(self, error: Exception) -> None:
        """Begin nothing more; what is no error of ours is raised again when what is under way has ended."""
        if isinstance(error, OSError):
            error = errors.ConfigurationError(str(error))
        if isinstance(error, errors.FindableError):
            self.report.stopped = self.report.stopped or error
        else:
            self._broken = self._broken or error
        self._stop.set()

    async def _run(self) -> None:
        ticking = asyncio.create_task(self._tick())
        try:
            with _on_signal(self._interrupt):
                await self._work()
                await self._finish()
        finally:
            ticking.cancel()
            for one in self._open.values():
                one.close()
                one.lock.release()

    async def _work(self) -> None:
        try:
            await asyncio.to_thread(self._count_others)
            while not self._stop.is_set():
                now = self._ws.monotonic()
                line = next((one for one in self._ready if one.not_before <= now), None)
                if line is None and self._no_more is None:
                    await self._fetch()
                    continue
                if not (self._ready or self._calls or self._ends):
                    if self._no_more is StopReason.BUDGET and not self._is_alone:
                        with self._ws.store.read() as tx:
                            self._end(budget.budgets(self._ws).without_room(tx))
                    break
                pause = self._pause(line, now)
                if pause > 0 or line is None:
                    await self._rest(pause)
                elif not self._stop.is_set() and line in self._ready:
                    self._ready.remove(line)
                    started = self._pace.start(line.request.usage.prompt, at=self._ws.monotonic())
                    self._warn_of_day()
                    self._spawn(self._ask(line, started), self._calls)
        except Exception as error:  # noqa: BLE001 - raised again when what is under way has ended
            self._end(error)

    async def _fetch(self) -> None:
        """Prepare the next batch; where there is none, look again once one of those under way is over."""
        one = await asyncio.to_thread(self._next)
        if isinstance(one, Prepared):
            assert one.lock is not None  # noqa: S101 - of our own calls
            opened = OpenLiveBatch(
                one.number, len(one.lines), one.lock, part_path(self._ws.data, one.number)
            )
            self._open[one.number] = opened
            self._ready += [_PendingCall(request, opened) for request in one.lines]
            self._no_more = StopReason.DONE if self._is_alone else None
        else:
            self._no_more, self.report.why_not = one, one.value if self._is_alone else ""

    def _next(self) -> Prepared | StopReason:
        main = self._preparation
        one = None
        if self._invalid:  # first, so that no row that asks the same is asked in their place
            again = Selection(among=self._invalid)
            self._invalid = []
            one = Preparation(self._ws, again, NoProgress(), way=self._way, run=main.run).next()
        if not isinstance(one, Prepared):
            one = main.next()
        if isinstance(one, Prepared):
            main.run = main.run or one.number
        return one

    def _pause(self, line: _PendingCall | None, now: float) -> float:
        """Return how long the next line waits, in seconds; 0.0 where it may be asked now."""
        if now >= self._deadline:
            self._end(errors.UnavailableError(LATE, hint="run the same command again later"))
            return LOOK_S
        self.report.at_once = self._service.at_once(in_flight=len(self._calls))
        if line is None or len(self._calls) >= self.report.at_once:
            until = min(
                self._deadline,
                *(one.not_before for one in self._ready if one.not_before > now),
                math.inf,
            )
            self.report.waits_s = 0.0 if self._calls else until - now
            return min(LOOK_S, max(0.001, until - now))
        tokens = line.request.usage.prompt
        most = self._ws.limits.tpm
        if most is not None and tokens > most:
            self._ready.remove(line)
            why = (
                f"a call of {tokens} tokens can never start under a limit of {most} tokens a minute"
            )
            self._give_up(line, why, is_lost=False)
            return 0.0
        pause = self.report.waits_s = max(
            0.0, self._service.hold_until - now, self._pace.wait(tokens, at=now)
        )
        if math.isinf(pause):
            if not self._calls:
                ws = self._ws
                resets_at = next_midnight_pacific(self._ws.now())
                said = f"the {ws.limits.rpd:,} requests a day of {ws.model.name} are used up; nothing was lost"
                when = f"run the same command after {resets_at:%Y-%m-%d %H:%M} UTC, when they begin anew; "
                more = (
                    f"set {OptionHint('tier')} or {OptionHint('rpd')} where your project has more"
                )
                self._end(errors.ThrottledError(said, hint=when + more, resets_at=resets_at))
            return LOOK_S
        if pause > self._patience_s:
            self._end(
                errors.ThrottledError(
                    f"the limits leave no room for another {pause:.0f} s", retry_after_s=pause
                )
            )
            return LOOK_S
        return min(pause, LOOK_S)

    async def _rest(self, seconds: float) -> None:
        others = [
            asyncio.ensure_future(self._stop.wait()),
            asyncio.ensure_future(self._ws.asleep(seconds)),
        ]
        try:
            await asyncio.wait(
                [*others, *self._calls, *self._ends], return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for one in others:
                one.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None], among: set[asyncio.Task[None]]) -> None:
        """Begin work that stands among others of its kind until it is over; what goes wrong in it ends the run."""

        async def guarded() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - raised again when what is under way has ended
                self._end(error)
            finally:
                self._on_progress(self.report)

        task = asyncio.create_task(guarded())
        among.add(task)
        task.add_done_callback(among.discard)

    async def _ask(self, line: _PendingCall, call: StartedCall) -> None:
        ws = self._ws
        opened = line.batch
        tier = self._way.tier
        began = self._ws.monotonic()
        try:
            await asyncio.to_thread(opened.lock.check)
        except LockLostError:
            self._pace.withdraw(call)
            raise
        opened.calls = opened.calls + 1
        self.report.calls = self.report.calls + 1
        try:
            reply = await ws.client.generate(
                ws.model.name, requests.object_of(line.request.data), tier=tier
            )
        except asyncio.CancelledError:
            self._give_up(line, "interrupted" if self.report.interrupted else LATE, is_lost=True)
            raise
        except errors.RemoteError as error:
            return self._failed(line, call, error, began=began)
        took = ws.monotonic() - began
        opened.keep(requests.reply_line(line.request.data, response=reply))
        opened.seconds += took
        if self._way is Mode.TRIAL:
            self.report.tried[line.request.item.id] = TrialOutcome(reply, "", took)
        judged = responses.judge_response(reply)
        if judged.usage.prompt:
            self._pace.settle(call, judged.usage.prompt)
        self.report.cost += usage_cost(
            ws.model, judged.usage, judged.tier or tier, on=ws.now().date()
        )
        self._service.answered(took_s=took)
        self._settle_refused()
        self._line_over(opened)
        return None

    def _failed(
        self, line: _PendingCall, call: StartedCall, error: errors.RemoteError, *, began: float
    ) -> None:
        opened = line.batch
        # Only a call whose end is unknown may have been paid for.
        if isinstance(error, errors.RefusedError | errors.NotSentError) or error.code == OVERLOADED:
            opened.calls -= 1
        if isinstance(error, errors.ThrottledError | errors.NotSentError):  # which no quota counts
            self._pace.withdraw(call)
        if isinstance(error, errors.ThrottledError):
            self._service.refused(error)
            return self._ready.appendleft(line)
        if isinstance(error, errors.LASTING_REFUSALS):
            self._end(schema_refusal(self._ws.task, error))
            return self._ready.append(line)
        if isinstance(error, errors.RefusedError):
            self._refused.append((line, error))
            if self._service.has_answered:
                self._settle_refused()
            elif len(self._refused) >= REFUSALS:
                self._end(error)
            return None
        now = self._ws.monotonic()
        settings = self._ws.settings
        self._service.failed(error, began=began, about=line.request.item.id)
        line.failures, line.failing_since = line.failures + 1, min(line.failing_since, now)
        is_silent = (error.code or 0) < BAD_REQUEST and not isinstance(error, errors.NotSentError)
        line.silent += is_silent
        if line.silent >= self._silent or now - line.failing_since > self._service.patience_s(
            error
        ):
            return self._give_up(line, error.message, is_lost=is_silent)
        pause = min(LONGEST_PAUSE_S, settings.retry_wait * 2.0 ** min(line.failures - 1, 10))
        asked_s = (
            error.retry_after_s if isinstance(error, errors.UnavailableError) else None
        ) or 0.0
        line.not_before = now + max(pause * random.uniform(0.5, 1), min(asked_s, LONGEST_PAUSE_S))  # noqa: S311 - no secret
        return self._ready.append(line)

    def _settle_refused(self) -> None:
        """Charge the rows whose requests were refused, now that others were answered."""
        refused = self._refused
        self._refused = []
        for line, error in refused:
            told = {
                "code": error.code or BAD_REQUEST,
                "message": error.message,
                "status": error.status,
            }
            line.batch.calls += 1  # its line counts as the reply to a call
            line.batch.keep(requests.reply_line(line.request.data, error=told))
            self.report.tried[line.request.item.id] = TrialOutcome(
                None, error.message, is_refused=True
            )
            self._line_over(line.batch)

    def _give_up(
        self, line: _PendingCall, reason: str, *, is_lost: bool, is_refused: bool = False
    ) -> None:
        line.batch.silent[line.request.item.id] = LOST * is_lost + reason
        self.report.tried[line.request.item.id] = TrialOutcome(None, reason, is_refused=is_refused)
        self._line_over(line.batch)

    def _line_over(self, opened: OpenLiveBatch) -> None:
        opened.left -= 1
        self.report.replies += 1
        if not opened.left and not self._stop.is_set():
            self._spawn(self._over(opened), self._ends)

    async def _over(self, opened: OpenLiveBatch) -> None:
        await asyncio.to_thread(self._seal, opened)
        if not self._is_alone:
            self._no_more = None  # what failed may be asked again, and money be free

    def _seal(self, opened: OpenLiveBatch) -> None:
        """Seal what came for a batch and ingest it; of a trial what it cost is kept, and its files go."""
        ws = self._ws
        report = self.report
        patience_s = HASTE_S if report.interrupted else None
        self._open.pop(opened.number)
        try:
            opened.close()
            self._count(opened)
            if self._way is Mode.TRIAL:
                account_trial(ws, opened.number, patience_s=patience_s)
                return
            default = (
                report.stopped.message
                if report.stopped
                else "interrupted"
                if report.interrupted
                else UNASKED
            )
            seal(ws, opened.number, patience_s=patience_s)
            self._told(
                ingest.ingest_asked(
                    ws, opened.number, opened.silent, default=default, patience_s=patience_s
                )
            )
            report.run = min(opened.number, report.run or opened.number)
        finally:
            opened.lock.release()

    def _told(self, judged: list[RowOutcome]) -> None:
        """Count what became of rows; those that failed for their own sake, and may be asked again, are so."""
        for one in judged:
            if not one.reason:
                self.report.answered += 1
                continue
            self._ended.add(one.item_id)
            if one.may_again and not self._is_alone:
                self._invalid.append(one.item_id)
                # The row is asked again: its next reply counts, and progress never exceeds its total.
                self.report.replies -= one.is_asked
            elif one.is_asked:
                self.report.fail(one.item_id, one.reason)

    async def _finish(self) -> None:
        """Let what is under way end, five seconds after a Ctrl-C; then seal and ingest what came."""
        while self._calls and (left_s := self._deadline - self._ws.monotonic()) > 0:
            await asyncio.wait(list(self._calls), timeout=min(left_s, LOOK_S))
        for call in self._calls:
            call.cancel()
        if self._calls:
            await asyncio.wait(list(self._calls), timeout=HASTE_S)
        if not self._stop.is_set():
            for (
                line,
                refusal,
            ) in self._refused:  # nothing was answered: whose fault it is stays unknown
                self._give_up(line, refusal.message, is_lost=False, is_refused=True)
        if self._ends:
            await asyncio.wait(list(self._ends))
        for opened in list(self._open.values()):
            try:
                await asyncio.to_thread(self._seal, opened)
            except errors.FindableError as error:
                is_left = self.report.interrupted and isinstance(error, errors.UnavailableError)
                if not is_left:  # else who comes next ends it
                    self._end(error)
        self.report.answered += self._preparation.given

    async def _tick(self) -> None:
        """Once a second make replies durable, count calls in the database, and take in the other processes' calls."""
        while True:
            await asyncio.sleep(LOOK_S)
            with contextlib.suppress(errors.FindableError, OSError):
                await asyncio.to_thread(self._sync)
            self._service.look(in_flight=len(self._calls))
            if self._ws.stopping.is_set() and not self.report.interrupted:
                self._interrupt()
            self._on_progress(self.report)

    def _sync(self) -> None:
        for opened in list(self._open.values()):
            if opened.calls != opened.counted:
                os.fdatasync(opened.file)
                self._count(opened)
        self._count_others()

    def _count(self, opened: OpenLiveBatch) -> None:
        if opened.calls == opened.counted:
            return
        calls = opened.calls
        day = budget.today(self._ws.now()).isoformat()
        with self._ws.store.write(patience_s=HASTE_S if self.report.interrupted else None) as tx:
            batches.note(tx, opened.number, day=day, calls=calls, seconds=opened.seconds)
        opened.counted = calls

    def _count_others(self) -> None:
        """Take in what other batches, of any process, used of the last minute and of the day."""
        ws = self._ws
        if all(limit is None for limit in ws.limits):
            return
        now = ws.now()
        at = ws.monotonic()
        name = ws.model.name
        since = now - timedelta(seconds=WINDOW_S)
        with ws.store.read() as tx:
            past = batches.calls_since(tx, name, since=since, but=list(self._open))
            used = batches.calls_of_day(tx, name, day=budget.today(now).isoformat())
        others = [
            (min(at, at - (now - moment).total_seconds()), one.tokens)
            for one in past
            for moment in _spread(one, since, now)
        ]
        uncounted = sum(one.calls - one.counted for one in list(self._open.values()))
        self._pace.prime(others, today=used + uncounted)
        self._warn_of_day()

    def _warn_of_day(self) -> None:
        most = self._ws.limits.rpd
        used = self._pace.used_today
        if most is not None and used >= WARN_AT * most and not self._has_warned:
            self._has_warned = True
            self._ws.display.warn(
                f"{used:,} of today's {most:,} requests of {self._ws.model.name} are used"
            )


def _spread(past: batches.PastCalls, since: datetime, now: datetime) -> Iterator[datetime]:
    ended = past.ended or now
    step = (ended - past.began) / past.calls
    moments = (past.began + step * number for number in range(1, past.calls + 1))
    return (one for one in moments if one >= since)


class RetryThreads:
    """Threads that ask about items that are due, from `start` to `stop`; what becomes of it stands in the database."""

    def __init__(
        self, opened: Callable[[], contextlib.AbstractContextManager[WorkspaceSession]]
    ) -> None:
        """Take what opens the workspace to be written; nothing is begun yet."""
        self._opened = opened
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="due")
        self.asking: set[Future[None]] = set()

    def start(self) -> None:
        """Look at what is due, at once and then again and again."""
        threading.Thread(target=self._look_again, name="due-rounds", daemon=True).start()

    def ask(self, ids: list[str] | None = None) -> Future[None]:
        """Ask about these, or all that are due, as soon as a thread is free, but for after `stop`."""
        try:
            asking = self._pool.submit(self.look, ids)
        except RuntimeError:  # it was shut down
            asking = Future()
            asking.set_result(None)
        self.asking.add(asking)
        asking.add_done_callback(self.asking.discard)
        return asking

    def look(self, ids: list[str] | None = None) -> None:
        """Ask about these, or all that are due, and wait for what comes of it."""
        with contextlib.suppress(errors.FindableError, KeyboardInterrupt), self._opened() as ws:
            ask_alone(ws, ids)

    def stop(self) -> None:
        """Begin nothing more."""
        self._over.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _look_again(self) -> None:
        while not self._over.is_set():
            wait([self.ask()])
            self._over.wait(EVERY_S)
