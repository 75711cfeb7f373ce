"""Measure past requests: usage beside its estimate, replies of each kind by extractor, and how long they took."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, Text, and_, cast, func, select

from pipeline.core.states import BatchState, Outcome, Way
from pipeline.store.answers import CUT_SHORT, PERSON, sum_usage
from pipeline.store.database import PAGE, streamed
from pipeline.store.tables import answers, attempts, batches, events

NEWEST_BATCHES = 20  # ours: the newest batches that are looked at
TIMED_BATCHES = 50  # ours: the newest that are looked at


class PastUsage(NamedTuple):
    """Requests with replies: their number, tokens and cost (USD), estimated and actual."""

    requests: int
    counted_in: int  # prompt tokens as counted from the text, before calibration
    estimated_in: int
    estimated_out: int
    estimated_cost: float
    tokens_in: int
    tokens_out: int  # with thoughts
    cost: float


_WHOLE_BATCHES = (
    select(
        batches.c.number,
        *(batches.c[name] for name in PastUsage._fields),
    )
    .where(batches.c.state == BatchState.INGESTED, batches.c.missing == 0, batches.c.tokens_in > 0)
    .where(batches.c.counted_in.is_not(None))
    .order_by(batches.c.number.desc())
    .limit(NEWEST_BATCHES)
)


def estimate_error(past: Sequence[PastUsage]) -> float | None:
    """Return the mean relative error of estimates, weighted by their size; None where nothing was estimated.

    Of the cost, or of the tokens where nothing had a price.
    """
    of_cost = _mean_error([(one.estimated_cost, one.cost) for one in past])
    tokens = [(one.estimated_in + one.estimated_out, one.tokens_in + one.tokens_out) for one in past]
    return _mean_error(tokens) if of_cost is None else of_cost


def _mean_error(pairs: Sequence[tuple[float, float]]) -> float | None:
    whole = sum(estimated for estimated, _ in pairs)
    return sum(abs(actual - estimated) for estimated, actual in pairs) / whole if whole else None


def past_usage(tx: Connection, extractor: str) -> list[PastUsage]:
    """Return the usage of an extractor, the newest batch first; without batches that miss lines."""
    rows = tx.execute(_WHOLE_BATCHES.where(batches.c.extractor == extractor)).all()
    without = count_silent(tx, [row[0] for row in rows])
    past = [without_silent(PastUsage._make(row[1:]), silent=without.get(row[0], 0)) for row in rows]
    return [one for one in past if one is not None]


def count_silent(tx: Connection, numbers: Sequence[int]) -> dict[int, int]:
    """Return for some batches how many of their requests failed and used no tokens, where any did."""
    if not numbers:
        return {}
    mine = attempts.c.batch.in_(numbers) & (attempts.c.tokens_in == 0)
    query = select(attempts.c.batch, func.count()).where(mine).group_by(attempts.c.batch)
    return {row[0]: row[1] for row in tx.execute(query)}


def without_silent(batch: PastUsage, *, silent: int) -> PastUsage | None:
    """Return the usage of a batch without its `silent` requests, which failed and used no tokens; None if all did."""
    requests = batch.requests - silent
    if requests <= 0:
        return None
    share = requests / batch.requests
    return batch._replace(
        requests=requests,
        counted_in=round(batch.counted_in * share),
        estimated_in=round(batch.estimated_in * share),
        estimated_out=round(batch.estimated_out * share),
        estimated_cost=batch.estimated_cost * share,
    )


class ReplyCounts(NamedTuple):
    """How many replies were answers, refused and invalid; tokens (prompt; answer and thoughts) and cost in USD."""

    answered: int
    refused: int
    invalid: int
    tokens_in: int
    tokens_out: int
    cost: float

    @property
    def failed(self) -> int:
        """Return how many replies were no answer."""
        return self.refused + self.invalid

    @property
    def total(self) -> int:
        """Return how many replies there were."""
        return self.answered + self.failed


def matches_extractor(extractor: str | None, column: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that a column names an extractor: label/model, any model of a label, or any but a person."""
    if extractor is None:
        return column != PERSON
    return column == extractor if "/" in extractor else column.startswith(f"{extractor}/", autoescape=True)


