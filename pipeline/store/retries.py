"""Keep items that were saved while Gemini failed, to be asked again until they are answered, parked or removed."""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, insert, select, update

from pipeline.store.tables import due


class Retry(NamedTuple):
    """An item that is due again, or was: since when, why, how often it was tried since, and how that ended."""

    item_id: str
    since: datetime
    reason: str
    tries: int
    ended_at: datetime | None
    outcome: str | None


def add_retry(tx: Connection, task: str, item_id: str, *, reason: str, at: datetime) -> None:
    """Keep that an item is due; one that is due already gets the newest reason, and one try more."""
    here = (due.c.task == task) & (due.c.item_id == item_id)
    again = {"reason": reason, "tries": due.c.tries + 1, "ended_at": None, "outcome": None}
    if not tx.execute(update(due).where(here).values(again)).rowcount:
        tx.execute(insert(due).values(task=task, item_id=item_id, since=at, reason=reason, tries=0))


def due_ids(tx: Connection, task: str) -> list[str]:
    """Return the items that are due, oldest first."""
    query = select(due.c.item_id).where(due.c.task == task, due.c.ended_at.is_(None))
    return list(tx.execute(query.order_by(due.c.since, due.c.item_id)).scalars())


def all_retries(tx: Connection, task: str) -> list[Retry]:
    """Return what is due or was, oldest first."""
    columns = (due.c[name] for name in Retry._fields)
    query = select(*columns).where(due.c.task == task).order_by(due.c.since, due.c.item_id)
    return [Retry._make(row) for row in tx.execute(query)]


def end_retries(tx: Connection, task: str, outcomes: dict[str, Collection[str]], *, at: datetime) -> None:
    """Keep what became of items, by outcome; those that are not due are passed over."""
    open_ids = set(due_ids(tx, task))
    for outcome, ids in outcomes.items():
        if ended := open_ids.intersection(ids):
            here = (due.c.task == task) & due.c.item_id.in_(ended)
            tx.execute(update(due).where(here).values(ended_at=at, outcome=outcome))
