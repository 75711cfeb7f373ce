"""What may go wrong with a server of the API, as words that a test scripts: `status`, `hang`, `missing_line`.

Each word strikes at one place: in place of a reply, a good reply on its way back, a line of a result (or a live answer,
which is then the only line), or a batch at its create. A word is one line of a table here; a script is a word with
arguments, which requests it is about, and which of those it hits.
"""

import asyncio
import json
import re
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import responses
from typing import Any, NamedTuple

Document = dict[str, Any]
Args = Mapping[str, Any]

CREATE = r":batchGenerateContent$"
GENERATE = r":(batchGenerateContent|generateContent)(\?|$)"
ANY = r"^/(upload/|download/)?v1"
ONE_BATCH = r"/batches/[^/:?]+$"
LIST = r"/batches(\?|$)"
EMBED = r":(batchE|e)mbedContent"
DOWNLOAD = r":download"
JSON = "application/json; charset=UTF-8"
HTML = "text/html; charset=UTF-8"
PAGE = b"<!DOCTYPE html>\n<html><title>Error 502 (Server Error)!!1</title><p><b>502.</b> That is an error.</html>\n"
STATUSES = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
}
RPC = "type.googleapis.com/google.rpc."
USED_UP = "You exceeded your current quota, please check your plan and billing details."
BROKEN = "An internal error has occurred while processing the batch."
ERRORS = {
    3: "Request contains an invalid argument.",
    13: "An internal error has occurred. Please retry or report.",
}
ENDS = {
    "batch_fails": "FAILED",
    "batch_expires": "EXPIRED",
    "batch_cancelled": "CANCELLED",
    "never_ends": "NEVER",
}


class Reply(NamedTuple):
    """A whole reply: what was said, or what is said in its place."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Exchange:
    """A request, the connection it came on, and the server behind."""

    def __init__(self, app: Any, scope: Any, receive: Any, send: Any) -> None:
        """Keep them."""
        self._app = app
        self._scope = scope
        self._receive = receive
        self._send = send

    async def drain(self) -> bytes:
        """Read the body to its end."""
        taken = b""
        more = True
        while more:
            message = await self._receive()
            taken += message.get("body", b"")
            more = message.get("more_body")
        return taken

    async def proceed(self) -> None:
        """Let the server answer."""
        await self._app(self._scope, self._receive, self._send)

    async def answer(self) -> Reply:
        """Let the server answer, and return what it said without sending it."""
        said: list[Any] = []

        async def keep(message: Any) -> None:
            said.append(message)

        await self._app(self._scope, self._receive, keep)
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in said[0]["headers"]
        }
        return Reply(said[0]["status"], headers, b"".join(one.get("body", b"") for one in said[1:]))

    async def reply(self, reply: Reply) -> None:
        """Send a whole reply."""
        fields = {"content-type": JSON, "content-length": str(len(reply.body)), **reply.headers}
        raw = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in fields.items()
        ]
        await self._send({"type": "http.response.start", "status": reply.status, "headers": raw})
        await self._send({"type": "http.response.body", "body": reply.body})

    async def drop(self) -> None:
        """Close the connection without a word."""
        self._transport.close()
        await self.gone()

    async def reset(self) -> None:
        """Tear the connection down."""
        linger = struct.pack("ii", 1, 0)
        self._transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, linger
        )
        self._transport.abort()
        await self.gone()

    async def cut(self, reply: Reply, *, at: int) -> None:
        """Send the first bytes of a reply and close, without a word of its length."""
        kind = reply.headers.get("content-type", JSON)
        head = f"HTTP/1.1 {reply.status} OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n"
        self._transport.write(head.encode("latin-1") + reply.body[:at])
        await self.drop()

    async def gone(self) -> None:
        """Wait until the connection is closed, by whichever side."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    @property
    def _transport(self) -> Any:
        return self._scope["state"]["transport"]


