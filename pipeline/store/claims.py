"""Claim items for a batch or a live call, and account for each request.

A claim is an open row of `findable_requests`. A unique index allows one an item, so two batches can never ask the same
item; the rows stay when the claim is closed and hold what became of each request. Items that ask the same share one
request: the first asks it, and the claims of the others say whose it is.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice, repeat
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Select,
    and_,
    case,
    cast,
    exc,
    false,
    func,
    insert,
    or_,
    select,
    text,
    tuple_,
    update,
)

from pipeline.core.errors import StateConflictError
from pipeline.core.states import Outcome
from pipeline.core.task import Rows, Task
from pipeline.store.database import pages, run_many, streamed, update_rows
from pipeline.store.locks import locks_of
from pipeline.store.tables import parked, requests

PAGE = 2000
ROWS = 500  # read at a time: what they hold is in memory
PLACE = (requests.c.line, requests.c.id)  # of a part in its batch: of those of a line the one that asked comes first
IS_OPEN = text("findable_requests.open")  # bare, as the index of claims has it: SQLite does not take it for `open = 1`


class Request(NamedTuple):
    """One item's part in a batch: the line in its file from 1, the hash it was asked with, and its outcome.

    Where it shares another item's request, `shares` is that one's; `asked_as` is the other item, whom the line names.
    """

    id: int
    line: int
    item_id: str
    input_hash: str
    outcome: str | None
    shares: int | None
    asked_as: str | None


class LiveClaim(NamedTuple):
    """A claim for a live call: its row, its task and item, and whether its process is dead."""

    id: int
    task: str
    item_id: str
    is_dead: bool


def askable(tx: Connection, task: Task, *, names: Sequence[str] = (), after: str | None = None) -> Select[Any]:
    """Return the SELECT of what the next batch would take, or of that after one: open, unclaimed, unparked.

    Of each row the columns of some `names`, and the id.
    """
    query = task.pending(tx, names=names, after=after)
    *_, item_id = query.selected_columns
    claimed = select(requests.c.id).where(requests.c.task == task.name, requests.c.item_id == item_id, IS_OPEN)
    stopped = select(parked.c.task).where(parked.c.task == task.name, parked.c.item_id == item_id)
    return query.where(~claimed.exists(), ~stopped.exists())


def askable_pages(tx: Connection, task: Task, *, limit: int | None, after: str | None = None) -> Iterator[list[str]]:
    """Yield pages of askable ids in the order of their rows, at most `limit` in all, at flat memory."""
    query = askable(tx, task, after=after).limit(limit)
    for page in streamed(tx, query, page=PAGE).scalars().partitions(PAGE):
        yield list(page)


def askable_rows(tx: Connection, task: Task, *, limit: int | None, after: str | None = None) -> Iterator[Rows]:
    """Yield pages of askable rows with what the task reads of them, in their order, at most `limit` in all."""
    names = task.rows.columns
    query = askable(tx, task, names=names, after=after).limit(limit)
    for page in streamed(tx, query, page=ROWS).partitions():
        rows = map(dict, map(zip, repeat(names), page))  # the id comes behind the names
        yield dict(zip([row[-1] for row in page], rows, strict=True))


def askable_among(tx: Connection, task: Task, ids: Sequence[str]) -> list[str]:
    """Return those of these ids that the next batch would take, in their own order."""
    free: set[str] = set()
    for some in pages(ids, PAGE):
        asked = requests.c.item_id.in_(some)
        taken = select(requests.c.item_id).where(requests.c.task == task.name, asked, IS_OPEN)
        stopped = select(parked.c.item_id).where(parked.c.task == task.name, parked.c.item_id.in_(some))
        free |= task.pending_among(tx, some) - {*tx.execute(taken).scalars(), *tx.execute(stopped).scalars()}
    return [one for one in ids if one in free]


def take_claims(
    tx: Connection, task: Task, rows: Iterable[tuple[str, int, str, str | None]], *, batch: int, at: datetime
) -> None:
    """Claim (item id, line, input hash, question) rows for a batch, in the order of its lines: all or none.

    Raises:
        StateConflictError: one of them was claimed, answered, parked or removed since it was read.
    """
    names = ("item_id", "line", "input_hash", "question")
    claims = (dict(zip(names, row, strict=True)) for row in rows)
    insert_claims(tx, task, ({**one, "batch": batch, "at": at} for one in claims))


def insert_claims(tx: Connection, task: Task, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert claims, and hold that each of their items can be asked.

    Raises:
        StateConflictError: one of them cannot, or is claimed.
    """
    left, taken = iter(rows), list[str]()
    try:
        while page := list(islice(left, PAGE)):
            run_many(tx, insert(requests).values(task=task.name, open=True), page)
            taken += [row["item_id"] for row in page]
    except exc.IntegrityError as error:
        raise StateConflictError("an item of", task.name, expected="unclaimed", wanted="claimed") from error
    for ids in pages(taken, PAGE):
        stopped = select(parked.c.item_id).where(parked.c.task == task.name, parked.c.item_id.in_(ids)).limit(1)
        if task.count_pending(tx, ids) != len(ids) or tx.execute(stopped).first() is not None:
            raise StateConflictError("an item of", task.name, expected="open", wanted="claimed")


