"""Add up what batches have cost, by day, task, model or batch; from the database alone.

A day is that of daily budgets, US/Pacific: a batch counts on the day it was sent, or our own calls began, a duplicate
on that it was found. What ended unseen is told apart, at its estimate: it may have been paid for. Embeddings are not
kept account of.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.states import BatchState, Way
from pipeline.cost.budget import today
from pipeline.store import money
from pipeline.store.batches import batches_in_states
from pipeline.store.money import Spent

if TYPE_CHECKING:
    from pipeline.engine.task import Task
    from pipeline.store.database import Connection, Store

TRIALS = "trials"  # in the place of a batch's number


class Amounts(NamedTuple):
    """How many batches and live calls, what they used, and USD: known, perhaps lost, and under way."""

    batches: int = 0
    calls: int = 0
    lost_calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    lost: float = 0.0
    under_way: float = 0.0

    def plus(self, more: "Amounts") -> "Amounts":
        """Return the sums of both."""
        return Amounts._make(one + another for one, another in zip(self, more, strict=True))


class _Entry(NamedTuple):
    day: str
    task: str
    model: str
    batch: str
    amounts: Amounts


@dataclass(frozen=True)
class CostReport:
    """What was spent by one thing or another (`by`), in its order, and in all."""

    by: str
    rows: dict[str, Amounts]
    total: Amounts


KEYS: dict[str, Callable[[_Entry], str]] = {
    "day": lambda one: one.day,
    "task": lambda one: one.task,
    "model": lambda one: one.model,
    "batch": lambda one: one.batch,
}


def run(store: "Store", tasks: "Sequence[Task]", *, by: str) -> CostReport:
    """Return what was spent, from one snapshot; `by` is one of `KEYS`."""
    names = {one.name: one.subject for one in tasks}  # as TASK= has them
    with store.read() as tx:
        found = list(_of_batches(tx))
    entries = [one._replace(task=names.get(one.task, one.task)) for one in found]
    rows: dict[str, Amounts] = defaultdict(Amounts)
    total = Amounts()
    for one in entries:
        key = KEYS[by](one)
        rows[key], total = rows[key].plus(one.amounts), total.plus(one.amounts)
    return CostReport(by, {key: rows[key] for key in sorted(rows, key=_order)}, total)


def document(report: CostReport) -> dict[str, Any]:
    """Return a report for programs; money in USD."""
    rows = [{report.by: key} | _document(amounts) for key, amounts in report.rows.items()]
    return {"by": report.by, "rows": rows, "total": _document(report.total)}


def _document(amounts: Amounts) -> dict[str, Any]:
    return {name: round(one, 6) if isinstance(one, float) else one for name, one in amounts._asdict().items()}


def _order(key: str) -> tuple[int, str]:
    """Return what keys are sorted by: numbers by their size, before words."""
    return (int(key), "") if key.isdecimal() else (1 << 62, key)


def _of_batches(tx: "Connection") -> Iterator[_Entry]:
    entries = {}
    for batch in batches_in_states(tx):
        day = today(batch.create_sent_at or batch.created_at).isoformat()
        used = Amounts(tokens_in=batch.tokens_in or 0, tokens_out=batch.tokens_out or 0)
        if batch.way is Way.BATCH:
            used = used._replace(batches=1)
        else:
            used = used._replace(calls=batch.calls, lost_calls=money.lost_calls(batch))
        amounts = used.plus(_money(money.batch_spent(batch)))
        name = TRIALS if batch.way is Way.TRIAL else str(batch.run or batch.number)
        entries[batch.number] = _Entry(day, batch.task, batch.model, name, amounts)
        if batch.create_sent_at is not None and batch.state is not BatchState.PREPARED:
            yield entries[batch.number]
    for number, found_at, cost in money.duplicates(tx):
        yield entries[number]._replace(day=today(found_at).isoformat(), amounts=_money(Spent(lost=cost)))


def _money(spent: Spent) -> Amounts:
    return Amounts(cost=spent.known, lost=spent.lost, under_way=spent.under_way)
