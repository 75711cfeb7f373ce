"""Tell which items are due again: open rows that were asked alone in vain, or that were noted as not asked yet.

Nothing of it is kept but attempts that are charged to nobody.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, and_, insert, or_, select

from pipeline.core.states import Outcome, Way
from pipeline.store import asks
from pipeline.store.tables import attempts, batches


class Retry(NamedTuple):
    """An item that is due again, or was: since when, why, and how often it was tried."""

    item_id: str
    since: datetime
    reason: str
    tries: int


def note_due(tx: Connection, task: str, extractor: str, item_id: str, *, reason: str, at: datetime) -> None:
    """Keep that an item was not asked, and why, so that whoever comes next asks about it; charged with nothing."""
    row = {"task": task, "extractor": extractor, "item_id": item_id, "reason": reason, "at": at}
    tx.execute(insert(attempts).values(charged=False, forgiven=True, outcome=Outcome.MISSING, **row))


def due_ids(tx: Connection, task: asks.Askable) -> list[str]:
    """Return the items that are due, oldest first."""
    return asks.askable_among(tx, task, [one.item_id for one in asked_in_vain(tx, task.name)])


def asked_in_vain(tx: Connection, task: str) -> Iterator[Retry]:
    """Yield what was asked alone in vain, or noted as due, each with its newest reason, oldest first."""
    alone = select(batches.c.number).where(batches.c.way == Way.LIVE, batches.c.run.is_(None))
    mine = and_(attempts.c.task == task, ~attempts.c.charged, attempts.c.outcome == Outcome.MISSING)
    is_one = or_(attempts.c.batch.is_(None), attempts.c.batch.in_(alone))
    told = (attempts.c.item_id, attempts.c.at, attempts.c.reason, attempts.c.batch)
    found: dict[str, Retry] = {}
    for key, at, reason, batch in tx.execute(select(*told).where(mine, is_one).order_by(attempts.c.id)):
        before = found.get(key, Retry(key, at, reason, 0))
        found[key] = before._replace(reason=reason, tries=before.tries + (batch is not None))
    yield from sorted(found.values(), key=lambda one: (one.since, one.item_id))
