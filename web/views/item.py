"""One item: its row beside its answers, its tags, every request about it, what is asked or forgotten."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import PurePath
from typing import Annotated, Any
from urllib.parse import quote, unquote, urlencode

from fastapi import APIRouter, Header, Request
from fastapi.encoders import jsonable_encoder
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from pipeline.batch import folder, ingest
from pipeline.batch.due import ask_alone
from pipeline.core.errors import ChangedMeanwhileError, FindableError, InputError
from pipeline.core.quotes import is_quotation, leaves
from pipeline.core.step import Step
from pipeline.engine.workspace import OpenWorkspace
from pipeline.experts import show as person
from pipeline.experts import tags
from pipeline.experts.tags import Document, TagChange
from pipeline.images import TASK as IMAGES
from pipeline.ops import forget, items, show
from pipeline.passages.show import QuotedPassage, quoted_passage
from pipeline.quality import pilot
from pipeline.store import asks
from pipeline.store.answers import PERSON
from web.desk import PEOPLE, Desk
from web.problem import Refused, line_of, not_there
from web.render import Sent, accepted, as_stated, as_text, desk_of, show_page
from web.running import Work
from web.views.gallery import PASSAGES
from web.views.home import NextStep
from web.views.items import Text

router = APIRouter()

FEW = 5  # answers that are shown at first
UNUSABLE = "unusable"  # the state of an image that cannot be opened
SIDE = 640  # pixels of the longer side of the picture


@router.get("/api/tasks/{task}/item")
def get_item(request: Request, task: str, key: Text, *, raw: bool = False) -> dict[str, Any]:
    """Return everything known about one item, as `findable show --item KEY --json`."""
    with desk_of(request).to_read(task) as ws:
        return show.run(ws, key, raw=raw)


@router.get("/item", include_in_schema=False)
def item_page(request: Request, key: Text, task: str | None = None, *, raw: bool = False) -> HTMLResponse:
    """Show everything known about one item."""
    with _shown(request, task, key, raw=raw) as (ws, shown):
        return show_page(request, "item.html", ws, **shown)


@router.get("/parts/state", include_in_schema=False)
def state_part(request: Request, key: Text, task: str, state: str = "") -> Response:
    """Have the page shown anew where the state of an item is another one than was shown; else say nothing (204)."""
    with desk_of(request).to_read(task) as ws:
        try:
            with ws.store.read() as tx:
                now = show.state_of(tx, ws.task, key)
        except InputError:
            now = ""  # it is not here any more
    return Response(status_code=204, headers={} if now == state else {"hx-refresh": "true"})


@contextmanager
def _shown(
    request: Request, task: str | None, key: str, *, raw: bool = False
) -> Iterator[tuple[OpenWorkspace, dict[str, Any]]]:
    """Give what the page shows of an item, beside the workspace, which is open for the length of a block."""
    with desk_of(request).to_read(task) as ws:
        known = show.run(ws, key, raw=raw)
        name, tags = ws.settings.task, dict[str, Any]()
        if name == PEOPLE:
            tags = tags_shown(request, person.run(ws, key))
        concepts = {}
        if name == PASSAGES and known["columns"]:
            concepts = concepts_by_version(quoted_passage(ws.store, ws.tasks, ws.settings, known["item"]))
        columns = [(column, as_text(value)) for column, value in known.pop("columns").items()]
        title = heading_of(known, name, columns)
        if tags:  # which stand beside the row
            columns = [one for one in columns if one[0] not in {"name", "tags", "findability_score"}]
        known.pop("task")
        shown = answers_shown(known, tags.get("edits", ()))
        can_ask = is_askable(ws, known)
        cost = NextStep(ws, None).one_call(known["item"]) if can_ask else None
        yield (
            ws,
            {
                **known,
                **title,
                "answers": shown,
                "quotations": list(quotations_in(shown[0].get("answer"))) if shown else [],
                "concepts": concepts,
                "few": FEW,
                "columns": columns,
                "raw": raw,
                "key": key,
                "item_tags": bool(tags),
                "is_answered": as_stated(known["state"]) == ws.task.words.done,
                "has_index": ws.is_indexed,
                **tags,
                **acts_shown(desk_of(request), name, key, known, can_ask=can_ask, cost=cost),
            },
        )


def answers_shown(known: Mapping[str, Any], edits: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the answers of an item, newest first; `edit` is the edit by hand that one is, None where a model gave it.

    Each edit kept one answer, so they are in the same order.
    """
    by_hand = iter(edits)
    shown = [{**one, "edit": next(by_hand, None) if one["extractor"] == PERSON else None} for one in known["answers"]]
    return shown[::-1]


