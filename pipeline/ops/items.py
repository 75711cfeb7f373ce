"""List items of a task as a person wants them, page by page, as a file, and counted by what tells them apart."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.core.listed import ItemCounts, ItemFilter, ItemsPage, ItemsWanted
from pipeline.engine.task import Task
from pipeline.engine.workspace import OpenWorkspace
from pipeline.ops.export import FileReport, write_file
from pipeline.store.database import Store
from pipeline.tables import export

ROWS = 1_000  # of a file that are read at once
ALL = ItemFilter()


class Listing(NamedTuple):
    """What a list of items offers: all columns, the usual ones, and what it can be sorted by."""

    columns: Sequence[str]
    usual: Sequence[str]
    sorts: Sequence[str]


@dataclass(frozen=True)
class ItemList:
    """The items of a task, to be listed, counted and written to a file; InputError where they cannot be listed."""

    store: Store
    task: Task

    def listing(self) -> Listing:
        """Return what the list offers."""
        with self.store.read() as tx:
            grid = self.task.grid(tx)
            return Listing(grid.names, tuple(grid.usual), tuple(grid.sorts))

    def page(
        self,
        which: ItemFilter = ALL,
        *,
        limit: int,
        after: str | None = None,
        sort: str | None = None,
        fields: Sequence[str] | None = None,
    ) -> ItemsPage:
        """Return at most `limit` items, those behind the place `after` where it is given; see `ItemsWanted`.

        Raises:
            InputError: there is no such place, state, sort or column, or the items have no tags, versions or scores.
        """
        with self.store.read() as tx:
            return self.task.grid(tx).page(tx, ItemsWanted(limit, which, after, sort, fields))

    def counts(self, which: ItemFilter = ALL) -> ItemCounts:
        """Return how many items there are of each state, tag and version."""
        with self.store.read() as tx:
            return self.task.grid(tx).counts(tx, which)

    def export(
        self, path: Path, which: ItemFilter = ALL, *, sort: str | None = None, fields: Sequence[str] | None = None
    ) -> FileReport:
        """Write what `csv` yields to a file that appears when it is whole; an old file there is as it was until then.

        Raises:
            InputError: as of `page`, or the file cannot be written.
        """
        report = FileReport(str(path), "csv", -1, self.task.words.one)  # the header is a line, too

        def counted() -> Iterator[bytes]:
            for line in self.csv(which, sort=sort, fields=fields):
                report.count += 1
                yield line

        write_file(path, counted())
        return report

    def csv(
        self, which: ItemFilter = ALL, *, sort: str | None = None, fields: Sequence[str] | None = None
    ) -> Iterator[bytes]:
        """Yield all items that are wanted as CSV: the header, then an item a line, its state last; no cell a formula.

        Raises:
            InputError: as of `page`, before the first line.
        """
        with self.store.read() as tx:
            pages = self.task.grid(tx).pages(tx, ItemsWanted(ROWS, which, sort=sort, fields=fields))
            first = next(pages)
            items = (item for page in chain([first], pages) for item in page.items)
            rows = ([*map(_cell, one.values.values()), one.state] for one in items)
            yield from export.csv(rows, [*first.names, "state"])


def run(ws: OpenWorkspace) -> ItemList:
    """Return the items of the task in use, as they are now."""
    return ItemList(ws.store, ws.task)


def _cell(value: Any) -> str | float:
    return export.cell(value, texts=isinstance(value, list) and all(isinstance(one, str) for one in value))
