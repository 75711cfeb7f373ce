"""Items of any task: found as one types, counted by what tells them apart, page by page, and as CSV."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, StreamingResponse

from pipeline.core.listed import ItemCounts, ItemFilter
from pipeline.ops import items
from web.desk import Desk
from web.render import as_cell, desk_of, show_page

router = APIRouter()

ITEMS = "/items"
Text = Annotated[str, Query(max_length=4_000)]
Texts = Annotated[list[str], Query(max_length=100)]
Score = Annotated[float | None, Query(ge=0, le=100, allow_inf_nan=False)]


@dataclass(frozen=True)
class Asked:
    """What an address asks of the items of a task, by the names of the command `items`."""

    which: ItemFilter
    sort: str | None
    fields: Sequence[str] | None

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Return it as an address says it."""
        which = self.which
        low, high = ("" if one is None else f"{one:g}" for one in (which.min_score, which.max_score))
        told = [("find", " ".join(which.words)), ("state", which.state or ""), *(("tag", one) for one in which.tags)]
        told += [("extractor", which.extractor or ""), ("min_score", low), ("max_score", high)]
        told += [("where", which.where), ("sort", self.sort or ""), *(("fields", one) for one in self.fields or ())]
        return [pair for pair in told if pair[1]]

    def address(self, path: str, task: str, **anew: Sequence[str]) -> str:
        """Return an address that asks for the same, with some of it as it is given anew."""
        kept = [("task", task), *(pair for pair in self.pairs if pair[0] not in anew)]
        return f"{path}?" + urlencode([*kept, *((name, one) for name, some in anew.items() for one in some)])


def asked_for(
    *,
    find: Text = "",
    state: Text = "",
    tag: Texts = [],  # noqa: B006 - FastAPI's way, which copies it
    extractor: Text = "",
    min_score: Score = None,
    max_score: Score = None,
    where: Text = "",
    sort: Text = "",
    fields: Texts = [],  # noqa: B006 - FastAPI's way, which copies it
) -> Asked:
    """Return what an address asks for; several columns stand one by one, or with commas."""
    tags = list(dict.fromkeys(filter(None, tag)))
    names = dict.fromkeys(name for text in fields for one in text.split(",") if (name := one.strip()))
    which = ItemFilter(find.split(), state or None, tags, extractor or None, min_score, max_score, where.strip())
    return Asked(which, sort or None, list(names) or None)


Wanted = Annotated[Asked, Depends(asked_for)]


class Choice(NamedTuple):
    """A value that items are told apart by: how many have it, the address of those alone, and whether it is chosen.

    The address of one that is chosen is without it.
    """

    label: str
    items: int
    href: str
    is_chosen: bool


def choices_of(found: ItemCounts, asked: Asked, task: str) -> dict[str, list[Choice]]:
    """Return by kind what items can be told apart by; what is chosen is there, whatever was found."""
    which = asked.which
    kinds = (
        ("states", "state", [which.state], {name: count for name, count in found.states.items() if count}),
        ("tags", "tag", which.tags, found.tags),
        ("versions", "extractor", [which.extractor], found.versions),
    )
    choices: dict[str, list[Choice]] = {}
    for kind, name, chosen, counted in kinds:
        given = [one for one in chosen if one]
        for value, count in {**dict.fromkeys(given, 0), **(counted or {})}.items():
            others = [one for one in given if one != value]  # tags narrow, of others one at a time can be chosen
            anew = others if value in given else [*(others if name == "tag" else ()), value]
            href = asked.address(ITEMS, task, **{name: anew})
            choices.setdefault(kind, []).append(Choice(value, count, href, value in given))
    return choices


ROWS = 50  # of one page
LINES = 500  # of CSV that are sent at once
FEW = 12  # values of a kind that are shown at first
LABELS = {"findability_score": "score", "job_title": "title"}
Limit = Annotated[int, Query(ge=1, le=500)]


@router.get("/api/tasks/{task}/items")
def list_items(request: Request, task: str, asked: Wanted, after: Text = "", limit: Limit = ROWS) -> dict[str, Any]:
    """Return one page of a task's items, as `findable items --json`; the next one begins behind `after`."""
    with desk_of(request).to_read(task) as ws:
        listed, which = items.run(ws), asked.which
        page = listed.page(which, after=after or None, limit=limit, sort=asked.sort, fields=asked.fields)
        return page.document


@router.get("/api/tasks/{task}/facets")
def get_counts(request: Request, task: str, asked: Wanted) -> dict[str, Any]:
    """Return how many items there are of each state, tag and version, as `findable items --counts --json`."""
    with desk_of(request).to_read(task) as ws:
        return items.run(ws).counts(asked.which).document


