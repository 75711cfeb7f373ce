"""How much may still be started, over all commands and processes: money, and what may wait at the API.

A budget holds what was spent since it began, what is under way, and what is about to start; what is not over counts at
its estimate and the error that was measured of estimates. It is looked at in the transaction that starts something.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime

from pipeline.core.errors import ConfigurationError, RemoteError
from pipeline.core.settings import Budget, Settings
from pipeline.core.states import BatchState
from pipeline.engine.task import Task
from pipeline.engine.workspace import WorkspaceSession
from pipeline.gemini.models import MAX_ACTIVE_BATCHES, Model, Usage, load_models
from pipeline.gemini.remote import PACIFIC, next_midnight_pacific
from pipeline.store import batches, money, runs
from pipeline.store.batches import BatchRow
from pipeline.store.database import Connection

# Ours: this share of an unmeasured estimate is kept free in a budget; it is never shown as an error of the estimate.
UNMEASURED_RESERVE_SHARE = 0.10
ENOUGH = (
    5  # answers from which on they tell more than the count of characters; a comparison has so many
)
AT_API = (BatchState.SUBMITTING, BatchState.SUBMITTED)
WAITING = (BatchState.PREPARED, *AT_API)  # at the API, or about to be


class BudgetError(ConfigurationError):
    """Nothing more is started, because a budget would be passed; what was started goes on."""


class QuotaFullError(RemoteError):
    """By our own count the API would refuse a batch for what is there already; it goes out as others end."""


def today(now: datetime) -> date:
    """Return the day of the API's daily quotas, and of daily budgets: that of US/Pacific."""
    return now.astimezone(PACIFIC).date()


@dataclass(frozen=True)
class Budgets:
    """The budgets that hold now: that of the command, and that of the day."""

    every: tuple[Budget, ...]
    now: datetime

    def left(
        self, tx: Connection, *, error: float = 0.0, but: int | None = None
    ) -> list[tuple[Budget, float]]:
        """Return each budget with what may still be started of it, in USD, without batch `but` and those behind it."""
        left = []
        for one in self.every:  # what is under way counts with the error of estimates
            found = money.sum_spent(tx, since=one.since, but=but)
            used = found.known + found.lost + found.under_way * (1 + error)
            left.append((one, one.usd - used))
        return left

    def room(self, tx: Connection, *, error: float) -> float | None:
        """Return how much more may be started, in USD, at least 0; None where no budget is set."""
        return min((max(0.0, left) for _, left in self.left(tx, error=error)), default=None)

    def check(self, tx: Connection, batch: BatchRow) -> None:
        """Make sure that a prepared batch may start; it was cut to fit with the error that was known then."""
        for budget, left in self.left(tx, but=batch.number):
            if batch.estimated_cost > left:
                said = f"${max(0.0, left):.4f} of it is left, and the next needs about ${batch.estimated_cost:.4f}"
                raise self._error(budget, f"would be passed: {said}; nothing more was started")

    def nearest(self, tx: Connection) -> Budget | None:
        """Return the budget of which the least is left, or that is passed by most; None where none is set."""
        return min(self.left(tx), key=lambda pair: pair[1], default=(None, 0.0))[0]

    def without_room(self, tx: Connection) -> BudgetError:
        """Return the error for the budget that has no room for another item."""
        nearest = self.nearest(tx)
        assert nearest is not None  # noqa: S101 - it has no room
        return self._error(nearest, "has no room for another request; nothing was written or sent")

    def _error(self, budget: Budget, why: str) -> BudgetError:
        more = f"give it a larger {budget.name}"
        since = f" (since {budget.since:%Y-%m-%d %H:%M} UTC)"
        if budget.name == "BUDGET_PER_DAY":
            more += f", or run it again after {next_midnight_pacific(self.now):%Y-%m-%d %H:%M} UTC"
            since = ""
        return BudgetError(f"{budget.name}={budget.usd:g}{since} {why}", hint=more)


def budgets(ws: WorkspaceSession, running: Budget | None = None) -> Budgets:
    """Return the budgets that hold for this command now; `running` is that of a `tag` that goes on.

    Raises:
        ConfigurationError: The price of the model is not known, so that no budget can hold.
    """
    ws.check_price(nothing="nothing was written or sent", has_budget=running is not None)
    found = [one for one in (running or ws.budget,) if one is not None]
    now = ws.now()
    if ws.settings.budget_per_day is not None:
        day = today(now)
        began = datetime(day.year, day.month, day.day, tzinfo=PACIFIC).astimezone(UTC)
        found.append(Budget(ws.settings.budget_per_day, began, "BUDGET_PER_DAY"))
    return Budgets(tuple(found), now)


