"""Ask about every item without an answer: prepared -> submitting -> submitted.

First what an earlier run left behind, then what is new. Nothing is paid for before the plan was shown, and above a
limit confirmed. Whatever stops this in the middle, another run goes on and asks about no item twice.
"""

import contextlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pipeline.batch import create, prepare
from pipeline.batch.create import SendOutcome
from pipeline.batch.draft import StopReason
from pipeline.batch.prepare import BatchPlan, Selection
from pipeline.batch.refused import give_up_batch
from pipeline.core.errors import InputError, RemoteError, StateConflictError
from pipeline.core.states import BatchState
from pipeline.cost import budget
from pipeline.engine import questions
from pipeline.engine.record import judge_kept
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini.tokens import Usage
from pipeline.store import batches, claims

if TYPE_CHECKING:
    from pipeline.core.task import Task
    from pipeline.store.database import Connection

MAX_REBUILDS = 20  # batches refused for one line each, in one run, before a person should look


@dataclass
class SubmitReport:
    """What was, or with a dry run would be, sent: the plan with what waited already, and each batch with its fate."""

    plan: BatchPlan
    priced_on: str = ""
    model: str = ""
    dry: bool = False
    sent: dict[int, SendOutcome] = field(default_factory=dict)
    items: int = 0
    shared: int = 0  # items that ask what was asked before, and share that request or its answer
    held_back: int = 0  # for want of money, under the budget of that name and amount
    budget: str = ""
    no_room: int = 0  # held back because what waits at the API fills its quota of tokens; they go out as batches end

    @property
    def submitted(self) -> list[int]:
        """Return the numbers of the batches that are at the API now because of this run."""
        return [number for number, fate in self.sent.items() if fate in {SendOutcome.CREATED, SendOutcome.ADOPTED}]

    @property
    def summary(self) -> str:
        """Return in words what became of each batch, and how many were held back by what."""
        parts = [", ".join(f"batch {number} {fate}" for number, fate in self.sent.items())]
        parts += [f"{self.shared:,} ask what was asked already and share the answer"] * bool(self.shared)
        parts += [f"{self.held_back:,} held back by {self.budget}"] * bool(self.held_back)
        parts += [f"{self.no_room:,} held back by the quota of tokens that may wait at the API"] * bool(self.no_room)
        return "; ".join(part for part in parts if part)


def run(
    ws: OpenWorkspace,
    *,
    limit: int | None,
    dry: bool,
    announce: Callable[[BatchPlan], None] = lambda _plan: None,
    confirm: Callable[[BatchPlan], bool] | None,
    among: Sequence[str] | None = None,
) -> SubmitReport:
    """Submit every item without an answer, at most `limit` new items, where `among` is not None none but those.

    `announce` gets the plan before anything is written or sent; `confirm` is asked above CONFIRM_ABOVE. Where it is
    None a person has seen a plan already: items are counted and their tokens are not, which takes a pass over all.

    Raises:
        InputError: there are no items at all, or the plan was not confirmed.
        RemoteError, ConfigurationError: see `create.send_batch`; what was not sent goes out with the next run.
        BudgetError: a budget has no room for a single item.
    """
    ws.bring_items()
    wanted = Selection(limit, among=among)
    questions.free_dead_owners(ws.store, now=ws.now())
    if not dry:
        questions.begin_asking(ws.store, ws.task, model=ws.model.name, at=ws.now())
        judge_kept(ws)
        _let_go_changed(ws)
    with ws.store.read() as tx:
        left = batches.batches_in_states(tx, BatchState.SUBMITTING, BatchState.PREPARED, task=ws.task.name)
        askable = claims.count_askable(tx, ws.task)
    new = BatchPlan(items=askable if limit is None else min(askable, limit))
    if confirm is not None:
        with ws.display.bar("counting tokens", new.items) as bar:
            new = prepare.plan_batches(ws, wanted, bar=bar)
    with ws.store.read() as tx:
        plan = with_prepared(tx, ws.task, new)
    priced_on = ws.model.priced_on.isoformat()
    report = SubmitReport(plan, priced_on=priced_on, model=ws.model.name, dry=dry)
    if dry or (not plan.items and not left):
        if not plan.items:
            questions.check_any_items(ws.store, ws.task)
        return report
    ws.client  # noqa: B018 - a missing key or an engine that cannot start is said before anything is written
    announce(plan)
    if confirm is not None and plan.cost > ws.settings.confirm_above and not confirm(plan):
        raise InputError("not confirmed; nothing was written or sent", hint="YES=1 answers yes")
    submission = _Submission(ws, report, wanted)
    submission.send(batch.number for batch in sorted(left, key=lambda one: one.state is BatchState.PREPARED))
    submission.send_new(new.items)
    return report


