"""Bring a column up to date that holds numbers which follow from others of its row."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, Table, select

from pipeline.store.database import streamed, update_rows
from pipeline.tables.cells import number_of
from pipeline.tables.item_table import CELLS

PAGE = 2000  # rows that are written at a time, or a few more


class DerivedColumn(NamedTuple):
    """A column of a table with the column `id`, and what makes its number of the cells of some other columns."""

    table: Table
    name: str
    made_of: Sequence[str]
    make: Callable[..., float]

    def refresh(self, tx: Connection, condition: ColumnElement[bool] | None = None) -> int:
        """Write the numbers of some or all rows that are wrong; return how many those were.

        Rows are read in one go for as long as few differ; those are written before the next are read.
        """
        written, after, own = 0, None, self.table.c.id
        while True:
            query = select(own, self.table.c[self.name], *(self.table.c[one] for one in self.made_of)).order_by(own)
            if condition is not None:
                query = query.where(condition)
            if after is not None:
                query = query.where(own > after)
            changed, after = self._outdated(tx, query)
            if changed:
                update_rows(tx, self.table, (self.name,), changed)
                written += len(changed)
            if after is None:
                return written

    def _outdated(self, tx: Connection, query: Select[Any]) -> tuple[list[tuple[float, Any]], Any]:
        """Return (right number, id) of rows that hold a wrong one, PAGE or a few more; and where to go on, or None."""
        found: list[tuple[float, Any]] = []
        result, make = streamed(tx, query, page=CELLS), self.make
        pages: Iterator[Sequence[Sequence[Any]]] = result.partitions()
        for rows in pages:
            found += [(new, key) for key, old, *cells in rows if (new := make(*cells)) != old and new != number_of(old)]
            if len(found) >= PAGE:
                result.close()
                return found, rows[-1][0]
        return found, None
