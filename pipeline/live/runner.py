"""Ask live: many items at once through ordinary calls, within every limit, and no item twice.

One loop decides when the next call may start; each call is a task of its own, which holds no connection while it waits
(see `writer`). An item that fails for its own sake is asked once more and then parked, as in batches; one that fails
with the service is asked once more, then that is recorded and the run goes on. Where nothing comes back at all, one
call at a time is made until something does, or patience ends.
"""

import asyncio
import contextlib
import functools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import FindableError, RemoteError
from pipeline.core.states import CallEnd, Outcome
from pipeline.cost.budget import BudgetError
from pipeline.engine.questions import PlannedRequest
from pipeline.engine.record import Judgement, judge_reply
from pipeline.gemini import requests, responses
from pipeline.gemini.rate_limiter import TooLargeError
from pipeline.live.admission import LOOK_S, Admission
from pipeline.live.interrupts import on_interrupt
from pipeline.live.questions import Entry, QuestionSource, WaitingLine
from pipeline.live.write_ahead import CallLedger, EndedCall, OutdatedError, Purpose, UnjudgedError
from pipeline.live.writer import LAST_S, DbWriter
from pipeline.store.answers import LOST
from pipeline.store.asks import Ask
from pipeline.store.locks import LockLostError

if TYPE_CHECKING:
    from pipeline.gemini.client import Client


SAMPLES = 3


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
    is_down: bool = False  # the last call failed because of the service

    @property
    def done(self) -> int:
        """Return how many items need nothing more of this run."""
        return self.answered + self.elsewhere + self.failed.total()

    def fail(self, item_id: str, reason: str) -> None:
        """Count an item that failed for good in this run."""
        self.failed[reason.partition(":")[0]] += 1
        if len(self.samples) < SAMPLES:
            self.samples.append((item_id, reason))


OnProgress = Callable[[LiveReport, int], None]  # called with the report so far and the calls that may be under way


GRACE_S = 5.0  # what is under way has so long to finish after the first Ctrl-C
UNKEPT = "its answer could not be kept"
PAID_UNKEPT = "an answer that came could not be kept, and what it cost is counted"


def ask_live(
    ledger: CallLedger,
    questions: QuestionSource,
    *,
    on_progress: OnProgress = lambda _report, _concurrency: None,
    patience_s: float = math.inf,
) -> LiveReport:
    """Ask everything that `questions` gives, and return what became of it; what was not asked is untouched.

    Where a limit would make it wait for longer than `patience_s`, it stops instead. The first Ctrl-C or SIGTERM lets
    what is under way finish for five seconds; a second one ends it at once.
    """

    async def run() -> LiveReport:
        client = ledger.ws.client
        async with DbWriter(ledger.ws.store) as writer, client.live() as live:
            runner = _LiveRunner(ledger, questions, writer, live, on_progress, patience_s=patience_s)
            with on_interrupt(runner.interrupt):
                await runner.work()
            return runner.report

    return asyncio.run(run())


