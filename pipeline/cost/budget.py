"""Budgets: how much may still be started, over all commands and processes.

A budget holds what was spent since it began, what is under way, and what is about to start; what is not over counts at
its estimate and the error that was measured of estimates. It is looked at in the transaction that starts something.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from pipeline.core.errors import ConfigurationError
from pipeline.core.settings import Budget
from pipeline.gemini.errors import PACIFIC, next_midnight_pacific
from pipeline.store import money, runs
from pipeline.store.money import Spent

if TYPE_CHECKING:
    from pipeline.engine.task import Task
    from pipeline.engine.workspace import OpenWorkspace
    from pipeline.store.database import Connection


class BudgetError(ConfigurationError):
    """Nothing more is started, because a budget would be passed; what was started goes on."""


def today(now: datetime) -> date:
    """Return the day of the API's daily quotas, and of daily budgets: that of US/Pacific."""
    return now.astimezone(PACIFIC).date()


@dataclass(frozen=True)
class Budgets:
    """The budgets that hold now: that of the command, and that of the day."""

    every: tuple[Budget, ...]
    now: datetime

    def room(self, tx: "Connection", *, error: float, but: int | None = None) -> float | None:
        """Return how much more may be started, in USD, at least 0; None where no budget is set.

        Batch `but` is left out, and what waits to be sent after it.
        """
        return min((max(0.0, left) for _, left in self._left(tx, error=error, but=but)), default=None)

    def check(self, tx: "Connection", cost: float, *, error: float, but: int | None = None) -> None:
        """Make sure that something of an estimated cost (USD) may start; of `but` see `room`.

        Raises:
            BudgetError: it would pass a budget; the message says which and how much of it is used.
        """
        for budget, left in self._left(tx, error=error, but=but):
            if cost * (1 + error) > left:
                raise self._passed(budget, left, cost)

    def overrun(self, tx: "Connection") -> float:
        """Return by how much what is known to be spent passes a budget, in USD; 0.0 where it does not."""
        return max((0.0, *(money.sum_spent(tx, since=one.since).known - one.usd for one in self.every)))

    def nearest(self, tx: "Connection") -> Budget | None:
        """Return the budget of which the least is left, None where none is set."""
        return min(self._left(tx, error=0.0), key=lambda pair: pair[1], default=(None, 0.0))[0]

    def without_room(self, budget: Budget) -> BudgetError:
        """Return the error for a budget that has no room for another item."""
        return BudgetError(
            f"{_named(budget)} has no room for another request; nothing was written or sent",
            hint=self._more(budget),
        )

    def left(self, tx: "Connection") -> list[tuple[Budget, float]]:
        """Return each budget with what is left of it, in USD, at least 0."""
        return [(one, max(0.0, left)) for one, left in self._left(tx, error=0.0)]

    def _left(self, tx: "Connection", *, error: float, but: int | None = None) -> list[tuple[Budget, float]]:
        return [
            (one, one.usd - budget_used(money.sum_spent(tx, since=one.since, but=but), error=error))
            for one in self.every
        ]

    def _passed(self, budget: Budget, left: float, cost: float) -> BudgetError:
        return BudgetError(
            f"{_named(budget)} would be passed: ${max(0.0, left):.4f} of it is left, and the next needs about "
            f"${cost:.4f}; nothing more was started",
            hint=self._more(budget),
        )

    def _more(self, budget: Budget) -> str:
        more = f"give it a larger {budget.name}"
        if budget.name != "BUDGET_PER_DAY":
            return more
        return f"{more}, or run it again after {next_midnight_pacific(self.now):%Y-%m-%d %H:%M} UTC"


def budgets(ws: "OpenWorkspace") -> Budgets:
    """Return the budgets that hold for this command now."""
    return _holding(ws.budget, ws.settings.budget_per_day, ws.now())


def budgets_of_task(tx: "Connection", task: "Task", *, per_day: float | None, now: datetime) -> Budgets:
    """Return the budgets that hold for a task, whatever command goes on with it: that of a `tag`, and of the day."""
    return _holding(_unfinished(tx, task), per_day, now)


def _holding(budget: Budget | None, per_day: float | None, now: datetime) -> Budgets:
    found = [] if budget is None else [budget]
    if per_day is not None:
        day = today(now)
        began = datetime(day.year, day.month, day.day, tzinfo=PACIFIC).astimezone(UTC)
        found.append(Budget(per_day, began, "BUDGET_PER_DAY"))
    return Budgets(tuple(found), now)


def resume_budget(ws: "OpenWorkspace") -> None:
    """Let the budget of a `tag` that is not over hold for this command, too; it counts from when that began."""
    with ws.store.read() as tx:
        ws.budget = _unfinished(tx, ws.task) or ws.budget


def _unfinished(tx: "Connection", task: "Task") -> Budget | None:
    """Return the budget of a `tag` that is not over."""
    found = runs.unfinished_run(tx, task.name, mode=runs.TAG)
    if found is None or found.budget is None:
        return None
    return Budget(found.budget, found.started_at, "BUDGET")


def budget_used(found: Spent, *, error: float) -> float:
    """Return what counts as used, in USD; what is under way counts with the error of estimates."""
    return found.known + found.lost + found.under_way * (1 + error)


def _named(budget: Budget) -> str:
    """Return a budget with its amount and, where a person cannot know, since when it counts."""
    since = "" if budget.name == "BUDGET_PER_DAY" else f" (since {budget.since:%Y-%m-%d %H:%M} UTC)"
    return f"{budget.name}={budget.usd:g}{since}"
