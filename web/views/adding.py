"""A new person, and rows of a file that is dropped: what would go in is shown before anything is written."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse
from markupsafe import escape
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from pipeline.core.step import Step
from pipeline.engine.workspace import OpenWorkspace
from pipeline.experts import import_ as people
from pipeline.passages import import_ as passages
from pipeline.tables.findings import ImportReport
from pipeline.workflows import add_expert
from web.desk import PEOPLE, Desk
from web.dropped import DroppedFile
from web.guard import MAX_FILE
from web.problem import Refused, line_of
from web.render import desk_of, show_page
from web.running import Work
from web.views.items import Text

router = APIRouter()


BEFORE = b"\xef\xbb\xbf \t\r\n"  # that may stand in front of a JSON document
FIELDS = (
    *(("username", "Username", "text"), ("first_name", "First name", "text"), ("last_name", "Last name", "text")),
    *(("job_title", "Job title", "text"), ("company", "Company", "text"), ("bio", "Bio", "area")),
    *(("hourly_rate", "Hourly rate", "number"), ("currency", "Currency", "text")),
    ("profile_url", "Profile address", "url"),
)
PERSON_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {name: {"type": "number" if kind == "number" else "string"} for name, _, kind in FIELDS},
                "required": ["username"],
            }
        }
    },
}


@router.post("/api/admin/experts", status_code=201, openapi_extra={"requestBody": PERSON_BODY})
async def add_person(request: Request) -> JSONResponse:
    """Save a person and wait for their tags, for some seconds at the most: 201 {ok, username, tags, …}.

    The body has the names of `make add-expert`, or those of the CSV; `notes` name what of it was not read. What comes
    later than the reply is kept all the same, and `retrying` says so. 503 where more come at once than can be saved in
    time: this one was not.
    """
    desk, began = desk_of(request), time.monotonic()
    body = await request.body()
    if body.lstrip(BEFORE)[:1] == b"[":
        raise Refused(
            422, "the body is a list; one person at a time is added here", hint=f"`{Step('import')}` adds many"
        )
    saved = await desk.save(body)
    done = False
    if saved.is_due:
        asking = asyncio.wrap_future(desk.tagger.ask(saved.item_id))
        await asyncio.wait([asking], timeout=max(0.0, began + desk.patience_s - time.monotonic()))
        done = asking.done()
    reply = _reply(saved.username, [], saved.findability_score, retrying=saved.is_due)
    reply = await run_in_threadpool(_stored, desk, saved) if done else reply
    return JSONResponse({**reply, "notes": list(saved.notes)}, status_code=201)


@router.get("/people/new", include_in_schema=False)
def new_person_page(request: Request) -> HTMLResponse:
    """Show the form for a new person."""
    with desk_of(request).to_read(PEOPLE) as ws:
        return show_page(request, "people.html", ws, fields=FIELDS)


def _stored(desk: Desk, saved: add_expert.SavedExpert) -> dict[str, Any]:
    with desk.to_read(PEOPLE) as ws:
        found, is_due = add_expert.as_stored(ws.store, ws.task, saved)
    return _reply(found.username, found.tags, found.findability_score, retrying=is_due)


def _reply(username: str, tags: list[str], score: float, *, retrying: bool) -> dict[str, Any]:
    return {
        "ok": True,
        "username": username,
        "tags": tags or None,
        "findability_score": score,
        "retrying": retrying,
    }


class Importer(NamedTuple):
    """What imports a file of a task, and what one and many of its items are called; it need not be used here yet."""

    run: Callable[..., ImportReport]
    one: str
    many: str


IMPORTS = {PEOPLE: Importer(people.run, "person", "people"), "passages": Importer(passages.run, "passage", "passages")}
SHOWN = 200  # findings on the page
WAITS = frozenset({"reading", "importing"})
TO_DO = {  # what a finding means, and what to do
    "rejected": "stays out: mend it, and drop the file again",
    "changed": "goes in without it, or as it says",
    "noted": "goes in as it is",
    "kept": "goes in; what was answered stays",
}
FILE_BODY = {
    "required": True,
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}
FileName = Annotated[str, Query(min_length=1, max_length=1_000)]
Mapping = Annotated[str, Query(alias="map", max_length=4_000)]


@router.post("/api/imports", status_code=202, openapi_extra={"requestBody": FILE_BODY})
async def drop_file(request: Request, task: Text, name: FileName, mapping: Mapping = "") -> JSONResponse:
    """Take a file, of at most 1 GB, as it comes, and begin to read it; nothing of it is imported yet.

    `map` is what `MAP=` says of its columns. `GET` of the place that is named says what would go in.
    """
    desk = desk_of(request)
    if task not in IMPORTS:
        hint = await run_in_threadpool(_items_from, desk, task)
        raise Refused(422, f"no file is imported for {task!r}; nothing was kept", hint=hint, field="task")
    return _accepted(_looking(desk, await desk.dropped.keep(task, name, request.stream(), mapping=mapping)))


@router.get("/api/imports/{number}")
def get_import(request: Request, number: int) -> dict[str, Any]:
    """Return how far one is: what its columns are taken for, what would go in (`found`), and what did (`done`)."""
    return desk_of(request).dropped.get(number).document


@router.post("/api/imports/{number}/confirm", status_code=202)
def confirm_import(request: Request, number: int) -> JSONResponse:
    """Begin to import a file as it was read; `GET /api/work/N` says how far that is."""
    desk = desk_of(request)
    return _accepted(_importing(desk, desk.dropped.get(number)))


@router.delete("/api/imports/{number}", status_code=204)
def give_up(request: Request, number: int) -> Response:
    """Remove a dropped file; what was imported of it stays."""
    desk = desk_of(request)
    _check_idle(desk.dropped.get(number), {"importing"})
    desk.dropped.remove(number)
    return Response(status_code=204)


@router.get("/import", include_in_schema=False)
def import_page(request: Request, task: str | None = None, number: int | None = None) -> HTMLResponse:
    """Show where to drop a file, or what would go in of one."""
    desk = desk_of(request)
    with _to_read(desk, task) as ws:
        into = task or ws.settings.task
        about = {"into": into, "importer": IMPORTS.get(into), "imports": IMPORTS}
        shown = {**about, "most": MAX_FILE, "items_from": ws.task.items_from, "dropped": None}
        if number is not None:
            shown |= _shown(desk.dropped.get(number))
        return show_page(request, "import.html", ws, **shown)


@router.get("/parts/import", include_in_schema=False)
def import_part(request: Request, number: int) -> HTMLResponse:
    """Show how far one file is, or that it is no longer here: then the page asks no more."""
    try:
        return _part(request, number)
    except Refused as gone:
        return HTMLResponse(f'<section id="import"><p class="warn" role="alert">{escape(line_of(gone))}</p></section>')


@router.post("/parts/import", include_in_schema=False)
def act_on_import(request: Request, number: int) -> HTMLResponse:
    """Import a file as the button of the page says."""
    desk = desk_of(request)
    try:
        _importing(desk, desk.dropped.get(number))
    except Refused as error:
        return _part(request, number, refused=line_of(error))
    return _part(request, number)


def _looking(desk: Desk, dropped: DroppedFile) -> DroppedFile:

    def work(display: Work) -> dict[str, Any]:
        with desk.to_look(dropped.task, display) as ws:
            dropped.found = IMPORTS[dropped.task].run(ws, dropped.path, mapping=dropped.mapping, dry=True)
        return {"summary": dropped.found.summary}

    dropped.work = desk.running.begin(f"read {_called(dropped)}", work)
    return dropped


def _importing(desk: Desk, dropped: DroppedFile) -> DroppedFile:
    _check_idle(dropped, WAITS | {"imported", "unreadable"})
    if dropped.found is None or not dropped.found.rows_in:
        raise Refused(409, "nothing of the file would go in; nothing was changed", hint="mend it, and drop it again")

    def work(display: Work) -> dict[str, Any]:
        with desk.to_import(dropped.task, display) as ws:
            done = IMPORTS[dropped.task].run(ws, dropped.path, mapping=dropped.mapping)
        done.check()
        desk.dropped.settle(dropped, done)
        return {"summary": done.summary}

    dropped.is_import = True
    dropped.work = desk.running.begin(f"import {_called(dropped)}", work)
    return dropped


def _called(dropped: DroppedFile) -> str:
    """Return a file's name, with the digits of its number that tell it from others that are here."""
    return f"{dropped.path.name} (file {dropped.number % 1000})"