class _LiveRunner:
    def __init__(
        self,
        ledger: CallLedger,
        questions: QuestionSource,
        writer: DbWriter,
        live: "Client",
        on_progress: OnProgress,
        *,
        patience_s: float,
    ) -> None:
        self.report = LiveReport()
        self._ws, self._ledger, self._questions = ledger.ws, ledger, questions
        self._writer, self._live, self._on_progress = writer, live, on_progress
        self._waiting = WaitingLine(ledger.likely, asks_each=ledger.asks_each)
        self._in_flight: dict[asyncio.Task[None], Entry] = {}
        self._handled: set[str] = set()  # items that may be open still and are not asked again in this run
        self._has_more = True  # questions may give more
        self._stop = asyncio.Event()
        self._admission = Admission(ledger, in_flight=self._in_flight, patience_s=patience_s, end=self._end)
        self._no_money: BudgetError | None = None
        self._broken: Exception | None = None

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
                if await self._admission.look(self._writer):
                    self._show()
                if not self._waiting and self._has_more:
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
        down = self._admission.service.down
        if down is not None and not self.report.answered:
            self.report.stopped = self.report.stopped or down

    def _is_over(self) -> bool:
        if self._no_money is not None and not self._in_flight:
            self._end(self._no_money)
            return True
        return self._stop.is_set() or not (self._waiting or self._in_flight or self._has_more)

    def _end(self, error: FindableError) -> None:
        self.report.stopped = self.report.stopped or error
        self._stop.set()

    def _show(self) -> None:
        self._on_progress(self.report, self._admission.concurrency.now)

    async def _fetch(self) -> None:
        but = self._handled.union(*(entry.ids for entry in self._in_flight.values()))
        page = await self._writer.read(lambda tx: self._questions.page(tx, but=frozenset(but)))
        for one in page:
            self._put_last(one)
        self._has_more = bool(page)

    def _pause(self) -> float:
        self._drop_too_large()
        if not self._waiting or self._no_money is not None:
            return LOOK_S if self._waiting or (self._in_flight and not self._has_more) else LOOK_S / 100
        return self._admission.pause(self._waiting[0].tokens)

    def _drop_too_large(self) -> None:
        most = self._ledger.limits.tpm
        while most is not None and self._waiting and self._waiting[0].tokens > most:
            entry = self._waiting.popleft()
            for item_id in entry.ids:
                self._give_up(item_id, str(TooLargeError(entry.tokens, most)))

    async def _rest(self, seconds: float) -> None:
        others = [asyncio.ensure_future(self._stop.wait()), asyncio.ensure_future(self._ws.asleep(seconds))]
        try:
            await asyncio.wait([*others, *self._in_flight], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in others:
                one.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    def _begin(self, entry: Entry) -> None:
        task = asyncio.create_task(self._guarded(entry, self._admission.start(entry.tokens)))
        self._in_flight[task] = entry
        task.add_done_callback(self._over)

    def _over(self, task: "asyncio.Task[None]") -> None:
        self._in_flight.pop(task, None)
        self._admission.ended()
        self._show()

    async def _guarded(self, entry: Entry, number: int) -> None:
        """Do the work of one call; an error that is not its reply's ends the run."""
        try:
            await self._ask(entry, number)
        except FindableError as error:
            self._end(error)
        except Exception as error:  # noqa: BLE001 - raised again when what is under way has ended
            self._broken = self._broken or error
            self._stop.set()

    async def _ask(self, entry: Entry, number: int) -> None:
        ledger, item = self._ledger, entry.question.item
        mark = await self._mark(entry, number)
        if mark is None:
            return
        self.report.calls += 1
        try:
            ended, again = await self._call(entry, number)
        except UnjudgedError as unjudged:
            self.report.cost += ledger.cost_of(unjudged.reply.usage)
            await self._writer.write(functools.partial(ledger.keep, number=mark, item=item, unjudged=unjudged))
            raise unjudged.why from unjudged
        try:
            same = [one.item.id for one in entry.same]
            settled = await self._writer.write(lambda tx: ledger.settle(tx, mark, item, ended, same))
        except Exception as error:
            lost = functools.partial(ledger.lose, number=mark, item_id=item.id, ended=ended)
            await self._writer.write(lost)
            self._note_unkept(entry, ended, error)
            raise
        self._no_money = None  # what it was estimated at may be free again
        await self._account_for(entry, ended, again=again and settled.is_open)
        await self._account_for_same(entry, ended, settled.told, again=again)

    async def _mark(self, entry: Entry, number: int) -> int | None:
        try:
            mark = await self._writer.write(lambda tx: self._ledger.mark(tx, entry.question))
        except (OutdatedError, BudgetError) as error:
            self._admission.unasked(number)
            if isinstance(error, OutdatedError):
                await self._all_again(entry.questions, entry)
            else:
                self._waiting.appendleft(entry)
                self._no_money = error
            return None
        if mark.number is None:
            self._admission.unasked(number)
            self.report.answered += mark.is_answered
            if not mark.is_answered:
                self.report.elsewhere += 1
                self._handled.add(entry.id)
            await self._all_again(entry.same, entry)
        return mark.number

    async def _call(self, entry: Entry, number: int) -> tuple[EndedCall, bool]:
        ws = self._ws
        at = ws.monotonic()
        try:
            await asyncio.to_thread(ws.locks.mine().check)  # what is claimed under a lock that is lost may be another's
            raw = await self._live.generate(ws.model.name, requests.object_of(entry.question.data))
        except asyncio.CancelledError:
            return EndedCall(CallEnd.LOST, None), False
        except LockLostError as error:
            self._end(error)
            return EndedCall(CallEnd.UNSENT, None), False
        except RemoteError as error:
            return self._failed(entry, error, began=at)
        admission = self._admission
        admission.service.answered(took_s=ws.monotonic() - at)
        if prompt := responses.judge_response(raw).usage.prompt:
            admission.limiter.settle(number, prompt)
        return self._judged(entry, raw), True

    def _judged(self, entry: Entry, raw: Any) -> EndedCall:
        item, reply = entry.question.item, responses.judge_response(raw)
        try:
            judgement = judge_reply(self._ws.task, Ask(item.id, item.input_hash), reply, context=item.context)
        except FindableError as error:
            raise UnjudgedError(raw, reply, error) from error
        return EndedCall(CallEnd(judgement.outcome.value), judgement, raw)

    def _failed(self, entry: Entry, error: RemoteError, *, began: float) -> tuple[EndedCall, bool]:
        failure = self._admission.service.failed(error, before=entry.failures, began=began)
        if failure.how is not CallEnd.THROTTLED and not failure.is_charged:
            entry.failures += 1
        is_silent = failure.is_silent and self._ledger.purpose is Purpose.ADD  # asked again and again, so it is counted
        if failure.is_charged is None and not is_silent:
            return EndedCall(failure.how, None), failure.again
        asked, reason = Ask(entry.id, entry.question.item.input_hash), LOST * is_silent + error.message
        outcome = Outcome.REFUSED if failure.is_charged else Outcome.MISSING
        judgement = Judgement(asked, outcome, reason, charged=bool(failure.is_charged))
        return EndedCall(failure.how, judgement), failure.again

    async def _account_for(self, entry: Entry, ended: EndedCall, *, again: bool) -> None:
        judgement = ended.judgement
        goes_on = again and (self._ledger.purpose is Purpose.LIVE or ended.how is CallEnd.LOST)
        if judgement is not None and judgement.reply is not None:
            self.report.cost += self._ledger.cost_of(judgement.reply.usage)
        if entry.id in self._ledger.untaken:
            self._give_up(entry.id, self._ledger.untaken[entry.id])
        elif judgement is not None and judgement.outcome is Outcome.ANSWERED:
            self.report.answered += 1
        elif again and ended.how is CallEnd.THROTTLED:
            self._waiting.appendleft(entry)
        elif judgement is not None and not goes_on:
            self._give_up(entry.id, judgement.reason)
        elif again:
            await self._again(entry.id, failures=entry.failures)

    async def _account_for_same(self, entry: Entry, ended: EndedCall, told: frozenset[str], *, again: bool) -> None:
        """Count the items that ask the same: told what came, parked with it, or asked in their turn."""
        judgement = ended.judgement
        for one in [one.item.id for one in entry.same]:
            if judgement is not None and one in told and judgement.outcome is Outcome.ANSWERED:
                self.report.answered += 1
            elif judgement is not None and (one in told or not again):
                self._give_up(one, judgement.reason)
            elif again:
                await self._again(one, failures=entry.failures)

    def _note_unkept(self, entry: Entry, ended: EndedCall, error: Exception) -> None:
        """Count what a reply cost that the database did not take, and say so in the error."""
        if ended.judgement is None or ended.judgement.reply is None:
            return
        self.report.cost += self._ledger.cost_of(ended.judgement.reply.usage)
        self._give_up(entry.id, UNKEPT)
        if isinstance(error, FindableError):  # of one transaction, maybe, in which several were to be kept
            said = error.message.removesuffix("; nothing was changed").removesuffix(f"; {PAID_UNKEPT}")
            error.message = f"{said}; {PAID_UNKEPT}"

    async def _all_again(self, questions: Sequence[PlannedRequest], entry: Entry) -> None:
        for one in questions:
            await self._again(one.item.id, failures=entry.failures)

    async def _again(self, item_id: str, *, failures: int) -> None:
        """Put an item at the end of the line, with its question as it is now."""
        question = await self._writer.read(lambda tx: self._questions.again(tx, item_id))
        if question is None:
            self.report.elsewhere += 1
        else:
            self._put_last(question, failures=failures)

    def _put_last(self, question: PlannedRequest, *, failures: int = 0) -> None:
        others = [one for one in self._in_flight.values() if question.item.id not in one.ids]
        self._waiting.put_last(question, failures=failures, before=others)

    def _give_up(self, item_id: str, reason: str) -> None:
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
            self._writer.hurry()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._writer.write(self._ledger.abandon), LAST_S)
        service = self._admission.service
        self.report.throttled, self.report.is_down = service.throttled, service.down is not None
        self._show()
