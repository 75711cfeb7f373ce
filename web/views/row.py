"""One row: its text with what the answer quotes of it, who said what, every request; it is asked again or forgotten."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import PurePath
from typing import Annotated, Any
from urllib.parse import quote, unquote, urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from pipeline.batch import ingest
from pipeline.batch.budget import calibration
from pipeline.batch.live import ask_alone
from pipeline.core.errors import FindableError, InputError
from pipeline.core.quotes import is_quotation
from pipeline.core.states import STANDARD, fate_of
from pipeline.engine import corrections
from pipeline.engine.record import RequestBuilder
from pipeline.engine.workspace import WorkspaceSession
from pipeline.gemini.models import usage_cost
from pipeline.images import TASK as IMAGES
from pipeline.ops import forget, items
from pipeline.passages.show import quoted_passage
from pipeline.quality import pilot
from pipeline.store import claims
from pipeline.store.answers import PERSON
from web.app_state import PEOPLE, AppState
from web.background_work import BackgroundJob
from web.errors import RequestRefused, line_of
from web.render import Mark, Sent, accepted, as_text, desk_of, show_page
from web.views.rows import PASSAGES, marked_passage

router = APIRouter()

UNUSABLE = "unusable"  # the state of an image that cannot be opened
SIDE = 640  # pixels of the longer side of the picture
LONG = 60  # characters; a longer cell is a text to read
MOST = 500  # rows that are chosen at once
ASKING = "ask {} again"  # kinds of work, which name no row
FORGETTING = "forget one of {}"
WHO = "findable_who"  # the cookie that keeps the name of who edits
KEPT_S = 365 * 24 * 3600
LONGEST = 10  # digits that no number of an edit has
Key = Annotated[str, Query(max_length=4_000)]


@router.get("/row", include_in_schema=False)
def row_page(
    request: Request, key: Key, task: str | None = None, *, raw: bool = False
) -> HTMLResponse:
    """Show one row."""
    with desk_of(request).to_read(task) as ws:
        return show_page(request, "row.html", ws, "rows", **_shown(request, ws, key, raw=raw))


@router.get("/parts/row", include_in_schema=False)
def row_part(request: Request, key: Key, task: str) -> HTMLResponse:
    """Show what is known of a row by now."""
    return _part(request, task, key)


@router.post("/parts/row", include_in_schema=False)
def act_part(request: Request, key: Key, task: str, sent: Sent) -> HTMLResponse:
    """Do what a button of the page says, and show what became of it."""
    desk = desk_of(request)
    who = sent.get("who") or unquote(request.cookies.get(WHO, ""))
    refused = ""
    try:
        if sent.get("act") == "forget":
            _forget(desk, task, key, sent.get("name", ""))
        elif sent.get("act") == "correct":
            if not who:
                raise RequestRefused(
                    422,
                    "say who edits; nothing was changed",
                    hint="your name stands beside each edit",
                )
            with desk.to_write(task) as ws:
                _correct(ws, key, sent, who)
        else:
            with desk.to_read(task) as ws, ws.store.read() as tx:
                item_id = ws.task.id_of(tx, key)
            _ask(desk, task, [item_id], about=key)
    except FindableError as error:
        refused = line_of(error)
    found = _part(request, task, key, refused=refused)
    if sent.get("who") and not refused:
        found.set_cookie(
            WHO, quote(who, safe=""), max_age=KEPT_S, httponly=True, samesite="strict", path="/"
        )
    return found


def _correct(ws: WorkspaceSession, key: str, sent: Mapping[str, str], who: str) -> None:
    """Carry out what a form says: the value of a field as it is to be, or the number of an edit to undo."""
    if (undo := sent.get("undo", "")).isdecimal() and len(undo) < LONGEST:
        corrections.correct(ws, key, int(undo), who=who, of_state=sent.get("state"))
        return
    name = sent.get("field", "")
    value = sent.get("value", "")
    now = corrections.history(ws, key)["answer"].get(name)
    text = json.dumps(value) if isinstance(now, str) or is_quotation(now) else value
    corrections.correct(
        ws, key, corrections.typed(ws.task, f"{name}={text}"), who=who, of_state=sent.get("state")
    )


def _part(request: Request, task: str, key: str, *, refused: str = "") -> HTMLResponse:
    """Return what is shown of a row; where it is forgotten, what takes the place of all that was shown of it."""
    desk = desk_of(request)
    with desk.to_read(task) as ws:
        try:
            shown = _shown(request, ws, key)
        except InputError:
            work = desk.running.newest(FORGETTING.format(task), about=key)
            if work is None or work.state != "done":
                raise
            return show_page(
                request, "parts/forgotten.html", ws, "rows", key=key, forgotten=work.document
            )
        return show_page(request, "parts/row.html", ws, "rows", **{**shown, "refused": refused})


def _shown(
    request: Request, ws: WorkspaceSession, key: str, *, raw: bool = False
) -> dict[str, Any]:
    known = items.show(ws, key, raw=raw)
    task = known["task"] = ws.settings.task
    columns = [(name, as_text(value)) for name, value in known.pop("columns").items()]
    columns = [
        one for one in columns if one[0] != "tags" or task != PEOPLE
    ]  # which stand among the answers
    stands = corrections.history(ws, key)
    given = [one for one in known["answers"] if one["applied"] and not one["forgotten"]]
    answer, marks = coloured(stands["answer"])
    passage = (
        marked_passage(quoted_passage(ws, known["item"]))
        if task == PASSAGES and columns
        else {"concepts": []}
    )
    works = [
        desk_of(request).running.newest(kind.format(task), about=key)
        for kind in (ASKING, FORGETTING)
    ]
    return {
        **known,
        **_heading(known, task, columns),
        "key": key,
        "raw": raw,
        "texts": [one for one in columns if len(one[1]) > LONG],
        "columns": [one for one in columns if 0 < len(one[1]) <= LONG],
        "answer": answer,
        "said_by": max(
            given, key=lambda one: (one["extractor"] == PERSON, one["id"]), default=None
        ),
        "edits": stands["edits"],
        "stands": stands["state"],
        "typed": {
            name: _as_typed(value) for name, value in ws.task.as_given(stands["answer"]).items()
        },
        "who": unquote(request.cookies.get(WHO, "")),
        "marks": passage.get("marks", marks),
        "concepts": passage["concepts"],
        "fate": fate_of(known["parked"]) if known["parked"] else "",
        "cost": _cost(ws, [known["item"]]),
        "spent": known["cost"],
        "has_index": ws.is_indexed,
        "works": [one.document for one in works if one is not None],
        "refused": "",
        "after": items.page(ws, limit=1, after=known["item"]).items if known["state"] else [],
    }


def _heading(
    known: Mapping[str, Any], task: str, columns: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Return how a row is called: `title`, `beside` what else names it, and `picture`, the address of an image."""
    name = known["name"]
    picture = ""
    if task == IMAGES:
        address = f"/api/images/thumbnail?{urlencode({'key': known['item'], 'side': SIDE})}"
        return {
            "title": PurePath(name).name,
            "beside": "",
            "picture": "" if known["state"] == UNUSABLE else address,
        }
    if task == PEOPLE:
        full = dict(columns).get("name", "")
        return {"title": full or name, "beside": name if full else "", "picture": picture}
    return {
        "title": name,
        "beside": "" if name == known["item"] else known["item"],
        "picture": picture,
    }


