"""Ask about every item without an answer: prepared -> submitting -> submitted.

First what an earlier run left behind, then what is new. Whatever stops this in the middle, another run goes on and asks
about no item twice.
"""

import contextlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from pipeline.batch import budget, prepare, send
from pipeline.batch.batch_files import sealed_request
from pipeline.batch.budget import QuotaFullError
from pipeline.batch.prepare import BatchPlan, Selection, StopReason
from pipeline.batch.send import SendOutcome, give_up_batch
from pipeline.core.command_hint import CommandHint
from pipeline.core.errors import RemoteError, StateConflictError, ThrottledError
from pipeline.core.files import read_lines
from pipeline.core.states import BatchState, Outcome
from pipeline.engine.task import Task
from pipeline.engine.workspace import WorkspaceSession
from pipeline.gemini.models import Model, Usage, describe_cost, load_models
from pipeline.gemini.requests import object_of
from pipeline.store import answers, batches, claims
from pipeline.store.batches import BatchRow
from pipeline.store.database import Connection

MAX_REBUILDS = 20  # batches refused for one line each, in one run, before a person should look


@dataclass
class SubmitReport:
    """What was sent: the plan with what waited already, each batch with its fate, and how many items were not sent.

    `shared` ask what was answered before and share that answer; `held_back` had to wait for money, by
    the budget of that name and amount, `no_room` for the quota of tokens that may wait at the API. `full` is the
    refusal of an API that takes no more for now, while batches are under way whose end makes room.
    """

    plan: BatchPlan = field(default_factory=BatchPlan)
    sent: dict[int, SendOutcome] = field(default_factory=dict)
    prepared: list[int] = field(default_factory=list)
    items: int = 0
    shared: int = 0
    held_back: int = 0
    budget: str = ""
    no_room: int = 0
    full: RemoteError | None = None

    @property
    def at_api(self) -> list[int]:
        """Return the numbers of the batches that are at the API because of it."""
        return [
            one
            for one, fate in self.sent.items()
            if fate in {SendOutcome.CREATED, SendOutcome.ADOPTED}
        ]

    @property
    def summary(self) -> str:
        """Return in words what became of each batch, and how many were held back by what."""
        parts = [", ".join(f"batch {number} {fate}" for number, fate in self.sent.items())]
        parts += [f"{self.shared:,} ask what was answered already and share the answer"] * bool(
            self.shared
        )
        parts += [f"{self.held_back:,} held back by {self.budget}"] * bool(self.held_back)
        parts += [
            f"{self.no_room:,} held back by the quota of tokens that may wait at the API"
        ] * bool(self.no_room)
        return "; ".join(part for part in parts if part)

    def document(self, model: Model, *, dry: bool = False) -> dict[str, object]:
        """Return the report for programs; after a `dry` run it is about what would be sent."""
        plan = self.plan
        return {
            "dry": dry,
            "model": model.name,
            "priced_on": model.priced_on.isoformat(),
            **{name: getattr(plan, name) for name in ("items", "requests", "batches")},
            "tokens_in": plan.usage.prompt,
            "tokens_out": plan.usage.answer + plan.usage.thoughts,
            "estimated_cost": plan.cost,
            **{name: getattr(self, name) for name in ("shared", "held_back", "no_room")},
            "sent": {str(number): fate.value for number, fate in self.sent.items()},
        }


def plan_all(ws: WorkspaceSession, wanted: Selection) -> BatchPlan:
    """Return what a run may spend: what is new, its tokens counted, and what waits in *prepared*; it writes nothing."""
    new = BatchPlan()
    new_rows = _count_new(ws, wanted)
    if new_rows:
        with ws.display.bar("counting tokens", new_rows) as bar:
            new = prepare.plan_batches(ws, wanted, bar=bar)
    with ws.store.read() as tx:
        return with_prepared(tx, ws.task, new)


