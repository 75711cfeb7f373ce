"""Tell of single requests, whichever way they were asked: those of one item, or the newest, newest first.

A request in a batch is its claim, a live request its call. What came of each is the answer or the attempt that was kept
of it: of a batch by the batch's number, of a call the first that was written after the call ended.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, func, null, select

from pipeline.core.states import CallEnd, Outcome
from pipeline.store.answers import COMPARED, FORGOTTEN, ROLLED_BACK, of_item
from pipeline.store.tables import batches, calls, requests, tries

OF_BATCH = "batch"  # the purpose of a request in a batch
NOT_KEPT = (COMPARED, ROLLED_BACK)  # the purposes of calls of whose replies nothing is kept


def is_anything_sent(tx: Connection, task: str) -> bool:
    """Return whether a request of a task ever went out, or may have."""
    called = select(calls.c.id).where(calls.c.task == task)
    created = select(tries.c.batch).join(batches, batches.c.number == tries.c.batch).where(batches.c.task == task)
    return any(tx.execute(query.limit(1)).first() for query in (called, created))


class AskedRequest(NamedTuple):
    """One request: when and how an item was asked, and how that ended; times are aware UTC, cost in USD.

    `number` is the claim's or the call's own; `batch` and `line` (in its file, from 1) are None for a live call.
    `purpose` is "batch", or what a live call was for. `outcome` is None while it is under way, `state` the batch's.
    `answer` is JSON, None where none is kept; tokens and cost are None where not known. A line that is another item's,
    which asked the same, is `asked_as` that one's.
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
    asked_as: str | None = None

    @property
    def is_shared(self) -> bool:
        """Return whether another item asked for it."""
        return self.asked_as is not None

    @property
    def is_live(self) -> bool:
        """Return whether it was a live call."""
        return self.batch is None

    @property
    def is_forgotten(self) -> bool:
        """Return whether its answer was forgotten with its item."""
        return self.answer == FORGOTTEN


_SHARED = requests.alias()
_BOTH = ("task", "item_id", "outcome")
_IN_BATCH: tuple[ColumnElement[Any], ...] = (
    requests.c.at,
    requests.c.id.label("number"),
    *(requests.c[name] for name in (*_BOTH, "reason", "batch", "line")),
    *(batches.c[name] for name in ("extractor", "model", "state", "fingerprint")),
    _SHARED.c.item_id.label("asked_as"),
)
_LIVE: tuple[ColumnElement[Any], ...] = (
    calls.c.asked_at.label("at"),
    calls.c.id.label("number"),
    *(calls.c[name] for name in (*_BOTH, "purpose", "extractor", "model", "ended_at", "fingerprint")),
    *(calls.c[name] for name in ("tokens_in", "tokens_out", "cost")),
    null().label("reason"),
)


def requests_of_item(tx: Connection, task: str, item_id: str) -> list[AskedRequest]:
    """Return every request about one item, newest first."""
    in_batches = _in_batches().where(requests.c.task == task, requests.c.item_id == item_id)
    live = select(*_LIVE).where(calls.c.task == task, calls.c.item_id == item_id)
    return _newest_first(tx, chain(_rows(tx, in_batches, purpose=OF_BATCH), _rows(tx, live)))


def newest_requests(tx: Connection, *, limit: int, task: str | None = None) -> list[AskedRequest]:
    """Return the newest requests of a task, or of all; however many there are, only about so many are read."""
    in_batches = _in_batches().where(requests.c.batch.is_not(None)).order_by(requests.c.id.desc()).limit(limit)
    live = select(*_LIVE).order_by(calls.c.id.desc()).limit(limit)
    if task is not None:  # a plain comparison would have the database sort all that is of the task
        in_batches = in_batches.where(func.coalesce(requests.c.task, "") == task)
        live = live.where(func.coalesce(calls.c.task, "") == task)
    found = chain(_rows(tx, in_batches, purpose=OF_BATCH), _rows(tx, live))
    return _newest_first(tx, sorted(found, key=attrgetter("at"), reverse=True)[:limit])


def _in_batches() -> Select[Any]:
    query = select(*_IN_BATCH).join(batches, batches.c.number == requests.c.batch)
    return query.outerjoin(_SHARED, _SHARED.c.id == requests.c.shares)


def _rows(tx: Connection, query: Select[Any], **more: Any) -> Iterator[AskedRequest]:
    for row in tx.execute(query).mappings():
        yield AskedRequest(**row, **more)


def _newest_first(tx: Connection, found: Iterator[AskedRequest] | Sequence[AskedRequest]) -> list[AskedRequest]:
    newest = sorted(found, key=attrgetter("at", "number"), reverse=True)
    items = dict.fromkeys((one.task, one.item_id) for one in newest)
    kept = {item: sorted(chain(*of_item(tx, *item)), key=lambda row: row["at"]) for item in items}
    return [_with_result(one, kept[one.task, one.item_id]) for one in newest]


def _with_result(asked: AskedRequest, kept: Sequence[dict[str, Any]]) -> AskedRequest:
    """Return a request with the answer or the attempt that was kept of it, if one was; `kept` by time."""
    mine = (row for row in kept if _is_of(row, asked))
    row = next(mine, None)
    if row is None:
        return asked
    told = {name: row[name] for name in ("tokens_in", "tokens_out", "cost")}
    told |= {"answer": row.get("answer"), "reason": row.get("reason") or asked.reason}
    return asked._replace(**told, ended_at=row["at"])


def _is_of(row: dict[str, Any], asked: AskedRequest) -> bool:
    """Return whether an answer or an attempt is what came of a request."""
    if row["batch"] != asked.batch or asked.purpose in NOT_KEPT:
        return False
    if asked.batch is not None:
        return True
    how = Outcome.MISSING if asked.outcome == CallEnd.LOST else asked.outcome
    is_after = asked.ended_at is not None and row["at"] >= asked.ended_at
    return is_after and row.get("outcome", Outcome.ANSWERED) == how
