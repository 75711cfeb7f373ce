"""Check the rows as a whole, for `doctor`: is the database sound, and do its tables agree?"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, func, literal, select, text

from pipeline.core.states import OVER, BatchState, Outcome
from pipeline.store.asks import CLAIMED
from pipeline.store.schema import answers, asks, attempts, batches, builds

_INVALID_INDEXES = """
SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE c.relname LIKE 'findable\\_%' AND NOT (i.indisvalid AND i.indisready) AND pg_table_is_visible(c.oid) ORDER BY 1
"""
_BROKEN_PAGES = "SELECT checksum_failures FROM pg_stat_database WHERE datname = current_database()"


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


def count_orphans(tx: Connection) -> dict[str, int]:
    """Return how many rows of our tables are of a batch that is not there, as only SQLite lets another program do."""
    if tx.dialect.name != "sqlite":
        return {}
    every = (row[0] for row in tx.execute(text("PRAGMA foreign_key_check")) if row[2] == batches.name)
    return dict(sorted(Counter(every).items()))


def unknown_states(tx: Connection) -> dict[int, str]:
    """Return the batches whose state is no word of ours, by number."""
    query = select(batches.c.number, batches.c.state).where(batches.c.state.not_in(list(BatchState)))
    return {row[0]: row[1] for row in tx.execute(query)}


def count_outcomes(tx: Connection) -> dict[int, dict[str, int]]:
    """Return for each batch how many of its requests are claimed, and how many ended in each way."""
    found: dict[int, dict[str, int]] = {}
    counted = (
        (select(asks.c.batch, literal("claimed"), func.count()).where(asks.c.state == CLAIMED), asks.c.batch),
        (select(answers.c.batch, literal(Outcome.ANSWERED.value), func.count()), answers.c.batch),
        (select(attempts.c.batch, attempts.c.outcome, func.count()), attempts.c.batch),
    )
    for query, batch in counted:
        groups = (batch, attempts.c.outcome) if batch.table is attempts else (batch,)
        for number, how, count in tx.execute(query.where(batch.is_not(None)).group_by(*groups)):
            found.setdefault(number, {"claimed": 0, **dict.fromkeys(Outcome, 0)})[how] = count
    return found


_ENDED = (asks.c.state == CLAIMED) & asks.c.batch.in_(select(batches.c.number).where(batches.c.state.in_(OVER)))


def claims_of_ended(tx: Connection) -> int:
    """Return how many claims there are of batches that are over."""
    return tx.execute(select(func.count()).select_from(asks).where(_ENDED)).scalar() or 0


def close_claims_of_ended(tx: Connection) -> None:
    """Let rows go that batches claim which are over."""
    tx.execute(delete(asks).where(_ENDED))


def build_rows(tx: Connection) -> dict[int, Mapping[Any, Any]]:
    """Return the rows of all builds that were recorded, by number."""
    return {row["number"]: row for row in tx.execute(select(builds)).mappings()}
