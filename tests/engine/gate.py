"""Record every request to the engine, and apply the scripted faults to it."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import orjson

from askrows.emulator.api import Api
from tests.engine.failing import (
    BATCH_LIST,
    DOWNLOAD,
    JSON,
    ONE_BATCH,
    Exchange,
    Reply,
    Script,
    document,
    refusal,
)
from tests.engine.scripted import TARGET, Clock, ScriptedOpenAI, State, Worker

# The journal stores JSON bodies up to this number of bytes.
MAX_JOURNAL_BODY_BYTES = 65_536
SETTINGS: dict[str, Any] = {
    # Batches are not processed.
    "paused": False,
    # The number of gets before a finished batch shows its end.
    "batch_looks": 0,
    # A new batch is missing in the list for this time of the engine's clock.
    "list_lag_seconds": 0.0,
    "list_page_most": 100,
    # The limit of tokens in all unfinished batches, by model or `*`.
    "enqueued_tokens": {},
    "active_batches": 100,  # Batch API guide, read 2026-11
    # Batches in OpenAI's form keep their metadata.
    "keeps_metadata": True,
}


class Gate:
    """The application that a test's engine serves."""

    def __init__(self, root: Path, settings: dict[str, Any]) -> None:
        """Open the state in a folder, without scripted faults."""
        self.script = Script()
        self.settings = SETTINGS | settings
        self.clock = Clock()
        self._state = State(root, self.script, self.settings, self.clock)
        self._worker = Worker(self._state)
        self._journal: list[dict[str, Any]] = []
        self._count = 0
        self._api = Api(self._state, self._worker, lambda _line: None)
        self._api.openai = ScriptedOpenAI(self._state, self._worker, self.script)
        self._api.openai.keeps_metadata = self.settings["keeps_metadata"]

    def configure(self, values: dict[str, Any]) -> None:
        """Change settings.

        Raises:
            ValueError: A setting does not exist.
        """
        if unknown_names := set(values) - set(SETTINGS):
            raise ValueError(f"there are no settings {unknown_names}")
        self.settings.update(values)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a request."""
        if scope["path"].startswith("/_emu/"):
            await Exchange(self._control, scope, receive, send).proceed()
            return
        query = scope["query_string"].decode("latin-1")
        path = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
        target = f"{path}?{query}" if query else path
        self._count += 1
        redacted_target = re.sub(r"([?&]key=)[^&]*", r"\1[redacted]", target)
        entry = {
            "number": self._count,
            "method": scope["method"],
            "path": redacted_target,
            "status": None,
            "json": None,
        }
        self._journal.append(entry)
        exchange = Exchange(
            self._app,
            {**scope, "target": target},
            _record_body(receive, entry),
            _record_status(send, entry),
        )
        if faults := self.script.firing("reply", scope["method"], target):
            await faults[0].strike(exchange)
        else:
            await self._serve(exchange, scope["method"], target)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        """Call the engine, with the page size of the settings for lists."""
        if scope["method"] == "GET" and re.search(BATCH_LIST, scope["path"]):
            parameters = parse_qs(scope["query_string"].decode())
            query = {name: values[0] for name, values in parameters.items()}
            size = min(int(query.get("pageSize", 50)), self.settings["list_page_most"])
            sizes = {"pageSize": size, "limit": size}
            scope = {**scope, "query_string": urlencode({**query, **sizes}).encode()}
        if scope["method"] == "GET" and (
            batch_match := re.search(r"/batches/([^/:]+)$", scope["path"])
        ):
            self._state.count_look(batch_match[1])
        TARGET.set(scope.get("target", ""))
        await self._api(scope, receive, send)

    async def _serve(self, exchange: Exchange, method: str, target: str) -> None:
        """Let the engine answer, and apply faults to a good document."""
        if method == "GET" and re.search(DOWNLOAD, target):
            await exchange.proceed()
            return
        reply = await exchange.answer()
        if (
            reply.status == 200
            and reply.headers.get("content-type", "").startswith(JSON)
            and reply.body
        ):
            reply_document = json.loads(reply.body)
            sent_document = reply_document
            if not exchange.is_openai and re.search(f"{BATCH_LIST}|{ONE_BATCH}", target):
                sent_document = self._state.with_ends(reply_document)

            # A live answer counts as a result line without a key.
            if "candidates" in reply_document:
                for fault in self.script.matching("line", method, target):
                    if not fault.key and fault.fire():
                        line = fault.spoil([{"response": sent_document}])[0]
                        sent_document = line.get("response", sent_document)

            for fault in self.script.matching("document", method, target):
                spoiled_document = fault.act(sent_document, fault.args, target)
                if spoiled_document is not None and fault.fire():
                    sent_document = spoiled_document
            if sent_document is not reply_document:
                reply = Reply(
                    200, {**reply.headers, "content-length": ""}, document(sent_document).body
                )
        headers = {name: value for name, value in reply.headers.items() if name != "content-length"}
        await exchange.reply(Reply(reply.status, headers, reply.body))

    async def _control(self, scope: Any, receive: Any, send: Any) -> None:
        exchange = Exchange(None, scope, receive, send)
        body = await exchange.drain()
        request_document = orjson.loads(body) if body else None
        method = scope["method"]
        name = scope["path"].removeprefix("/_emu/")
        try:
            await exchange.reply(document(self._run_control(method, name, request_document) or {}))
        except (ValueError, KeyError, TypeError) as error:
            await exchange.reply(refusal(400, repr(error)))

    def _run_control(self, method: str, name: str, request_document: Any) -> Any:
        match method, name:
            case "POST", "faults":
                self.script.add(request_document)
            case "DELETE", "faults":
                self.script.clear()
            case "GET", "faults":
                return self.script.to_document()
            case "POST", "settings":
                self.configure(request_document)
                self._worker.wake.set()
            case "POST", "clock":
                self.clock.advance(request_document["advance_seconds"])
            case "GET", "journal":
                return {"requests": self._journal}
            case "GET", "batches":
                return {"batches": [_describe_batch(row) for row in self._state.list_all_batches()]}
            case _:
                raise ValueError(f"there is no {name}")
        return None


def _record_body(receive: Any, entry: dict[str, Any]) -> Any:
    """Return a `receive` that writes the JSON of a small body to the journal."""
    body_start = bytearray()

    async def receive_and_record() -> Any:
        message = await receive()
        body_start.extend(message.get("body", b"")[:MAX_JOURNAL_BODY_BYTES])
        if (
            message["type"] == "http.request"
            and not message.get("more_body")
            and len(body_start) <= MAX_JOURNAL_BODY_BYTES
        ):
            try:
                entry["json"] = orjson.loads(body_start)
            except orjson.JSONDecodeError:
                entry["json"] = None
        return message

    return receive_and_record


def _record_status(send: Any, entry: dict[str, Any]) -> Any:
    """Return a `send` that writes the status to the journal."""

    async def send_and_record(message: Any) -> None:
        if message["type"] == "http.response.start":
            entry["status"] = message["status"]
        await send(message)

    return send_and_record


def _describe_batch(row: Any) -> dict[str, Any]:
    """Return a batch in the form that tests read."""
    batch_fields = {
        name: row[name] for name in ("model", "state", "requests", "succeeded", "failed")
    }
    return {"name": f"batches/{row['id']}", "displayName": row["display_name"], **batch_fields}
