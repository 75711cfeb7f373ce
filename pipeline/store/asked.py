"""Tell of single requests, whichever way they were asked: those of one item, or the newest, newest first.

A request in a batch is its answer, its attempt, or, as long as it is under way, its claim; a live request is its call.
What came of a call is the first answer or attempt in no batch that was written after it ended. A row that was told what
an equal one was is not asked.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, Table, func, literal, null, select

from pipeline.core.states import OPEN, CallEnd, Outcome
from pipeline.store.answers import COMPARED, FORGOTTEN, ROLLED_BACK
from pipeline.store.asks import IS_CLAIMED
from pipeline.store.database import pages
from pipeline.store.tables import answers, asks, attempts, batches, calls, tries

OF_BATCH = "batch"  # the purpose of a request in a batch
NOT_KEPT = (COMPARED, ROLLED_BACK)  # the purposes of calls of whose replies nothing is kept


def is_anything_sent(tx: Connection, task: str) -> bool:
    """Return whether a request of a task ever went out, or may have."""
    called = select(calls.c.id).where(calls.c.task == task)
    created = select(tries.c.batch).join(batches, batches.c.number == tries.c.batch).where(batches.c.task == task)
    return any(tx.execute(query.limit(1)).first() for query in (called, created))


class AskedRequest(NamedTuple):
    """One request: when and how an item was asked, and how that ended; times are aware UTC, cost in USD.

    `number` is the line or the call's own; `batch` and `line` (in its file, from 1) are None for a live call. `purpose`
    is "batch", or what a live call was for. `outcome` is None while it is under way, `state` the batch's. `answer` is
    JSON, None where none is kept; tokens and cost are None where not known.
    """

    at: datetime
    number: int
    task: str
    item_id: str
    purpose: str
    extractor: str
    model: str
    outcome: str | None
    reason: str | None
    batch: int | None = None
    line: int | None = None
    state: str | None = None
    ended_at: datetime | None = None
    fingerprint: str | None = None
    answer: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost: float | None = None

    @property
    def is_live(self) -> bool:
        """Return whether it was a live call."""
        return self.batch is None

    @property
    def is_forgotten(self) -> bool:
        """Return whether its answer was forgotten with its item."""
        return self.answer == FORGOTTEN


_PAID = ("tokens_in", "tokens_out", "cost")
_WHOSE = (batches.c.created_at.label("at"), *(batches.c[name] for name in ("extractor", "model", "state")))
_CALLED = tuple(name for name in AskedRequest._fields if name in calls.c)


def requests_of_item(tx: Connection, task: str, item_id: str) -> list[AskedRequest]:
    """Return every request about one item, newest first."""
    found = (_rows(tx, query.where(table.c.task == task, table.c.item_id == item_id)) for table, query in _in_batches())
    return _newest_first([*(one for some in found for one in some), *_calls(tx, task, [item_id])])


def newest_requests(tx: Connection, *, limit: int, task: str | None = None) -> list[AskedRequest]:
    """Return the newest requests of a task, or of all; however many there are, only about so many are read."""
    found = list[AskedRequest]()
    for table, query in _in_batches():
        inside = table.c.line if table is asks else table.c.id
        newest = query.order_by(table.c.batch.desc(), inside.desc()).limit(limit)
        found += _rows(tx, _of_task(newest, table, task))
    newest_calls = select(calls.c.task, calls.c.item_id).order_by(calls.c.id.desc()).limit(limit)
    items: dict[str, set[str]] = {}
    for whose, item_id in tx.execute(_of_task(newest_calls, calls, task)):
        items.setdefault(whose, set()).add(item_id)
    found += [one for whose, ids in items.items() for one in _calls(tx, whose, sorted(ids))]
    return _newest_first(found)[:limit]


def _of_task(query: Select[Any], table: Table, task: str | None) -> Select[Any]:
    """Return a query of one task, or all; a plain comparison would have the database sort all that is of the task."""
    return query if task is None else query.where(func.coalesce(table.c.task, "") == task)


def _in_batches() -> Iterator[tuple[Table, Select[Any]]]:
    """Yield the SELECTs of what came of requests in batches, and of those that are under way."""
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
        yield AskedRequest(**{**row, "purpose": OF_BATCH, "number": row["line"] or 0})


def _calls(tx: Connection, task: str, ids: list[str]) -> Iterator[AskedRequest]:
    """Yield the live calls about some items, with what came of them."""
    told: dict[str, list[dict[str, Any]]] = {}
    for row in sorted((row for some in pages(ids) for row in _told(tx, task, some)), key=itemgetter("at")):
        told.setdefault(row["item_id"], []).append(row)
    columns = (calls.c.asked_at.label("at"), calls.c.id.label("number"), *(calls.c[name] for name in _CALLED))
    for some in pages(ids):
        query = select(*columns).where(calls.c.task == task, calls.c.item_id.in_(some)).order_by(calls.c.id)
        for call in tx.execute(query).mappings():
            yield _with_result(AskedRequest(**call, reason=None), told.get(call["item_id"], []))


def _told(tx: Connection, task: str, ids: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield the answers and attempts about some items that came in no batch."""
    names = ("item_id", "extractor", "at", *_PAID)
    for table, more in ((answers, ("answer",)), (attempts, ("outcome", "reason"))):
        query = select(*(table.c[name] for name in (*names, *more))).where(table.c.task == task)
        for row in tx.execute(query.where(table.c.batch.is_(None), table.c.item_id.in_(ids))).mappings():
            yield {"outcome": Outcome.ANSWERED.value, "reason": "ok", **row}


def _with_result(call: AskedRequest, told: list[dict[str, Any]]) -> AskedRequest:
    """Return a call with the answer or the attempt that was kept of it, if one was, which is taken out of `told`."""
    if call.purpose in NOT_KEPT or call.ended_at is None:
        return call
    how = Outcome.MISSING if call.outcome == CallEnd.LOST else call.outcome
    for row in told:
        if row["outcome"] == how and row["extractor"] == call.extractor and row["at"] >= call.ended_at:
            told.remove(row)
            paid = {name: row[name] for name in (*_PAID, "answer", "reason") if name in row}
            return call._replace(**paid, ended_at=row["at"])
    return call


def _newest_first(found: list[AskedRequest]) -> list[AskedRequest]:
    return sorted(found, key=attrgetter("at", "number"), reverse=True)