def run(
    ws: WorkspaceSession,
    wanted: Selection,
    *,
    agreed: bool = False,
    patient: bool = False,
    sends: bool = True,
    number: int | None = None,
) -> SubmitReport:
    """Submit what waits in *prepared* or *submitting*, or that `number`, then the new items that are wanted.

    Where it `sends` nothing, what is new is prepared.

    The plan is said before anything is written or sent, and its cost agreed to; where a person `agreed` already its
    tokens are not counted. If `patient`, an API that is full is no error while a batch is under way.
    """
    with ws.store.read() as tx:
        left = batches.batches_in_states(
            tx, BatchState.SUBMITTING, BatchState.PREPARED, task=ws.task.name
        )
        waiting = with_prepared(tx, ws.task, BatchPlan())
    plan = (
        replace(waiting, items=waiting.items + _count_new(ws, wanted))
        if agreed
        else plan_all(ws, wanted)
    )
    report = SubmitReport(plan)
    if not plan.items and not left:
        return report
    ws.client  # noqa: B018 - a missing key or an engine that cannot start is said before anything is written
    if not agreed:
        ws.display.say(
            f"{ws.model.name}, {priced(ws, plan) if plan.items else 'resuming an earlier run'}"
        )
        ws.spend(plan.cost, nothing="nothing was written or sent")
    new = plan.items - waiting.items
    most = new if agreed else plan.requests - waiting.requests
    old = [batch.number for batch in sorted(left, key=lambda one: one.state is BatchState.PREPARED)]
    submission = _Submission(ws, report, sends=sends)
    try:
        submission.send(one for one in old if number in (None, one))
        submission.send_new(wanted, most, is_any=bool(new))
    except (
        ThrottledError,
        QuotaFullError,
    ) as error:  # while a batch is under way, its end makes room
        is_daily = isinstance(error, ThrottledError) and error.resets_at is not None
        with ws.store.read() as tx:
            at_api = batches.batches_in_states(tx, BatchState.SUBMITTED, task=ws.task.name)
        if not patient or is_daily or not at_api:
            raise
        ws.display.say(f"the rest waits for a batch to end: {error.message}")
        report.full = error
    submission.sum_up(most, set(old))
    return report


def priced(ws: WorkspaceSession, plan: BatchPlan) -> str:
    """Return in words what a plan would send, and its price."""
    cost = describe_cost(ws.model, plan.cost, tier=ws.settings.tier)
    priced_on = f" (prices of {ws.model.priced_on})" if ws.model.has_price else ""
    return f"{plan.sentence(ws.task.words)}, {cost}{priced_on}"


def _count_new(ws: WorkspaceSession, wanted: Selection) -> int:
    with ws.store.read() as tx:
        among = wanted.among
        askable = (
            claims.count_askable(tx, ws.task)
            if among is None
            else len(claims.askable_among(tx, ws.task, among))
        )
    return askable if wanted.limit is None else min(askable, wanted.limit)


def let_go_changed(ws: WorkspaceSession) -> None:
    """Give up prepared batches that are outdated, so that their rows are asked anew.

    A batch is outdated if the task's declaration changed, or if the model does not accept the thinking level in it.
    """
    with ws.store.read() as tx:
        prepared = batches.batches_in_states(tx, BatchState.PREPARED, task=ws.task.name)
    for batch in prepared:
        reason = ""
        if batch.fingerprint != ws.task.fingerprint:
            reason = "the task's declaration changed"
        elif level := _refused_thinking_level(ws, batch):
            reason = f"{batch.model} does not accept the thinking level {level}"
        if not reason:
            continue

        with (
            contextlib.suppress(StateConflictError),
            ws.store.write() as tx,
        ):  # another process sends it
            free_rows = give_up_batch(tx, batch, why=f"{reason} before it was sent", at=ws.now())
            ws.display.say(
                f"batch {batch.number} was not sent because {reason}; {free_rows:,} rows are asked anew"
            )


def _refused_thinking_level(ws: WorkspaceSession, batch: BatchRow) -> str:
    """Return the thinking level of a batch's requests if its model does not accept it; else ""."""
    model = load_models(ws.settings.models_file).get(batch.model)
    path = sealed_request(ws.data, batch)
    if model is None or not path.is_file():
        return ""

    with contextlib.closing(read_lines(path)) as lines:
        first_line = next((line for _, line in lines), b"")
    try:
        thinking = object_of(first_line)["generationConfig"].get("thinkingConfig") or {}
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ):  # a damaged file is refused where it is sent
        return ""
    return "" if model.accepts_thinking(thinking) else str(thinking["thinkingLevel"])


