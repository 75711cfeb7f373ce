"""The pages: what the commands show, as HTML that works without scripts but for what changes something."""

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from pipeline.batch import listing
from pipeline.core.settings import settings_rows
from pipeline.cost import costs
from pipeline.engine.workspace import OpenWorkspace
from pipeline.index import search
from pipeline.ops import items, show, status
from web.api import desk_of
from web.desk import PEOPLE

router = APIRouter(include_in_schema=False)
ROWS = 50  # of one page of a list
CUT = 160  # characters of a cell
FIELDS = (
    *(("username", "Username", "text"), ("first_name", "First name", "text"), ("last_name", "Last name", "text")),
    *(("job_title", "Job title", "text"), ("company", "Company", "text"), ("bio", "Bio", "area")),
    *(("hourly_rate", "Hourly rate", "number"), ("currency", "Currency", "text")),
    ("profile_url", "Profile address", "url"),
)
_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
)


def _shown(request: Request, template: str, ws: OpenWorkspace, **values: Any) -> HTMLResponse:
    """Return a page about the task of a workspace."""
    desk = desk_of(request)
    name = ws.settings.task
    views = [("/", "Home"), ("/items", ws.task.words.many.capitalize()), ("/search", "Search"), ("/index", "Index")]
    known = {
        "nav": [(f"{href}?task={name}" if href != "/" else f"/?task={name}", label) for href, label in views]
        + [("/batches", "Batches"), ("/costs", "Costs"), ("/health", "Settings")],
        "here": f"{request.url.path}?task={name}" if request.url.path in dict(views) else request.url.path,
        "csrf": desk.csrf,
        "task": name,
        "words": ws.task.words,
        "workspace": str(ws.data),
        "backend": ws.backend,
        "readonly": desk.readonly,
        "q": "",
    }
    return HTMLResponse(_templates.get_template(template).render({**known, **values}))


def problem_page(request: Request, found: dict[str, Any], *, status: int) -> HTMLResponse:
    """Return a page that says what went wrong."""
    desk = desk_of(request)
    known = {"nav": [("/", "Home")], "here": "", "csrf": desk.csrf, "task": desk.settings.task, "q": ""}
    place = {"workspace": str(desk.settings.data), "backend": "", "readonly": desk.readonly}
    page = _templates.get_template("problem.html").render({**known, **place, "problem": found})
    return HTMLResponse(page, status_code=status)


@router.get("/")
def home(request: Request, task: str | None = None) -> HTMLResponse:
    """Show where everything stands."""
    with desk_of(request).to_read(task) as ws:
        return _shown(request, "home.html", ws, **_state(ws))


@router.get("/parts/home")
def home_part(request: Request, task: str | None = None) -> HTMLResponse:
    """Show the same again, for a page that is open."""
    with desk_of(request).to_read(task) as ws:
        return _shown(request, "parts/home.html", ws, **_state(ws))


def _state(ws: OpenWorkspace) -> dict[str, Any]:
    """Return what the first page shows."""
    report = status.run(ws)
    document, name = report.document, report.subject
    links = {
        key: f"/items?{urlencode({'task': name} | ({} if key == 'total' else {'state': key}))}"
        for key in document[name]
    }
    counts = [(key.replace("_", " "), count, links[key]) for key, count in document[name].items()]
    chosen = ("index", "parked", "spent", "next")
    known = {key: document[key] for key in chosen}
    waiting = [one for one in document["due"] if one["outcome"] is None]
    return {"counts": counts, "open_batches": report.open_batches, "due": waiting, **known}


@router.get("/items")
def list_of_items(
    request: Request, task: str | None = None, find: str = "", state: str = "", after: str = ""
) -> HTMLResponse:
    """Show a page of a task's items."""
    with desk_of(request).to_read(task) as ws:
        with ws.store.read() as tx:
            states = [name for name in list(ws.task.counts(tx, now=ws.now()))[1:]]
        return _shown(request, "items.html", ws, states=states, **_listed(ws, find, state, after))


@router.get("/parts/items")
def rows_of_items(
    request: Request, task: str | None = None, find: str = "", state: str = "", after: str = ""
) -> HTMLResponse:
    """Show the rows alone."""
    with desk_of(request).to_read(task) as ws:
        return _shown(request, "parts/items.html", ws, **_listed(ws, find, state, after))