@router.get("/items.csv", include_in_schema=False)
def items_csv(request: Request, task: str, asked: Wanted) -> StreamingResponse:
    """Send all items that are asked for as CSV, as they come."""
    lines = _csv(desk_of(request), task, asked)
    first = next(lines)  # or the error
    told = {"content-disposition": 'attachment; filename="items.csv"'}
    return StreamingResponse(chain([first], lines), media_type="text/csv; charset=utf-8", headers=told)


@router.get("/items", include_in_schema=False)
def items_page(request: Request, asked: Wanted, task: str | None = None, after: Text = "") -> HTMLResponse:
    """Show one page of a task's items."""
    with desk_of(request).to_read(task) as ws:
        return show_page(
            request, "items.html", ws, is_part=False, **_shown(items.run(ws), asked, ws.settings.task, after)
        )


@router.get("/parts/items", include_in_schema=False)
def items_part(request: Request, task: str, asked: Wanted) -> HTMLResponse:
    """Show the first page of what is asked for now; the reader's address follows."""
    with desk_of(request).to_read(task) as ws:
        listed = items.run(ws)
        if set(asked.fields or ()) == set(listed.listing().usual):
            asked = replace(asked, fields=None)
        found = show_page(request, "parts/items.html", ws, is_part=True, **_shown(listed, asked, task))
    found.headers["hx-replace-url"] = asked.address(ITEMS, task)
    return found


@router.get("/parts/facets", include_in_schema=False)
def facets_part(request: Request, task: str, asked: Wanted) -> HTMLResponse:
    """Show how many items there are of each kind, each with the address that shows those alone."""
    with desk_of(request).to_read(task) as ws:
        found = items.run(ws).counts(asked.which)
        kinds = choices_of(found, asked, task)
        return show_page(request, "parts/facets.html", ws, total=found.total, kinds=kinds, few=FEW)


def _csv(desk: Desk, task: str, asked: Asked) -> Iterator[bytes]:
    with desk.to_read(task) as ws:
        lines = items.run(ws).csv(asked.which, sort=asked.sort, fields=asked.fields)
        while some := b"".join(islice(lines, LINES)):
            yield some


class _Header(NamedTuple):
    """The head of a column: its label, the address that sorts by it, and how it is sorted, as ARIA says it."""

    label: str
    href: str | None
    order: str
    is_number: bool


def _shown(listed: items.ItemList, asked: Asked, task: str, after: str = "") -> dict[str, Any]:
    listing = listed.listing()
    how: Any = {"after": after or None, "sort": asked.sort, "fields": asked.fields}
    page = listed.page(asked.which, limit=ROWS, **how)
    with listed.store.read() as tx:
        names = listed.task.table(tx).names(tx, [one.id for one in page.items])
    rows = [{"name": names.get(one.id, one.id), "state": one.state, "cells": _cells(one.values)} for one in page.items]
    numbers = [any(row["cells"][at][0] == "num" for row in rows) for at in range(len(page.names))]
    chosen = [pair for pair in asked.pairs if pair[0] not in {"sort", "fields"}]
    return {
        "items": rows,
        "headers": [
            _header(asked, task, one, listing.sorts, is_number=is_number)
            for one, is_number in zip(page.names, numbers, strict=True)
        ],
        "next": asked.address(ITEMS, task, after=[page.after]) if page.after else None,
        "first": asked.address(ITEMS, task) if after else None,
        "csv": asked.address("/items.csv", task),
        "facets": asked.address("/parts/facets", task),
        "all": asked.address(ITEMS, task, **{name: () for name, _ in chosen}) if chosen else None,
        "find": " ".join(asked.which.words),
        "kept": [pair for pair in asked.pairs if pair[0] not in {"find", "where", "fields"}],
        "where": asked.which.where,
        "columns": [(one, _label(one), one in page.names) for one in listing.columns],
        "how_to_fill": listed.task.how_to_fill,
        "items_from": listed.task.items_from,
    }


def _cells(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(_kind(one), one if _kind(one) == "tags" else as_cell(one)) for one in values.values()]


def _kind(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return "tags"
    return "num" if isinstance(value, int | float) and not isinstance(value, bool) else "text"


def _label(name: str) -> str:
    return LABELS.get(name, name.replace("_", " "))


def _header(asked: Asked, task: str, name: str, sorts: Sequence[str], *, is_number: bool) -> _Header:
    """Return the head of a column; the address of one by which items are sorted turns the order round."""
    order = {name: "ascending", f"-{name}": "descending"}.get(asked.sort or "", "none")
    anew = f"-{name}" if order == "ascending" or (is_number and order == "none") else name
    href = asked.address(ITEMS, task, sort=[anew]) if name in sorts else None
    return _Header(_label(name), href, order, is_number)