def concepts_by_version(passage: QuotedPassage) -> dict[str, list[tuple[str, str]]]:
    """Return what each version found in a passage, by name and type, each once."""
    return {
        extractor: list(dict.fromkeys((one.name, one.type) for one in some))
        for extractor, some in passage.concepts.items()
    }


def heading_of(known: Mapping[str, Any], task: str, columns: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return how an item is called: `title`, `beside` what else names it, and `picture`, the address of an image."""
    name = known["name"]
    if task == IMAGES:
        address = f"/api/images/thumbnail?{urlencode({'key': known['item'], 'side': SIDE})}"
        return {"title": PurePath(name).name, "beside": "", "picture": "" if known["state"] == UNUSABLE else address}
    full = dict(columns).get("name", "")
    return {"title": full or name, "beside": name if full else "", "picture": ""}


def quotations_in(answer: Any) -> Iterator[tuple[int, int, str]]:
    """Yield each quotation that an answer holds: (start, end, quote)."""
    for _, one in leaves(answer):
        if is_quotation(one) and isinstance(one["start"], int) and isinstance(one["end"], int):  # not a field called so
            yield one["start"], one["end"], one["quote"]


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
        cost = NextStep(ws, None).one_call(found["item"]) if found is not None and can_ask else None
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
        items.unpark_items(ws, name=key, everyone=False)
        with ws.store.read() as tx:
            if not asks.askable_among(tx, ws.task, [item_id]):
                said = f"{key!r} is answered, is being asked, or has nothing to be asked about"
                raise Refused(409, said, hint=f"`{Step('rollback')}` takes the answers of a version back")
    return item_id


def _forget(desk: Desk, task: str, key: str, typed: str) -> Work:
    if typed != key:
        raise Refused(422, f"{typed!r} is not {key!r}; nothing was changed", hint="type the name", field="name")

    def work(display: Work) -> dict[str, Any]:
        with desk.to_write(task, display) as ws:
            ws.agrees = lambda _question: True  # the name was typed once more
            done = asdict(forget.run(ws, key))
        desk.running.drop_about(key)
        return {name: one for name, one in done.items() if name != "username"}

    return desk.running.begin(FORGETTING.format(task), work, about=key)


def _why(known: dict[str, Any]) -> str:
    newest = known["requests"][0]["reason"] if known["requests"] else None
    return str(known["parked"] or newest or "")


COOKIE = "findable_who"  # keeps the name of who edits
KEPT_S = 365 * 24 * 3600
LONG = 10  # digits that no number of an edit has
ADDRESS = "/api/people/{username:path}/tags"
Tags = Annotated[list[str], Field(max_length=100)]
IfMatch = Annotated[str | None, Header(alias="if-match")]


class TagsEdit(BaseModel):
    """Tags to add, to remove and to rename (old: new), or the number of an edit to undo; and who says so."""

    model_config = ConfigDict(extra="forbid")
    add: Tags = []
    remove: Tags = []
    rename: dict[str, str] = {}
    undo: Annotated[int, Field(ge=1)] | None = None
    who: str | None = None


@router.get(ADDRESS)
def get_tags(request: Request, username: str) -> JSONResponse:
    """Return the tags of one person with every edit, as `findable tags --person USERNAME --json`.

    The ETag names their state: an edit sends it back as `If-Match`.
    """
    with desk_of(request).to_read(PEOPLE) as ws, not_there():
        found = tags.read_tags(ws.store, username)
    return _answer(found)


@router.patch(ADDRESS)
def patch_tags(request: Request, username: str, body: TagsEdit, if_match: IfMatch = None) -> JSONResponse:
    """Add, remove and rename tags of a person, or undo an edit: 428 without `If-Match`, 412 where they changed."""
    if if_match is None:
        said = "an edit says from which state it was made; nothing was changed"
        raise Refused(428, said, hint="GET it, and send its ETag as If-Match")
    who, state = _editor(request, body.who), if_match.strip().removeprefix("W/").strip('"')
    change = TagChange(body.add, body.remove, list(body.rename.items()), body.undo)
    with desk_of(request).to_write(PEOPLE) as ws:
        with not_there():
            tags.read_tags(ws.store, username)
        done = _edited(ws, username, change, who=who, state=None if state == "*" else state)
    return _answer(done)


@router.post("/parts/tags", include_in_schema=False)
def edit_part(request: Request, username: str, said: Sent) -> HTMLResponse:
    """Edit the tags of a person by a form of the page; what was refused is shown beside the tags as they are now."""
    told: dict[str, Any] = {"said": "", "refused": "", "again": None}
    who = ""
    try:
        who = _editor(request, said.get("who"))
        with desk_of(request).to_write(PEOPLE) as ws:
            done = _edited(ws, username, _typed(said), who=who, state=said.get("state"))
        stored = f"Edit {done['edit']} is stored; the score is {done['findability_score']:g}."
        told["said"] = stored if done["edit"] else "Nothing to change."
    except ChangedMeanwhileError as error:
        again = {name: one for name, one in said.items() if name != "who"}
        told |= {"refused": error.message, "again": {**again, "state": error.now["state"]}}
    except (InputError, Refused) as error:
        told["refused"] = line_of(error)
    with desk_of(request).to_read(PEOPLE) as ws:
        shown = {**tags_shown(request, person.run(ws, username)), **told}
        found = show_page(request, "parts/tags.html", ws, **{**shown, "who": who or shown["who"]})
    if who:
        found.set_cookie(COOKIE, quote(who, safe=""), max_age=KEPT_S, httponly=True, samesite="strict", path="/")
    return found


def tags_shown(request: Request, document: dict[str, Any]) -> dict[str, Any]:
    """Return what the page shows of a person: tags, score, every edit, and whether the index has them."""
    expert = document["expert"]
    return {
        "username": expert["Username"],
        "tags": expert["tags"] or [],
        "score": expert["findability_score"],
        **{name: document[name] for name in ("tags_state", "edits", "index")},
        "who": unquote(request.cookies.get(COOKIE, "")),
        "said": "",
        "refused": "",
        "again": None,
    }


def _editor(request: Request, given: str | None) -> str:
    if who := given or unquote(request.cookies.get(COOKIE, "")):
        return who
    raise Refused(422, "say who edits; nothing was changed", hint="your name stands beside each edit", field="who")


def _typed(said: dict[str, str]) -> TagChange:
    """Return what a form of the page says: what becomes of tags, or the number of the edit to undo."""
    rename, undo = [(said["old"], said.get("new", ""))] if "old" in said else [], said.get("undo", "")
    number = int(undo) if undo.isdecimal() and len(undo) < LONG else None
    return TagChange(tags.listed(said.get("add")), tags.listed(said.get("remove")), rename, number)


def _edited(ws: OpenWorkspace, username: str, change: TagChange, *, who: str, state: str | None) -> Document:
    if change.undo is not None and any(change[:3]):
        raise Refused(422, "an edit is undone by itself; nothing was changed", field="undo")
    return tags.edit_tags(ws.store, username, change, who, of_state=state, at=ws.now())


def _answer(found: Document) -> JSONResponse:
    return JSONResponse(jsonable_encoder(found), headers={"etag": f'"{found["state"]}"'})
