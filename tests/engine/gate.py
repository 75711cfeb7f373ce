"""The engine behind a gate: every request is written down, and may meet a fault on its way in or out."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import orjson

from emulator.api import Api
from emulator.catalogue import Quotas
from tests.engine.failing import JSON, LIST, ONE_BATCH, Exchange, Reply, Script, document, refusal
from tests.engine.scripted import TARGET, Clock, State, Worker

SMALL = 65_536  # JSON bodies up to so many bytes are kept in the journal
SETTINGS: dict[str, Any] = {
    "paused": False,  # no work is done on batches
    "batch_looks": 0,  # gets that a new batch needs before it shows that it is over
    "list_lag_seconds": 0.0,  # so long a new batch stays out of the list, by the engine's clock
    "list_page_most": 100,
    "enqueued_tokens": {},  # of all batches that are not over, by model or `*`
    "active_batches": 100,  # Batch API guide, read 2026-11
}


class Gate:
    """The application that a test's engine serves."""

    def __init__(self, root: Path, settings: dict[str, Any]) -> None:
        """Open the state under a folder, where work begins as the settings have it; nothing is scripted yet."""
        self.script = Script()
        self.settings = SETTINGS | settings
        self.clock = Clock()
        self._state = State(root, self.script, self.settings, self.clock)
        self._worker = Worker(self._state)
        self._journal: list[dict[str, Any]] = []
        self._count = 0
        self._api = Api(self._state, self._worker, Quotas({}), lambda _line: None)

    def configure(self, values: dict[str, Any]) -> None:
        """Change settings.

        Raises:
            ValueError: there is no such setting.
        """
        if strange := set(values) - set(SETTINGS):
            raise ValueError(f"there are no settings {strange}")
        self.settings.update(values)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["path"].startswith("/_emu/"):
            await Exchange(self._control, scope, receive, send).proceed()
            return
        query = scope["query_string"].decode("latin-1")
        path = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
        target = f"{path}?{query}" if query else path
        self._count += 1
        shown = re.sub(r"([?&]key=)[^&]*", r"\1[redacted]", target)
        entry = {
            "number": self._count,
            "method": scope["method"],
            "path": shown,
            "status": None,
            "json": None,
        }
        self._journal.append(entry)
        exchange = Exchange(
            self._app, {**scope, "target": target}, _noted(receive, entry), _answered(send, entry)
        )
        if struck := self.script.firing("reply", scope["method"], target):
            await struck[0].strike(exchange)
        else:
            await self._serve(exchange, scope["method"], target)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        """Be the engine, whose list has pages as small as they are set."""
        if scope["method"] == "GET" and re.search(LIST, scope["path"]):
            query = {name: one[0] for name, one in parse_qs(scope["query_string"].decode()).items()}
            size = min(int(query.get("pageSize", 50)), self.settings["list_page_most"])
            scope = {**scope, "query_string": urlencode({**query, "pageSize": size}).encode()}
        if scope["method"] == "GET" and (found := re.search(r"/batches/([^/:]+)$", scope["path"])):
            self._state.looked(found[1])
        TARGET.set(scope.get("target", ""))
        await self._api(scope, receive, send)

    async def _serve(self, exchange: Exchange, method: str, target: str) -> None:
        """Let the engine answer, and faults spoil what it says where that is a good document."""
        if method == "GET" and ":download" in target:
            await exchange.proceed()
            return
        reply = await exchange.answer()
        if reply.status == 200 and reply.headers.get("content-type") == JSON and reply.body:
            said = json.loads(reply.body)
            changed = (
                self._state.with_ends(said) if re.search(f"{LIST}|{ONE_BATCH}", target) else said
            )
            for one in self.script.matching("line", method, target) if "candidates" in said else ():
                if not one.key and one.fire():  # a live call has no key
                    changed = {"response": changed, **one.spoil([{"response": changed}])[0]}[
                        "response"
                    ]
            for one in self.script.matching("document", method, target):
                spoiled = one.act(changed, one.args, target)
                if spoiled is not None and one.fire():
                    changed = spoiled
            if changed is not said:
                reply = Reply(200, {**reply.headers, "content-length": ""}, document(changed).body)
        headers = {name: value for name, value in reply.headers.items() if name != "content-length"}
        await exchange.reply(Reply(reply.status, headers, reply.body))

    async def _control(self, scope: Any, receive: Any, send: Any) -> None:
        exchange = Exchange(None, scope, receive, send)
        body = await exchange.drain()
        said = orjson.loads(body) if body else None
        method = scope["method"]
        name = scope["path"].removeprefix("/_emu/")
        try:
            await exchange.reply(document(self._controlled(method, name, said) or {}))
        except (ValueError, KeyError, TypeError) as error:
            await exchange.reply(refusal(400, repr(error)))

    def _controlled(self, method: str, name: str, said: Any) -> Any:
        match method, name:
            case "POST", "faults":
                self.script.add(said)
            case "DELETE", "faults":
                self.script.clear()
            case "GET", "faults":
                return self.script.told()
            case "POST", "settings":
                self.configure(said)
                self._worker.wake.set()
            case "POST", "clock":
                self.clock.advance(said["advance_seconds"])
            case "GET", "journal":
                return {"requests": self._journal}
            case "GET", "batches":
                return {"batches": [_shown(row) for row in self._state.everything()]}
            case _:
                raise ValueError(f"there is no {name}")
        return None


def _noted(receive: Any, entry: dict[str, Any]) -> Any:
    """Return `receive`, with the JSON of a small body going into the journal."""
    kept = bytearray()

    async def noted() -> Any:
        message = await receive()
        kept.extend(message.get("body", b"")[:SMALL])
        if (
            message["type"] == "http.request"
            and not message.get("more_body")
            and len(kept) <= SMALL
        ):
            try:
                entry["json"] = orjson.loads(kept)
            except orjson.JSONDecodeError:
                entry["json"] = None
        return message

    return noted


def _answered(send: Any, entry: dict[str, Any]) -> Any:
    """Return `send`, with the status going into the journal."""

    async def answered(message: Any) -> None:
        if message["type"] == "http.response.start":
            entry["status"] = message["status"]
        await send(message)

    return answered


def _shown(row: Any) -> dict[str, Any]:
    """Return a batch as tests read it."""
    told = {name: row[name] for name in ("model", "state", "requests", "succeeded", "failed")}
    return {"name": f"batches/{row['id']}", "displayName": row["display_name"], **told}
