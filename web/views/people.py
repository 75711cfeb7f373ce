"""`POST /api/admin/experts`: one new person, saved at once, and tagged within seconds or later."""

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.concurrency import run_in_threadpool

from pipeline.workflows import add_expert
from web.desk import PEOPLE, Desk
from web.problem import Refused
from web.render import desk_of, show_page
from web.view import View

router = APIRouter()
VIEW = View(router)

BEFORE = b"\xef\xbb\xbf \t\r\n"  # that may stand in front of a JSON document
FIELDS = (
    *(("username", "Username", "text"), ("first_name", "First name", "text"), ("last_name", "Last name", "text")),
    *(("job_title", "Job title", "text"), ("company", "Company", "text"), ("bio", "Bio", "area")),
    *(("hourly_rate", "Hourly rate", "number"), ("currency", "Currency", "text")),
    ("profile_url", "Profile address", "url"),
)
BODY = {
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


@router.post("/api/admin/experts", status_code=201, openapi_extra={"requestBody": BODY})
async def add_person(request: Request) -> JSONResponse:
    """Save a person and wait for their tags, for some seconds at the most: 201 {ok, username, tags, …}.

    The body has the names of `make add-expert`, or those of the CSV; `notes` name what of it was not read. What comes
    later than the reply is kept all the same, and `retrying` says so. 503 where more come at once than can be saved in
    time: this one was not.
    """
    desk, began = desk_of(request), time.monotonic()
    body = await request.body()
    if body.lstrip(BEFORE)[:1] == b"[":
        raise Refused(422, "the body is a list; one person at a time is added here", hint="`make import` adds many")
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