def coloured(answer: Any) -> tuple[Any, list[Mark]]:
    """Return an answer whose quotations have a colour each, `hue`, and the marks of these in the text.

    Those of one field have one colour; those beside a text that names them, such as a topic, one for each such text.
    """
    kinds: dict[str, int] = {}
    marks: list[Mark] = []

    def walk(value: Any, path: str, name: str) -> Any:
        if isinstance(value, Mapping) and is_quotation(value):
            hue = kinds.setdefault(name or path, len(kinds))
            if isinstance(value["start"], int) and isinstance(
                value["end"], int
            ):  # not a field that is called so
                marks.append(Mark(value["start"], value["end"], value["quote"], name or path, hue))
            return {**value, "hue": hue % 6}
        if isinstance(value, Mapping):
            named = next(
                (one for one in value.values() if isinstance(one, str) and 0 < len(one) <= LONG),
                name,
            )
            return {
                inner: walk(one, inner if isinstance(inner, str) else path, named if path else "")
                for inner, one in value.items()
            }
        return [walk(one, path, name) for one in value] if isinstance(value, list) else value

    return walk(answer, "", ""), marks


def _cost(ws: WorkspaceSession, ids: Sequence[str]) -> float | None:
    try:
        with ws.store.read() as tx:
            lines = list(RequestBuilder(ws.task, ws.model).lines(tx, ws.task.rows(tx, ids)))
            known = calibration(tx, ws.extractor)
    except FindableError:  # said once it is asked
        return None
    costs = (
        usage_cost(ws.model, known.applied(one.usage, count=1), STANDARD, on=ws.now().date())
        for one in lines
    )
    return sum(costs) if lines else None


