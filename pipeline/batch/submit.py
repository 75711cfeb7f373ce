"""Ask about every item without an answer: prepared -> submitting -> submitted.

First what an earlier run left behind, then what is new. Nothing is paid for without the plan having been shown, and
above a limit confirmed. Whatever stops this in the middle, running it again goes on without asking anyone twice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from pipeline.batch import create, prepare
from pipeline.batch.create import SendOutcome
from pipeline.batch.packer import StopReason
from pipeline.batch.prepare import BatchPlan, Selection
from pipeline.core.errors import InputError, RemoteError
from pipeline.core.states import BatchState
from pipeline.cost import budget
from pipeline.engine import questions
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini.tokens import Usage
from pipeline.store import batches, claims
from pipeline.store.batches import Batch

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
    held_back: int = 0  # for want of money, under the budget of that name and amount
    budget: str = ""
    no_room: int = 0  # held back because what waits at the API fills its quota of tokens; they go out as batches end

    @property
    def submitted(self) -> list[int]:
        """Return the numbers of the batches that are at the API now because of this run."""
        return [number for number, fate in self.sent.items() if fate in {SendOutcome.CREATED, SendOutcome.ADOPTED}]

    @property
    def told(self) -> str:
        """Return in words what became of each batch, and how many were held back by what."""
        parts = [", ".join(f"batch {number} {fate}" for number, fate in self.sent.items())]
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

    `announce` is told the plan before anything is written or sent; `confirm` is asked above CONFIRM_ABOVE. Where it is
    None a person has seen a plan already: items are counted and their tokens are not, which takes a pass over all.

    Raises:
        InputError: there are no items at all, or the plan was not confirmed.
        RemoteError, ConfigurationError: see `creating.send`; what was not sent goes out with the next run.
        BudgetError: a budget has no room for anybody.
    """
    wanted = Selection(limit, among=among)
    if not dry:
        questions.free_dead_owners(ws.store, now=ws.now())
        questions.begin_asking(ws.store, ws.task, model=ws.model.name, at=ws.now())
    waiting = _waiting(ws)
    new = _plan_new(ws, wanted, counted=confirm is not None)
    whole = _with_waiting(new, waiting)
    report = SubmitReport(
        whole, priced_on=ws.model.priced_as_of(batch=True, on=ws.now().date()).isoformat(), model=ws.model.name, dry=dry
    )
    if dry or (not whole.requests and not waiting):
        if not whole.requests:
            questions.check_any_items(ws.store, ws.task)
        return report
    ws.client  # noqa: B018 - a missing key or an engine that cannot start is said before anything is written
    announce(whole)
    if confirm is not None and whole.cost > ws.settings.confirm_above and not confirm(whole):
        raise InputError("not confirmed; nothing was written or sent", hint="YES=1 answers yes")
    for batch in waiting:
        report.sent[batch.number] = create.send_batch(ws, batch.number)
    stops = _submit_new(ws, report, replace(wanted, limit=new.requests))
    report.items = _items(ws, report.submitted)
    unmet = new.requests - _new_items(ws, report, waiting)
    if StopReason.BUDGET in stops:
        _see_money(ws, report, unmet=unmet)
    elif StopReason.QUOTA in stops:
        with ws.store.read() as tx:
            report.no_room = max(0, min(unmet, claims.count_askable(tx, ws.task)))
    return report


def document(report: SubmitReport) -> dict[str, object]:
    """Return the report for programs."""
    return {
        "dry": report.dry,
        "model": report.model,
        "priced_on": report.priced_on,
        "requests": report.plan.requests,
        "batches": report.plan.batches,
        "tokens_in": report.plan.usage.prompt,
        "tokens_out": report.plan.usage.answer + report.plan.usage.thoughts,
        "estimated_cost": report.plan.cost,
        "held_back": report.held_back,
        "no_room": report.no_room,
        "sent": {str(number): fate.value for number, fate in report.sent.items()},
    }


def _new_items(ws: OpenWorkspace, report: SubmitReport, waiting: list[Batch]) -> int:
    """Return how many items this run put into batches, a line that was refused among them counted once."""
    old = {one.number for one in waiting}
    new = {number: fate for number, fate in report.sent.items() if number not in old}
    rebuilt = [number for number, fate in new.items() if fate is SendOutcome.REBUILD]
    return _items(ws, [number for number in new if number not in rebuilt]) + len(rebuilt)