def _listed(ws: OpenWorkspace, find: str, state: str, after: str) -> dict[str, Any]:
    """Return a page of items as the table shows them."""
    page = items.run(ws, find.split(), state=state or None, after=after or None, limit=ROWS)
    found = [
        {"key": one.id, "state": one.state, "cells": [_cell(value) for value in one.values.values()]}
        for one in page.items
    ]
    more = urlencode({"task": ws.settings.task, "find": find, "state": state, "after": page.after or ""})
    headers = list(page.items[0].values) if page.items else ["item"]
    known = {"find": find, "state": state, "after": page.after, "how_to_fill": ws.task.how_to_fill}
    return {"items": found, "headers": headers, "more": more, **known}


def _cell(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    return text if len(text) <= CUT else f"{text[:CUT].rstrip()} …"


@router.get("/item")
def one_item(request: Request, key: str, task: str | None = None, *, raw: bool = False) -> HTMLResponse:
    """Show everything known about one item."""
    with desk_of(request).to_read(task) as ws:
        document = show.run(ws, key, raw=raw)
        columns = [(name, _whole(value)) for name, value in document.pop("columns").items()]
        values = {name: value for name, value in document.items() if name != "task"}
        return _shown(request, "item.html", ws, **values, columns=columns, raw=raw, key=key)


def _whole(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else "–" if value is None else str(value)


@router.get("/search")
def search_page(request: Request, q: str = "", task: str | None = None) -> HTMLResponse:
    """Show what is nearest to a question."""
    with desk_of(request).to_read(task) as ws:
        collection = ws.collection
        report = search.run(ws, q, k=20) if q.strip() else None
        hits = (
            [_hit(collection.shown(one.rank, one.similarity, one.metadata), one.metadata) for one in report.hits]
            if report
            else []
        )
        return _shown(
            request,
            "search.html",
            ws,
            q=q,
            hits=hits,
            behind=report.behind if report else 0,
            question=collection.question,
        )


def _hit(found: dict[str, Any], metadata: Any) -> dict[str, Any]:
    """Return a hit as the page shows it."""
    hidden = {"rank", "similarity", "username", "id"}
    key = str(metadata.get("id", found.get("id", "")))
    title = str(found.get("username") or found.get("id") or key)
    fields = [(name, value) for name, value in found.items() if name not in hidden and value not in ("", None, [])]
    return {"key": key, "title": title, "similarity": found["similarity"], "fields": fields}


@router.get("/add")
def add_page(request: Request) -> HTMLResponse:
    """Show the form for a new person."""
    with desk_of(request).to_read(PEOPLE) as ws:
        return _shown(request, "add.html", ws, fields=FIELDS)


@router.get("/batches")
def batches_page(request: Request) -> HTMLResponse:
    """Show every batch."""
    with desk_of(request).to_read() as ws:
        found = [one.document for one in listing.run(ws.store, now=ws.now())]
        return _shown(request, "batches.html", ws, batches=found)


@router.get("/costs")
def costs_page(request: Request, by: str = "day") -> HTMLResponse:
    """Show what was spent."""
    by = by if by in costs.KEYS else "day"
    with desk_of(request).to_read() as ws:
        report = costs.run(ws.store, ws.subjects, by=by)
        rows = [*report.rows.items(), *([("all", report.total)] if report.rows else [])]
        return _shown(request, "costs.html", ws, rows=rows, by=by, keys=list(costs.KEYS))


@router.get("/index")
def index_page(request: Request, task: str | None = None) -> HTMLResponse:
    """Show the index of a task, and the button that rebuilds it."""
    with desk_of(request).to_read(task) as ws:
        return _shown(request, "index.html", ws, **_index(request, ws))


@router.get("/parts/index")
def index_part(request: Request, task: str | None = None) -> HTMLResponse:
    """Show the same again, for a page that is open."""
    with desk_of(request).to_read(task) as ws:
        return _shown(request, "parts/index.html", ws, **_index(request, ws))


def _index(request: Request, ws: OpenWorkspace) -> dict[str, Any]:
    """Return what is known of the index, and of the work on it."""
    work = desk_of(request).running.newest(f"index {ws.settings.task}")
    return {"index": status.run(ws).document["index"], "work": work.document if work else None}


@router.get("/health")
def settings_page(request: Request) -> HTMLResponse:
    """Show every setting, its value, and where that came from."""
    desk = desk_of(request)
    with desk.to_read() as ws:
        return _shown(request, "settings.html", ws, settings=settings_rows(desk.settings))
