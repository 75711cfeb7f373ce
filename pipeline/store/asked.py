"""Tell of single requests: those of one item, or the newest, newest first.

A request is its answer, its attempt, or, as long as it is under way, its claim; its batch says who answers it. A row
that was told what an equal one was is not asked, and what is only tried is not kept.
"""

import json
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, func, literal, null, select

from pipeline.core.states import OPEN, Outcome
from pipeline.store.answers import FORGOTTEN
from pipeline.store.asks import IS_CLAIMED
from pipeline.store.schema import answers, asks, attempts, batches

_OWN = ("task", "batch", "line", "outcome", "reason", "tokens_in", "tokens_out", "cost", "answer")
_AGE = itemgetter("at", "batch", "line")


def is_anything_sent(tx: Connection, task: str) -> bool:
    """Return whether a request of a task ever went out, or may have."""
    sent = select(batches.c.number).where(batches.c.task == task, batches.c.create_sent_at.is_not(None))
    return tx.execute(sent.limit(1)).first() is not None


def requests_of_item(tx: Connection, task: str, item_id: str) -> list[dict[str, Any]]:
    """Return every request about one item as a document, newest first.

    That is when it was asked (`at`, `task`, `item`), how and by whom (`purpose`, `batch` and its `state`, `line`,
    `extractor`, `model`), and how it ended: `outcome` (None while it is under way), `reason`, `ended_at`, `tokens_in`,
    `tokens_out`, `cost` (USD), `answer`, and whether that was `forgotten` with its item.
    """
    return _told(tx, (query.where(table.c.task == task, table.c.item_id == item_id) for table, query in _queries()))


def newest_requests(tx: Connection, *, limit: int, task: str | None = None) -> list[dict[str, Any]]:
    """Return the newest requests of a task, or of all; however many there are, only about so many are read."""
    newest = list[Select[Any]]()
    for table, query in _queries():
        inside = table.c.line if table is asks else table.c.id
        # a plain comparison would have the database sort all that is of the task
        mine = query if task is None else query.where(func.coalesce(table.c.task, "") == task)
        newest.append(mine.order_by(table.c.batch.desc(), inside.desc()).limit(limit))
    return _told(tx, newest)[:limit]


def _queries() -> Iterator[tuple[Table, Select[Any]]]:
    for table in (answers, attempts, asks):
        own: dict[str, ColumnElement[Any]] = {name: table.c[name] if name in table.c else null() for name in _OWN}
        own |= {"item": table.c.item_id, "ended_at": null() if table is asks else table.c.at}
        if table is answers:
            own |= {"outcome": literal(Outcome.ANSWERED.value), "reason": literal("ok")}
        own |= {"at": batches.c.created_at, "purpose": batches.c.way}
        own |= {name: batches.c[name] for name in ("state", "extractor", "model")}
        query = select(*(cell.label(name) for name, cell in own.items()))
        query = query.select_from(table).join(batches, batches.c.number == table.c.batch)
        yield table, query.where(IS_CLAIMED, batches.c.state.in_(OPEN)) if table is asks else query


def _told(tx: Connection, queries: Iterable[Select[Any]]) -> list[dict[str, Any]]:
    rows = [{**row, "line": row["line"] or 0} for query in queries for row in tx.execute(query).mappings()]
    for row in rows:
        row |= {"forgotten": row["answer"] == FORGOTTEN, "answer": json.loads(row["answer"] or "null")}
    return sorted(rows, key=_AGE, reverse=True)
