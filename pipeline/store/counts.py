"""Remember what took long to count, with when, and for as long as what it is true of stands."""

import contextlib
import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, delete, insert, select

from pipeline.core.errors import FindableError
from pipeline.store.tables import counts

if TYPE_CHECKING:
    from pipeline.store.database import Store

LONG_S = 0.2  # ours: what takes longer to count is remembered


class CountMemory:
    """The counts of one snapshot: those that are remembered, and those made now that are worth it."""

    def __init__(self, tx: Connection, *, anew: bool = False, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Read within a transaction; `anew` counts everything."""
        self._tx = tx
        self._anew = anew
        self._monotonic = monotonic
        self._made: list[dict[str, Any]] = []

    def ask(self, name: str, state: str, count: Callable[[], Any]) -> tuple[Any, datetime | None]:
        """Return what was found in that state, and when; or count, and no time: it is of now.

        What is found is what JSON holds.
        """
        query = select(counts.c.found, counts.c.at).where(counts.c.name == name, counts.c.state == state)
        row = None if self._anew else self._tx.execute(query).first()
        if row is not None:
            return json.loads(row.found), row.at
        began = self._monotonic()
        found = count()
        if self._anew or self._monotonic() - began > LONG_S:
            self._made.append({"name": name, "state": state, "found": json.dumps(found)})
        return found, None

    def keep(self, store: "Store", *, at: datetime) -> None:
        """Write down what took long or was counted anew, unless another process writes, or nothing may be written."""
        if not self._made:
            return
        with contextlib.suppress(FindableError), store.write(patience_s=0) as tx:
            for one in self._made:
                tx.execute(delete(counts).where(counts.c.name == one["name"]))
                tx.execute(insert(counts).values(at=at, **one))
