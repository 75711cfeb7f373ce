"""Tell of single requests: those of one item, or the newest, newest first.

A request is its answer, its attempt, or, as long as it is under way, its claim; its batch says who answers it. A row
that was told what an equal one was is not asked, and what is only tried is not kept.
"""

from collections.abc import Iterator
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, Table, func, literal, null, select

from pipeline.core.states import OPEN, Outcome
from pipeline.store.answers import FORGOTTEN
from pipeline.store.asks import IS_CLAIMED
from pipeline.store.schema import answers, asks, attempts, batches


def is_anything_sent(tx: Connection, task: str) -> bool:
    """Return whether a request of a task ever went out, or may have."""
    sent = select(batches.c.number).where(batches.c.task == task, batches.c.create_sent_at.is_not(None))
    return tx.execute(sent.limit(1)).first() is not None


class AskedRequest(NamedTuple):
    """One request: when and how an item was asked, and how that ended; times are aware UTC, cost in USD.

    `line` is that of its batch's file, from 1, and `way` who answers. `outcome` is None while it is under way, `state`
    the batch's. `answer` is JSON, None where none is kept; tokens and cost are None where not known.
    """

    at: datetime
    task: str
    item_id: str
    way: str
    extractor: str
    model: str
    outcome: str | None
    reason: str | None
    batch: int
    line: int
    state: str | None = None
    ended_at: datetime | None = None
    fingerprint: str | None = None
    answer: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost: float | None = None

    @property
    def is_forgotten(self) -> bool:
        """Return whether its answer was forgotten with its item."""
        return self.answer == FORGOTTEN


_AGE = attrgetter("at", "batch", "line")
_PAID = ("tokens_in", "tokens_out", "cost")
_WHOSE = (batches.c.created_at.label("at"), *(batches.c[name] for name in ("extractor", "model", "state", "way")))


def requests_of_item(tx: Connection, task: str, item_id: str) -> list[AskedRequest]:
    """Return every request about one item, newest first."""
    found = (_rows(tx, query.where(table.c.task == task, table.c.item_id == item_id)) for table, query in _queries())
    return sorted((one for some in found for one in some), key=_AGE, reverse=True)


def newest_requests(tx: Connection, *, limit: int, task: str | None = None) -> list[AskedRequest]:
    """Return the newest requests of a task, or of all; however many there are, only about so many are read."""
    found = list[AskedRequest]()
    for table, query in _queries():
        inside = table.c.line if table is asks else table.c.id
        newest = query.order_by(table.c.batch.desc(), inside.desc()).limit(limit)
        if task is not None:  # a plain comparison would have the database sort all that is of the task
            newest = newest.where(func.coalesce(table.c.task, "") == task)
        found += _rows(tx, newest)
    return sorted(found, key=_AGE, reverse=True)[:limit]


def _queries() -> Iterator[tuple[Table, Select[Any]]]:
    given = (literal(Outcome.ANSWERED.value).label("outcome"), literal("ok").label("reason"), answers.c.answer)
    yield answers, _told_in(answers).add_columns(*given, answers.c.fingerprint)
    yield attempts, _told_in(attempts).add_columns(attempts.c.outcome, attempts.c.reason, batches.c.fingerprint)
    under_way = select(*_WHOSE, asks.c.task, asks.c.item_id, asks.c.batch, asks.c.line, batches.c.fingerprint)
    under_way = under_way.add_columns(null().label("outcome"), null().label("reason"))
    joined = under_way.select_from(asks).join(batches, batches.c.number == asks.c.batch)
    yield asks, joined.where(IS_CLAIMED, batches.c.state.in_(OPEN))


def _told_in(table: Table) -> Select[Any]:
    own = (table.c.at.label("ended_at"), *(table.c[name] for name in ("task", "item_id", "batch", "line", *_PAID)))
    return select(*_WHOSE, *own).select_from(table).join(batches, batches.c.number == table.c.batch)


def _rows(tx: Connection, query: Select[Any]) -> Iterator[AskedRequest]:
    for row in tx.execute(query).mappings():
        yield AskedRequest(**{**row, "line": row["line"] or 0})
