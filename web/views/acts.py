"""What a reader does to one item: ask about it again, or forget it."""

from dataclasses import asdict
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict

from pipeline.batch import folder, ingest
from pipeline.batch.due import ask_alone
from pipeline.core.errors import FindableError, InputError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.ops import forget, parked, show
from pipeline.quality import pilot
from pipeline.store import asks
from web.asked import Text
from web.desk import PEOPLE, Desk
from web.problem import Refused, line_of
from web.render import Sent, desk_of, show_page
from web.running import Work
from web.steps import NextStep
from web.view import View
from web.views.work import accepted

router = APIRouter()
VIEW = View(router)
ASKING, FORGETTING = "ask one of {}", "forget one of {}"  # kinds of work, which name no item


class Confirmed(BaseModel):
    """What confirms that an item is to be forgotten: its name, typed once more."""

    model_config = ConfigDict(extra="forbid")
    name: str


@router.post("/api/tasks/{task}/item/ask", status_code=202)
def ask_item(request: Request, task: str, key: Text) -> JSONResponse:
    """Ask about one item that is parked, due or was never asked, by a call at full price; 409 where nothing is due.

    While it is under way it is not asked a second time: the reply leads to the work that there is.
    """
    return accepted(_ask(desk_of(request), task, key))


@router.post("/api/tasks/{task}/item/forget", status_code=202)
def forget_item(request: Request, task: str, key: Text, body: Confirmed) -> JSONResponse:
    """Forget one item everywhere, as `findable forget` does; 422 unless its name is typed once more."""
    return accepted(_forget(desk_of(request), task, key, body.name))


@router.post("/parts/acts", include_in_schema=False)
def act_part(request: Request, key: Text, task: str, said: Sent) -> HTMLResponse:
    """Begin what a button of the page says, and show that it is under way."""
    desk = desk_of(request)
    try:
        if said.get("act") == "forget":
            _forget(desk, task, key, said.get("name", ""))
        else:
            _ask(desk, task, key)
    except (FindableError, Refused) as error:
        return _part(request, task, key, refused=line_of(error))
    return _part(request, task, key)


@router.get("/parts/acts", include_in_schema=False)
def acts_part(request: Request, key: Text, task: str) -> HTMLResponse:
    """Show what is under way about one item, and what came of it."""
    return _part(request, task, key)


def acts_shown(
    desk: Desk, task: str, key: str, known: dict[str, Any] | None, *, can_ask: bool, cost: float | None
) -> dict[str, Any]:
    """Return what the page shows of what can be done to one item (None where it is no more), and is being done.

    `cost` is what asking about it is estimated to cost, where that can be told.
    """
    found = [desk.running.newest(kind.format(task), about=key) for kind in (ASKING, FORGETTING)]
    works = [one.document for one in found if one is not None]
    forgetting = works[-1] if found[-1] is not None else None
    return {
        "works": works,
        "is_running": any(one["state"] == "running" for one in works),
        "acts": "/parts/acts?" + urlencode({"task": task, "key": key}),
        "key": key,
        "refused": "",
        "can_ask": can_ask,
        "ask_cost": cost,
        "is_known": known is not None,
        "can_forget": known is not None or (forgetting is not None and forgetting["state"] == "failed"),
        "forgotten": forgetting if known is None and forgetting is not None and forgetting["state"] == "done" else None,
        "why": _why(known) if known else "",
    }


def _part(request: Request, task: str, key: str, *, refused: str = "") -> HTMLResponse:
    """Return what can be done to an item; where it is forgotten, what takes the place of all that was shown of it."""
    desk = desk_of(request)
    with desk.to_read(task) as ws:
        try:
            found = show.run(ws, key)
        except InputError:
            found = None
        can_ask = found is not None and is_askable(ws, found)
        cost = NextStep(ws, "").one_call(found["item"]) if found is not None and can_ask else None
        shown = acts_shown(desk, task, key, found, can_ask=can_ask, cost=cost)
        if shown["forgotten"] is None:
            return show_page(request, "parts/acts.html", ws, **{**shown, "refused": refused})
        page = show_page(request, "parts/forgotten.html", ws, **shown)
        page.headers.update({"hx-retarget": "#main", "hx-reswap": "innerHTML"})  # nothing of the row stays in sight
        return page


def is_askable(ws: OpenWorkspace, document: dict[str, Any]) -> bool:
    """Return whether the next command that asks would ask about an item, or would once it is parked no more."""
    dead, item_id = folder.dead_batches(ws), document["item"]
    with ws.store.read() as tx:
        left = any(item_id in asks.items_of(tx, one.number).values() for one in dead)  # free once it is asked
        return bool(document["parked"] or left or asks.askable_among(tx, ws.task, [item_id]))


def _ask(desk: Desk, task: str, key: str) -> Work:
    """Begin to ask about an item, unless that is under way."""
    under_way = desk.running.newest(ASKING.format(task), about=key)
    if under_way is not None and under_way.state == "running":
        return under_way
    item_id = _let_go(desk, task, key)

    def work(display: Work) -> dict[str, Any]:
        if task == PEOPLE:
            desk.tagger.ask(item_id).result()
        else:
            with desk.to_write(task, display) as ws:
                ws.bring_items()
                ask_alone(ws, [item_id])
        with desk.to_read(task) as ws:
            return {"state": show.run(ws, key)["state"]}

    return desk.running.begin(ASKING.format(task), work, about=key)


def _let_go(desk: Desk, task: str, key: str) -> str:
    """Return the id of an item that is asked about now; one that is parked is so no more."""
    with desk.to_write(task) as ws:
        ws.bring_items()
        ingest.end_dead(ws)
        ws.model, ws.client  # noqa: B018 - a missing key is said before anything is changed
        with ws.store.read() as tx:
            item_id = ws.task.id_of(tx, key)
            pilot.check_pilot(tx, ws.task, ws.extractor, compulsory=ws.task.needs_pilot)
        parked.unpark_items(ws, name=key, everyone=False, confirm=lambda _question: True)
        with ws.store.read() as tx:
            if not asks.askable_among(tx, ws.task, [item_id]):
                said = f"{key!r} is answered, is being asked, or has nothing to be asked about"
                raise Refused(409, said, hint="`make rollback` takes the answers of a version back")
    return item_id


def _forget(desk: Desk, task: str, key: str, typed: str) -> Work:
    """Begin to forget an item, unless that is under way."""
    if typed != key:
        raise Refused(422, f"{typed!r} is not {key!r}; nothing was changed", hint="type the name", field="name")

    def work(display: Work) -> dict[str, Any]:
        with desk.to_write(task, display) as ws:
            done = asdict(forget.run(ws, key, confirm=lambda _question: True))
        desk.running.drop_about(key)
        return {name: one for name, one in done.items() if name != "username"}

    return desk.running.begin(FORGETTING.format(task), work, about=key)


def _why(known: dict[str, Any]) -> str:
    newest = known["requests"][0]["reason"] if known["requests"] else None
    return str(known["parked"] or newest or "")
