"""Make pages of templates: what stands around each, and how values are shown."""

import hashlib
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import parse_qsl, quote

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse, JSONResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from pipeline.core.quotes import is_quotation, likeness_told
from pipeline.core.text import first_few
from pipeline.engine.task import Task
from pipeline.engine.workspace import WorkspaceSession
from pipeline.store.answers import PERSON
from web.app_state import AppState
from web.background_work import BackgroundJob

CUT = 160  # characters of a cell
NAMED = 10  # items of a batch in one line
HUES = 6  # colours of marks
CENT = 0.01  # USD; less is told with more decimals
_ADDRESS = re.compile(r"https?://[^\s/?#]\S*", re.IGNORECASE)
_PIECE = re.compile(r"\s+\S{0,20}$")  # of a word, at the end of a text that is cut
_BATCH = re.compile(r"batch (\d+)(?=:)")
STATES = {  # others are plain words, or several
    "no_bio": "without a bio",
    "unusable": "cannot be opened",
    "claimed": "being asked",
    "parked": "set aside",
    "prepared": "ready to be sent",
    "submitting": "being sent",
    "submitted": "waiting at the API",
    "downloaded": "answered, not read yet",
    "ingested": "done",
}
ROWS = "rows"  # as the items of every task of a user's own are called
PLACES = {
    "rows": "/",
    "search": "/search",
    "runs": "/runs",
    "quality": "/quality",
    "settings": "/settings",
}
_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
)


class Mark(NamedTuple):
    """A quotation in a text, where it begins and ends, what it proves, and the number of its colour."""

    start: int
    end: int
    quote: str
    name: str = ""
    hue: int = 0


def accepted(work: BackgroundJob) -> JSONResponse:
    """Return the answer to a request that began long work: 202, and where to look."""
    return JSONResponse(
        work.document, status_code=202, headers={"location": f"/api/work/{work.number}"}
    )


async def _sent(request: Request) -> dict[str, str]:
    return dict(
        parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True)
    )


Sent = Annotated[dict[str, str], Depends(_sent)]


def desk_of(request: Request) -> AppState:
    """Return what the page works with."""
    found: AppState = request.app.state.desk
    return found


def show_page(
    request: Request, template: str, ws: WorkspaceSession, here: str = "", **values: Any
) -> HTMLResponse:
    """Return a page, or a part of one, about the task of a workspace; `here` is the place that it is of."""
    task = ws.settings.task
    places = [name for name in PLACES if name != "search" or ws.task.index is not None]
    known = {
        "task": task,
        "words": ws.task.words,
        "workspace": str(ws.data),
        "backend": ws.backend,
        "here": here,
        "places": [(name, f"{PLACES[name]}?task={quote(task)}") for name in places],
        "tasks": [(one.subject, called(one)) for one in ws.tasks],
        "called": called(ws.task),
    }
    return _filled(request, template, {**known, **values})


def problem_page(request: Request, problem: dict[str, Any]) -> HTMLResponse:
    """Return a page that says what went wrong, with the way to every place."""
    desk = desk_of(request)
    known: dict[str, Any] = {
        "task": desk.settings.task,
        "workspace": str(desk.settings.data),
        "backend": "",
    }
    known |= {
        "here": "",
        "tasks": [],
        "places": list(PLACES.items()),
        "called": "findable",
        "problem": problem,
    }
    found = _filled(request, "problem.html", known)
    found.status_code = int(problem["status"])
    return found


def _filled(request: Request, template: str, values: dict[str, Any]) -> HTMLResponse:
    known = {"readonly": desk_of(request).access.readonly}
    return HTMLResponse(_templates.get_template(template).render({**known, **values}))


def called(task: Task) -> str:
    """Return what a page calls the items of a task; those of a user's own are all rows, and have its name."""
    many = task.words.many
    return task.subject if many == ROWS else many.capitalize()


def as_coded(text: object) -> Markup:
    """Return a line of a command, where what is typed stands between backticks, as HTML."""
    return Markup(re.sub("`([^`]*)`", r"<code>\1</code>", str(escape(str(text)))))  # noqa: S704 - it is escaped


