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
from pipeline.engine.questions import PlannedRequest
from pipeline.engine.record import AnyAsked, Asked, Judgement, Source, judge_reply, write_judgements
from pipeline.engine.shared import UNKNOWN, look_up, write_given
from pipeline.gemini import requests, tokens
from pipeline.gemini.errors import next_midnight_pacific
from pipeline.gemini.models import RateLimits
from pipeline.gemini.rate_limiter import WINDOW_S
from pipeline.gemini.tokens import Usage
from pipeline.store import answers, claims, live_calls, versions, wire_texts

if TYPE_CHECKING:
    from pipeline.core.task import Item, Task
    from pipeline.cost.estimate import Calibration
    from pipeline.engine.workspace import OpenWorkspace
    from pipeline.gemini.responses import Response
    from pipeline.store.database import Connection


MOST = 1000  # questions whose replies are in memory; an older one is asked again


class Failure(NamedTuple):
    """How a request failed; `told` are the items that it was charged to, or cannot be."""

    request: int
    judgement: Judgement
    told: set[str]


class FailedQuestions:
    """The failures of a run, by question; one thread may add to them while another looks."""

    def __init__(self) -> None:
        """Begin with none."""
        self._found: dict[str, tuple[Failure, ...]] = {}

    def add(self, question: str, failure: Failure) -> None:
        """Keep a failure of a question."""
        self._found[question] = (*self._found.get(question, ()), failure)
        if len(self._found) > MOST:
            del self._found[next(iter(self._found))]

    def untold(self, question: PlannedRequest) -> list[Failure]:
        """Return the failures of a question that its item has not been told of, oldest first."""
        found = self._found.get(question.question or "", ())
        return [one for one in found if question.item.id not in one.told]


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

    Its item `is_answered` by what an equal one was told, or `waits` for an equal one that this process asks; else it is
    with others. What became of it became of the items `same`, which share the call where one is made.
    """

    number: int | None = None
    is_answered: bool = False
    waits: bool = False
    same: frozenset[str] = frozenset()


class SharedEnd(NamedTuple):
    """What became of an item that shared a call, and whether it may be asked again; no judgement where none came."""

    item_id: str
    judgement: Judgement | None
    is_open: bool


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
    failed: FailedQuestions = field(default_factory=FailedQuestions)
    untaken: dict[str, str] = field(default_factory=dict)  # why its row did not take an item's answer

    @classmethod
    def calibrated(cls, ws: "OpenWorkspace", purpose: Purpose, run: int | None = None, **more: Any) -> Self:
        """Return a ledger under the model's limits, calibrated by the answers that are here now."""
        with ws.store.read() as tx:
            return cls(ws, purpose, run, estimate.calibration(tx, ws.extractor), ws.limits, **more)

    def likely(self, question: PlannedRequest) -> Usage:
        """Return what one question will use, as past answers calibrate it."""
        return self.known.applied(question.usage, count=1)

    def mark(self, tx: "Connection", question: PlannedRequest, same: Sequence[PlannedRequest] = ()) -> Marked:
        """Claim an item and mark the call about to be made; none is where it cannot be asked, or an equal one was.

        Of the items that ask the `same`, those that can be asked share it.

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
            if (shared := self._shared(tx, question)) is not None:
                return shared._replace(same=self._joining(tx, same, shared))
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
        return Marked(number, same=self._joining(tx, same, Marked(waits=True)))

    def _joining(self, tx: "Connection", same: Sequence[PlannedRequest], first: Marked) -> frozenset[str]:
        """Let items share what was asked just now, or before, and return those that came to the same as the first."""
        return frozenset(one.item.id for one in same if self._joined(tx, one) == first)

    def _joined(self, tx: "Connection", question: PlannedRequest) -> Marked | None:
        try:
            return self._shared(tx, question) if self._may_be_asked(tx, question.item) else None
        except OutdatedError:
            return None

    def _shared(self, tx: "Connection", question: PlannedRequest) -> Marked | None:
        ws, item = self.ws, question.item
        found = look_up(tx, ws.task, ws.extractor, [question]).get(item.id, UNKNOWN)
        if found.given is not None:
            is_written = write_given(tx, ws.task, [found.given], source=self._source, at=ws.now())
            return Marked(is_answered=bool(is_written))
        if found.equal is None:
            return None
        try:
            with tx.begin_nested():
                claims.share_claims(tx, ws.task, [(item.id, item.input_hash, found.equal.id)], at=ws.now())
        except StateConflictError:
            return None
        return Marked(waits=found.equal.owner == claims.this_owner(tx))

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

    def settle_all(
        self, tx: "Connection", number: int, question: PlannedRequest, ended: EndedCall
    ) -> tuple[list[SharedEnd], bool]:
        """Write what a call came to for the item that it is about and for those that share it.

        Return what became of these, and whether the first may be asked again. What failed is kept for items to come.
        """
        shared = self._settle_shared(tx, question.item, ended)
        is_open = self.settle(tx, number, question.item, ended)
        judgement = ended.judgement
        if question.question is not None and judgement is not None and judgement.outcome is not Outcome.ANSWERED:
            request = claims.newest_asking(tx, question.question)
            if judgement.charged and request is not None:
                told = {question.item.id, *(one.item_id for one in shared)}
                self.failed.add(question.question, Failure(request, judgement, told))
        return shared, is_open

    def settle(self, tx: "Connection", number: int, item: "Item", ended: EndedCall) -> bool:
        """Keep how a call ended, let its item go, and write what came; return whether the item may be asked again."""
        ws, judgement = self.ws, ended.judgement
        spent, cost = self._paid(ended)
        live_calls.end_call(tx, number, ended.how, tokens=spent, cost=cost, at=ws.now())
        if self.purpose is Purpose.COMPARE:
            return False
        if ended.raw is not None:
            wire_texts.keep_reply(tx, number, ended.raw)
        outcome = judgement.outcome if judgement is not None else None
        reason = judgement.reason if judgement is not None else ended.how.value
        claims.release_live(tx, ws.task.name, item.id, outcome=outcome, reason=reason)
        if judgement is None:
            return True
        written = write_judgements(tx, ws.task, [judgement], source=self._source, at=ws.now())
        if outcome is Outcome.ANSWERED and item.id not in written.applied:
            self.untaken[item.id] = written.blocked.get(item.id, UNTAKEN)
        return self._is_open(tx, item.id, judgement)

    def settle_late(self, tx: "Connection", question: PlannedRequest) -> SharedEnd:
        """Write what calls of this run came to for an item that asks the same and comes after them."""
        task, item, judgement = self.ws.task, question.item, None
        for failure in self.failed.untold(question):
            failure.told.add(item.id)
            asked = Asked(item.id, item.input_hash, failure.request)
            judged = _judged_too(task, asked, failure.judgement, item.context)
            if judged is not None and self._may_be_charged(tx, item):
                judgement = judged
                write_judgements(tx, task, [judged], source=self._source, at=self.ws.now())
        return SharedEnd(item.id, judgement, self._is_open(tx, item.id, judgement))

    def _may_be_charged(self, tx: "Connection", item: "Item") -> bool:
        try:
            return self._may_be_asked(tx, item) and not claims.is_any_claimed(tx, self.ws.task.name, [item.id])
        except OutdatedError:
            return False

    def _settle_shared(self, tx: "Connection", item: "Item", ended: EndedCall) -> list[SharedEnd]:
        """Write what a call came to for the items that share it, before it is settled; each is judged by itself."""
        task = self.ws.task
        sharing = [] if self.purpose is Purpose.COMPARE else claims.sharing_live(tx, task.name, item.id)
        if not sharing:
            return []
        contexts = task.rows.contexts(tx, [one.item_id for one in sharing])
        judged = [(one, _judged_too(task, one, ended.judgement, contexts.get(one.item_id))) for one in sharing]
        known = [(one, judgement) for one, judgement in judged if judgement is not None]
        claims.record_outcomes(tx, [(one, judgement.outcome, judgement.reason) for one, judgement in known])
        write_judgements(tx, task, [judgement for _, judgement in known], source=self._source, at=self.ws.now())
        return [
            SharedEnd(one.item_id, judgement, self._is_open(tx, one.item_id, judgement)) for one, judgement in judged
        ]

    def _is_open(self, tx: "Connection", item_id: str, judgement: Judgement | None) -> bool:
        is_answered = judgement is not None and judgement.outcome is Outcome.ANSWERED
        return not is_answered and not answers.is_parked(tx, self.ws.task.name, item_id)

    def keep(self, tx: "Connection", number: int, item: "Item", unjudged: UnjudgedError) -> None:
        """Let go of an item whose reply could not be judged; the reply waits for the next run, and is paid for."""
        judgement = Judgement(Asked(item.id, item.input_hash), Outcome.INVALID, "", reply=unjudged.reply)
        ended = EndedCall(CallEnd.LOST, judgement)
        self.lose(tx, number, item.id, why="its reply waits to be judged", ended=ended)
        if self.purpose is not Purpose.COMPARE:
            live_calls.keep_reply(tx, number, unjudged.raw, input_hash=item.input_hash)
            wire_texts.keep_reply(tx, number, unjudged.raw)

    def abandon(self, tx: "Connection") -> None:
        """Let go whatever this process still asks under this ledger: its replies will not be waited for."""
        for number, item_id in live_calls.open_calls(tx, self.ws.task.name, run=self.run):
            self.lose(tx, number, item_id, why="interrupted")

    def lose(self, tx: "Connection", number: int, item_id: str, *, why: str, ended: EndedCall | None = None) -> None:
        """Let go of one call whose reply is not kept; where none came, it may have cost what was estimated."""
        spent, cost = self._paid(ended) if ended is not None else (None, None)
        live_calls.end_call(tx, number, CallEnd.LOST, tokens=spent, cost=cost, at=self.ws.now())
        claims.release_live(tx, self.ws.task.name, item_id, outcome=None, reason=why)

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
        """Return whether an item is open, not parked, and not of a version that is being rolled back."""
        task = self.ws.task
        version = versions.get_version(tx, task.name, task.label, model=self.ws.model.name)
        if version is not None and version.withdrawn_at is not None:
            return False
        if not task.pending_among(tx, [item.id]) or answers.is_parked(tx, task.name, item.id):
            return False
        now = next(iter(task.items(tx, [item.id])), None)
        if now is not None and now.input_hash != item.input_hash:
            raise OutdatedError
        return now is not None

    def _claim(self, tx: "Connection", question: PlannedRequest) -> bool:
        task, item = self.ws.task, question.item
        if claims.has_live(tx, task.name, item.id):
            return True
        try:
            with tx.begin_nested():
                claims.take_live(
                    tx,
                    task.name,
                    item.id,
                    input_hash=item.input_hash,
                    question=question.question,
                    at=self.ws.now(),
                )
        except StateConflictError:
            return False
        return True


def _judged_too(task: "Task", asked: AnyAsked, judgement: Judgement | None, context: Any) -> Judgement | None:
    if judgement is None:
        return None
    if judgement.reply is None:
        return judgement._replace(asked=asked)
    try:
        return judge_reply(task, asked, judgement.reply, context=context)
    except FindableError:  # raised again where the item is asked by itself, or answered by what is stored
        return None


def day_used_up(model: str, most: int, *, now: datetime) -> ThrottledError:
    """Return the error that ends a run when the day's requests are used up."""
    resets_at = next_midnight_pacific(now)
    return ThrottledError(
        f"the {most:,} requests a day of {model} are used up; nothing was lost",
        hint=f"run the same command after {resets_at:%Y-%m-%d %H:%M} UTC, when they begin anew; "
        "set TIER= or RPD= where your project has more",
        resets_at=resets_at,
    )
