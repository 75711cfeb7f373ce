"""Make pages of templates: what stands around each, and how values are shown."""

import hashlib
import json
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse, JSONResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from pipeline.core.quotes import is_quotation, likeness_told
from pipeline.core.states import fate_of
from pipeline.core.text import first_few
from pipeline.engine.task import Task
from pipeline.engine.workspace import OpenWorkspace
from web.desk import Desk
from web.running import Work

CUT = 160  # characters of a cell
NAMED = 10  # items of a batch in one line
_ADDRESS = re.compile(r"https?://[^\s/?#]\S*", re.IGNORECASE)
_PIECE = re.compile(r"\s+\S{0,20}$")  # of a word, at the end of a text that is cut
_BATCH = re.compile(r"batch (\d+)(?=:)")
METHODS = ("GET ", "PUT ", "POST ", "PATCH ", "DELETE ")  # begin a hint that no reader of a page can follow
STATES = {"no_bio": "without a bio", "broken": "cannot be opened"}  # others are plain words, or several
ROWS = "rows"  # as the items of every task of a user's own are called
LINKS = (  # on top of each page: address, label (else what items are called), whether of the task, where it has what
    ("/", "Home", True, ""),
    ("/items", "", True, ""),
    ("/passages", "Quotations", False, "passages"),
    ("/images", "Gallery", False, "images"),
    ("/search", "Search", True, ""),
    ("/index", "Index", True, ""),
    ("/reports", "Reports", True, ""),
    ("/batches", "Batches", False, ""),
    ("/costs", "Costs", False, ""),
    ("/settings", "Health", False, ""),
)
_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
)


class Document(JSONResponse):
    """A document of the API, with the hash of what it says."""

    def __init__(self, content: Any, status_code: int = 200, **how: Any) -> None:
        """Make it, as any answer of JSON."""
        super().__init__(content, status_code, **how)
        self.headers.setdefault("etag", etag_of(bytes(self.body)))


def etag_of(body: bytes) -> str:
    """Return the tag of what is sent."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def accepted(work: Work) -> JSONResponse:
    """Return the answer to a request that began long work: 202, and where to look."""
    return JSONResponse(work.document, status_code=202, headers={"location": f"/api/work/{work.number}"})


async def _sent(request: Request) -> dict[str, str]:
    """Return the values of a form of the page by their names; of several of one name the last."""
    return dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True))


Sent = Annotated[dict[str, str], Depends(_sent)]


def desk_of(request: Request) -> Desk:
    """Return what the page works with."""
    found: Desk = request.app.state.desk
    return found


def show_page(request: Request, template: str, ws: OpenWorkspace, **values: Any) -> HTMLResponse:
    """Return a page, or a part of one, about the task of a workspace."""
    task, here = ws.settings.task, request.url.path
    subjects = {"", *(one.subject for one in ws.tasks)}
    links = [
        (f"{href}?task={task}" if of_task else href, label or _called(ws.task), href == here)
        for href, label, of_task, subject in LINKS
        if subject in subjects
    ]
    about = {"task": task, "words": ws.task.words, "workspace": str(ws.data), "backend": ws.backend}
    tasks = [(one.subject, _called(one)) for one in ws.tasks]
    return _filled(request, template, {"links": links, "tasks": tasks, "called": _called(ws.task), **about, **values})


def problem_page(request: Request, problem: dict[str, Any]) -> HTMLResponse:
    """Return a page that says what went wrong."""
    desk = desk_of(request)
    if problem["hint"].startswith(METHODS):
        problem = {**problem, "hint": ""}  # is for programs; what there is stands in the header
    about = {"task": desk.settings.task, "workspace": str(desk.settings.data), "backend": ""}
    found = _filled(request, "problem.html", {"links": [("/", "Home", False)], **about, "problem": problem})
    found.status_code = int(problem["status"])
    return found


def _filled(request: Request, template: str, values: dict[str, Any]) -> HTMLResponse:
    known = {"readonly": desk_of(request).access.readonly, "q": ""}
    return HTMLResponse(_templates.get_template(template).render({**known, **values}))


def _called(task: Task) -> str:
    """Return what a page calls the items of a task; those of a user's own are all rows, and have its name."""
    many = task.words.many
    return (task.subject if many == ROWS else many).capitalize()


def as_coded(text: object) -> Markup:
    """Return a line of a command, where what is typed stands between backticks, as HTML."""
    pieces = str(text).split("`")
    is_even = len(pieces) % 2 == 1
    coded = (Markup("<code>{}</code>").format(one) if at % 2 else escape(one) for at, one in enumerate(pieces))
    return Markup("").join(coded) if is_even else escape(str(text))


def as_stated(state: str | None) -> str:
    """Return a state, of an item or of a batch at the API, as a page shows it; an empty text where there is none."""
    word = (state or "").removeprefix("BATCH_STATE_").lower()
    return STATES.get(word, word.replace("_", " "))


def as_cell(value: object) -> str:
    """Return a value as a cell of a table: a long text is cut, behind a word where one ends nearby."""
    text = as_text(value)
    return text if len(text) <= CUT else f"{_PIECE.sub('', text[:CUT])} …"


def as_text(value: object) -> str:
    """Return a value as text: a list with commas, nothing as an empty text, true and false as in JSON."""
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


def as_linked(value: object) -> Markup:
    """Return a value as HTML; one that is an address of the web leads there, without telling where from."""
    text = as_text(value)
    if not _ADDRESS.fullmatch(text):
        return escape(text)
    return Markup('<a href="{0}" target="_blank" rel="noopener noreferrer nofollow">{0}</a>').format(text)


def as_warning(text: str) -> Markup:
    """Return a warning of long work as HTML; what it says of a batch leads there, where its items are named."""
    found = _BATCH.match(text)
    link = Markup('<a href="/batch?number={0}">batch {0}</a>').format(found[1]) if found else Markup()
    return link + as_coded(text[found.end() :] if found else text)


def as_indented(value: object) -> str:
    """Return a value as JSON on lines of its own, with its letters as they are."""
    return json.dumps(value, ensure_ascii=False, indent=1)


def as_marked(text: str, quotations: Iterable[tuple[int, int, str]]) -> Markup:
    """Return a text as HTML in which those (start, end, quote) are marked that stand there; without any `as_linked`."""
    spans = sorted((start, end) for start, end, quote in quotations if quote and text[start:end] == quote)
    if not spans:
        return as_linked(text)
    told, at = Markup(), 0
    for start, end in spans:
        told += escape(text[at : max(at, start)])
        if end > at:
            told += Markup("<mark>{}</mark>").format(text[max(at, start) : end])
        at = max(at, end)
    return told + escape(text[at:])


_templates.tests["quotation"] = is_quotation
_templates.filters["likeness_told"] = likeness_told
_templates.filters["fate"] = fate_of
_templates.filters |= {
    "indented": as_indented,
    "marked": as_marked,
    "stated": as_stated,
    "coded": as_coded,
    "linked": as_linked,
    "warned": as_warning,
    "few": partial(first_few, most=NAMED),
}