def document(said: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a reply of JSON; the standard library writes NaN, which a fault may need."""
    return Reply(status, headers or {}, json.dumps(said).encode())


def refusal(
    code: int, message: str = "", *details: Document, headers: Mapping[str, str] | None = None
) -> Reply:
    """Return a refusal in Google's form."""
    known = {
        **STATUSES,
        401: "UNAUTHENTICATED",
        499: "CANCELLED",
        503: "UNAVAILABLE",
        504: "DEADLINE_EXCEEDED",
    }
    error = {
        "code": code,
        "message": message or responses.get(code, "Refused."),
        "status": known.get(code, "INTERNAL"),
    }
    return document(
        {"error": {**error, **({"details": details} if details else {})}}, code, headers
    )


def quota(identity: str, delay: str) -> Reply:
    """Return the refusal of a quota of twenty, with the delay that it asks for."""
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
        "quotaId": f"{identity}PerProjectPerModel-FreeTier",
        "quotaDimensions": {"location": "global", "model": "gemini-3.5-flash-lite"},
        "quotaValue": "20",
    }
    failure = {"@type": f"{RPC}QuotaFailure", "violations": [violation]}
    return refusal(429, USED_UP, failure, {"@type": f"{RPC}RetryInfo", "retryDelay": delay})


def _status(default: int) -> Callable[[Args], Reply]:
    return lambda args: refusal(
        args.get("code", default), args.get("message", ""), headers=args.get("headers")
    )


