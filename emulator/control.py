"""The control paths under `/_emu/`: faults, the clock, the journal, settings, quotas, and what batches really exist."""

from collections.abc import Callable
from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.routing import Route

from emulator.clock import timestamp
from emulator.errors import invalid
from emulator.replies import Endpoint, JsonReply, api, world_of
from emulator.world import World


async def _document(request: Request) -> Any:
    try:
        return orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise invalid(f"not JSON: {error}") from error


@api
async def _script(request: Request) -> JsonReply:
    document = await _document(request)
    if not isinstance(document, list):
        raise invalid(f"expected a list of faults, found {document!r}")
    script, faults = world_of(request).faults.script(document)
    return JsonReply({"id": script, "faults": faults})


@api
async def _clock(request: Request) -> JsonReply:
    document = await _document(request)
    seconds = document.get("advance_seconds") if isinstance(document, dict) else None
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        raise invalid(f"expected {{'advance_seconds': number}}, found {document!r}")
    clock = world_of(request).clock
    clock.advance(seconds=seconds)
    world_of(request).worker.wake()
    return JsonReply({"now": timestamp(clock.now_ns())})


@api
async def _settings(request: Request) -> JsonReply:
    """Change settings and show them all; an empty object only shows them."""
    document = await _document(request)
    if not isinstance(document, dict):
        raise invalid(f"expected an object of settings, found {document!r}")
    world_of(request).change_settings(document)
    return JsonReply(vars(world_of(request).settings))


def _calling(call: Callable[[World], object]) -> Endpoint:
    """Return the endpoint that answers with what a call on the world returns, `{}` where that is nothing."""

    async def endpoint(request: Request) -> JsonReply:
        return JsonReply(await run_in_threadpool(call, world_of(request)) or {})

    return api(endpoint)


def _batches(world: World) -> dict[str, Any]:
    """Return every batch there ever was, oldest first, deleted ones too, whatever key made them."""
    shown = [
        {
            "name": f"batches/{batch.id}",
            "displayName": batch.display_name,
            "model": batch.model,
            "state": batch.state,
            "deleted": bool(batch.deleted),
            "requests": batch.requests,
            "succeeded": batch.succeeded,
            "failed": batch.failed,
            "host": batch.host,
        }
        for batch in world.batches.everything()
    ]
    return {"batches": shown}


ROUTES = [
    Route("/_emu/faults", _script, methods=["POST"]),
    Route("/_emu/faults", _calling(lambda world: world.faults.document()), methods=["GET"]),
    Route("/_emu/faults", _calling(lambda world: world.faults.clear()), methods=["DELETE"]),
    Route("/_emu/clock", _clock, methods=["POST"]),
    Route("/_emu/journal", _calling(lambda world: world.journal.document()), methods=["GET"]),
    Route("/_emu/journal", _calling(lambda world: world.journal.clear()), methods=["DELETE"]),
    Route("/_emu/settings", _settings, methods=["POST"]),
    Route("/_emu/quotas", _calling(lambda world: world.quotas.document()), methods=["GET"]),
    Route("/_emu/quotas", _calling(lambda world: world.quotas.clear()), methods=["DELETE"]),
    Route("/_emu/batches", _calling(_batches), methods=["GET"]),
]
"""All control paths."""
