"""Add: a new person, rows of a file that is dropped, or a new task of it; all is shown before anything is written."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse
from markupsafe import escape
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from pipeline.core.declaration import ReadOptions
from pipeline.core.errors import FindableError
from pipeline.core.states import fate_of
from pipeline.engine.task_template import ColumnChoice
from pipeline.engine.workspace import Access, open_to_look, open_workspace
from pipeline.experts import import_ as people
from pipeline.passages import import_ as passages
from pipeline.tables.read import SourceRow
from pipeline.tables.row_import import ImportOptions
from pipeline.tables.source import FileSource
from pipeline.workflows import add_expert, ask
from web.app_state import PEOPLE, AppState
from web.background_work import BackgroundJob
from web.errors import RequestRefused, line_of
from web.guard import MAX_FILE
from web.render import Sent, desk_of, show_page
from web.uploads import UploadedFile

router = APIRouter()

TaskName = Annotated[str, Query(max_length=200)]

FIELDS = (
    *(
        ("username", "Username", "text"),
        ("first_name", "First name", "text"),
        ("last_name", "Last name", "text"),
    ),
    *(("job_title", "Job title", "text"), ("company", "Company", "text"), ("bio", "Bio", "area")),
    *(("hourly_rate", "Hourly rate", "number"), ("currency", "Currency", "text")),
    ("profile_url", "Profile address", "url"),
)


@router.post("/api/admin/experts", status_code=201)
async def add_person(request: Request) -> JSONResponse:
    """Save a person and wait for their tags, for some seconds at the most: 201 {ok, username, tags, …}.

    The body has the names of `make add-expert`, or those of the CSV; `notes` name what of it was not read. What comes
    later than the reply is kept all the same, and `retrying` says so. 503 where more come at once than can be saved in
    time: this one was not.
    """
    desk = desk_of(request)
    began = time.monotonic()
    saved = await desk.save(await request.body())
    if saved.is_due:
        asking = asyncio.wrap_future(desk.tagger.ask([saved.item_id]))
        await asyncio.wait([asking], timeout=max(0.0, began + desk.patience_s - time.monotonic()))
        saved = await run_in_threadpool(_stored, desk, saved) if asking.done() else saved
    parked = [f"{fate_of(saved.parked)}: {saved.parked}"] * bool(saved.parked)
    told = {
        "findability_score": saved.findability_score,
        "retrying": saved.is_due,
        "notes": [*saved.notes, *parked],
    }
    return JSONResponse(
        {"ok": True, "username": saved.username, "tags": saved.tags or None, **told},
        status_code=201,
    )


def _stored(desk: AppState, saved: add_expert.AddedExpert) -> add_expert.AddedExpert:
    with desk.to_read(PEOPLE) as ws:
        return add_expert.as_stored(ws, saved)


# what imports a file of a task, which need not be used here yet, and what one and many of its items are called
IMPORTS: dict[str, dict[str, Any]] = {
    PEOPLE: {"run": people.run, "one": "person", "many": "people"},
    "passages": {"run": passages.run, "one": "passage", "many": "passages"},
}
NEW = "new"  # in the place of a task: one is to be made of the file
TRIED = 5  # rows that a new question is tried on
TRIAL_USD = 0.05  # which that may cost at most
FIRST = 4  # rows of a file that are shown
SHOWN = 200  # findings on the page
WAITS = ("reading", "trying", "importing")  # states of a file
OPEN = ("ready", "failed")
TO_DO = {  # what a finding means, and what to do
    "rejected": "stays out: mend it, and drop the file again",
    "changed": "goes in without it, or as it says",
    "noted": "goes in as it is",
    "kept": "goes in; what was answered stays",
}
ASKED = ("question", "fields", "text", "key", "with")  # members of the form of a question
FileName = Annotated[str, Query(min_length=1, max_length=1_000)]
ShortText = Annotated[str, Query(max_length=100)]
Mapped = Annotated[str, Query(alias="map", max_length=4_000)]


@router.post("/api/imports", status_code=202)
async def drop_file(
    request: Request,
    *,
    task: TaskName,
    name: FileName,
    mapping: Mapped = "",
    encoding: ShortText = "",
    header: ShortText = "",
) -> JSONResponse:
    """Take a file, of at most 1 GB, as it comes, and begin to read it; nothing of it is imported yet.

    `task` is `experts`, `passages`, or `new` for one that is to be made of the file; `map`, `encoding` and `header` are
    what `MAP=`, `ENCODING=` and `HEADER=` say. `GET` of the place that is named says what would go in.
    """
    desk = desk_of(request)
    if task not in {NEW, *IMPORTS}:
        hint = await run_in_threadpool(_items_from, desk, task)
        raise RequestRefused(
            422, f"no file is imported for {task!r}; nothing was kept", hint=hint, field="task"
        )
    reading = ReadOptions(encoding=encoding.strip(), header=header.strip())
    dropped = await desk.dropped.keep(
        task, name, request.stream(), mapping=mapping, reading=reading
    )
    _read(desk, dropped)
    where = {"location": f"/api/imports/{dropped.number}"}
    return JSONResponse(dropped.document, status_code=202, headers=where)


@router.get("/api/imports/{number}")
def get_import(request: Request, number: int) -> dict[str, Any]:
    """Return how far one is: what its columns are taken for, what would go in (`found`), and what did (`done`)."""
    return desk_of(request).dropped.get(number).document


@router.delete("/api/imports/{number}", status_code=204)
def give_up(request: Request, number: int) -> Response:
    """Remove a dropped file; what was imported of it stays."""
    desk_of(request).dropped.remove(number)
    return Response(status_code=204)


@router.get("/add", include_in_schema=False)
def add_page(request: Request, task: str | None = None, number: int | None = None) -> HTMLResponse:
    """Show where to drop a file and the form of a person, or what would go in of a file."""
    desk = desk_of(request)
    with desk.to_read(task if task and desk.has(task) else None) as ws:
        dropped = _shown(desk.dropped.get(number)) if number is not None else {"dropped": None}
        into = task if task in IMPORTS else NEW if ws.tasks and task else PEOPLE
        return show_page(
            request, "add.html", ws, **{"into": into, "most": MAX_FILE, "fields": FIELDS, **dropped}
        )


@router.get("/parts/import", include_in_schema=False)
def import_part(request: Request, number: int) -> HTMLResponse:
    """Show how far one file is, or that it is no longer here: then the page asks no more."""
    try:
        return _part(request, number)
    except RequestRefused as gone:
        return HTMLResponse(
            f'<section id="import"><p class="warn" role="alert">{escape(line_of(gone))}</p></section>'
        )


@router.post("/parts/import", include_in_schema=False)
def act_on_import(request: Request, number: int, sent: Sent) -> HTMLResponse:
    """Import a file, try a question on it, or keep that as a task, as the button of the page says."""
    desk = desk_of(request)
    dropped = desk.dropped.get(number)
    if dropped.state not in OPEN:
        return _part(
            request, number, refused=f"the file is {dropped.state} now; nothing was changed"
        )
    refused = ""
    try:
        if "question" in sent:
            _try(desk, dropped, {name: sent.get(name, "") for name in ASKED})
        elif "keep" in sent:
            _keep(desk, dropped, sent["keep"])
        else:
            _import(desk, dropped)
    except FindableError as error:
        refused = line_of(error)
    return _part(request, number, refused=refused)


def _begin(
    desk: AppState, dropped: UploadedFile, step: str, do: Callable[[BackgroundJob], Any]
) -> None:
    dropped.step = step
    dropped.work = desk.running.begin(
        f"{step} {dropped.path.name} (file {dropped.number % 1000})", do
    )


def _read(desk: AppState, dropped: UploadedFile) -> None:
    def work(display: BackgroundJob) -> None:
        if dropped.task == NEW:
            with desk.to_read() as ws:
                new = ask.new_task("", str(dropped.path), data=None, reading=dropped.reading)
                dropped.guess = ask.drafted(ws.store, new).guess
        else:
            meant = replace(
                desk.settings, task=dropped.task
            )  # of which no table is made for a look
            with open_to_look(meant, display, agrees=lambda _question: False) as ws:
                dropped.found = IMPORTS[dropped.task]["run"](
                    ws, dropped.path, ImportOptions(dropped.mapping, dropped.reading, dry=True)
                )
        with suppress(FindableError):  # of a file that only an import reads
            rows = FileSource(dropped.path, dropped.reading)
            dropped.first = [
                dict(one.values)
                for one in islice((x for x in rows if isinstance(x, SourceRow)), FIRST)
            ]

    _begin(desk, dropped, "read", work)


def _import(desk: AppState, dropped: UploadedFile) -> None:
    def work(display: BackgroundJob) -> dict[str, Any]:
        with open_workspace(
            replace(desk.settings, task=dropped.task), display, access=Access.WRITE
        ) as ws:
            done = IMPORTS[dropped.task]["run"](
                ws, dropped.path, ImportOptions(dropped.mapping, dropped.reading)
            )
        done.check()
        desk.dropped.settle(dropped, done)
        return {"summary": done.summary}

    if dropped.found is None or not dropped.found.rows_in:
        raise RequestRefused(
            409,
            "nothing of the file would go in; nothing was changed",
            hint="mend it, and drop it again",
        )
    _begin(desk, dropped, "import", work)


def _try(desk: AppState, dropped: UploadedFile, asked: dict[str, str]) -> None:
    if dropped.guess is None:
        raise RequestRefused(
            409, "no task is made of this file; nothing was asked", hint="drop it as a new task"
        )
    asking = _asking_of(desk, dropped, asked)

    def work(display: BackgroundJob) -> dict[str, Any]:
        with desk.to_write(None, display) as ws:
            ws.agreed = TRIAL_USD
            found = ask.run(ws, asking, size=TRIED).document
        dropped.tried = display
        return found

    _begin(desk, dropped, "try", work)
    dropped.asked, dropped.tried = asked, None
    if asking.draft is not None:
        dropped.guess = asking.draft.guess


def _asking_of(
    desk: AppState, dropped: UploadedFile, asked: Mapping[str, str], *, name: str = ""
) -> ask.NewTask:
    """Return the question of the form about a dropped file, with the columns that it names."""
    choice = ColumnChoice(asked["text"], asked["key"], asked["with"])
    question = asked["question"]
    fields = asked["fields"]
    return ask.prepared(
        dropped.path,
        question,
        fields=fields,
        name=name,
        data=desk.settings.data,
        reading=dropped.reading,
        choice=choice,
    )


def _keep(desk: AppState, dropped: UploadedFile, name: str) -> None:
    if dropped.tried is None:
        raise RequestRefused(
            409, "no question was tried on the file; nothing was kept", hint="try one, then keep it"
        )
    asking = _asking_of(desk, dropped, dropped.asked, name=name)

    def work(display: BackgroundJob) -> dict[str, Any]:
        with desk.to_write(None, display) as ws:
            ask.keep(ws, asking)
        dropped.made = name
        desk.dropped.settle(dropped)
        return {"summary": f"the task {name} is kept"}

    _begin(desk, dropped, "keep", work)


def _part(request: Request, number: int, *, refused: str = "") -> HTMLResponse:
    desk = desk_of(request)
    dropped = desk.dropped.get(number)
    with desk.to_read(dropped.task if desk.has(dropped.task) else None) as ws:
        return show_page(
            request, "parts/import.html", ws, **{**_shown(dropped), "refused": refused}
        )


def _items_from(desk: AppState, task: str) -> str:
    if not desk.has(task):
        return ", ".join((NEW, *IMPORTS))
    with desk.to_read(task) as ws:
        return str(ws.task.items_from)


def _shown(dropped: UploadedFile) -> dict[str, Any]:
    found = dropped.found
    return {
        "into": dropped.task,
        "importer": IMPORTS.get(dropped.task),
        "dropped": dropped.document,
        "file": dropped,
        "work": dropped.work.document if dropped.work else None,
        "goes_to": {one["name"]: one["label"] for one in found.columns if one["name"]}
        if found
        else {},
        "trial_usd": TRIAL_USD,
        "name": ask.name_for(str(dropped.path)),
        "groups": sorted(
            found.groups.values(), key=lambda one: (one.kind != "rejected", -one.count)
        )
        if found
        else [],
        "findings": found.findings[:SHOWN] if found else [],
        "counts": dict(found.counts) if found else {},
        "to_do": TO_DO,
        "waits": dropped.state in WAITS,
        "refused": "",
    }
