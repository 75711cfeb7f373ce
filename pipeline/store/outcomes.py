"""What asking came to, by extractor: replies of each kind, items without an answer, tokens and cost.

Answers know their extractor, attempts of a batch know their batch's; of live calls the marks tell. Calls that are only
compared do not count.
"""

from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, and_, func, select, union

from pipeline.states import CallEnd, Outcome
from pipeline.store.answers import COMPARED
from pipeline.store.tables import answers, attempts, batches, calls, parked


class Replies(NamedTuple):
    """How many replies were answers, refused and invalid; tokens (prompt; answer and thoughts) and cost in USD."""

    answered: int
    refused: int
    invalid: int
    tokens_in: int
    tokens_out: int
    cost: float

    @property
    def total(self) -> int:
        """Return how many replies there were."""
        return self.answered + self.refused + self.invalid


def of_extractor(extractor: str | None, column: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that a column names an extractor: label/model, or any model of a label, or any at all."""
    if extractor is None:
        return column.is_not(None)
    return column == extractor if "/" in extractor else column.startswith(f"{extractor}/", autoescape=True)


def replies(tx: Connection, task: str, extractor: str | None) -> Replies:
    """Return what the replies to an extractor's questions were, and what they used."""
    mine = and_(answers.c.task == task, of_extractor(extractor, answers.c.extractor))
    answered = tx.execute(select(func.count()).where(mine)).scalar_one()
    failed = {
        outcome: tx.execute(select(func.count()).where(_failed(task, extractor, outcome))).scalar_one()
        + tx.execute(select(func.count()).where(_called(task, extractor), calls.c.outcome == outcome)).scalar_one()
        for outcome in (Outcome.REFUSED, Outcome.INVALID)
    }
    sums = [
        _used(tx, answers, and_(mine, answers.c.batch.is_not(None))),
        _used(tx, attempts, and_(attempts.c.task == task, attempts.c.batch.in_(_batches(extractor)))),
        _used(tx, calls, _called(task, extractor)),
    ]
    tokens_in, tokens_out, cost = (sum(one) for one in zip(*sums, strict=True))
    return Replies(
        answered, failed[Outcome.REFUSED], failed[Outcome.INVALID], int(tokens_in), int(tokens_out), float(cost)
    )


def answered_items(tx: Connection, task: str, extractor: str | None) -> int:
    """Return how many answers of an extractor were applied to their items."""
    return tx.execute(select(func.count()).where(_applied(task, extractor))).scalar_one()


def unanswered_items(tx: Connection, task: str, extractor: str | None) -> int:
    """Return how many items an extractor failed at for reasons of theirs and has not answered since."""
    by_batch = select(attempts.c.item_id).where(
        attempts.c.task == task, attempts.c.charged, attempts.c.batch.in_(_batches(extractor))
    )
    live = select(calls.c.item_id).where(
        _called(task, extractor), calls.c.outcome.in_([CallEnd.REFUSED, CallEnd.INVALID])
    )
    failed = union(by_batch, live).subquery()
    answered = select(answers.c.id).where(_applied(task, extractor), answers.c.item_id == failed.c.item_id)
    query = select(func.count()).select_from(failed).where(~answered.exists())
    return tx.execute(query).scalar_one()


def applied_ids(task: str, extractor: str) -> Select[Any]:
    """Return the SELECT of the items whose answer by an extractor was applied."""
    return select(answers.c.item_id).where(_applied(task, extractor))


def parked_items(tx: Connection, task: str) -> int:
    """Return how many items are not asked again, without those that hold text of somebody else's."""
    query = select(func.count()).where(parked.c.task == task, ~parked.c.foreign_text)
    return tx.execute(query).scalar_one()


def _applied(task: str, extractor: str | None) -> ColumnElement[bool]:
    return and_(answers.c.task == task, answers.c.applied, of_extractor(extractor, answers.c.extractor))


def _batches(extractor: str | None) -> Select[Any]:
    return select(batches.c.number).where(of_extractor(extractor, batches.c.extractor))


def _failed(task: str, extractor: str | None, outcome: Outcome) -> ColumnElement[bool]:
    return and_(attempts.c.task == task, attempts.c.outcome == outcome, attempts.c.batch.in_(_batches(extractor)))


def _called(task: str, extractor: str | None) -> ColumnElement[bool]:
    return and_(calls.c.task == task, calls.c.purpose != COMPARED, of_extractor(extractor, calls.c.extractor))


def _used(tx: Connection, table: Any, condition: ColumnElement[bool]) -> tuple[int, int, float]:
    """Return (tokens in, tokens out, cost) of some rows."""
    sums = (func.coalesce(func.sum(table.c[name]), 0) for name in ("tokens_in", "tokens_out", "cost"))
    row = tx.execute(select(*sums).where(condition)).one()
    return int(row[0]), int(row[1]), float(row[2])
