"""Tags by hand: of one person, edited from the state that was shown, with who and when; undoing is an edit, too."""

from typing import Annotated, Any
from urllib.parse import quote, unquote

from fastapi import APIRouter, Header, Request
from fastapi.encoders import jsonable_encoder
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from pipeline.core.errors import ChangedMeanwhileError, InputError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.experts import show, tags
from pipeline.experts.tags import Document, TagChange
from web.desk import PEOPLE
from web.problem import Refused, line_of, not_there
from web.render import Sent, desk_of, show_page
from web.view import View

router = APIRouter()
VIEW = View(router)
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
        shown = {**tags_shown(request, show.run(ws, username)), **told}
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
    """Return who edits, by the name that is given or the one that the browser keeps."""
    if who := given or unquote(request.cookies.get(COOKIE, "")):
        return who
    raise Refused(422, "say who edits; nothing was changed", hint="your name stands beside each edit", field="who")


def _typed(said: dict[str, str]) -> TagChange:
    """Return what a form of the page says: what becomes of tags, or the number of the edit to undo."""
    rename, undo = [(said["old"], said.get("new", ""))] if "old" in said else [], said.get("undo", "")
    number = int(undo) if undo.isdecimal() and len(undo) < LONG else None
    return TagChange(tags.listed(said.get("add")), tags.listed(said.get("remove")), rename, number)


def _edited(ws: OpenWorkspace, username: str, change: TagChange, *, who: str, state: str | None) -> Document:
    """Carry out an edit."""
    if change.undo is not None and any(change[:3]):
        raise Refused(422, "an edit is undone by itself; nothing was changed", field="undo")
    return tags.edit_tags(ws.store, username, change, who, of_state=state, at=ws.now())


def _answer(found: Document) -> JSONResponse:
    return JSONResponse(jsonable_encoder(found), headers={"etag": f'"{found["state"]}"'})
