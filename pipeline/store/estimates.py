"""What past requests of an extractor came to, beside what they were estimated at: what the estimator learns from."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, func, select

from pipeline.states import BatchState
from pipeline.store.tables import attempts, batch_accounts, batches, calls

if TYPE_CHECKING:
    from sqlalchemy.sql.base import ReadOnlyColumnCollection

BATCHES = 20  # ours: the newest batches that are looked at
CALLS = 2000  # ours: the newest live calls that are looked at, together as one


class Past(NamedTuple):
    """Requests that are over and whose replies all came: their number, tokens and cost (USD), estimated and actual."""

    requests: int
    counted_in: int  # prompt tokens as counted from the text, before calibration
    estimated_in: int
    estimated_out: int
    estimated_cost: float
    tokens_in: int
    tokens_out: int  # with thoughts
    cost: float


def error(past: Sequence[Past]) -> float | None:
    """Return by how much estimates were off, relative to them, each weighed by how much it was about.

    Of the cost, or of the tokens where nothing had a price; None where nothing was estimated.
    """
    paid = any(one.estimated_cost for one in past)
    pairs = [
        (one.estimated_cost, one.cost)
        if paid
        else (float(one.estimated_in + one.estimated_out), float(one.tokens_in + one.tokens_out))
        for one in past
    ]
    whole = sum(estimated for estimated, _ in pairs)
    return sum(abs(actual - estimated) for estimated, actual in pairs) / whole if whole else None


def of_run(tx: Connection, number: int) -> Past | None:
    """Return what the calls of a live run came to whose replies told; None where none did."""
    replied = (calls.c.run == number) & (calls.c.tokens_in > 0)
    return _summed(tx, select(calls).where(replied).subquery().c)


def past(tx: Connection, extractor: str) -> list[Past]:
    """Return what is known of an extractor, the newest batch first, live calls last; nothing where it is new.

    A batch of which lines are missing tells nothing: its estimate covers all of them, its tokens only those that came.
    """
    mine = batches.c.extractor == extractor
    account = batch_accounts.c
    whole = (batches.c.state == BatchState.INGESTED) & (account.missing == 0) & (account.tokens_in > 0)
    columns = (batches.c[name] if name in batches.c else account[name] for name in Past._fields)
    query = select(batches.c.number, *columns).join_from(batches, batch_accounts)
    query = query.where(mine, whole, batches.c.counted_in.is_not(None))
    rows = tx.execute(query.order_by(batches.c.number.desc()).limit(BATCHES)).all()
    without = silent(tx, [row[0] for row in rows])
    of_batches = [told(Past._make(row[1:]), silent=without.get(row[0], 0)) for row in rows]
    replied = (calls.c.extractor == extractor) & (calls.c.tokens_in > 0)
    live = _summed(tx, select(calls).where(replied).order_by(calls.c.id.desc()).limit(CALLS).subquery().c)
    return [one for one in (*of_batches, live) if one is not None]


def silent(tx: Connection, numbers: Sequence[int]) -> dict[int, int]:
    """Return for some batches how many of their requests failed and used no tokens, where any did."""
    mine = attempts.c.batch.in_(numbers) & (attempts.c.tokens_in == 0)
    return {
        row[0]: row[1]
        for row in tx.execute(select(attempts.c.batch, func.count()).where(mine).group_by(attempts.c.batch))
    }


def told(batch: Past, *, silent: int) -> Past | None:
    """Return what a batch tells of estimates by those of its requests that used tokens; None where none did.

    With those that failed for the service's sake it would seem that answers are short and cost little.
    """
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


def _summed(tx: Connection, some: "ReadOnlyColumnCollection[str, Any]") -> Past | None:
    """Return calls together as one, None where there are none."""
    sums = (func.coalesce(func.sum(some[name]), 0) for name in Past._fields[1:])
    requests, *rest = tx.execute(select(func.count(), *sums)).one()
    if not requests:
        return None
    amounts = (
        float(one) if name.endswith("cost") else int(one) for name, one in zip(Past._fields[1:], rest, strict=True)
    )
    return Past(requests, *amounts)  # type: ignore[arg-type]  # whole numbers but for the two costs
