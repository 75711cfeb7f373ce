"""Add a person: save it first, then ask for its tags."""

import asyncio
import time
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from askrows.pipeline.workflows import (
    add_expert,
)
from askrows.web.app_state import PEOPLE_TASK, AppState
from askrows.web.render import PageState

router = APIRouter()


@router.post("/api/admin/experts", status_code=201)
async def add_person(app_state: PageState, request: Request) -> JSONResponse:
    """Save a person, wait a few seconds for the tags, and return 201 with the person.

    The body's members are named as the options of `make add-expert` or as the columns of the CSV.
    The reply is {ok, username, tags, findability_score, retrying, notes}. `notes` says which
    members of the body were read as columns and which were not, and why the person was parked, if
    so. If the tags have not arrived in time, `tags` is null and `retrying` is true; they are stored
    when they arrive. If `tags` is null and `retrying` is false, no command asks about the person.

    422 for an invalid body, 409 for a person that exists, 503 if too many people arrive at once:
    this person was not saved.
    """
    start_time = time.monotonic()
    person = await app_state.save_person(await request.body())

    if person.is_row_due:
        tagging = asyncio.wrap_future(app_state.start_tagging([person.row_id]))
        deadline = start_time + app_state.max_tag_wait_s
        await asyncio.wait([tagging], timeout=max(0.0, deadline - time.monotonic()))
        if tagging.done():
            person = await run_in_threadpool(_reload_person, app_state, person)

    notes = list(person.notes)
    if person.parked:
        notes.append(f"parked: {person.parked}")
    result = "not tagged"
    if person.is_row_due:
        result = "its tags are asked for in the background"
    if person.tags:
        result = f"tags: {', '.join(person.tags)}"
    document = {
        "ok": True,
        "said": "; ".join([f"{person.username} is saved", result, *notes]),
        "page": f"/row?{urlencode({'task': PEOPLE_TASK, 'key': person.username})}",
        "username": person.username,
        "tags": person.tags or None,
        "findability_score": person.findability_score,
        "retrying": person.is_row_due,
        "notes": notes,
    }
    return JSONResponse(document, status_code=201)


def _reload_person(app_state: AppState, person: add_expert.AddedExpert) -> add_expert.AddedExpert:
    with app_state.open_to_read(PEOPLE_TASK) as run:
        return add_expert.reload_person(run.workspace.store, run.task, person)
