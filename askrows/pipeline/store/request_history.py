"""The requests that were sent, with their replies."""

import json
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    func,
    literal,
    null,
    select,
)

from askrows.pipeline.core.states import ENDED_STATES, OPEN_STATES, Outcome
from askrows.pipeline.store.answers import (
    FORGOTTEN_ANSWER,
    is_of_model,
    select_version_starts,
)
from askrows.pipeline.store.claims import IS_CLAIMED
from askrows.pipeline.store.database import has_row
from askrows.pipeline.store.schema import answers, attempts, batches, row_claims

# Columns of a request that its answer, attempt or claim may have.
_REQUEST_COLUMNS = (
    "task",
    "batch",
    "line",
    "outcome",
    "reason",
    "tokens_in",
    "tokens_out",
    "cost",
    "answer",
)


def has_any_request(tx: Connection) -> bool:
    """Return whether the database has a version, a model's answer or a batch that is not over."""
    queries = (
        select(select_version_starts().subquery().c.task),
        select(answers.c.id).where(is_of_model(answers.c.version)),
        select(batches.c.number).where(batches.c.state.not_in(list(ENDED_STATES))),
    )
    return any(has_row(tx, query) for query in queries)


def has_sent_request(tx: Connection, task: str) -> bool:
    """Return whether a request of a task was sent, or may have been sent."""
    sent_batches = select(batches.c.number).where(
        batches.c.task == task,
        batches.c.create_sent_at.is_not(None),
    )
    return has_row(tx, sent_batches)


def list_requests_of_row(tx: Connection, task: str, row_id: str) -> list[dict[str, Any]]:
    """Return every request about one row as a document, newest first.

    Returns:
        Documents with these members:

        - `at`, `task`, `row`: when the batch was made, and about which row
        - `purpose` (the mode), `batch` and its `state`, `line`, `version`, `model`
        - `outcome` (None while the request is running), `reason`, `ended_at`
        - `tokens_in`, `tokens_out`, `cost` (USD)
        - `answer`, and `forgotten`: whether it was erased with its row
    """
    queries = [
        query.where(table.c.task == task, table.c.row_id == row_id)
        for table, query in _make_request_queries()
    ]
    return _read_request_documents(tx, queries)


def list_newest_requests(
    tx: Connection, *, limit: int, task: str | None = None
) -> list[dict[str, Any]]:
    """Return the `limit` newest requests of a task, or of all tasks if it is None.

    The highest batch and line come first. A request is an answer, an attempt, or a claim of a batch
    that has not ended. Requests without a batch are left out. Each document has the request's row,
    batch, outcome, cost, answer and the other members that `list_requests_of_row` describes. At
    most `limit` rows of each of the three tables are read.
    """
    newest = list[Select[Any]]()
    for table, query in _make_request_queries():
        if task is not None:
            # After a plain comparison the database would sort all rows of the task.
            query = query.where(func.coalesce(table.c.task, "") == task)  # noqa: PLW2901
        newest.append(query.limit(limit))
    return _read_request_documents(tx, newest)[:limit]


def _make_request_queries() -> Iterator[tuple[Table, Select[Any]]]:
    """Yield the tables of answers, attempts and claims, each with a SELECT of its requests.

    Each SELECT has the columns of a request document; a column that the table lacks is NULL. Only
    rows with a batch are selected, and only claims of batches that are not finished. The highest
    batch comes first, and in it the highest line of a claim, or the newest answer or attempt.
    """
    for table in (answers, attempts, row_claims):
        cells: dict[str, ColumnElement[Any]] = {
            name: table.c[name] if name in table.c else null() for name in _REQUEST_COLUMNS
        }
        cells["row"] = table.c.row_id
        cells["ended_at"] = null() if table is row_claims else table.c.at
        if table is answers:
            cells["outcome"] = literal(Outcome.ANSWERED.value)
            cells["reason"] = literal("ok")
        cells["at"] = batches.c.created_at
        cells["purpose"] = batches.c.mode
        for name in ("state", "version", "model"):
            cells[name] = batches.c[name]

        position = table.c.line if table is row_claims else table.c.id
        query = (
            select(*(cell.label(name) for name, cell in cells.items()))
            .select_from(table)
            .join(batches, batches.c.number == table.c.batch)
            .order_by(table.c.batch.desc(), position.desc())
        )
        if table is row_claims:
            query = query.where(IS_CLAIMED, batches.c.state.in_(OPEN_STATES))
        yield table, query


def _read_request_documents(tx: Connection, queries: Iterable[Select[Any]]) -> list[dict[str, Any]]:
    """Run SELECTs of requests and return their documents, highest batch and line first.

    A missing line becomes 0. The answer is parsed from JSON, None if there is none. `forgotten`
    says that the answer was erased.
    """
    requests = []
    for query in queries:
        for row in tx.execute(query).mappings():
            request = {**row, "line": row["line"] or 0}
            request["forgotten"] = row["answer"] == FORGOTTEN_ANSWER
            request["answer"] = json.loads(row["answer"] or "null")
            requests.append(request)
    # Not by time: a clock may have been wrong, and numbers only grow.
    return sorted(requests, key=itemgetter("batch", "line"), reverse=True)