def _check_idle(dropped: DroppedFile, states: set[str] | frozenset[str]) -> None:
    if dropped.state in states:
        raise Refused(409, f"the file is {dropped.state} now; nothing was changed", hint="look at it again")


def _accepted(dropped: DroppedFile) -> JSONResponse:
    return JSONResponse(dropped.document, status_code=202, headers={"location": f"/api/imports/{dropped.number}"})


def _part(request: Request, number: int, *, refused: str = "") -> HTMLResponse:
    desk = desk_of(request)
    dropped = desk.dropped.get(number)
    with _to_read(desk, dropped.task) as ws:
        return show_page(request, "parts/import.html", ws, **{**_shown(dropped), "refused": refused})


def _to_read(desk: Desk, task: str | None) -> contextlib.AbstractContextManager[OpenWorkspace]:
    """Open the workspace to be read; with its people where files of a task are taken that was never used here."""
    return desk.to_read(PEOPLE if task in IMPORTS and not desk.has(task) else task)


def _items_from(desk: Desk, task: str) -> str:
    if not desk.has(task):
        return ", ".join(IMPORTS)
    with desk.to_read(task) as ws:
        return str(ws.task.items_from)


def _shown(dropped: DroppedFile) -> dict[str, Any]:
    found = dropped.found
    groups = sorted(found.groups.values(), key=lambda one: (one.kind != "rejected", -one.count)) if found else []
    return {
        "into": dropped.task,
        "importer": IMPORTS[dropped.task],
        "imports": IMPORTS,
        "dropped": dropped.document,
        "work": dropped.work.document if dropped.work else None,
        "groups": groups,
        "findings": found.findings[:SHOWN] if found else [],
        "counts": dict(found.counts) if found else {},
        "to_do": TO_DO,
        "waits": dropped.state in WAITS,
        "refused": "",
    }
