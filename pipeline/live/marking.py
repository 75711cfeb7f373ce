"""The account of one live call: the mark and claim before it, and what is kept after it, each in one transaction.

A mark is committed before its call, so there are never more calls at the API than marks. How a call ended says what it
cost and whose fault a failure was: what concerns the item is charged to it, what concerns the service is not.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from pipeline import estimating, spending
from pipeline.apply import Asked, Judgement, Source, write
from pipeline.errors import StateConflictError, ThrottledError
from pipeline.gemini import costs
from pipeline.gemini.costs import Usage
from pipeline.gemini.limiter import WINDOW_S, Limits
from pipeline.gemini.refusals import next_midnight_pacific
from pipeline.states import CallEnd, Outcome
from pipeline.store import answers, calls, claims, versions

if TYPE_CHECKING:
    from pipeline.estimating import Calibration
    from pipeline.runtime import Runtime
    from pipeline.store.database import Connection
    from pipeline.task import Item


class Purpose(StrEnum):
    """What a live call is for."""

    LIVE = "live"  # one of a run
    ADD = "add"  # about somebody who was just added
    COMPARE = answers.COMPARED  # to be compared with a batch's reply; neither claimed nor kept as an answer


class Question(NamedTuple):
    """One item with its request as it goes out: the line that a batch would hold, and about what it will use."""

    item: "Item"
    data: bytes
    counted: Usage
    likely: Usage


class Ended(NamedTuple):
    """How one call ended: the judgement to keep, if there is one, and the error where it gave no reply to judge."""

    how: CallEnd
    judgement: Judgement | None

    @property
    def usage(self) -> Usage | None:
        """Return what a reply said that it used; some say nothing, and not every call has one."""
        reply = self.judgement.reply if self.judgement is not None else None
        return reply.usage if reply is not None and reply.usage != costs.NO_USAGE else None


class OutdatedError(Exception):
    """The row was changed since its question was written; it must be written anew."""


@dataclass(frozen=True)
class Account:
    """Marks and settles the calls of one run, or of none; `known` is what the estimator learned before it began."""

    rt: "Runtime"
    purpose: Purpose
    run: int | None
    known: "Calibration"
    limits: Limits
    marks: dict[int, datetime] = field(default_factory=dict)  # of the last minute, by number
    added_up: set[datetime] = field(default_factory=set)  # the beginnings of budgets, see `Budgets.check_live`

    def mark(self, tx: "Connection", question: Question) -> int | None:
        """Claim an item and mark the call about to be made; None where it cannot be asked any more.

        Raises:
            OutdatedError: its row was changed.
            ThrottledError: the day's requests are used up, by this process and all others.
            BudgetError: the call might pass a budget.
        """
        rt, item = self.rt, question.item
        if self.purpose is not Purpose.COMPARE and not self._may_be_asked(tx, item):
            return None
        day = spending.today(rt.now()).isoformat()
        if self.limits.rpd is not None and calls.used(tx, rt.model.name, day=day) >= self.limits.rpd:
            raise day_is_over(rt, self.limits.rpd)
        cost = estimating.cost(rt, question.likely, batch=False)
        spending.budgets(rt).check_live(tx, cost, error=self.known.error, added_up=self.added_up)
        rt.bind(tx)
        if self.purpose is not Purpose.COMPARE and not self._claim(tx, item):
            return None
        mark = calls.Mark(
            task=rt.task.name,
            item_id=item.id,
            extractor=rt.extractor,
            model=rt.model.name,
            run=self.run,
            purpose=self.purpose,
            counted_in=question.counted.prompt,
            estimated_in=question.likely.prompt,
            estimated_out=question.likely.answer + question.likely.thoughts,
            estimated_cost=cost,
        )
        number = calls.add(tx, mark, day=day, at=rt.now())
        self.marks[number] = rt.now()
        return number

    def others(self, tx: "Connection") -> list[calls.Start]:
        """Return the calls of the last minute that are not of this account, whichever process made them."""
        since = self.rt.now() - timedelta(seconds=WINDOW_S)
        for number in [number for number, at in self.marks.items() if at < since]:
            del self.marks[number]
        return [one for one in calls.started(tx, self.rt.model.name, since=since) if one.number not in self.marks]

    def settle(self, tx: "Connection", number: int, item: "Item", ended: Ended) -> bool:
        """Keep how a call ended, let its item go, and write what came; return whether the item may be asked again."""
        rt, judgement = self.rt, ended.judgement
        spent, cost = self._paid(ended)
        calls.end(tx, number, ended.how, tokens=spent, cost=cost, at=rt.now())
        if self.purpose is Purpose.COMPARE:
            return False
        outcome = judgement.outcome if judgement is not None else None
        reason = judgement.reason if judgement is not None else ended.how.value
        claims.release_live(tx, rt.task.name, item.id, outcome=outcome, reason=reason)
        if judgement is None:
            return True
        source = Source(batch=None, extractor=rt.extractor, model=rt.model)
        write(tx, rt.task, [judgement], source=source, at=rt.now())
        return judgement.outcome is not Outcome.ANSWERED and not answers.is_parked(tx, rt.task.name, item.id)

    def abandon(self, tx: "Connection") -> None:
        """Let go whatever this process still asks under this account: its replies will not be waited for."""
        for number, item_id in calls.under_way(tx, self.rt.task.name, run=self.run):
            self.lose(tx, number, item_id, why="interrupted")

    def lose(self, tx: "Connection", number: int, item_id: str, *, why: str, ended: Ended | None = None) -> None:
        """Let go of one call whose reply is not kept; where none came, it may have cost what was estimated."""
        spent, cost = self._paid(ended) if ended is not None else (None, None)
        calls.end(tx, number, CallEnd.LOST, tokens=spent, cost=cost, at=self.rt.now())
        claims.release_live(tx, self.rt.task.name, item_id, outcome=None, reason=why)

    def _paid(self, ended: Ended) -> tuple[tuple[int, int] | None, float | None]:
        """Return the (prompt, answer and thought) tokens of a call and its cost in USD, as far as a reply told."""
        usage = ended.usage
        if usage is not None:
            return (usage.prompt, usage.answer + usage.thoughts), self.cost_of(usage)
        is_no = ended.how is CallEnd.REFUSED and (ended.judgement is None or ended.judgement.reply is None)
        return None, 0.0 if is_no else None  # a clear no: nothing was done there

    def cost_of(self, usage: Usage) -> float:
        """Return what a reply cost, in USD."""
        return costs.cost(self.rt.model, usage, batch=False, on=self.rt.now().date())

    def _may_be_asked(self, tx: "Connection", item: "Item") -> bool:
        """Return whether an item is still open, not parked, and the same as when its question was written.

        Nothing is while the version is being rolled back.
        """
        task = self.rt.task
        if versions.is_withdrawn(tx, task.name, task.label, model=self.rt.model.name):
            return False
        if not task.open_among(tx, [item.id]) or answers.is_parked(tx, task.name, item.id):
            return False
        now = next(iter(task.items(tx, [item.id])), None)
        if now is not None and now.input_hash != item.input_hash:
            raise OutdatedError
        return now is not None

    def _claim(self, tx: "Connection", item: "Item") -> bool:
        """Claim an item for as long as a call may take; false where it stands in a batch, or another process asks."""
        settings, task = self.rt.settings, self.rt.task
        lasts_s = settings.call_timeout + settings.lease
        if claims.renew_live(tx, task.name, item.id, lasts_s=lasts_s, at=self.rt.now()):
            return True
        try:
            with tx.begin_nested():
                claims.take_live(tx, task.name, item.id, input_hash=item.input_hash, lasts_s=lasts_s, at=self.rt.now())
        except StateConflictError:
            return False
        return True


def asked(item: "Item") -> Asked:
    """Return an item as judgements name it."""
    return Asked(item.id, item.input_hash)


def day_is_over(rt: "Runtime", most: int) -> ThrottledError:
    """Return the error that ends a run when the day's requests are used up."""
    resets_at = next_midnight_pacific(rt.now())
    return ThrottledError(
        f"the {most:,} requests a day of {rt.model.name} are used up; nothing was lost",
        hint=f"run the same command after {resets_at:%Y-%m-%d %H:%M} UTC, when they begin anew; "
        "set TIER= or RPD= where your project has more",
        resets_at=resets_at,
    )