def take_live(
    tx: Connection,
    task_name: str,
    item_id: str,
    *,
    input_hash: str,
    question: str | None = None,
    at: datetime,
) -> None:
    """Claim one item for a live call by this process, until it is released or the process is dead.

    Raises:
        StateConflictError: it is claimed already; on PostgreSQL the transaction must be rolled back to before.
    """
    values: dict[str, Any] = {"task": task_name, "item_id": item_id, "input_hash": input_hash, "question": question}
    values |= {"open": True, "at": at}
    try:
        tx.execute(insert(requests).values(owner=this_owner(tx), **values))
    except exc.IntegrityError as error:
        raise StateConflictError("the item", item_id, expected="unclaimed", wanted="claimed") from error


def has_live(tx: Connection, task_name: str, item_id: str) -> bool:
    """Return whether this process has a live claim on an item."""
    return tx.execute(select(requests.c.id).where(_is_mine(tx, task_name, item_id))).first() is not None


def release_live(tx: Connection, task_name: str, item_id: str, *, outcome: Outcome | None, reason: str) -> bool:
    """Close this process's live claim on an item; false when it was taken away meanwhile.

    Claims that share it are closed too, and tell nothing of their items unless that was recorded before.
    """
    mine = update(requests).where(_is_mine(tx, task_name, item_id))
    closing = mine.values(open=False, outcome=outcome, reason=reason)
    request = tx.execute(closing.returning(requests.c.id)).scalar()
    if request is not None:
        tx.execute(update(requests).where(requests.c.shares == request, IS_OPEN).values(open=False, reason=reason))
    return request is not None


def this_owner(tx: Connection) -> str:
    """Return how this process signs what it asks live, from the first time on; its lock is free when it is dead."""
    return locks_of(tx).mine().name


def _is_mine(tx: Connection, task_name: str, item_id: str) -> ColumnElement[bool]:
    ours = (requests.c.task == task_name) & (requests.c.item_id == item_id) & (requests.c.owner == this_owner(tx))
    return ours & IS_OPEN


def live_claims(tx: Connection) -> list[LiveClaim]:
    """Return every live claim, of any task."""
    columns = (requests.c.id, requests.c.task, requests.c.item_id, requests.c.owner)
    live = tx.execute(select(*columns).where(IS_OPEN, requests.c.batch.is_(None))).all()
    dead = {one for one in {row.owner for row in live} if locks_of(tx).is_free(one)}
    return [LiveClaim(*row[:3], row.owner in dead) for row in live]


def free_dead_claims(tx: Connection) -> int:
    """Close live claims whose process is dead; return how many."""
    dead = [one.id for one in live_claims(tx) if one.is_dead]
    for request_id in dead:
        closing = update(requests).where(requests.c.id == request_id, IS_OPEN)
        tx.execute(closing.values(open=False, reason="the process that asked is gone"))
    return len(dead)


def dead_claims(tx: Connection, task_name: str) -> list[str]:
    """Return the items of live claims that `free_dead_claims` would close."""
    return [one.item_id for one in live_claims(tx) if one.is_dead and one.task == task_name]


def highest_id(tx: Connection, task_name: str) -> int:
    """Return the highest number among the ids ever asked about or parked; 0 where there is none, or ids are text."""
    highest_of = (
        select(func.max(_number(tx, table.c.item_id))).where(table.c.task == task_name) for table in (requests, parked)
    )
    return max(tx.execute(query).scalar() or 0 for query in highest_of)


def _number(tx: Connection, item_id: ColumnElement[str]) -> ColumnElement[Any]:
    """Return an id as a number; what is none is 0 for SQLite and NULL for PostgreSQL, which refuses to cast it."""
    if tx.dialect.name == "sqlite":
        return cast(item_id, Integer)
    return case((item_id.regexp_match("^[0-9]{1,18}$"), cast(item_id, BigInteger)))


def release_claims(tx: Connection, batch: int, *, reason: str) -> list[str]:
    """Release every item that a batch still claims; return their ids in the order of the lines."""
    ours = and_(requests.c.batch == batch, IS_OPEN)
    ids = list(tx.execute(select(requests.c.item_id).where(ours).order_by(requests.c.line)).scalars())
    tx.execute(update(requests).where(ours).values(open=False, reason=reason))
    return ids


def request_page(tx: Connection, batch: int, *, after: Request | None, limit: int) -> list[Request]:
    """Return the next parts in a batch, by line, and of a line the one that asked first; accounted for or not."""
    query = _requests(batch).order_by(*PLACE).limit(limit)
    if after is not None:
        query = query.where(tuple_(*PLACE) > (after.line, after.id))
    return [Request._make(row) for row in tx.execute(query).all()]