def correct_start(ws: WorkspaceSession) -> None:
    """Let a `tag` that is not over start now if a wrong clock recorded a start in the future.

    Its budget would not count what is sent before that moment.
    """
    with ws.store.read() as tx:
        run = runs.unfinished_run(tx, ws.task.name, mode=runs.TAG)
    now = ws.now()
    if run is not None and run.started_at > now:
        with ws.store.write() as tx:
            runs.set_start(tx, run.number, at=now)


def running_budget(tx: Connection, task: Task) -> Budget | None:
    """Return the budget of a `tag` that is not over, whatever command goes on with it."""
    found = runs.unfinished_run(tx, task.name, mode=runs.TAG)
    if found is None or found.budget is None:
        return None
    return Budget(found.budget, found.started_at, "BUDGET")


@dataclass(frozen=True)
class Calibration:
    """What past answers say of estimates: tokens per counted prompt token, tokens per answer, and the error so far.

    `answer` (with thoughts) is None where nothing is known and the task's own figure stands. `error` is the mean
    relative error of past estimates of the cost (of the tokens where they cost nothing), None where none was measured.
    """

    prompt: float = 1.0
    answer: float | None = None
    error: float | None = None
    answers: int = 0

    @property
    def reserve(self) -> float:
        """Return the share of an estimate by which a budget must exceed it: the measured error, else ours."""
        return UNMEASURED_RESERVE_SHARE if self.error is None else self.error

    def applied(self, usage: Usage, *, count: int) -> Usage:
        """Return what `count` requests will use that were counted to use so much."""
        if self.answer is None:
            return usage
        return Usage(prompt=round(usage.prompt * self.prompt), answer=round(self.answer * count))


def calibration(tx: Connection, extractor: str) -> Calibration:
    """Return what past answers of an extractor say of its estimates."""
    counted = 0.0
    answers = 0
    tokens_in = 0
    tokens_out = 0
    costs = list[tuple[float, float]]()  # (estimated, actual)
    tokens = list[tuple[float, float]]()
    for one, used in money.measured(tx, extractor):
        share = used / one.requests
        counted = counted + (one.counted_in or 0) * share
        answers = answers + used
        tokens_in = tokens_in + (one.tokens_in or 0)
        tokens_out = tokens_out + (one.tokens_out or 0)
        costs.append((one.estimated_cost * share, one.cost or 0.0))
        tokens.append(
            (
                (one.estimated_in + one.estimated_out) * share,
                (one.tokens_in or 0) + (one.tokens_out or 0),
            )
        )
    if answers < ENOUGH or not counted:
        return Calibration()
    pairs = costs if any(estimated for estimated, _ in costs) else tokens
    whole = sum(estimated for estimated, _ in pairs)
    error = sum(abs(actual - estimated) for estimated, actual in pairs) / whole if whole else None
    return Calibration(tokens_in / counted, tokens_out / answers, error, answers)


def quota_left(tx: Connection, model: Model, *, tier: str) -> int | None:
    """Return how many more prompt tokens may be put into a batch now; None without a limit, or where nothing waits."""
    most = model.enqueued(tier)
    if most is None:
        return None
    waiting = [
        one.estimated_in
        for one in batches.batches_in_states(tx, *WAITING)
        if one.model == model.name
    ]
    return max(0, most - sum(waiting)) if waiting else None


def quota_shortfall(tx: Connection, batch: BatchRow, settings: Settings) -> str:
    """Return why the API would refuse a batch for what is there already: batches, or their tokens; else ""."""
    active = [one for one in batches.batches_in_states(tx, *AT_API) if one.number != batch.number]
    model = load_models(settings.models_file).get(batch.model)
    most = None if model is None else model.enqueued(settings.tier)
    tokens = sum(one.estimated_in for one in (*active, batch) if one.model == batch.model)
    if len(active) >= MAX_ACTIVE_BATCHES:
        return f"{len(active)} batches are at the API, and it takes {MAX_ACTIVE_BATCHES}"
    if active and most is not None and tokens > most:
        return f"with it {tokens:,} tokens would wait for {batch.model}, and the API takes {most:,}"
    return ""