def _let_go_changed(ws: OpenWorkspace) -> None:
    """Give up the prepared batches that ask with a declaration of the past, so that their items are asked anew.

    What was sent already stays: it is judged when it is over. Of an upload that is left nothing is needed any more, and
    `clean` deletes it.
    """
    with ws.store.read() as tx:
        prepared = batches.batches_in_states(tx, BatchState.PREPARED, task=ws.task.name)
    for batch in (one for one in prepared if one.fingerprint != ws.task.fingerprint):
        with contextlib.suppress(StateConflictError), ws.store.write() as tx:  # another process sends it
            free = give_up_batch(tx, batch, why="the task's declaration changed before it was sent", at=ws.now())
            ws.display.say(f"batch {batch.number} was not sent, for the declaration changed: {free} items are free")


def document(report: SubmitReport) -> dict[str, object]:
    """Return the report for programs."""
    return {
        "dry": report.dry,
        "model": report.model,
        "priced_on": report.priced_on,
        "items": report.plan.items,
        "requests": report.plan.requests,
        "batches": report.plan.batches,
        "tokens_in": report.plan.usage.prompt,
        "tokens_out": report.plan.usage.answer + report.plan.usage.thoughts,
        "estimated_cost": report.plan.cost,
        "shared": report.shared,
        "held_back": report.held_back,
        "no_room": report.no_room,
        "sent": {str(number): fate.value for number, fate in report.sent.items()},
    }


def with_prepared(tx: "Connection", task: "Task", new: BatchPlan) -> BatchPlan:
    """Return what a run may spend: what is new, and what an earlier run left in *prepared*."""
    prepared = batches.batches_in_states(tx, BatchState.PREPARED, task=task.name)
    return BatchPlan(
        items=claims.count_items(tx, [one.number for one in prepared]) + new.items,
        batches=len(prepared) + new.batches,
        requests=sum(one.requests for one in prepared) + new.requests,
        size=sum(one.request_size for one in prepared) + new.size,
        counted_in=sum(one.counted_in or 0 for one in prepared) + new.counted_in,
        usage=Usage(sum(one.estimated_in for one in prepared), sum(one.estimated_out for one in prepared)) + new.usage,
        cost=sum(one.estimated_cost for one in prepared) + new.cost,
    )


@dataclass
class _Submission:
    """What one run sends: batches an earlier run left, then new ones, and those that take the place of refused ones."""

    ws: OpenWorkspace
    report: SubmitReport
    wanted: Selection
    rebuild: list[int] = field(default_factory=list)  # refused for one line each; the rest is in no batch yet
    stops: set[StopReason] = field(default_factory=set)  # why no more was prepared

    def send(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            outcome = create.send_batch(self.ws, number)
            self.report.sent[number] = outcome
            if outcome is SendOutcome.REBUILD:
                self.rebuild.append(number)

    def send_new(self, announced: int) -> None:
        """Prepare and send what was announced and no more; what stands beside a refused line goes into a new batch."""
        old, refused, most = set(self.report.sent), set[str](), announced
        for _ in range(MAX_REBUILDS):
            rebuilt, self.rebuild = self.rebuild, []
            again = self._refused_items(rebuilt)
            most += self._items(rebuilt) - len(again)
            if most < 1:
                break
            refused |= again
            wanted, most = replace(self.wanted, limit=most, without=refused), 0
            with self.ws.display.bar("writing requests", wanted.limit) as bar:
                numbers = prepare.prepare_batches(
                    self.ws, wanted, bar=bar, on_stop=self.stops.add, on_shared=self._note_shared
                )
            self.send(numbers)
        else:
            raise RemoteError(
                f"Gemini refused one line in each of {MAX_REBUILDS} request files; the rest was left untouched",
                hint=f"`{self.ws.task.words.make('parked')}` and `make batches` show the reasons",
            )
        self._sum_up(announced, old)

    def _note_shared(self, items: int) -> None:
        self.report.shared += items

    def _sum_up(self, announced: int, old: set[int]) -> None:
        """Report how many items were sent, and how many were held back; batches `old` were there before this run."""
        ws, report = self.ws, self.report
        report.items = self._items(report.submitted)
        if not self.stops & {StopReason.BUDGET, StopReason.QUOTA}:
            return
        new = {number: outcome for number, outcome in report.sent.items() if number not in old}
        whole = [number for number, outcome in new.items() if outcome is not SendOutcome.REBUILD]
        refused = self._refused_items(set(new).difference(whole))  # these count as sent
        unmet = announced - self._items(whole) - len(refused)
        with ws.store.read() as tx:
            unmet = max(0, min(unmet, claims.count_askable(tx, ws.task)))
            nearest = budget.budgets(ws).nearest(tx)
        if StopReason.BUDGET not in self.stops:
            report.no_room = unmet
        elif nearest is not None and unmet:
            if not report.sent:
                raise budget.budgets(ws).without_room(nearest)
            report.held_back, report.budget = unmet, f"{nearest.name}={nearest.usd:g}"

    def _items(self, numbers: Collection[int]) -> int:
        with self.ws.store.read() as tx:
            return claims.count_items(tx, numbers)

    def _refused_items(self, numbers: Iterable[int]) -> set[str]:
        """Return the items whose lines were refused in these batches; they sit out the rest of this run."""
        with self.ws.store.read() as tx:
            return {one for number in numbers for one in claims.refused_items(tx, number)}
