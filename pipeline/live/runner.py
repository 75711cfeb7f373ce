"""Asking live: many items at once through ordinary calls, within every limit, and nobody asked twice.

One loop decides when the next call may start; each call is a task of its own, which holds no connection while it waits
(see `clerk`). An item that fails for its own sake is asked once more and then parked, as in batches; one that fails
with the service is asked once more, then that is recorded and the run goes on. Where nothing comes back at all, one
call at a time is made until something does, or patience ends.

Ctrl-C inside an event loop: the first asks to finish what is under way, the second to stop at once.
"""

import asyncio
import contextlib
import functools
import math
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.core.errors import FindableError, RemoteError, ThrottledError
from pipeline.core.states import CallEnd, Outcome
from pipeline.cost.budget import BudgetError, today
from pipeline.engine.record import Judgement, judge_reply
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini import requests, responses
from pipeline.gemini.rate_limiter import Limiter, TooLargeError
from pipeline.live import write_ahead
from pipeline.live.backpressure import Backpressure
from pipeline.live.concurrency import STALL_S, Concurrency
from pipeline.live.write_ahead import CallLedger, EndedCall, LiveQuestion, OutdatedError, Purpose, count_asked
from pipeline.live.writer import LAST_S, DbWriter
from pipeline.store import live_calls

if TYPE_CHECKING:
    from pipeline.gemini.async_client import LiveClient
    from pipeline.store.database import Connection


@contextlib.contextmanager
def on_interrupt(on_signal: Callable[[], None]) -> Iterator[None]:
    """Call `on_signal` for each SIGINT and SIGTERM during a block, in the loop that runs it.

    What is ignored stays ignored. Signals reach the main thread alone; in another one nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ours = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in ours:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in ours:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])


GRACE_S = 5.0  # what is under way has so long to finish after the first Ctrl-C
LOOK_S = 1.0  # at least so often the loop looks at the clock, the other processes' calls, and a stall
WARN_AT = 0.8  # of the day's requests
SAMPLES = 3
UNKEPT = "its answer could not be kept"
HAD = "an answer that came could not be kept, and what it cost is counted"


class QuestionSource(Protocol):
    """Where questions come from, page by page."""

    def page(self, tx: "Connection", *, but: "frozenset[str]") -> Sequence[LiveQuestion]:
        """Return the next questions in the order of rows, none of these items; nothing when there are no more."""

    def again(self, tx: "Connection", item_id: str) -> LiveQuestion | None:
        """Return one item's question as its row stands now, with more room after an answer that was cut."""


@dataclass
class LiveReport:
    """What became of a run: counts of items but for `calls`; `cost` in USD; what stopped it, if anything did."""

    calls: int = 0
    answered: int = 0
    elsewhere: int = 0  # answered, claimed or removed by others meanwhile
    failed: Counter[str] = field(default_factory=Counter)  # by reason; recorded, and not asked again in this run
    samples: list[tuple[str, str]] = field(default_factory=list)  # (item id, reason) of the first
    cost: float = 0.0
    throttled: int = 0
    stopped: FindableError | None = None
    interrupted: bool = False
    is_down: bool = False  # the last call failed for the service's sake

    @property
    def done(self) -> int:
        """Return how many items need nothing more of this run."""
        return self.answered + self.elsewhere + self.failed.total()

    def fail(self, item_id: str, reason: str) -> None:
        """Count an item that failed for good in this run."""
        self.failed[reason.partition(":")[0]] += 1
        if len(self.samples) < SAMPLES:
            self.samples.append((item_id, reason))


class ProgressListener(Protocol):
    """Who is told how a run comes along."""

    def show(self, report: LiveReport, *, width: int) -> None:
        """Take how far it has come, and how many calls may be under way at once."""


class NullListener:
    """Watches nothing."""

    def show(self, report: LiveReport, *, width: int) -> None:
        """Take what nobody looks at."""


@dataclass
class _Entry:
    """A question on its way, with how often the service failed it in this run."""

    question: LiveQuestion
    failures: int = 0

    @property
    def id(self) -> str:
        return self.question.item.id


def ask_live(
    ws: OpenWorkspace,
    account: CallLedger,
    questions: QuestionSource,
    *,
    watching: ProgressListener,
    patience_s: float = math.inf,
) -> LiveReport:
    """Ask everything that `questions` gives, and return what became of it; what was not asked is untouched.

    Where a limit would make it wait for longer than `patience_s`, it stops instead. The first Ctrl-C or SIGTERM lets
    what is under way finish for five seconds; a second one ends it at once.
    """
    return asyncio.run(_run(ws, account, questions, watching=watching, patience_s=patience_s))


