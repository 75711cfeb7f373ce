"""`POST /api/admin/experts`: one new person, saved at once, and tagged within seconds or later."""

import asyncio
import json
import time
from concurrent.futures import Future
from typing import Any

from starlette.concurrency import run_in_threadpool

from pipeline.core.errors import InputError
from pipeline.workflows import add_expert
from web.desk import PEOPLE, Desk
from web.problem import Refused

ANSWERED_S = 7.0  # after so many seconds the reply goes out, with tags or without; the promise is eight
DUE = "added on the page, and not tagged yet"


async def add_person(desk: Desk, body: bytes) -> dict[str, Any]:
    """Save a person and wait for their tags, for some seconds at the most; return the reply.

    Raises:
        Refused: the body is no person, or the username exists.
    """
    until = time.monotonic() + ANSWERED_S
    saved, asked = await run_in_threadpool(_save, desk, body)
    if asked is not None:
        await asyncio.wait([asyncio.wrap_future(asked)], timeout=max(0.0, until - time.monotonic()))
    return await run_in_threadpool(_reply, desk, saved)


def _save(desk: Desk, body: bytes) -> tuple[add_expert.SavedExpert, Future[None] | None]:
    """Store a person; return them, and what ends when they were asked about."""
    if isinstance(_parsed(body), list):
        raise Refused(422, "the body is a list; one person at a time is added here", hint="`make import` adds many")
    try:
        with desk.to_write(PEOPLE) as ws:
            (saved,) = add_expert.save(ws, body, name="the body", reason=DUE)
    except InputError as error:
        is_taken = "exists already" in error.message
        raise Refused(409 if is_taken else 422, error.message, hint=error.hint, field=_field(error)) from error
    return saved, desk.tagger.ask(saved.item_id) if saved.is_due else None


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise Refused(422, f"the body is no JSON: {error}", hint='{"username": "…", "bio": "…"}') from None


def _field(error: InputError) -> str | None:
    """Return the field that an error of reading is about, where it names one."""
    return "username" if "username" in error.message.lower() else None


def _reply(desk: Desk, saved: add_expert.SavedExpert) -> dict[str, Any]:
    """Return what is stored of a person, as the reply has it."""
    with desk.to_read(PEOPLE) as ws:
        stored = add_expert.as_stored(ws.store, saved.username)
    return {
        "ok": True,
        "username": stored.username,
        "tags": stored.tags or None,
        "findability_score": stored.findability_score,
        "retrying": saved.is_due and not stored.tags,
    }
