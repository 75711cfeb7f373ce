"""Check the rows as a whole, for `doctor`: is the database sound, and do its tables agree?"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, select, text, update

from pipeline.core.states import OVER, BatchState, CallEnd, Outcome
from pipeline.store.answers import COMPARED, PERSON, ROLLED_BACK
from pipeline.store.tables import (
    answers,
    attempts,
    batches,
    builds,
    calls,
    odd_lines,
    requests,
    tries,
    twins,
)

_INVALID_INDEXES = """
SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE c.relname LIKE 'findable\\_%' AND NOT (i.indisvalid AND i.indisready) AND pg_table_is_visible(c.oid) ORDER BY 1
"""
_BROKEN_PAGES = "SELECT checksum_failures FROM pg_stat_database WHERE datname = current_database()"
OF_BATCHES = (requests, answers, attempts, tries, twins, odd_lines)


def damage(tx: Connection) -> list[str]:
    """Return the damage that the database reports of itself, indexes included.

    SQLite reads its whole file for it. PostgreSQL tells its invalid indexes, and how many broken pages it has read.
    """
    if tx.dialect.name != "sqlite":
        invalid = tx.execute(text(_INVALID_INDEXES)).scalars()
        broken = tx.execute(text(_BROKEN_PAGES)).scalar()
        found = [f"the index {name} is invalid; REINDEX INDEX {name} makes it anew" for name in invalid]
        return found + ([f"{broken} pages with a wrong checksum were read"] if broken else [])
    said = [str(row[0]) for row in tx.execute(text("PRAGMA integrity_check(20)"))]
    return [line for line in said if line != "ok"]


def count_orphans(tx: Connection) -> dict[str, tuple[int, list[int]]]:
    """Return the tables of ours that hold rows of a batch that is not there: how many, and the batches' numbers."""
    found: dict[str, tuple[int, list[int]]] = {}
    for table in OF_BATCHES:
        is_loose = table.c.batch.is_not(None) & table.c.batch.not_in(select(batches.c.number))
        query = select(table.c.batch, func.count()).where(is_loose).group_by(table.c.batch)
        rows = tx.execute(query.order_by(table.c.batch)).all()
        if rows:
            found[table.name] = (sum(row[1] for row in rows), [row[0] for row in rows])
    return found


def unknown_states(tx: Connection) -> dict[int, str]:
    """Return the batches whose state is no word of ours, by number."""
    query = select(batches.c.number, batches.c.state).where(batches.c.state.not_in(list(BatchState)))
    return {row[0]: row[1] for row in tx.execute(query)}


def count_requests(tx: Connection) -> dict[int, dict[str, int]]:
    """Return for each batch how many items it is about: all, those that share a request, open, closed, by outcome."""
    counted = select(requests.c.batch, requests.c.open, requests.c.outcome, func.count(), func.count(requests.c.shares))
    query = counted.where(requests.c.batch.is_not(None)).group_by(requests.c.batch, requests.c.open, requests.c.outcome)
    found: dict[int, dict[str, int]] = {}
    for batch, is_open, outcome, count, shared in tx.execute(query):
        here = found.setdefault(batch, {"all": 0, "shared": 0, "open": 0, "closed": 0, **dict.fromkeys(Outcome, 0)})
        here["all"] += count
        here["shared"] += shared
        if is_open:
            here["open"] += count
        if outcome is not None:
            here[outcome] = here.get(outcome, 0) + count
        elif not is_open:
            here["closed"] += count
    return found


def count_written(tx: Connection) -> dict[int, tuple[int, int]]:
    """Return for each batch how many answers and how many attempts stand in the database."""
    given, failed = (
        {batch: count for batch, count in tx.execute(select(one.c.batch, func.count()).group_by(one.c.batch)) if batch}
        for one in (answers, attempts)
    )
    return {batch: (given.get(batch, 0), failed.get(batch, 0)) for batch in given.keys() | failed.keys()}


def live_answers(tx: Connection) -> tuple[int, int]:
    """Return how many answers came of live calls, and how many of these were answered whose answers are kept."""
    kept = select(func.count()).where(
        answers.c.batch.is_(None), answers.c.shares.is_(None), answers.c.extractor != PERSON
    )
    is_kept = calls.c.purpose.not_in([COMPARED, ROLLED_BACK])
    marks = select(func.count()).select_from(calls).where(calls.c.outcome == CallEnd.ANSWERED, is_kept)
    return tx.execute(kept).scalar() or 0, tx.execute(marks).scalar() or 0


_ENDED = requests.c.open & requests.c.batch.in_(select(batches.c.number).where(batches.c.state.in_(OVER)))


def claims_of_ended(tx: Connection) -> int:
    """Return how many claims are open of batches that are over."""
    return tx.execute(select(func.count()).select_from(requests).where(_ENDED)).scalar() or 0


def close_claims_of_ended(tx: Connection) -> None:
    """Close open claims of batches that are over."""
    tx.execute(update(requests).where(_ENDED).values(open=False, reason="its batch is over"))


def build_rows(tx: Connection) -> dict[int, Mapping[Any, Any]]:
    """Return the rows of all builds that were recorded, by number."""
    return {row["number"]: row for row in tx.execute(select(builds)).mappings()}