def count_replies(tx: Connection, task: str, extractor: str | None) -> ReplyCounts:
    """Count the replies to an extractor's questions, and what they used."""
    mine = and_(answers.c.task == task, matches_extractor(extractor, answers.c.extractor))
    tried = and_(attempts.c.task == task, matches_extractor(extractor, attempts.c.extractor))
    answered = tx.execute(select(func.count()).where(mine)).scalar_one()
    failed = {
        outcome: tx.execute(select(func.count()).where(tried, attempts.c.outcome == outcome)).scalar_one()
        for outcome in (Outcome.REFUSED, Outcome.INVALID)
    }
    sums = [sum_usage(tx, answers, mine), sum_usage(tx, attempts, tried)]
    tokens_in, tokens_out, cost = zip(*sums, strict=True)
    kinds = (answered, failed[Outcome.REFUSED], failed[Outcome.INVALID])
    return ReplyCounts(*kinds, sum(tokens_in), sum(tokens_out), sum(cost))


def count_answered(tx: Connection, task: str, extractor: str | None) -> int:
    """Return how many answers of an extractor were applied to their items."""
    return tx.execute(select(func.count()).where(_applied(task, extractor))).scalar_one()


def count_unanswered(tx: Connection, task: str, extractor: str | None) -> int:
    """Return how many items an extractor failed at for the items' own reasons and has not answered since."""
    charged = and_(attempts.c.task == task, attempts.c.charged, matches_extractor(extractor, attempts.c.extractor))
    failed = select(attempts.c.item_id).where(charged).distinct().subquery()
    answered = select(answers.c.id).where(_applied(task, extractor), answers.c.item_id == failed.c.item_id)
    query = select(func.count()).select_from(failed).where(~answered.exists())
    return tx.execute(query).scalar_one()


def applied_ids(task: str, extractor: str) -> Select[Any]:
    """Return the SELECT of the items whose answer by an extractor was applied."""
    return select(answers.c.item_id).where(_applied(task, extractor))


def answers_by(tx: Connection, task: str, extractor: str | None) -> Iterator[tuple[str, str]]:
    """Yield (item id, answer as JSON) of the last answer by an extractor that was applied to each item."""
    told, newer = (answers.c.item_id, answers.c.answer), answers.alias()
    again = select(newer.c.id).where(newer.c.item_id == answers.c.item_id, newer.c.id > answers.c.id)
    again = again.where(newer.c.task == task, newer.c.applied, matches_extractor(extractor, newer.c.extractor))
    query = select(*told).where(_applied(task, extractor), ~again.exists()).order_by(answers.c.id)
    for row in streamed(tx, query, page=PAGE):
        yield row.item_id, row.answer


def count_cut(tx: Connection, task: str, extractor: str | None) -> int:
    """Return how many replies in batches of an extractor were cut by the token limit."""
    mine = and_(attempts.c.task == task, attempts.c.reason.in_(CUT_SHORT), attempts.c.batch.is_not(None))
    mine &= matches_extractor(extractor, attempts.c.extractor)
    return tx.execute(select(func.count()).where(mine)).scalar_one()


def _applied(task: str, extractor: str | None) -> ColumnElement[bool]:
    return and_(answers.c.task == task, answers.c.applied, matches_extractor(extractor, answers.c.extractor))


def batch_seconds(tx: Connection, model: str) -> list[float]:
    """Return how long the newest batches of a model took from submission to the result on disk, newest first."""
    named = (events.c.kind == "batch") & (events.c.name == cast(batches.c.number, Text))
    home = named & (events.c.new == BatchState.DOWNLOADED)
    query = select(batches.c.submitted_at, events.c.at).join_from(batches, events, home)
    sent = (batches.c.model == model) & batches.c.submitted_at.is_not(None) & (batches.c.way == Way.BATCH)
    newest = query.where(sent).order_by(batches.c.number.desc()).limit(TIMED_BATCHES)
    return [max(0.0, (at - since).total_seconds()) for since, at in tx.execute(newest)]