class Chosen(BaseModel):
    """The ids of rows that were chosen."""

    model_config = ConfigDict(extra="forbid")
    ids: list[str] = Field(min_length=1, max_length=MOST)


@router.post("/api/tasks/{task}/items/ask", status_code=202)
def ask_items(request: Request, task: str, body: Chosen) -> JSONResponse:
    """Ask about chosen rows again, by calls at full price."""
    return accepted(_ask(desk_of(request), task, body.ids))


@router.post("/api/tasks/{task}/items/free")
def free_items(request: Request, task: str, body: Chosen) -> dict[str, Any]:
    """Let those of the chosen rows be asked again that are parked, with the next command that asks."""
    with desk_of(request).to_write(task) as ws, ws.store.write() as tx:
        freed = claims.unpark(tx, ws.task.name, own=ws.task.own, ids=body.ids)
    return {"freed": len(freed), "said": f"{len(freed):,} of {len(body.ids):,} will be asked again"}


@router.post("/api/tasks/{task}/items/cost")
def cost_items(request: Request, task: str, body: Chosen) -> dict[str, float | None]:
    """Return what it costs to ask about chosen rows again, by estimate, in USD."""
    with desk_of(request).to_read(task) as ws:
        return {"cost": _cost(ws, body.ids)}


def _ask(desk: AppState, task: str, ids: Sequence[str], *, about: str = "") -> BackgroundJob:
    kind = ASKING.format(task)
    if (under_way := desk.running.newest(kind, about=about)) and under_way.state == "running":
        return under_way
    with desk.to_write(task) as ws:
        ws.bring_items()
        ingest.end_dead(ws)
        ws.model, ws.client  # noqa: B018 - a missing key is said before anything is changed
        with ws.store.read() as tx:
            pilot.check_pilot(tx, ws.task, ws.extractor, compulsory=ws.task.needs_pilot)
        if not (open_ids := items.reopen(ws, ids)):
            raise RequestRefused(
                409, "it is being asked, or has nothing to be asked about; nothing was changed"
            )

    def work(display: BackgroundJob) -> dict[str, Any]:
        with desk.to_write(task, display) as ws:
            ws.bring_items()
            done = ask_alone(ws, open_ids)
        return {"answered": done.answered, "asked": len(open_ids)}

    return desk.running.begin(kind, work, about=about)


def _forget(desk: AppState, task: str, key: str, typed: str) -> BackgroundJob:
    if typed != key:
        raise RequestRefused(
            422,
            f"{typed!r} is not {key!r}; nothing was changed",
            hint="type the name",
            field="name",
        )

    def work(display: BackgroundJob) -> dict[str, Any]:
        with desk.to_write(task, display) as ws:
            ws.agrees = lambda _question: True
            done = asdict(forget.run(ws, [key]))
        desk.running.drop_about(key)
        return {name: one for name, one in done.items() if name not in {"username", "usernames"}}

    return desk.running.begin(FORGETTING.format(task), work, about=key)


def _as_typed(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ", ".join(value)
    return (
        value
        if isinstance(value, str)
        else ""
        if value is None
        else json.dumps(value, ensure_ascii=False)
    )
