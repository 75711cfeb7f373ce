"""Tags by hand: of one person, edited from the state that was shown, with who and when; undoing is an edit, too."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.encoders import jsonable_encoder
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from pipeline.core.errors import ChangedMeanwhileError, InputError
from pipeline.experts import edits, person_tags, show
from pipeline.experts.answer import checked_tag
from pipeline.experts.edits import Edited, Editor, TagChange
from pipeline.experts.person_tags import PersonTags
from pipeline.store.database import Store
from web.desk import PEOPLE
from web.editor import editor_of, keep_editor, known_editor
from web.etag import IfMatch, state_of
from web.form import Sent
from web.problem import Refused, line_of, not_there
from web.render import desk_of, show_page
from web.view import View

router = APIRouter()
VIEW = View(router)
LONG = 10  # digits that no number of an edit has
ADDRESS = "/api/people/{username:path}/tags"
Tags = Annotated[list[str], Field(max_length=100)]


class _Said(BaseModel):
    """What every edit says: who edits; else the name that the browser keeps."""

    model_config = ConfigDict(extra="forbid")
    who: str | None = None


class WantedTags(_Said):
    """All tags that a person is to have."""

    tags: Tags


class TagsEdit(_Said):
    """Tags to add, to remove and to rename (old: new), or the number of an edit to undo."""

    add: Tags = []
    remove: Tags = []
    rename: dict[str, str] = {}
    undo: Annotated[int, Field(ge=1)] | None = None

    @property
    def change(self) -> TagChange:
        """Return what becomes of tags."""
        return TagChange(self.add, self.remove, list(self.rename.items()))


@router.get(ADDRESS)
def get_tags(request: Request, username: str) -> JSONResponse:
    """Return the tags of one person with every edit, as `findable tags --person USERNAME --json`.

    The ETag names their state: an edit sends it back as `If-Match`.
    """
    with desk_of(request).to_read(PEOPLE) as ws, not_there():
        found = person_tags.read_tags(ws.store, username)
    return _answer(found, found.document())


@router.put(ADDRESS)
def put_tags(request: Request, username: str, body: WantedTags, if_match: IfMatch = None) -> JSONResponse:
    """Give a person exactly these tags: 428 without `If-Match`, 412 with both states where they changed meanwhile."""
    who = editor_of(request, body.who)
    with desk_of(request).to_write(PEOPLE) as ws:
        with not_there():
            now = person_tags.read_tags(ws.store, username)
        editor = Editor(who, state_of(if_match, now.state) or now.state)
        done = edits.edit_tags(ws.store, username, _difference(now.tags, body.tags), editor, at=ws.now())
    return _answer(done.person, done.document())


@router.patch(ADDRESS)
def patch_tags(request: Request, username: str, body: TagsEdit, if_match: IfMatch = None) -> JSONResponse:
    """Add, remove and rename tags of a person, or undo an edit; 428 and 412 as where all are given."""
    who = editor_of(request, body.who)
    with desk_of(request).to_write(PEOPLE) as ws:
        with not_there():
            now = person_tags.read_tags(ws.store, username)
        editor = Editor(who, state_of(if_match, now.state))
        done = _edited(ws.store, username, body.change, body.undo, editor=editor, now=ws.now)
    return _answer(done.person, done.document())


@router.post("/parts/tags", include_in_schema=False)
def edit_part(request: Request, username: str, said: Sent) -> HTMLResponse:
    """Edit the tags of a person by a form of the page; what was refused is shown beside the tags as they are now."""
    told: dict[str, Any] = {"said": "", "refused": "", "again": None}
    who = ""
    try:
        who = editor_of(request, said.get("who"))
        with desk_of(request).to_write(PEOPLE) as ws:
            editor = Editor(who, said.get("state"))
            done = _edited(ws.store, username, *_typed(said), editor=editor, now=ws.now)
        told["said"] = _told(done)
    except ChangedMeanwhileError as error:
        told |= {"refused": error.message, "again": _again(said, error.now["state"])}
    except (InputError, Refused) as error:
        told["refused"] = line_of(error)
    with desk_of(request).to_read(PEOPLE) as ws:
        shown = {**tags_shown(show.run(ws, username)), **told, "who": who or known_editor(request)}
        found = show_page(request, "parts/tags.html", ws, **shown)
    if who:
        keep_editor(found, who)
    return found


def tags_shown(document: dict[str, Any]) -> dict[str, Any]:
    """Return what the page shows of a person: tags, score, every edit, and whether the index has them."""
    expert = document["expert"]
    return {
        "username": expert["Username"],
        "tags": expert["tags"] or [],
        "score": expert["findability_score"],
        "tags_state": document["tags_state"],
        "edits": document["edits"],
        "unmerged": document["unmerged"],
        "index": document["index"],
        "said": "",
        "refused": "",
        "again": None,
    }


def _typed(said: dict[str, str]) -> tuple[TagChange, int | None]:
    """Return what a form of the page says: what becomes of tags, or the number of the edit to undo."""
    add, remove = ([one for one in said.get(name, "").split(";") if one.strip()] for name in ("add", "remove"))
    rename = [(said["old"], said.get("new", ""))] if "old" in said else []
    undo = said.get("undo", "")
    return TagChange(add, remove, rename), int(undo) if undo.isdecimal() and len(undo) < LONG else None


def _again(said: dict[str, str], state: str) -> dict[str, str]:
    """Return what says the same edit again, of the tags as they are now."""
    return {**{name: one for name, one in said.items() if name != "who"}, "state": state}


def _told(done: Edited) -> str:
    if done.number is None:
        return "There was nothing to change."
    return f"Edit {done.number} is stored; the score is {done.person.findability_score:g}."


def _difference(now: Sequence[str], wanted: Sequence[str]) -> TagChange:
    """Return what makes of some tags others."""
    tags = [tag if tag in now else checked_tag(tag) for tag in wanted]
    return TagChange([tag for tag in tags if tag not in now], [tag for tag in now if tag not in tags])


def _edited(
    store: Store, username: str, change: TagChange, undo: int | None, *, editor: Editor, now: Callable[[], datetime]
) -> Edited:
    """Carry out an edit.

    Raises:
        Refused: it says both what to change and what to undo.
    """
    if undo is None:
        return edits.edit_tags(store, username, change, editor, at=now())
    if any(change):
        raise Refused(422, "an edit is undone by itself; nothing was changed", field="undo")
    return edits.undo_edit(store, username, undo, editor, at=now())


def _answer(found: PersonTags, document: dict[str, Any]) -> JSONResponse:
    """Return the tags of a person; their ETag is the state, and the score, which an edit need not have seen."""
    return JSONResponse(jsonable_encoder(document), headers={"etag": f'"{found.state}-{found.findability_score}"'})
