"""The row of one person, edited by hand from the state that was shown, as the import of that row would."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from fastapi.responses import HTMLResponse, JSONResponse

from pipeline.core.errors import ChangedMeanwhileError, FindableError
from pipeline.experts import one_row
from pipeline.experts.columns import HEADERS, USERNAME
from pipeline.experts.one_row import PersonRow
from pipeline.tables.rates import rate_text
from web.asked import Text
from web.desk import PEOPLE
from web.etag import IfMatch, state_of
from web.form import Sent
from web.problem import line_of, not_there
from web.render import as_text, desk_of, show_page
from web.view import View

router = APIRouter()
VIEW = View(router)
ADDRESS = "/api/people/{username:path}/row"
LONG = "bio"


@router.get(ADDRESS)
def get_row(request: Request, username: str) -> JSONResponse:
    """Return the row of one person; an edit sends the ETag back as `If-Match`."""
    with desk_of(request).to_read(PEOPLE) as ws, not_there():
        return _answer(one_row.read_row(ws.store, username), [])


@router.patch(ADDRESS)
def patch_row(
    request: Request, username: str, body: Annotated[dict[str, Any], Body()], if_match: IfMatch = None
) -> JSONResponse:
    """Change some values of a person, by column or as the CSV calls them; null clears one. 428, 412 as for tags."""
    with desk_of(request).to_write(PEOPLE) as ws:
        with not_there():
            now = one_row.read_row(ws.store, username)
        state = state_of(if_match, now.state)
        row, said = one_row.edit_row(ws.store, username, body, of_state=state, at=ws.now())
    return _answer(row, said)


@router.post("/parts/row", include_in_schema=False)
def edit_row_part(request: Request, username: Text, said: Sent) -> HTMLResponse:
    """Edit a row by the form of the page; what was refused is shown beside the row as it is now."""
    desk, told = desk_of(request), dict[str, Any]()
    values: dict[str, str | None] = {}
    try:
        with desk.to_write(PEOPLE) as ws:
            values = _changed(one_row.read_row(ws.store, username), said)
            _, notes = one_row.edit_row(ws.store, username, values, of_state=said.get("state"), at=ws.now())
        told["row_said"] = "; ".join(["Stored", *notes]) + "."
    except ChangedMeanwhileError as error:
        told = {"lost": values, "row_refused": f"{error.message}. It is shown as it is now."}
    except FindableError as error:
        told = {"typed": values, "row_refused": line_of(error)}
    with desk.to_read(PEOPLE) as ws:
        shown = row_shown(one_row.read_row(ws.store, username), username)
        return show_page(request, "parts/row.html", ws, **{**shown, **told})


def row_shown(row: PersonRow, username: str) -> dict[str, Any]:
    """Return what the page shows of a row, and of the form that edits it."""
    cells = [(name, name.replace("_", " "), _text(value)) for name, value in row.values.items() if name != USERNAME]
    return {
        "username": username,
        "cells": cells,
        "row_state": row.state,
        "long": LONG,
        "row_said": "",
        "row_refused": "",
        "typed": {},
        "lost": {},
    }


def _text(value: object) -> str:
    """Return a value as the page shows and edits it: a rate as an import would read it."""
    return rate_text(value) if isinstance(value, float) else as_text(value)


def _changed(now: PersonRow, said: dict[str, str]) -> dict[str, str | None]:
    """Return what a form says that the row does not; see `_as_sent`."""
    texts = {name: _as_sent(name, said[name]) for name in HEADERS if name in said and name != USERNAME}
    shown = {name: _as_sent(name, _text(value)) for name, value in now.values.items()}
    return {name: text or None for name, text in texts.items() if text != shown[name]}


def _as_sent(name: str, text: str) -> str:
    """Return a value as a browser sends it: line ends in one form, and none in a field of one line (HTML, 4.10.5)."""
    ends = "\n" if name == LONG else ""
    return text.replace("\r\n", "\n").replace("\n", ends).replace("\r", ends)


def _answer(row: PersonRow, said: list[str]) -> JSONResponse:
    etag = {"etag": f'"{row.state}-{row.findability_score}"'}
    return JSONResponse({**row.document(), "said": said}, headers=etag)