def as_stated(state: str | None) -> str:
    """Return a state, of a row or of a batch at the API, as a page shows it; an empty text where there is none."""
    word = (state or "").removeprefix("BATCH_STATE_").lower()
    return STATES.get(word, word.replace("_", " "))


def as_cut(text: str) -> str:
    """Return a text as a cell of a table: a long one is cut, behind a word where one ends nearby."""
    return text if len(text) <= CUT else f"{_PIECE.sub('', text[:CUT])} …"


def as_text(value: object) -> str:
    """Return a value as text: a list with commas, nothing as an empty text, true and false as in JSON."""
    if isinstance(value, bool):
        return str(value).lower()
    return (
        ", ".join(map(str, value))
        if isinstance(value, list)
        else ""
        if value is None
        else str(value)
    )


def as_quoted(value: Any) -> str:
    """Return a value of an answer in a line: what is quoted for a quotation, a part for each member of a list."""
    if isinstance(value, list):
        return (
            "; ".join(map(as_quoted, value))
            if any(isinstance(one, dict) for one in value)
            else as_text(value)
        )
    if isinstance(value, dict):
        return (
            str(value["quote"]) if is_quotation(value) else " ".join(map(as_quoted, value.values()))
        )
    return as_text(value) or "nothing"


def as_usd(value: float) -> str:
    """Return an amount of money: cents, and of less than one the first two digits that are none."""
    digits = 2 if value >= CENT or not value else 4 if value >= CENT / 100 else 6
    return f"${value:,.{digits}f}"


def as_version(extractor: str) -> str:
    """Return whose an answer is, as a person says it: a version and its model, or a person."""
    label, _, model = extractor.partition("/")
    _, at, number = label.rpartition("@")
    if not at:
        return "a person" if extractor == PERSON else extractor
    return f"version {number}" + (f" · {model}" if model else "")


def as_linked(value: object) -> Markup:
    """Return a value as HTML; one that is an address of the web leads there, without telling where from."""
    text = as_text(value)
    if not _ADDRESS.fullmatch(text):
        return escape(text)
    return Markup(
        '<a href="{0}" target="_blank" rel="noopener noreferrer nofollow">{0}</a>'
    ).format(text)


def as_warning(text: str) -> Markup:
    """Return a warning of long work as HTML; what it says of a batch leads there, where its items are named."""
    found = _BATCH.match(text)
    link = (
        Markup('<a href="/batch?number={0}">batch {0}</a>').format(found[1]) if found else Markup()
    )
    return link + as_coded(text[found.end() :] if found else text)


def as_marked(text: str, marks: Sequence[Mark]) -> Markup:
    """Return a text as HTML in which those quotations are marked that stand there, each with what it proves."""
    told = Markup()
    at = 0
    for one in sorted(one for one in marks if one.quote and text[one.start : one.end] == one.quote):
        told += escape(text[at : max(at, one.start)])
        if one.end > at:
            inside = text[max(at, one.start) : one.end]
            name = Markup(' data-name="{}"').format(one.name)
            told += Markup('<mark class="h{}"{}>{}</mark>').format(
                one.hue % HUES, name if one.name else "", inside
            )
        at = max(at, one.end)
    return (told + escape(text[at:])) if told else as_linked(text)


def as_spanned(text: str, spans: Sequence[Sequence[int]]) -> Markup:
    """Return a text as HTML in which what stands from one place to another is marked."""
    return as_marked(text, [Mark(start, end, text[start:end]) for start, end in spans])


_templates.tests["quotation"] = is_quotation
_templates.globals["icon"] = _templates.get_template("parts/icon.html").module.icon  # type: ignore[attr-defined]
_templates.filters |= {
    "likeness_told": likeness_told,
    "marked": as_marked,
    "begun": lambda text: text[:1].upper() + text[1:],
    "spanned": as_spanned,
    "stated": as_stated,
    "coded": as_coded,
    "linked": as_linked,
    "warned": as_warning,
    "text": as_text,
    "cut": as_cut,
    "quoted": as_quoted,
    "usd": as_usd,
    "versioned": as_version,
    "hash": lambda text: hashlib.sha256(text.encode()).hexdigest()[:12],
    "few": partial(first_few, most=NAMED),
}
