"""List items of a task, page by page, as a file, counted; list those that are parked, and let them be asked again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

from pipeline.core.errors import InputError
from pipeline.core.listed import WITHIN_S, ItemCounts, ItemFilter, ItemsPage, ItemsWanted
from pipeline.core.step import Option
from pipeline.core.text import one_line
from pipeline.engine.task import Task
from pipeline.engine.workspace import OpenWorkspace
from pipeline.ops.export import ExportReport, check_target, write_file
from pipeline.store import answers, asks, workspace
from pipeline.store.database import Store
from pipeline.tables import export

ROWS = 1_000  # of a file that are read at once
ALL = ItemFilter()


def page(ws: OpenWorkspace, which: ItemFilter = ALL, *, limit: int, after: str | None = None, **how: Any) -> ItemsPage:
    """Return at most `limit` items of the task in use, those behind the place `after` where it is given.

    Of `sort` and `fields` see `ItemsWanted`; InputError where there is no such place, state, sort or column.
    """
    with ws.store.read() as tx:
        return ws.task.grid(tx).page(tx, ItemsWanted(limit, which, after, **how))


def counts(ws: OpenWorkspace, which: ItemFilter = ALL, *, within_s: float | None = WITHIN_S) -> ItemCounts:
    """Return how many items there are of each state; what else tells them apart where that takes no longer."""
    with ws.store.read() as tx:
        return ws.task.grid(tx).counts(tx, which, within_s=within_s)


def write_csv(ws: OpenWorkspace, path: Path, which: ItemFilter = ALL, *, overwrite: bool, **how: Any) -> ExportReport:
    """Write what `csv` yields to a file that appears when it is whole; InputError where `check_target` refuses."""
    check_target(path, overwrite=overwrite)
    lines = write_file(path, csv(ws, which, **how))
    return ExportReport(str(path), "csv", lines - 1, ws.task.words.one)  # the header is a line, too


def csv(ws: OpenWorkspace, which: ItemFilter = ALL, **how: Any) -> Iterator[bytes]:
    """Yield all items that are wanted as CSV: the header, then an item a line, its state last."""
    with ws.store.read() as tx:
        pages = ws.task.grid(tx).pages(tx, ItemsWanted(ROWS, which, within_s=None, **how))
        first = next(pages)
        rows = ([*map(_cell, one.values.values()), one.state] for page in chain([first], pages) for one in page.items)
        yield from export.csv(rows, [*first.names, "state"])


def _cell(value: Any) -> str | float:
    return export.cell(value, texts=isinstance(value, list) and all(isinstance(one, str) for one in value))


@dataclass(frozen=True)
class ParkedItem:
    """One parked item: the name it goes by, the reason, and since when."""

    name: str
    reason: str
    since: datetime

    __repr__ = one_line


def list_parked(store: Store, task: Task) -> list[ParkedItem]:
    """Return every parked item of the task, longest first."""
    with store.read() as tx:
        rows = asks.parked_rows(tx, task.name, own=task.own)
        names = task.table(tx).names(tx, [row[0] for row in rows])
    return [ParkedItem(names.get(key, key), reason, since) for key, reason, since in rows]


def unpark_items(ws: OpenWorkspace, *, name: str | None, everyone: bool) -> list[str]:
    """Let one item or all of the task go again, and return their names.

    Raises:
        InputError: neither or both were asked for, nothing has that name, or it was not confirmed.
    """
    if (name is None) == (not everyone):
        raise InputError(
            "say who: one by name, or everyone",
            hint=f"`{ws.task.words.step('parked')}` lists them; {Option(all=True)} is everyone",
        )
    task = ws.task
    with ws.store.read() as tx:
        ids = None if name is None else [task.id_of(tx, name)]
        free = asks.unparkable(tx, task.name, own=task.own, ids=ids)
    if not free:
        return []
    if everyone:
        ws.agree(f"Let {len(free)} parked {task.words.many} be asked again?", nothing="nothing was let go")
    with ws.store.write() as tx:
        unparked = asks.unpark(tx, task.name, own=task.own, ids=ids)
        names = task.table(tx).names(tx, unparked)
    return sorted(names.get(key, key) for key in unparked)


def reopen(ws: OpenWorkspace, ids: Sequence[str]) -> list[str]:
    """Let some rows be asked again, and return those that are open by then.

    Parked ones are let go. What a model answered is kept, and counts no more; a person's word stays, as does a row that
    is being asked.
    """
    task = ws.task
    with ws.store.write() as tx:
        asks.unpark(tx, task.name, own=task.own, ids=ids)
        taken = asks.claimed_among(tx, task.name, ids) | answers.spoken_for_among(tx, task.name, ids)
        free = [one for one in ids if one not in taken]
        task.take_back(tx, free)
        answers.set_aside(tx, task.name, free)
        asks.reopen(tx, task.name, free)
        workspace.touch_revision(tx, task.name)
        return asks.askable_among(tx, task, free)