def record_outcomes(tx: Connection, outcomes: Sequence[tuple[Request, Outcome, str]]) -> None:
    """Keep what became of requests and close their claims: of those that ended as most did, by one statement.

    Raises:
        StateConflictError: one of them was accounted for meanwhile; the caller's transaction must not go on.
    """
    if not outcomes:
        return
    alike: dict[tuple[Outcome, str], list[int]] = {}
    for request, outcome, why in outcomes:
        alike.setdefault((outcome, why), []).append(request.id)
    usual = max(alike, key=lambda kind: len(alike[kind]))
    is_open = requests.c.outcome.is_(None)
    closing = update(requests).where(requests.c.id.in_(alike.pop(usual)), is_open)
    closed = tx.execute(closing.values(open=False, outcome=usual[0].value, reason=usual[1])).rowcount
    rows = [(outcome.value, why, one) for (outcome, why), ids in alike.items() for one in ids]
    closed += update_rows(tx, requests, ("outcome", "reason"), rows, is_open, same={"open": false()})
    if closed != len(outcomes):
        first = outcomes[0][0].id
        raise StateConflictError("one of the requests from", first, expected="unaccounted", wanted="accounted for")


def outcome_counts(tx: Connection, batch: int) -> tuple[dict[Outcome, int], int, int]:
    """Return how many items of a batch ended in each way, how many of them shared a request, and how many are left.

    Ways in which none ended are not there.
    """
    counts = (func.count().filter(requests.c.outcome == one) for one in Outcome)  # to group them would sort every row
    shared, left = func.count(requests.c.shares), func.count().filter(requests.c.outcome.is_(None))
    *row, shared_count, left_count = tx.execute(select(*counts, shared, left).where(requests.c.batch == batch)).one()
    return {one: count for one, count in zip(Outcome, row, strict=True) if count}, shared_count, left_count


def requests_at(tx: Connection, batch: int, line: int) -> list[Request]:
    """Return the parts of one line of a batch's file, counted from 1; the one that asked comes first."""
    query = _requests(batch).where(requests.c.line == line).order_by(requests.c.id)
    return [Request._make(row) for row in tx.execute(query)]


def items_of(tx: Connection, batch: int) -> dict[int, str]:
    """Return the item id that each line of a batch's request file names."""
    query = select(requests.c.line, requests.c.item_id).where(requests.c.batch == batch, requests.c.shares.is_(None))
    return {row[0]: row[1] for row in tx.execute(query)}


def count_items(tx: Connection, numbers: Collection[int]) -> int:
    """Return how many items some batches were asked about, those too that share a request."""
    return tx.execute(
        select(func.count(requests.c.item_id.distinct())).where(requests.c.batch.in_(numbers))
    ).scalar_one()


def open_requests(tx: Connection, batch: int) -> list[Request]:
    """Return the requests of a batch that are still claimed, by line."""
    query = _requests(batch).where(IS_OPEN).order_by(requests.c.line)
    return [Request._make(row) for row in tx.execute(query)]


def _requests(batch: int) -> Select[Any]:
    """Return the SELECT of a batch's requests, with the columns of `Request`."""
    own, shared = requests.c, requests.alias()
    query = select(own.id, own.line, own.item_id, own.input_hash, own.outcome, own.shares, shared.c.item_id)
    return query.outerjoin_from(requests, shared, shared.c.id == own.shares).where(own.batch == batch)


def refused_items(tx: Connection, batch: int) -> set[str]:
    """Return the items of a batch whose requests were refused."""
    query = select(requests.c.item_id).where(requests.c.batch == batch, requests.c.outcome == Outcome.REFUSED)
    return set(tx.execute(query).scalars())


def claimed_among(tx: Connection, task_name: str, ids: Sequence[str]) -> set[str]:
    """Return which of these items are claimed."""
    return set(tx.execute(claimed_ids(task_name).where(requests.c.item_id.in_(ids))).scalars())


def is_any_claimed(tx: Connection, task_name: str, ids: Sequence[str]) -> bool:
    """Return whether any of these items stands in a batch that is not over, or is being asked live."""
    return tx.execute(claimed_ids(task_name).where(requests.c.item_id.in_(ids)).limit(1)).first() is not None


def is_any_open(tx: Connection, task_name: str) -> bool:
    """Return whether any item of a task is claimed, be it by a process that is gone."""
    return tx.execute(claimed_ids(task_name).limit(1)).first() is not None


def count_askable(tx: Connection, task: Task) -> int:
    """Return how many items the next submit would take."""
    query = select(func.count()).select_from(askable(tx, task).order_by(None).subquery())
    return tx.execute(query).scalar() or 0


def claimed_ids(task_name: str) -> Select[Any]:
    """Return the SELECT of the ids that are claimed."""
    return select(requests.c.item_id).where(requests.c.task == task_name, IS_OPEN)


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
    told = ("batch", "line", "owner")
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
    own = (mine.c.task == task_name) & (mine.c.item_id == item_id) & (mine.c.owner == this_owner(tx))
    leader = select(mine.c.id).where(own, mine.c.open).scalar_subquery()
    found = select(requests).where(requests.c.shares == leader, IS_OPEN).order_by(requests.c.id)
    return [
        Request(row.id, 0, row.item_id, row.input_hash, row.outcome, row.shares, item_id) for row in tx.execute(found)
    ]