def with_prepared(tx: Connection, task: Task, new: BatchPlan) -> BatchPlan:
    """Return what a run may spend: what is new, and what an earlier run left in *prepared*."""
    for one in batches.batches_in_states(tx, BatchState.PREPARED, task=task.name):
        counts = (
            new.items + one.requests,
            new.batches + 1,
            new.requests + one.requests,
            new.size + one.request_size,
        )
        usage = new.usage + Usage(one.estimated_in, one.estimated_out)
        new = BatchPlan(
            *counts, new.counted_in + (one.counted_in or 0), usage, new.cost + one.estimated_cost
        )
    return new


@dataclass
class _Submission:
    """What one run sends: batches an earlier run left, then new ones, and those that take the place of refused ones."""

    ws: WorkspaceSession
    report: SubmitReport
    sends: bool
    rebuild: list[int] = field(
        default_factory=list
    )  # refused for one line each; the rest is in no batch yet
    stops: set[StopReason] = field(default_factory=set)  # why no more was prepared

    def send(self, numbers: Iterable[int]) -> None:
        for number in numbers if self.sends else ():
            self.report.sent[number] = outcome = send.send_batch(self.ws, number)
            self.rebuild += [number] * (outcome is SendOutcome.REBUILD)

    def send_new(self, wanted: Selection, most: int, *, is_any: bool) -> None:
        """Prepare and send what was announced and no more; what stands beside a refused line goes into a new batch."""
        ws = self.ws
        refused = set[str]()
        for turn in range(MAX_REBUILDS):
            rebuilt = self.rebuild
            self.rebuild = []
            with ws.store.read() as tx:
                items = (
                    answers.items_of_batch(tx, number, outcome=Outcome.REFUSED)
                    for number in rebuilt
                )
                again = {one for some in items for one in some}
            most += self._items(rebuilt) - len(again)
            if most < 1 and (
                turn or not is_any
            ):  # rows may be given what was answered, and nothing is asked
                return
            refused |= again
            wanted = replace(wanted, limit=most, without=refused)
            most = 0
            with ws.display.bar("writing requests", wanted.limit) as bar:
                numbers, stop, shared = prepare.prepare_batches(ws, wanted, bar=bar)
            self.stops.add(stop)
            self.report.shared += shared
            self.report.prepared += numbers
            self.send(numbers)
        raise RemoteError(
            f"Gemini refused one line in each of {MAX_REBUILDS} request files; the rest was left untouched",
            hint=f"`{ws.task.words.step('parked')}` and `{CommandHint('batches')}` show the reasons",
        )

    def sum_up(self, announced: int, old: set[int]) -> None:
        """Report how many items were sent, and how many were held back; batches `old` were there before this run."""
        ws = self.ws
        report = self.report
        report.items = self._items(report.at_api)
        if not self.stops & {StopReason.BUDGET, StopReason.QUOTA}:
            return
        new = {number: outcome for number, outcome in report.sent.items() if number not in old}
        whole = [number for number, outcome in new.items() if outcome is not SendOutcome.REBUILD]
        unmet = (
            announced - self._items(whole) - (len(new) - len(whole))
        )  # what was refused counts as sent
        with ws.store.read() as tx:
            unmet = max(0, min(unmet, claims.count_askable(tx, ws.task)))
            held = budget.budgets(ws)
            nearest = held.nearest(tx)
            if StopReason.BUDGET not in self.stops:
                report.no_room = unmet
            elif nearest is not None and unmet:
                if not (report.sent or report.prepared):
                    raise held.without_room(tx)
                report.held_back, report.budget = unmet, f"{nearest.name}={nearest.usd:g}"

    def _items(self, numbers: Collection[int]) -> int:
        with self.ws.store.read() as tx:
            return sum(batches.get_batch(tx, one).requests for one in numbers)
