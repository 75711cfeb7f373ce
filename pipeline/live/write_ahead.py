"""Record each live call: a mark and a claim before it, its end and its answer after it, each in one transaction.

A mark is committed before its call, so there are never more calls at the API than marks. How a call ended says what it
cost and whose fault a failure was: what concerns the item is charged to it, what concerns the service is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from pipeline.core.errors import FindableError, StateConflictError, ThrottledError
from pipeline.core.states import CallEnd, Outcome
from pipeline.cost import budget, estimate
from pipeline.engine.equals import Known, look_up, tell_equals, write_given
from pipeline.engine.questions import PlannedRequest
from pipeline.engine.record import Judgement, Source, write_judgements
from pipeline.gemini import requests, tokens
from pipeline.gemini.errors import next_midnight_pacific
from pipeline.gemini.models import RateLimits
from pipeline.gemini.rate_limiter import WINDOW_S
from pipeline.gemini.tokens import Usage
from pipeline.store import answers, asks, live_calls, wire_texts
from pipeline.store.asks import Ask

if TYPE_CHECKING:
    from pipeline.cost.estimate import Calibration
    from pipeline.engine.task import Item
    from pipeline.engine.workspace import OpenWorkspace
    from pipeline.gemini.responses import Response
    from pipeline.store.database import Connection


UNTAKEN = "its row was removed or answered meanwhile"


class Purpose(StrEnum):
    """What a live call is for."""

    LIVE = "live"  # one of a run
    ADD = "add"  # about an item that was just added, or is due again
    COMPARE = answers.COMPARED  # to be compared with a batch's reply; neither claimed nor kept as an answer


class EndedCall(NamedTuple):
    """How one call ended: the judgement to keep, if there is one, and the document that came, None where none did."""

    how: CallEnd
    judgement: Judgement | None
    raw: Any = None

    @property
    def usage(self) -> Usage | None:
        """Return what a reply said that it used; some say nothing, and not every call has one."""
        reply = self.judgement.reply if self.judgement is not None else None
        return reply.usage if reply is not None and reply.usage != tokens.NO_USAGE else None


class UnjudgedError(Exception):
    """A reply came and could not be judged, for a fault that is not the item's; `why` says which."""

    def __init__(self, raw: Any, reply: "Response", why: FindableError) -> None:
        """Keep the document, what it says, and the fault."""
        super().__init__(why.message)
        self.raw, self.reply, self.why = raw, reply, why


class Marked(NamedTuple):
    """What came of a question about to be asked: the number of its call or, without one, why none is made.

    Its item `is_answered` by what an equal one was told, or `waits` for an equal one that is asked; else it is with
    others.
    """

    number: int | None = None
    is_answered: bool = False
    waits: bool = False


class Settled(NamedTuple):
    """Whether an item may be asked again, and which of those that ask the same need nothing more."""

    is_open: bool
    told: frozenset[str] = frozenset()


class OutdatedError(Exception):
    """The row was changed since its question was written; it must be written anew."""


