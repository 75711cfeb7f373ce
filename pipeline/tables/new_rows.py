"""Say what a new row of a table needs that another program made: an id that no row had, and something for nothing."""

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, func, select, text

from pipeline.tables.reflect import is_sqlite

SQLITE_WORDS = frozenset({"NULL", "TRUE", "FALSE", "CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP"})


@dataclass(frozen=True, eq=False)
class NewIds:
    """How new rows of a table come to their ids.

    `are_texts` where ids are texts whatever its rows hold; `counts_up` where the database gives one; `repeats` where
    that may be the id of a row that was deleted.
    """

    are_texts: bool
    counts_up: bool
    repeats: bool = False

    def of(
        self, tx: Connection, table: Table, wanted: int, *, above: Callable[[], int] = lambda: 0
    ) -> Sequence[int | str] | None:
        """Return ids for new rows (numbers, or UUIDs where ids are text), or None where the database gives unused ones.

        `above` finds the highest id that any row ever had, where those that are there do not tell.
        """
        if self.counts_up and not self.repeats:
            return None
        newest: Any = None if self.are_texts else tx.execute(select(func.max(table.c.id))).scalar()
        if self.are_texts or (isinstance(newest, str) and not self.counts_up):
            return [str(uuid.uuid4()) for _ in range(wanted)]
        newest, highest = int(newest or 0), above()
        if self.counts_up and highest <= newest:
            return None
        first = max(newest, highest) + 1
        return range(first, first + wanted)


def repeats_ids(tx: Connection, table: str) -> bool:
    """Return whether SQLite gives the id of the newest row again once that row was deleted."""
    if not is_sqlite(tx):
        return False
    query = text("SELECT sql FROM sqlite_master WHERE type = 'table' AND lower(name) = :name")
    return "AUTOINCREMENT" not in str(tx.execute(query, {"name": table}).scalar()).upper()


def default_value(tx: Connection, default: str | None) -> Any:
    """Return the value of a default that the database tells as it stands in SQL; None where there is none."""
    if default is None:
        return None
    if is_sqlite(tx) and re.fullmatch("[A-Za-z_]+", default) and default.upper() not in SQLITE_WORDS:
        return default  # SQLite takes a bare word for a text
    return tx.execute(text("SELECT " + default.replace(":", r"\:"))).scalar()


def filled(values: Mapping[str, Any], blanks: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with what stands for nothing where a column takes no NULL."""
    return {name: blanks.get(name) if value is None else value for name, value in values.items()}