def _key(_args: Args) -> Reply:
    reason = {"@type": f"{RPC}ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
    return refusal(400, "API key not valid. Please pass a valid API key.", reason)


def _bad_line(args: Args) -> Reply:
    said = f"near column 42: no such field: '{args.get('field', 'cachedContent')}'"
    return refusal(400, f"Error on line {args.get('line', 1)}: invalid JSON, {said}")


INSTEAD: dict[str, tuple[str, str, Callable[[Args], Reply]]] = {
    "html_502": ("", ANY, lambda _: Reply(502, {"content-type": HTML}, PAGE)),
    "html_200": ("", ANY, lambda _: Reply(200, {"content-type": HTML}, PAGE)),
    "empty_200": ("", ANY, lambda _: Reply(200, {}, b"")),
    "wrong_shape": (
        "",
        ANY,
        lambda args: document(args.get("document", {"candidates": "no", "brandNew": 1})),
    ),
    "redirect": ("", ANY, lambda _: Reply(302, {"location": "/v1/models"}, b"")),
    "quota_minute": (
        "",
        ANY,
        lambda args: quota("GenerateRequestsPerMinute", args.get("delay", "2.5s")),
    ),
    "quota_day": ("", ANY, lambda args: quota("GenerateRequestsPerDay", args.get("delay", "36s"))),
    "quota_bare": (
        "",
        ANY,
        lambda _: refusal(429, "Resource has been exhausted (e.g. check quota)."),
    ),
    "status": ("", ANY, _status(503)),
    "key_invalid": ("", ANY, _key),
    "quota_batch": (
        "POST",
        CREATE,
        lambda _: refusal(429, USED_UP, {"@type": f"{RPC}Help", "links": []}),
    ),
    "bad_line": ("POST", CREATE, _bad_line),
    "get_status": ("GET", ONE_BATCH, _status(503)),
    "batch_vanishes": (
        "GET",
        ONE_BATCH,
        lambda args: refusal(args.get("code", 404), "Requested entity was not found."),
    ),
    "page_status": ("GET", r"[?&]pageToken=", _status(503)),
    "download_status": ("GET", DOWNLOAD, _status(503)),
}
"""Words that read a request, do nothing, and answer something of their own: method, path, answer."""


def _unanswered(end: Callable[[Exchange], Awaitable[None]]) -> Callable[..., Any]:
    async def act(exchange: Exchange, _args: Args) -> None:
        await exchange.drain()
        await end(exchange)

    return act


def _spoiled(spoil: Callable[[Exchange, Reply, Args], Awaitable[None]]) -> Callable[..., Any]:
    async def act(exchange: Exchange, args: Args) -> None:
        await spoil(exchange, await exchange.answer(), args)

    return act


async def _cut(exchange: Exchange, reply: Reply, args: Args) -> None:
    at = int(len(reply.body) * float(args["fraction"]))
    await exchange.cut(reply, at=at)


async def _late(exchange: Exchange, reply: Reply, args: Args) -> None:
    await asyncio.sleep(float(args.get("seconds", 1.0)))
    await exchange.reply(reply)


_lost = _spoiled(lambda exchange, _reply, _args: exchange.drop())
_lost_status = _spoiled(lambda exchange, _reply, args: exchange.reply(_status(503)(args)))
_slow = _spoiled(_late)
CONNECTION: dict[str, tuple[str, str, Callable[..., Any]]] = {
    "hang": ("", ANY, _unanswered(Exchange.gone)),
    "drop": ("", ANY, _unanswered(Exchange.drop)),
    "reset": ("", ANY, _unanswered(Exchange.reset)),
    "lost_reply": ("", ANY, _lost),
    "slow_reply": ("", ANY, _slow),
    "create_lost_reply": ("POST", CREATE, _lost),
    "create_lost_reply_status": ("POST", CREATE, _lost_status),
    "create_slow_reply": ("POST", CREATE, _slow),
    "success_code": (
        "",
        ANY,
        _spoiled(
            lambda it, reply, args: it.reply(
                Reply(args["code"], {}, b"" if args["code"] == 204 else reply.body)
            )
        ),
    ),
    "cut_without_length": ("GET", DOWNLOAD, _spoiled(_cut)),
}
"""Words that do something to the connection, or to a reply on its way back: method, path, act."""


def _metadata(
    change: Callable[[Document, Args], Document], member: str
) -> Callable[..., Document | None]:
    def act(said: Document, args: Args, _target: str) -> Document | None:
        metadata = said.get("metadata", {})
        return {**said, "metadata": change(metadata, args)} if member in metadata else None

    return act


def without(said: Mapping[str, Any], *members: str) -> Document:
    """Return a document without some members."""
    return {name: value for name, value in said.items() if name not in members}


def _no_output(said: Document, args: Args, target: str) -> Document | None:
    changed = _metadata(lambda metadata, _: without(metadata, "output"), "output")(
        said, args, target
    )
    return changed and without(changed, "response")


def _vectors(
    change: Callable[[list[list[float]]], list[list[float]]],
) -> Callable[..., Document | None]:
    def act(said: Document, _args: Args, _target: str) -> Document | None:
        if "embedding" in said:
            return {"embedding": {"values": change([said["embedding"]["values"]])[0]}}
        valueses = [one["values"] for one in said.get("embeddings", [])]
        return (
            {"embeddings": [{"values": values} for values in change(valueses)]}
            if valueses
            else None
        )

    return act


REPLY: dict[str, tuple[str, str, Callable[..., Document | None]]] = {
    "foreign_name": ("POST", CREATE, lambda said, _, __: {**said, "name": "batches/somebodyelses"}),
    "no_name": (
        "POST",
        CREATE,
        lambda said, _, __: without(said, "name") if said.get("name") else None,
    ),
    "unknown_state": (
        "GET",
        ONE_BATCH,
        _metadata(lambda it, args: {**it, "state": args.get("state", "BATCH_STATE_NEW")}, "state"),
    ),
    "missing_state": (
        "GET",
        ONE_BATCH,
        _metadata(lambda metadata, _: without(metadata, "state"), "state"),
    ),
    "no_output_yet": ("GET", ONE_BATCH, _no_output),
    "vectors_fused": (
        *("POST", EMBED),
        _vectors(
            lambda vectors: [[sum(column) / len(vectors) for column in zip(*vectors, strict=True)]]
        ),
    ),
    "vectors_short": ("POST", EMBED, _vectors(lambda vectors: vectors[:-1])),
    "vectors_wrong_dimension": (
        "POST",
        EMBED,
        _vectors(lambda vectors: [one[:-1] for one in vectors]),
    ),
    "vectors_nan": (
        "POST",
        EMBED,
        _vectors(lambda vectors: [[float("nan"), *one[1:]] for one in vectors]),
    ),
    "vectors_not_unit": (
        "POST",
        EMBED,
        _vectors(lambda vectors: [[3 * value for value in one] for one in vectors]),
    ),
}
"""Words that change the document of a good reply, None where they find nothing to change: method, path, change."""


def _with_candidate(line: Document, finish: str, text: str | None, thoughts: int = 0) -> Document:
    content = {} if text is None else {"content": {"parts": [{"text": text}], "role": "model"}}
    response = {**line["response"], "candidates": [{**content, "finishReason": finish, "index": 0}]}
    if thoughts:
        usage = without(
            {**response.get("usageMetadata", {}), "thoughtsTokenCount": thoughts},
            "candidatesTokenCount",
        )
        response["usageMetadata"] = {
            **usage,
            "totalTokenCount": usage.get("promptTokenCount", 0) + thoughts,
        }
    return {**line, "response": response}


def _text(line: Document) -> str:
    for candidate in line.get("response", {}).get("candidates", []):
        return "".join(
            part.get("text", "") for part in candidate.get("content", {}).get("parts", [])
        )
    return ""


def _said(change: Callable[[str, Args], str]) -> Callable[..., list[Any]]:
    return lambda line, args: [_with_candidate(line, "STOP", change(_text(line), args))]


def _answered(change: Callable[[Document, Args], Document]) -> Callable[..., list[Any]]:
    return lambda line, args: [{**line, "response": change(line["response"], args)}]


def _finished(
    finish: str, share: float | None = None, thoughts: int = 0
) -> Callable[..., list[Any]]:
    def act(line: Document, _args: Args) -> list[Any]:
        text = _text(line)
        return [
            _with_candidate(
                line, finish, None if share is None else text[: int(len(text) * share)], thoughts
            )
        ]

    return act


def _error(line: Document, args: Args) -> list[Any]:
    code = args.get("code", 13)
    error = {"code": code, "message": args.get("message", ERRORS.get(code, "Unknown error."))}
    return [{"error": error, **without(line, "response")}]


def _other(text: str) -> str:
    said = json.loads(text or "[]")
    return json.dumps(
        {name: one[::-1] for name, one in said.items()} if isinstance(said, dict) else said[::-1]
    )


LINE: dict[str, tuple[str, str, Callable[..., list[Any]]]] = {
    "missing_line": ("POST", CREATE, lambda _line, _args: []),
    "duplicate_equal": ("POST", CREATE, lambda line, _: [line, line]),
    "duplicate_different": (
        *("POST", CREATE),
        lambda line, _: [line, _with_candidate(line, "STOP", _other(_text(line)))],
    ),
    "garbage_line": ("POST", CREATE, lambda line, _: [b"%%% \xff\xfe not json", line]),
    "error_line": ("POST", CREATE, _error),
    "answer_text": ("POST", GENERATE, _said(lambda _text, args: str(args.get("text", "")))),
    "max_tokens": ("POST", GENERATE, _finished("MAX_TOKENS", share=0.5)),
    "max_tokens_empty": ("POST", GENERATE, _finished("MAX_TOKENS", thoughts=512)),
    "safety": ("POST", GENERATE, _finished("SAFETY")),
    "schema_mismatch": (
        "POST",
        GENERATE,
        _said(lambda _text, args: args.get("text", '{"labels":"law, water"}')),
    ),
    "other_model": (
        "POST",
        GENERATE,
        _answered(lambda it, args: {**it, "modelVersion": args.get("version", "other")}),
    ),
    "no_usage": (
        "POST",
        GENERATE,
        _answered(lambda response, _: without(response, "usageMetadata")),
    ),
}
"""Words that put other lines in the place of a good one: method, path, change. Bytes are written as they are."""

BATCH = dict.fromkeys((*ENDS, "list_lag", "duplicate_batch"), ("POST", CREATE, None))
PLACES: dict[str, Mapping[str, tuple[str, str, Any]]] = {
    "reply": {**INSTEAD, **CONNECTION},
    "document": REPLY,
    "line": LINE,
    "batch": BATCH,
}
"""Where words strike. Those at a batch are known to the server, which keeps what a script decided."""


@dataclass
class Fault:
    """One scripted word: of the requests that it is about the `nth` and those after it, `times` in all."""

    word: str
    place: str
    method: str
    path: str
    key: str
    nth: int
    times: int | None
    args: Args
    act: Any = field(repr=False)
    seen: int = 0
    fired: int = 0

    def told(self) -> Document:
        """Return it as `made` takes it."""
        match = {"method": self.method, "path": self.path, "key": self.key}
        return {
            "fault": self.word,
            "match": match,
            "nth": self.nth,
            "times": self.times,
            "args": dict(self.args),
        }

    def fire(self) -> bool:
        """Count one match and tell whether it strikes here."""
        self.seen += 1
        strikes = self.seen >= self.nth and (self.times is None or self.fired < self.times)
        self.fired += strikes
        return strikes

    async def strike(self, exchange: Exchange) -> None:
        """Strike in place of a reply, or at one."""
        if self.word in INSTEAD:
            await exchange.drain()
            await exchange.reply(self.act(self.args))
        else:
            await self.act(exchange, self.args)

    def spoil(self, lines: Sequence[Any]) -> list[Any]:
        """Return what stands in the place of lines; only answers are struck."""
        return [
            new
            for line in lines
            for new in (
                self.act(line, self.args)
                if isinstance(line, dict) and "response" in line
                else [line]
            )
        ]


class Script:
    """The faults that were scripted, in their order."""

    def __init__(self) -> None:
        """Nothing is scripted yet."""
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, documents: Sequence[Mapping[str, Any]]) -> None:
        """Add faults: `fault`, `match` (method, path, key), `nth`, `times`, `args`.

        Raises:
            ValueError: there is no such word.
        """
        self._faults += [made(one) for one in documents]

    def clear(self) -> None:
        """Forget them; a batch keeps what was decided about it."""
        self._faults = []

    def matching(self, place: str, method: str, target: str) -> list[Fault]:
        """Return those about a request (`target` is its path and query); none is counted yet."""
        return [
            fault
            for fault in self._faults
            if fault.place == place
            and fault.method in {"", method}
            and re.search(fault.path, target)
        ]

    def firing(self, place: str, method: str, target: str) -> list[Fault]:
        """Return those that strike now, each counted; at a reply the first alone."""
        with self._lock:
            found = self.matching(place, method, target)
            if place == "reply":
                return next(([one] for one in found if one.fire()), [])
            return [one for one in found if one.fire()]

    def told(self) -> Document:
        """Return each with how often it struck, and whether every one struck as often as it was told to."""
        shown = [{"fault": fault.word, "fired": fault.fired} for fault in self._faults]
        return {
            "faults": shown,
            "used_up": all(fault.fired >= (fault.times or 1) for fault in self._faults),
        }


def made(one: Mapping[str, Any]) -> Fault:
    """Return the fault that a document describes.

    Raises:
        ValueError: there is no such word.
    """
    word = one["fault"]
    match = one.get("match") or {}
    for place, words in PLACES.items():
        if word in words:
            method, path, act = words[word]
            times = one.get("times", 1)
            where = match.get("method", method), match.get("path", path), match.get("key", "")
            return Fault(
                word, place, *where, int(one.get("nth", 1)), times, one.get("args") or {}, act
            )
    raise ValueError(f"there is no fault {word!r}")
