"""What every request passes on its way in and out: the journal, the faults that strike replies, and latencies.

The control paths under `/_emu/` pass by both, so that a script cannot lock itself out.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emulator.clock import SECOND_NS
from emulator.exchange import JSON, Answer, Exchange
from emulator.faults import Fault
from emulator.journal import Entry
from emulator.world import World

_SMALL = 65_536
"""JSON bodies up to this many bytes are kept in the journal as they are."""


class Gate:
    """The outermost application: records requests and lets faults strike around the API."""

    def __init__(self, app: ASGIApp, *, world: World) -> None:
        """Stand in front of `app`."""
        self._app = app
        self._world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"].startswith("/_emu/"):
            await self._app(scope, receive, send)
            return
        target = _target(scope)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        entry = self._world.journal.open(scope["method"], target, headers, at_ns=self._world.clock.about_ns())
        scope["state"] |= {"entry": entry, "target": target}
        exchange = Exchange(
            self._app,
            scope,
            _recorded(receive, entry),
            _noted(send, entry),
            advance=lambda seconds: self._world.clock.advance(seconds=seconds),
        )
        faults = self._world.faults.matching("reply", scope["method"], target=target)
        fault = next((one for one in faults if one.fire()), None)
        if fault is not None and fault.act is not None:
            note(entry, [fault])
            await fault.act(exchange, fault.args)
            return
        await self._serve(exchange, entry, method=scope["method"], target=target)

    async def _serve(self, exchange: Exchange, entry: Entry, *, method: str, target: str) -> None:
        """Let the API answer, faults spoil what it says if it is a good document, and a good answer take its time."""
        faults = self._world.faults.matching("document", method, target=target)
        settings = self._world.settings
        latency_s = self._world.latencies.draw(settings.latencies, target, seed=settings.seed)
        due_ns = entry.at_ns + int(latency_s * SECOND_NS)
        if not faults and not latency_s:
            await exchange.proceed()
            return
        answer = await exchange.answer()
        body = answer.body
        good = answer.status == HTTPStatus.OK
        for fault in faults if good and answer.headers.get("content-type") == JSON else []:
            changed = fault.act and fault.act(orjson.loads(body), fault.args, target)
            if changed is not None and fault.fire():
                # the standard library's encoder writes NaN, which a fault may need
                body = json.dumps(changed).encode()
                note(entry, [fault])
        if good:
            await self._world.clock.reach(due_ns)
        headers = {**answer.headers, "content-length": str(len(body))}
        await exchange.reply(Answer(answer.status, headers, body))


def note(entry: Entry, faults: list[Fault]) -> None:
    """Write into the journal which faults struck a request."""
    entry.faults += [{"id": fault.id, "fault": fault.word, "code": fault.code} for fault in faults]


def _target(scope: Scope) -> str:
    query = scope["query_string"].decode("latin-1")
    path = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
    return f"{path}?{query}" if query else path


def _recorded(receive: Receive, entry: Entry) -> Receive:
    """Return `receive`, with the body's length, digest and, where small, its JSON going into the journal."""
    digest = hashlib.sha256()
    kept = bytearray()

    async def recorded() -> Message:
        message = await receive()
        body = message.get("body", b"")
        digest.update(body)
        entry.body_length += len(body)
        if entry.body_length <= _SMALL:
            kept.extend(body)
        if message["type"] == "http.request" and not message.get("more_body"):
            entry.body_sha256 = digest.hexdigest()
            entry.json = _json(bytes(kept)) if entry.body_length <= _SMALL else None
        return message

    return recorded


def _json(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _noted(send: Send, entry: Entry) -> Callable[[Message], Awaitable[None]]:
    """Return `send`, with the status going into the journal."""

    async def noted(message: Message) -> None:
        if message["type"] == "http.response.start":
            entry.status = message["status"]
        await send(message)

    return noted