def _see_money(ws: OpenWorkspace, report: SubmitReport, *, unmet: int) -> None:
    """Keep how many were held back for want of money; `unmet` were announced and stand in no batch of this run.

    Raises:
        BudgetError: there was none for anybody.
    """
    budgets = budget.budgets(ws)
    with ws.store.read() as tx:
        nearest = budgets.nearest(tx)
        left = min(unmet, claims.count_askable(tx, ws.task)) if nearest else 0
    if nearest is None or left < 1:
        return
    if not report.sent:
        raise budgets.without_room(nearest)
    report.held_back, report.budget = left, f"{nearest.name}={nearest.usd:g}"


def _submit_new(ws: OpenWorkspace, report: SubmitReport, wanted: Selection) -> set[StopReason]:
    """Prepare and send what was announced and no more; what stands beside a refused line goes into a new batch.

    Returns why no more was prepared.
    """
    stops: set[StopReason] = set()
    rebuild = [number for number, fate in report.sent.items() if fate is SendOutcome.REBUILD]
    refused_items: set[str] = set()
    most = wanted.limit or 0
    for _ in range(MAX_REBUILDS):
        most += _items(ws, rebuild) - len(rebuild)
        if most < 1:
            return stops
        refused_items |= _refused_items(ws, rebuild)
        with ws.display.bar("writing requests", most) as bar:
            new = replace(wanted, limit=most, without=refused_items)
            numbers = prepare.prepare_batches(ws, new, bar=bar, told=stops.add)
        fates = {number: create.send_batch(ws, number) for number in numbers}
        report.sent |= fates
        rebuild = [number for number, fate in fates.items() if fate is SendOutcome.REBUILD]
        most = 0
    raise RemoteError(
        f"Gemini refused one line in each of {MAX_REBUILDS} request files; the rest was left untouched",
        hint=f"`{ws.task.words.make('parked')}` and `make batches` show the reasons",
    )


def _waiting(ws: OpenWorkspace) -> list[Batch]:
    """Return the batches that an earlier run left prepared or unclear, the unclear ones first."""
    with ws.store.read() as tx:
        left = batches.batches_in_states(tx, BatchState.SUBMITTING, BatchState.PREPARED, task=ws.task.name)
    return sorted(left, key=lambda batch: (batch.state is BatchState.PREPARED, batch.number))


def _plan_new(ws: OpenWorkspace, wanted: Selection, *, counted: bool) -> BatchPlan:
    """Return what is new, its tokens counted by the estimator that also writes it, or how many items alone."""
    with ws.store.read() as tx:
        total = claims.count_askable(tx, ws.task)
    if not counted:
        return BatchPlan(requests=total if wanted.limit is None else min(total, wanted.limit))
    with ws.display.bar("counting tokens", min(total, wanted.limit) if wanted.limit else total) as bar:
        return prepare.plan_batches(ws, wanted, bar=bar)


def _with_waiting(new: BatchPlan, waiting: list[Batch]) -> BatchPlan:
    """Return what this run may spend: what is new, and what an earlier run left in *prepared*."""
    old = [batch for batch in waiting if batch.state is BatchState.PREPARED]
    return BatchPlan(
        batches=len(old) + new.batches,
        requests=sum(one.requests for one in old) + new.requests,
        size=sum(one.request_size for one in old) + new.size,
        counted_in=sum(one.counted_in or 0 for one in old) + new.counted_in,
        usage=Usage(sum(one.estimated_in for one in old), sum(one.estimated_out for one in old)) + new.usage,
        cost=sum(one.estimated_cost for one in old) + new.cost,
    )


def _items(ws: OpenWorkspace, numbers: list[int]) -> int:
    """Return how many requests the batches hold together."""
    with ws.store.read() as tx:
        return sum(batches.get_batch(tx, number).requests for number in numbers)


def _refused_items(ws: OpenWorkspace, numbers: list[int]) -> set[str]:
    """Return the items whose lines were refused in these batches; they sit out the rest of this run."""
    with ws.store.read() as tx:
        return {one for number in numbers for one in claims.refused_items(tx, number)}
