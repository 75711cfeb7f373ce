"""Find requests that ask the same, and let items share one: theirs are claims that say whose request it is."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, func, or_, select

from pipeline.core.errors import StateConflictError
from pipeline.core.states import Outcome
from pipeline.core.task import Task
from pipeline.store.claims import IS_OPEN, PAGE, Request, insert_claims
from pipeline.store.database import pages
from pipeline.store.leases import this_owner
from pipeline.store.tables import requests


class Equal(NamedTuple):
    """A request, open or answered, that asks the same as another one would; `owner` is the process of a live one."""

    id: int
    item_id: str
    input_hash: str
    is_open: bool
    owner: str | None


_ASKED = ("question", "id", "item_id", "input_hash", "open", "owner")
_ASKING = (
    select(*(requests.c[name] for name in _ASKED))
    .where(or_(requests.c.open, requests.c.outcome == Outcome.ANSWERED))
    .order_by(requests.c.open, requests.c.id)
)


def find_equals(tx: Connection, questions: Sequence[str]) -> dict[str, Equal]:
    """Return the requests that ask these questions or, where none does, were answered last, by question."""
    found = (tx.execute(_ASKING.where(requests.c.question.in_(some))) for some in pages(questions))
    return {row[0]: Equal(*row[1:]) for rows in found for row in rows}


def is_any_known(tx: Connection) -> bool:
    """Return whether any request's question is known."""
    return tx.execute(select(requests.c.id).where(requests.c.question.is_not(None)).limit(1)).first() is not None


def newest_request(tx: Connection) -> int:
    """Return the number of the newest request, 0 where there is none."""
    return tx.execute(select(func.max(requests.c.id))).scalar() or 0


def newest_asking(tx: Connection, question: str) -> int | None:
    """Return the newest request that asked a question, open or not."""
    return tx.execute(select(func.max(requests.c.id)).where(requests.c.question == question)).scalar()


def check_unasked(tx: Connection, questions: Collection[str], *, since: int) -> None:
    """Hold that none of these questions was asked by a request newer than one.

    Raises:
        StateConflictError: another process asks one of them meanwhile.
    """
    newer = select(requests.c.id, requests.c.question).where(requests.c.id > since, requests.c.question.is_not(None))
    for request, question in tx.execute(newer):
        if question in questions:
            raise StateConflictError("request", request, expected="another question", wanted="asked")


def share_claims(tx: Connection, task: Task, rows: Sequence[tuple[str, str, int]], *, at: datetime) -> None:
    """Claim (item id, input hash, request) rows as part of open requests of other items that ask the same: all or none.

    Each ends with its request, whichever way that goes.

    Raises:
        StateConflictError: such an item was claimed, answered, parked or removed, or its request ended, meanwhile.
    """
    told = ("batch", "line", "owner", "until")
    for page in pages(rows, PAGE):
        shared = list({request for *_, request in page})
        query = select(requests.c.id, *(requests.c[name] for name in told)).where(requests.c.id.in_(shared))
        homes = {row[0]: dict(zip(told, row[1:], strict=True)) for row in tx.execute(query.where(IS_OPEN))}
        if len(homes) != len(shared):
            raise StateConflictError("a request", min({*shared} - {*homes}), expected="open", wanted="shared")
        claims = (
            {"item_id": item_id, "input_hash": input_hash, "shares": request, "at": at, **homes[request]}
            for item_id, input_hash, request in page
        )
        insert_claims(tx, task, claims)


def ids_of_lines(tx: Connection, batch: int, lines: Sequence[int]) -> dict[int, int]:
    """Return the requests on some lines of a batch's file, by line."""
    query = select(requests.c.line, requests.c.id).where(requests.c.batch == batch, requests.c.shares.is_(None))
    found = (tx.execute(query.where(requests.c.line.in_(some))) for some in pages(lines, PAGE))
    return {row[0]: row[1] for rows in found for row in rows}


def sharing_live(tx: Connection, task_name: str, item_id: str) -> list[Request]:
    """Return the items that share this process's open live claim on an item, as they came; without lines."""
    mine = requests.alias()
    own = (mine.c.task == task_name) & (mine.c.item_id == item_id) & (mine.c.owner == this_owner())
    leader = select(mine.c.id).where(own, mine.c.open).scalar_subquery()
    found = select(requests).where(requests.c.shares == leader, IS_OPEN).order_by(requests.c.id)
    return [
        Request(row.id, 0, row.item_id, row.input_hash, row.outcome, row.shares, item_id) for row in tx.execute(found)
    ]