@dataclass(frozen=True)
class CallLedger:
    """Marks and settles the calls of one run, or of none; `known` is what past answers said before it began."""

    ws: "OpenWorkspace"
    purpose: Purpose
    run: int | None
    known: "Calibration"
    limits: RateLimits
    marks: dict[int, datetime] = field(default_factory=dict)  # of the last minute, by number
    added_up: set[datetime] = field(default_factory=set)  # the beginnings of budgets, see `Budgets.check_live`
    untaken: dict[str, str] = field(default_factory=dict)  # why its row did not take an item's answer

    @classmethod
    def calibrated(cls, ws: "OpenWorkspace", purpose: Purpose, run: int | None = None, **more: Any) -> Self:
        """Return a ledger under the model's limits, calibrated by the answers that are here now."""
        with ws.store.read() as tx:
            return cls(ws, purpose, run, estimate.calibration(tx, ws.extractor), ws.limits, **more)

    def likely(self, question: PlannedRequest) -> Usage:
        """Return what one question will use, as past answers calibrate it."""
        return self.known.applied(question.usage, count=1)

    def mark(self, tx: "Connection", question: PlannedRequest) -> Marked:
        """Claim an item and mark the call about to be made; none is where it cannot be asked, or an equal one was.

        Raises:
            ConfigurationError: the task's file fails to judge the answer to an equal one.
            OutdatedError: its row was changed.
            ThrottledError: the day's requests are used up, by this process and all others.
            BudgetError: the call might pass a budget.
        """
        ws, item, likely = self.ws, question.item, self.likely(question)
        if self.purpose is not Purpose.COMPARE:
            if not self._may_be_asked(tx, item):
                return Marked()
            known = Known() if self.asks_each else look_up(tx, ws.task, ws.extractor, [question])
            if item.id in known.waiting and not self._has_claim(tx, item):
                return Marked(waits=True)
            if item.id in known.given:
                given = [known.given[item.id]]
                return Marked(is_answered=bool(write_given(tx, ws.task, given, source=self._source, at=ws.now())))
        day = budget.today(ws.now()).isoformat()
        if self.limits.rpd is not None and live_calls.calls_of_day(tx, ws.model.name, day=day) >= self.limits.rpd:
            raise day_used_up(ws.model.name, self.limits.rpd, now=ws.now())
        cost = tokens.usage_cost(ws.model, likely, batch=False, on=ws.now().date())
        budget.budgets(ws).check_live(tx, cost, error=self.known.error, added_up=self.added_up)
        ws.bind(tx)
        if self.purpose is not Purpose.COMPARE and not self._claim(tx, question):
            return Marked()
        number = live_calls.begin_call(
            tx,
            day=day,
            at=ws.now(),
            task=ws.task.name,
            item_id=item.id,
            extractor=ws.extractor,
            model=ws.model.name,
            run=self.run,
            purpose=self.purpose,
            counted_in=question.usage.prompt,
            fingerprint=ws.task.fingerprint,
            estimated_in=likely.prompt,
            estimated_out=likely.answer + likely.thoughts,
            estimated_cost=cost,
        )
        self.marks[number] = ws.now()
        if self.purpose is not Purpose.COMPARE:
            contents, form = requests.split_request(question.data)
            wire_texts.keep_request(tx, number, contents=contents, form=form, at=ws.now())
        return Marked(number)

    @property
    def asks_each(self) -> bool:
        """Return whether rows that ask the same are asked each."""
        return self.ws.settings.ask_each or self.purpose is Purpose.COMPARE

    @property
    def _source(self) -> Source:
        return Source(None, self.ws.extractor, self.ws.model, self.ws.task.fingerprint)

    def others(self, tx: "Connection") -> list[live_calls.StartedCall]:
        """Return the calls of the last minute that are not of this ledger, whichever process made them."""
        since = self.ws.now() - timedelta(seconds=WINDOW_S)
        for number in [number for number, at in self.marks.items() if at < since]:
            del self.marks[number]
        return [
            one for one in live_calls.calls_since(tx, self.ws.model.name, since=since) if one.number not in self.marks
        ]

    def settle(
        self, tx: "Connection", number: int, item: "Item", ended: EndedCall, same: Sequence[str] = ()
    ) -> Settled:
        """Keep how a call ended, and what came for its item and for those that ask the `same`."""
        ws, judgement = self.ws, ended.judgement
        spent, cost = self._paid(ended)
        live_calls.end_call(tx, number, ended.how, tokens=spent, cost=cost, at=ws.now())
        if self.purpose is Purpose.COMPARE:
            return Settled(is_open=False)
        if ended.raw is not None:
            wire_texts.keep_reply(tx, number, ended.raw)
        if judgement is None:
            asks.release_live(tx, ws.task.name, item.id)
            return Settled(is_open=True)
        kept = write_judgements(tx, ws.task, [judgement], source=self._source, at=ws.now())
        equals = {item.input_hash: same} if same else {}
        told = tell_equals(tx, ws.task, [judgement], kept, equals, source=self._source, at=ws.now())
        if judgement.answer is not None and item.id not in kept.written.applied:
            self.untaken[item.id] = kept.written.blocked.get(item.id, UNTAKEN)
        is_open = judgement.answer is None and item.id not in kept.parked
        return Settled(is_open, frozenset(told) - set(asks.askable_among(tx, ws.task, sorted(told))))

    def keep(self, tx: "Connection", number: int, item: "Item", unjudged: UnjudgedError) -> None:
        """Let go of an item whose reply could not be judged; the reply waits for the next run, and is paid for."""
        judgement = Judgement(Ask(item.id, item.input_hash), Outcome.INVALID, "", reply=unjudged.reply)
        ended = EndedCall(CallEnd.LOST, judgement)
        self.lose(tx, number, item.id, ended=ended)
        if self.purpose is not Purpose.COMPARE:
            live_calls.keep_reply(tx, number, unjudged.raw, input_hash=item.input_hash)
            wire_texts.keep_reply(tx, number, unjudged.raw)

    def abandon(self, tx: "Connection") -> None:
        """Let go whatever this process still asks under this ledger: its replies will not be waited for."""
        for number, item_id in live_calls.open_calls(tx, self.ws.task.name, run=self.run):
            self.lose(tx, number, item_id)

    def lose(self, tx: "Connection", number: int, item_id: str, *, ended: EndedCall | None = None) -> None:
        """Let go of one call whose reply is not kept; where none came, it may have cost what was estimated."""
        spent, cost = self._paid(ended) if ended is not None else (None, None)
        live_calls.end_call(tx, number, CallEnd.LOST, tokens=spent, cost=cost, at=self.ws.now())
        asks.release_live(tx, self.ws.task.name, item_id)

    def _paid(self, ended: EndedCall) -> tuple[tuple[int, int] | None, float | None]:
        """Return the (prompt, answer and thought) tokens of a call and its cost in USD, as far as its reply says."""
        usage = ended.usage
        if usage is not None:
            return (usage.prompt, usage.answer + usage.thoughts), self.cost_of(usage)
        is_no = ended.how is CallEnd.REFUSED and (ended.judgement is None or ended.judgement.reply is None)
        return None, 0.0 if is_no else None  # a clear no: nothing was done there

    def cost_of(self, usage: Usage) -> float:
        """Return what a reply cost, in USD."""
        return tokens.usage_cost(self.ws.model, usage, batch=False, on=self.ws.now().date())

    def _may_be_asked(self, tx: "Connection", item: "Item") -> bool:
        """Return whether an item is open, and not parked or claimed but by this process."""
        task = self.ws.task
        if not self._has_claim(tx, item) and not asks.askable_among(tx, task, [item.id]):
            return False
        now = next(iter(task.items(task.rows(tx, [item.id]))), None)
        if now is not None and now.input_hash != item.input_hash:
            raise OutdatedError
        return now is not None

    def _has_claim(self, tx: "Connection", item: "Item") -> bool:
        return asks.has_live(tx, self.ws.task.name, item.id)

    def _claim(self, tx: "Connection", question: PlannedRequest) -> bool:
        item = question.item
        if self._has_claim(tx, item):
            return True
        try:
            with tx.begin_nested():
                asks.take_live(
                    tx,
                    self.ws.task,
                    self.ws.extractor,
                    Ask(item.id, item.input_hash),
                    asks_each=self.asks_each,
                    at=self.ws.now(),
                )
        except StateConflictError:
            return False
        return True


def day_used_up(model: str, most: int, *, now: datetime) -> ThrottledError:
    """Return the error that ends a run when the day's requests are used up."""
    resets_at = next_midnight_pacific(now)
    return ThrottledError(
        f"the {most:,} requests a day of {model} are used up; nothing was lost",
        hint=f"run the same command after {resets_at:%Y-%m-%d %H:%M} UTC, when they begin anew; "
        "set TIER= or RPD= where your project has more",
        resets_at=resets_at,
    )
