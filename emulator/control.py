"""The control paths under `/_emu/`: faults, the clock, the journal, settings, quotas, and what batches really exist."""

from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.routing import Route

from emulator.clock import timestamp
from emulator.errors import invalid
from emulator.replies import JsonReply, api, world_of


async def _document(request: Request) -> Any:
    """Return the JSON a control call carries."""
    try:
        return orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise invalid(f"not JSON: {error}") from error


@api
async def _script(request: Request) -> JsonReply:
    """Add faults."""
    document = await _document(request)
    if not isinstance(document, list):
        raise invalid(f"expected a list of faults, found {document!r}")
    script, faults = world_of(request).faults.script(document)
    return JsonReply({"id": script, "faults": faults})


@api
async def _show_faults(request: Request) -> JsonReply:
    """Show each fault and how often it struck."""
    return JsonReply(world_of(request).faults.document())


@api
async def _clear_faults(request: Request) -> JsonReply:
    """Forget all faults."""
    world_of(request).faults.clear()
    return JsonReply({})


@api
async def _clock(request: Request) -> JsonReply:
    """Move the clock on."""
    document = await _document(request)
    seconds = document.get("advance_seconds") if isinstance(document, dict) else None
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        raise invalid(f"expected {{'advance_seconds': number}}, found {document!r}")
    clock = world_of(request).clock
    clock.advance(seconds=seconds)
    world_of(request).worker.wake()
    return JsonReply({"now": timestamp(clock.now_ns())})


@api
async def _show_journal(request: Request) -> JsonReply:
    """Show the last requests."""
    return JsonReply(world_of(request).journal.document())


@api
async def _clear_journal(request: Request) -> JsonReply:
    """Forget the last requests."""
    world_of(request).journal.clear()
    return JsonReply({})


@api
async def _settings(request: Request) -> JsonReply:
    """Change settings and show them all; an empty object only shows them."""
    document = await _document(request)
    if not isinstance(document, dict):
        raise invalid(f"expected an object of settings, found {document!r}")
    world_of(request).change_settings(document)
    return JsonReply(vars(world_of(request).settings))


@api
async def _show_quotas(request: Request) -> JsonReply:
    """Show what was used of the quotas, and when the day is over."""
    return JsonReply(await run_in_threadpool(world_of(request).quotas.document))


@api
async def _clear_quotas(request: Request) -> JsonReply:
    """Forget what was used of the quotas; the limits stay."""
    await run_in_threadpool(world_of(request).quotas.clear)
    return JsonReply({})


@api
async def _batches(request: Request) -> JsonReply:
    """Show every batch there ever was, oldest first, deleted ones too, of every owner."""
    batches = await run_in_threadpool(world_of(request).batches.everything)
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
        for batch in batches
    ]
    return JsonReply({"batches": shown})


ROUTES = [
    Route("/_emu/faults", _script, methods=["POST"]),
    Route("/_emu/faults", _show_faults, methods=["GET"]),
    Route("/_emu/faults", _clear_faults, methods=["DELETE"]),
    Route("/_emu/clock", _clock, methods=["POST"]),
    Route("/_emu/journal", _show_journal, methods=["GET"]),
    Route("/_emu/journal", _clear_journal, methods=["DELETE"]),
    Route("/_emu/settings", _settings, methods=["POST"]),
    Route("/_emu/quotas", _show_quotas, methods=["GET"]),
    Route("/_emu/quotas", _clear_quotas, methods=["DELETE"]),
    Route("/_emu/batches", _batches, methods=["GET"]),
]
"""All control paths."""