async def _run(
    ws: OpenWorkspace, account: CallLedger, questions: QuestionSource, *, watching: ProgressListener, patience_s: float
) -> LiveReport:
    """Ask within one event loop; see `ask`."""
    client = ws.client
    async with DbWriter(ws.store) as clerk, client.live() as live:
        crew = _LiveRunner(ws, account, questions, clerk=clerk, live=live, watching=watching, patience_s=patience_s)
        with on_interrupt(crew.interrupt):
            await crew.work()
        return crew.report


class _LiveRunner:
    """The loop and the calls of one run."""

    def __init__(
        self,
        ws: OpenWorkspace,
        account: CallLedger,
        questions: QuestionSource,
        *,
        clerk: DbWriter,
        live: "LiveClient",
        watching: ProgressListener,
        patience_s: float,
    ) -> None:
        self.report = LiveReport()
        self._patience_s = patience_s
        self._rt, self._account, self._questions = ws, account, questions
        self._clerk, self._live, self._watching = clerk, live, watching
        now = ws.monotonic()
        self._limiter = Limiter(account.limits, at=now)
        self._width = Concurrency(ws.settings.concurrency, at=now)
        self._waiting: deque[_Entry] = deque()
        self._in_flight: dict[asyncio.Task[None], str] = {}
        self._handled: set[str] = set()  # that may be open still and are not asked again in this run
        self._more = True  # questions may give more
        self._stop = asyncio.Event()
        self._next_look = now
        self._service = Backpressure(ws, limiter=self._limiter, width=self._width, patience_s=patience_s, end=self._end)
        self._no_money: BudgetError | None = None
        self._was_full = self._has_warned = False
        self._is_counted = False  # the day's requests were read since the last call ended
        self._broken: BaseException | None = None

    def interrupt(self) -> None:
        """Begin nothing more; the second time stop what is under way."""
        if self.report.interrupted:
            for task in self._in_flight:
                task.cancel()
        self.report.interrupted = True
        self._stop.set()

    async def work(self) -> None:
        """Ask until nothing is left, or something ends the run; then let what is under way finish."""
        try:
            while not self._stop.is_set():
                await self._look()
                if not self._waiting and self._more:
                    await self._fetch()
                if self._is_over():
                    break
                pause = self._pause()
                if pause > 0:
                    await self._rest(pause)
                elif not self._stop.is_set():
                    self._begin(self._waiting.popleft())
        finally:
            await self._finish()
        if self._broken is not None:
            raise self._broken
        if self._service.down is not None and not self.report.answered:
            self.report.stopped = self.report.stopped or self._service.down

    def _is_over(self) -> bool:
        """Return whether nothing can begin any more."""
        if self._no_money is not None and not self._in_flight:
            self._end(self._no_money)
            return True
        return self._stop.is_set() or not (self._waiting or self._in_flight or self._more)

    def _end(self, error: FindableError) -> None:
        """Begin nothing more, because of this."""
        self.report.stopped = self.report.stopped or error
        self._stop.set()

    async def _fetch(self) -> None:
        """Take the next page of questions."""
        but = frozenset(self._handled.union(self._in_flight.values()))
        page = await self._clerk.read(lambda tx: self._questions.page(tx, but=but))
        self._waiting.extend(_Entry(one) for one in page)
        self._more = bool(page)

    async def _look(self) -> None:
        """Take in the other processes' calls, the day, and whether anything comes back."""
        now = self._rt.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_S
        if any(limit is not None for limit in self._account.limits):
            await self._prime()
        if self._width.look(in_flight=len(self._in_flight), at=now):
            self._rt.display.warn(f"no answer for {STALL_S:.0f} s: one call at a time until one comes")
        self._watching.show(self.report, width=self._width.now)

    async def _prime(self) -> None:
        """Count what others asked in the last minute, and what everybody asked today.

        The clerk's thread only reads: the limiter is this thread's, whose calls change it meanwhile.
        """
        ws, self._is_counted = self._rt, True
        now, at = ws.now(), ws.monotonic()
        others, used = await self._clerk.read(lambda tx: self._asked(tx, day=today(now).isoformat()))
        self._limiter.prime([(at - (now - one.asked_at).total_seconds(), one.tokens) for one in others], today=used)
        self._warn_of_day(used)

    def _asked(self, tx: "Connection", *, day: str) -> tuple[list[live_calls.StartedCall], int]:
        """Return the calls of others in the last minute, and how many requests of a day are used by everybody."""
        return self._account.others(tx), live_calls.calls_of_day(tx, self._rt.model.name, day=day)

    def _warn_of_day(self, used: int) -> None:
        """Say once that most of the day's requests are used."""
        most = self._account.limits.rpd
        if most is not None and used >= WARN_AT * most and not self._has_warned:
            self._has_warned = True
            self._rt.display.warn(f"{used:,} of today's {most:,} requests of {self._rt.model.name} are used")

    def _pause(self) -> float:
        """Return how long to wait until the next call may begin; 0.0 where it may now."""
        self._drop_too_large()
        if not self._waiting or self._no_money is not None:
            return LOOK_S if self._waiting or (self._in_flight and not self._more) else LOOK_S / 100
        now = self._rt.monotonic()
        held = self._service.hold_until - now
        if held > 0:
            return min(held, LOOK_S)
        pause = self._limiter.wait(self._waiting[0].question.likely.prompt, at=now)
        if math.isinf(pause):
            return self._wait_for_count(at=now)
        if pause > self._patience_s:
            self._end(ThrottledError(f"the limits leave no room for another {pause:.0f} s", retry_after_s=pause))
            return LOOK_S
        self._was_full = pause == 0 and len(self._in_flight) >= self._width.now
        return LOOK_S if self._was_full else min(pause, LOOK_S)

    def _drop_too_large(self) -> None:
        """Give up those next in line that have more tokens than a whole minute's limit."""
        most = self._account.limits.tpm
        while most is not None and self._waiting and self._waiting[0].question.likely.prompt > most:
            entry = self._waiting.popleft()
            self._give_up(entry.id, str(TooLargeError(entry.question.likely.prompt, most)))

    def _wait_for_count(self, *, at: float) -> float:
        """End the run where the day's requests are used up; else return how long to wait until that is known.

        A call that is refused, or never sent, is taken off its day again when it is over.
        """
        if self._is_counted and not self._in_flight:
            self._end(write_ahead.is_day_over(self._rt, self._account.limits.rpd or 0))
        self._next_look = at
        return LOOK_S if self._in_flight else LOOK_S / 100

    async def _rest(self, seconds: float) -> None:
        """Wait until a call ends, the run is to stop, or so many seconds are over."""
        others = [asyncio.ensure_future(self._stop.wait()), asyncio.ensure_future(self._rt.asleep(seconds))]
        try:
            await asyncio.wait([*others, *self._in_flight], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in others:
                one.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    def _begin(self, entry: _Entry) -> None:
        """Count a call and let it go its way."""
        now = self._rt.monotonic()
        number = self._limiter.start(entry.question.likely.prompt, at=now)
        self._warn_of_day(self._limiter.used_today)
        self._width.begun(in_flight=len(self._in_flight), at=now)
        task = asyncio.create_task(self._guarded(self._one(entry, number)))
        self._in_flight[task] = entry.id
        task.add_done_callback(self._over)

    def _over(self, task: "asyncio.Task[None]") -> None:
        """Take a call off the list."""
        self._in_flight.pop(task, None)
        self._is_counted = False
        self._watching.show(self.report, width=self._width.now)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work of one call; what goes wrong in our own house ends the run."""
        try:
            await work
        except FindableError as error:
            self._end(error)
        except Exception as error:  # noqa: BLE001 - raised again when what is under way has ended
            self._broken = self._broken or error
            self._stop.set()

    async def _one(self, entry: _Entry, number: int) -> None:
        """Mark one call, make it, and keep what came of it."""
        account, question = self._account, entry.question
        try:
            began, marked = self._rt.now(), await self._clerk.write(lambda tx: account.mark(tx, question))
        except OutdatedError:
            self._limiter.withdraw(number)
            await self._again(entry)
            return
        except BudgetError as error:
            self._limiter.withdraw(number)
            self._waiting.appendleft(entry)
            self._no_money = error
            return
        if marked is None:
            self._limiter.withdraw(number)
            self.report.elsewhere += 1
            self._handled.add(entry.id)
            return
        self.report.calls += 1
        ended, again = await self._call(entry, number, since=began)
        item = question.item
        try:
            open_still = await self._clerk.write(lambda tx: account.settle(tx, marked, item, ended))
        except Exception as error:
            lost = functools.partial(account.lose, number=marked, item_id=item.id, why=UNKEPT, ended=ended)
            await self._clerk.write(lost)
            self._note_unkept(entry, ended, error)
            raise
        self._no_money = None  # what it was estimated at may be free again
        await self._account_for(entry, ended, again=again and open_still)

    async def _call(self, entry: _Entry, number: int, *, since: Any) -> tuple[EndedCall, bool]:
        """Make one call and judge it; return how it ended, and whether the item should be asked again."""
        ws, item = self._rt, entry.question.item
        at = ws.monotonic()
        try:
            if ws.now() - since > timedelta(seconds=ws.settings.lease):
                return EndedCall(CallEnd.UNSENT, None), True  # this process stood still: the claim may be another's
            request = requests.object_of(entry.question.data)
            reply = responses.judge_response(await self._live.generate(ws.model.name, request))
        except asyncio.CancelledError:
            return EndedCall(CallEnd.LOST, None), False
        except RemoteError as error:
            return self._failed(entry, error, began=at)
        self._service.answered(took_s=ws.monotonic() - at, was_full=self._was_full)
        if reply.usage.prompt:
            self._limiter.settle(number, reply.usage.prompt)
        judgement = judge_reply(ws.task, count_asked(item), reply, context=item.context)
        return EndedCall(CallEnd(judgement.outcome.value), judgement), True

    def _failed(self, entry: _Entry, error: RemoteError, *, began: float) -> tuple[EndedCall, bool]:
        """Take that a call gave no reply to judge; return how it ended, and whether to ask again."""
        failure = self._service.failed(error, before=entry.failures, began=began)
        if failure.how is not CallEnd.THROTTLED and not failure.is_charged:
            entry.failures += 1
        if failure.is_charged is None:
            return EndedCall(failure.how, None), failure.again
        outcome = Outcome.REFUSED if failure.is_charged else Outcome.MISSING
        judgement = Judgement(count_asked(entry.question.item), outcome, error.message, charged=failure.is_charged)
        return EndedCall(failure.how, judgement), failure.again

    async def _account_for(self, entry: _Entry, ended: EndedCall, *, again: bool) -> None:
        """Count what became of an item, or put it back."""
        judgement = ended.judgement
        if judgement is not None and judgement.reply is not None:
            self.report.cost += self._account.cost_of(judgement.reply.usage)
        if judgement is not None and judgement.outcome is Outcome.ANSWERED:
            self.report.answered += 1
        elif again and ended.how is CallEnd.THROTTLED:
            self._waiting.appendleft(entry)
        elif judgement is not None and not (again and self._account.purpose is Purpose.LIVE):
            self._give_up(entry.id, judgement.reason)
        elif again:
            await self._again(entry)

    def _note_unkept(self, entry: _Entry, ended: EndedCall, error: Exception) -> None:
        """Count what a reply cost that the database did not take, and let the error tell of it."""
        if ended.judgement is None or ended.judgement.reply is None:
            return
        self.report.cost += self._account.cost_of(ended.judgement.reply.usage)
        self._give_up(entry.id, UNKEPT)
        if isinstance(error, FindableError):  # of one transaction, maybe, in which several were to be kept
            told = error.message.removesuffix("; nothing was changed").removesuffix(f"; {HAD}")
            error.message = f"{told}; {HAD}"

    async def _again(self, entry: _Entry) -> None:
        """Put an item at the end of the line, with its question as it is now."""
        question = await self._clerk.read(lambda tx: self._questions.again(tx, entry.id))
        if question is None:
            self.report.elsewhere += 1
        else:
            self._waiting.append(_Entry(question, entry.failures))

    def _give_up(self, item_id: str, reason: str) -> None:
        """Record that an item is not asked again in this run."""
        self._handled.add(item_id)
        self.report.fail(item_id, reason)

    async def _finish(self) -> None:
        """Let what is under way end: five seconds after a Ctrl-C, as long as calls may take otherwise."""
        left_s = math.inf
        while self._in_flight and left_s > 0:  # an interrupt may come while this waits, too
            left_s = min(left_s, GRACE_S) if self.report.interrupted else left_s
            pause = min(left_s, LOOK_S)
            await asyncio.wait(list(self._in_flight), timeout=pause)
            left_s -= pause
        for _ in range(2):  # the first time a call still keeps how it ended; the second time it waits for nothing
            for task in list(self._in_flight):
                task.cancel()
            if self._in_flight:
                await asyncio.wait(list(self._in_flight), timeout=LAST_S)
        if self.report.interrupted:
            self._clerk.hurry()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._clerk.write(self._account.abandon), LAST_S)
        self.report.throttled, self.report.is_down = self._service.throttled, self._service.down is not None
        self._watching.show(self.report, width=self._width.now)
