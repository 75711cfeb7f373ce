"""Define the faults of an API server that a test can script: `status`, `hang`, `missing_line`.

A fault has a word, for example `hang`, and applies to one of these:

- a reply, which it replaces
- a good reply, which it changes
- a line of a result file, or a live answer
- a batch at its create

The tables below list all words. A script names a word, its arguments, and the requests that it
hits.
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
FaultArguments = Mapping[str, Any]

CREATE = r":batchGenerateContent$|/v1/batches$"
GENERATE = rf":generateContent(\?|$)|/chat/completions$|{CREATE}"
ANY_PATH = r"^/(upload/|download/|openai/)?v1"
ONE_BATCH = r"/batches/[^/:?]+$"
BATCH_LIST = r"/batches(\?|$)"
EMBED = r":(batchE|e)mbedContent|/embeddings$"
DOWNLOAD = r":download|/content$"
# With or without a character set.
JSON = "application/json"
HTML = "text/html; charset=UTF-8"
PAGE = (
    b"<!DOCTYPE html>\n<html><title>Error 502 (Server Error)!!1</title>"
    b"<p><b>502.</b> That is an error.</html>\n"
)
STATUSES = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
}
RPC = "type.googleapis.com/google.rpc."
QUOTA_MESSAGE = "You exceeded your current quota, please check your plan and billing details."
BATCH_ERROR_MESSAGE = "An internal error has occurred while processing the batch."
ERRORS = {
    3: "Request contains an invalid argument.",
    13: "An internal error has occurred. Please retry or report.",
}
END_STATES = {
    "batch_fails": "FAILED",
    "batch_expires": "EXPIRED",
    "batch_cancelled": "CANCELLED",
    "never_ends": "NEVER",
}


class Reply(NamedTuple):
    """A whole reply, real or scripted."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Exchange:
    """A request, its connection, and the server that answers it."""

    def __init__(self, app: Any, scope: Any, receive: Any, send: Any) -> None:
        """Store the application and its channels."""
        self._app = app
        self._scope = scope
        self._receive = receive
        self._send = send

    async def drain(self) -> bytes:
        """Read the body to its end."""
        body = b""
        has_more = True
        while has_more:
            message = await self._receive()
            body += message.get("body", b"")
            has_more = message.get("more_body")
        return body

    async def proceed(self) -> None:
        """Let the server answer."""
        await self._app(self._scope, self._receive, self._send)

    async def answer(self) -> Reply:
        """Let the server answer, and return its reply without sending it."""
        messages: list[Any] = []

        async def collect(message: Any) -> None:
            messages.append(message)

        await self._app(self._scope, self._receive, collect)
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in messages[0]["headers"]
        }
        return Reply(
            messages[0]["status"],
            headers,
            b"".join(message.get("body", b"") for message in messages[1:]),
        )

    async def reply(self, reply: Reply) -> None:
        """Send a whole reply."""
        fields = {
            "content-type": f"{JSON}; charset=UTF-8",
            "content-length": str(len(reply.body)),
            **reply.headers,
        }
        raw_headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in fields.items()
        ]
        await self._send(
            {"type": "http.response.start", "status": reply.status, "headers": raw_headers}
        )
        await self._send({"type": "http.response.body", "body": reply.body})

    async def drop(self) -> None:
        """Close the connection without a reply."""
        self._transport.close()
        await self.wait_until_closed()

    async def reset(self) -> None:
        """Reset the connection."""
        linger = struct.pack("ii", 1, 0)
        self._transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, linger
        )
        self._transport.abort()
        await self.wait_until_closed()

    async def wait_until_closed(self) -> None:
        """Wait until either side closes the connection."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    @property
    def is_openai(self) -> bool:
        """Return whether the request is in OpenAI's form."""
        return str(self._scope["path"]).startswith("/openai/")

    @property
    def _transport(self) -> Any:
        return self._scope["state"]["transport"]


def document(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a reply of JSON; the standard library writes NaN, which a fault may need."""
    return Reply(status, headers or {}, json.dumps(content).encode())


def refusal(
    code: int, message: str = "", *details: Document, headers: Mapping[str, str] | None = None
) -> Reply:
    """Return a refusal in Google's form."""
    status_names = {
        **STATUSES,
        401: "UNAUTHENTICATED",
        499: "CANCELLED",
        503: "UNAVAILABLE",
        504: "DEADLINE_EXCEEDED",
    }
    error: Document = {
        "code": code,
        "message": message or responses.get(code, "Refused."),
        "status": status_names.get(code, "INTERNAL"),
    }
    if details:
        error["details"] = details
    return document({"error": error}, code, headers)


def to_openai_form(word: str, reply: Reply) -> Reply:
    """Return a refusal of Google's in OpenAI's form."""
    if not word.startswith(("quota", "key_invalid")):
        return reply
    message = {
        "quota_day": "Rate limit reached for gpt-5-mini on requests per day (RPD): Limit 20.",
        "key_invalid": "Incorrect API key provided.",
    }.get(word, "Rate limit reached for gpt-5-mini.")
    code = "invalid_api_key" if word == "key_invalid" else "rate_limit_exceeded"
    error = {"message": message, "type": "requests", "param": None, "code": code}
    headers = {"retry-after": "2.5"} if word == "quota_minute" else {}
    return document({"error": error}, 401 if word == "key_invalid" else reply.status, headers)


def quota(identity: str, delay: str) -> Reply:
    """Return the refusal of a quota of twenty, with its delay."""
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
        "quotaId": f"{identity}PerProjectPerModel-FreeTier",
        "quotaDimensions": {"location": "global", "model": "gemini-3.5-flash-lite"},
        "quotaValue": "20",
    }
    failure = {"@type": f"{RPC}QuotaFailure", "violations": [violation]}
    return refusal(429, QUOTA_MESSAGE, failure, {"@type": f"{RPC}RetryInfo", "retryDelay": delay})


def _make_status_reply(default: int) -> Callable[[FaultArguments], Reply]:
    return lambda args: refusal(
        args.get("code", default), args.get("message", ""), headers=args.get("headers")
    )


def _make_key_refusal(_args: FaultArguments) -> Reply:
    reason = {"@type": f"{RPC}ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
    return refusal(400, "API key not valid. Please pass a valid API key.", reason)


def _make_line_refusal(args: FaultArguments) -> Reply:
    reason = f"near column 42: no such field: '{args.get('field', 'cachedContent')}'"
    return refusal(400, f"Error on line {args.get('line', 1)}: invalid JSON, {reason}")


# Faults that read a request, do nothing, and return their own reply: method, path, reply.
REPLIES_BY_WORD: dict[str, tuple[str, str, Callable[[FaultArguments], Reply]]] = {
    "html_502": ("", ANY_PATH, lambda _: Reply(502, {"content-type": HTML}, PAGE)),
    "html_200": ("", ANY_PATH, lambda _: Reply(200, {"content-type": HTML}, PAGE)),
    "empty_200": ("", ANY_PATH, lambda _: Reply(200, {}, b"")),
    "wrong_shape": (
        "",
        ANY_PATH,
        lambda args: document(args.get("document", {"candidates": "no", "brandNew": 1})),
    ),
    "redirect": ("", ANY_PATH, lambda _: Reply(302, {"location": "/v1/models"}, b"")),
    "quota_minute": (
        "",
        ANY_PATH,
        lambda args: quota("GenerateRequestsPerMinute", args.get("delay", "2.5s")),
    ),
    "quota_day": (
        "",
        ANY_PATH,
        lambda args: quota("GenerateRequestsPerDay", args.get("delay", "36s")),
    ),
    "quota_bare": (
        "",
        ANY_PATH,
        lambda _: refusal(429, "Resource has been exhausted (e.g. check quota)."),
    ),
    "status": ("", ANY_PATH, _make_status_reply(503)),
    "key_invalid": ("", ANY_PATH, _make_key_refusal),
    "quota_batch": (
        "POST",
        CREATE,
        lambda _: refusal(429, QUOTA_MESSAGE, {"@type": f"{RPC}Help", "links": []}),
    ),
    "bad_line": ("POST", CREATE, _make_line_refusal),
    "batch_vanishes": (
        "GET",
        ONE_BATCH,
        lambda args: refusal(args.get("code", 404), "Requested entity was not found."),
    ),
    "page_status": ("GET", r"[?&]pageToken=", _make_status_reply(503)),
    "download_status": ("GET", DOWNLOAD, _make_status_reply(503)),
}


async def _delay_reply(exchange: Exchange, reply: Reply, args: FaultArguments) -> None:
    await asyncio.sleep(float(args.get("seconds", 1.0)))
    await exchange.reply(reply)


async def _drop_reply(exchange: Exchange, _reply: Reply, _args: FaultArguments) -> None:
    await exchange.drop()


async def _replace_by_status(exchange: Exchange, _reply: Reply, args: FaultArguments) -> None:
    await exchange.reply(_make_status_reply(503)(args))


async def _change_status(exchange: Exchange, reply: Reply, args: FaultArguments) -> None:
    await exchange.reply(Reply(args["code"], {}, b"" if args["code"] == 204 else reply.body))


async def _remove_last_line_end(exchange: Exchange, reply: Reply, _args: FaultArguments) -> None:
    await exchange.reply(Reply(reply.status, {}, reply.body.removesuffix(b"\n")))


# Faults that read a request, do nothing, and never reply: method, path, end of the connection.
UNANSWERED_BY_WORD: dict[str, tuple[str, str, Callable[[Exchange], Awaitable[None]]]] = {
    "hang": ("", ANY_PATH, Exchange.wait_until_closed),
    "drop": ("", ANY_PATH, Exchange.drop),
    "reset": ("", ANY_PATH, Exchange.reset),
}
# Faults of a reply on its way back: method, path, action.
CHANGED_REPLIES: dict[str, tuple[str, str, Callable[..., Awaitable[None]]]] = {
    "lost_reply": ("", ANY_PATH, _drop_reply),
    "slow_reply": ("", ANY_PATH, _delay_reply),
    "create_lost_reply": ("POST", CREATE, _drop_reply),
    "create_lost_reply_status": ("POST", CREATE, _replace_by_status),
    "create_slow_reply": ("POST", CREATE, _delay_reply),
    "success_code": ("", ANY_PATH, _change_status),
    "no_last_line_end": ("GET", DOWNLOAD, _remove_last_line_end),
}


def _is_openai_batch(content: Document) -> bool:
    """Return whether a document is a batch in OpenAI's form."""
    return content.get("object") == "batch"


def _rename_batch(content: Document, _args: FaultArguments, _target: str) -> Document:
    """Return the document of somebody else's batch."""
    if _is_openai_batch(content):
        return {**content, "metadata": dict.fromkeys(content["metadata"] or (), "somebodyelses")}
    return {**content, "name": "batches/somebodyelses"}


def _change_metadata(
    change: Callable[[Document, FaultArguments], Document], member: str
) -> Callable[..., Document | None]:
    def act(content: Document, args: FaultArguments, _target: str) -> Document | None:
        if _is_openai_batch(content) and member == "state":
            changed = change({"state": content["status"]}, args)
            return {**remove_members(content, "status"), "status": changed.get("state")}
        metadata = content.get("metadata", {})
        return {**content, "metadata": change(metadata, args)} if member in metadata else None

    return act


def remove_members(content: Mapping[str, Any], *members: str) -> Document:
    """Return a document without some members."""
    return {name: value for name, value in content.items() if name not in members}


def _remove_output(content: Document, args: FaultArguments, target: str) -> Document | None:
    if _is_openai_batch(content):
        has_output = bool(content["output_file_id"] or content["error_file_id"])
        unnamed = {**content, "output_file_id": None, "error_file_id": None}
        return unnamed if has_output else None
    changed_content = _change_metadata(
        lambda metadata, _: remove_members(metadata, "output"), "output"
    )(content, args, target)
    return changed_content and remove_members(changed_content, "response")


def _change_vectors(
    change: Callable[[list[list[float]]], list[list[float]]],
) -> Callable[..., Document | None]:
    def act(content: Document, _args: FaultArguments, _target: str) -> Document | None:
        if "embedding" in content:
            return {"embedding": {"values": change([content["embedding"]["values"]])[0]}}
        vectors = [embedding["values"] for embedding in content.get("embeddings", [])]
        if not vectors:
            return None
        return {"embeddings": [{"values": values} for values in change(vectors)]}

    return act


# Faults that change the document of a good reply: method, path, change.
# A change returns None if the document has nothing to change.
DOCUMENT_FAULTS: dict[str, tuple[str, str, Callable[..., Document | None]]] = {
    "foreign_name": (
        "POST",
        CREATE,
        _rename_batch,
    ),
    "no_name": (
        "POST",
        CREATE,
        lambda batch, _, __: remove_members(batch, "name", "id"),
    ),
    "unknown_state": (
        "GET",
        ONE_BATCH,
        _change_metadata(
            lambda metadata, args: {**metadata, "state": args.get("state", "BATCH_STATE_NEW")},
            "state",
        ),
    ),
    "missing_state": (
        "GET",
        ONE_BATCH,
        _change_metadata(lambda metadata, _: remove_members(metadata, "state"), "state"),
    ),
    "no_output_yet": ("GET", ONE_BATCH, _remove_output),
    "vectors_nan": (
        "POST",
        EMBED,
        _change_vectors(lambda vectors: [[float("nan"), *vector[1:]] for vector in vectors]),
    ),
    "vectors_not_unit": (
        "POST",
        EMBED,
        _change_vectors(lambda vectors: [[3 * number for number in vector] for vector in vectors]),
    ),
}


def _with_candidate(
    line: Document, finish_reason: str, text: str | None, thoughts: int = 0
) -> Document:
    content = {} if text is None else {"content": {"parts": [{"text": text}], "role": "model"}}
    response = {
        **line["response"],
        "candidates": [{**content, "finishReason": finish_reason, "index": 0}],
    }
    if thoughts:
        usage = remove_members(
            {**response.get("usageMetadata", {}), "thoughtsTokenCount": thoughts},
            "candidatesTokenCount",
        )
        response["usageMetadata"] = {
            **usage,
            "totalTokenCount": usage.get("promptTokenCount", 0) + thoughts,
        }
    return {**line, "response": response}


def _read_text(line: Document) -> str:
    for candidate in line.get("response", {}).get("candidates", []):
        return "".join(
            part.get("text", "") for part in candidate.get("content", {}).get("parts", [])
        )
    return ""


def _change_text(change: Callable[[str, FaultArguments], str]) -> Callable[..., list[Any]]:
    return lambda line, args: [_with_candidate(line, "STOP", change(_read_text(line), args))]


def _change_response(
    change: Callable[[Document, FaultArguments], Document],
) -> Callable[..., list[Any]]:
    return lambda line, args: [{**line, "response": change(line["response"], args)}]


def _end_early(
    finish_reason: str, share: float | None = None, thoughts: int = 0
) -> Callable[..., list[Any]]:
    def act(line: Document, _args: FaultArguments) -> list[Any]:
        text = _read_text(line)
        partial_text = None if share is None else text[: int(len(text) * share)]
        return [_with_candidate(line, finish_reason, partial_text, thoughts)]

    return act


def _make_error_line(line: Document, args: FaultArguments) -> list[Any]:
    code = args.get("code", 13)
    error = {"code": code, "message": args.get("message", ERRORS.get(code, "Unknown error."))}
    return [{"error": error, **remove_members(line, "response")}]


def _reverse_answer(text: str) -> str:
    answer = json.loads(text or "[]")
    if isinstance(answer, dict):
        return json.dumps({name: member[::-1] for name, member in answer.items()})
    return json.dumps(answer[::-1])


# Faults that replace a good line: method, path, change. Bytes are written unchanged.
LINE_FAULTS: dict[str, tuple[str, str, Callable[..., list[Any]]]] = {
    "missing_line": ("POST", CREATE, lambda _line, _args: []),
    "duplicate_different": (
        "POST",
        CREATE,
        lambda line, _: [line, _with_candidate(line, "STOP", _reverse_answer(_read_text(line)))],
    ),
    "garbage_line": ("POST", CREATE, lambda line, _: [b"%%% \xff\xfe not json", line]),
    "error_line": ("POST", CREATE, _make_error_line),
    "answer_text": (
        "POST",
        GENERATE,
        _change_text(lambda _read_text, args: str(args.get("text", ""))),
    ),
    "max_tokens": ("POST", GENERATE, _end_early("MAX_TOKENS", share=0.5)),
    "max_tokens_empty": ("POST", GENERATE, _end_early("MAX_TOKENS", thoughts=512)),
    "safety": ("POST", GENERATE, _end_early("SAFETY")),
    "schema_mismatch": (
        "POST",
        GENERATE,
        _change_text(lambda _read_text, args: args.get("text", '{"labels":"law, water"}')),
    ),
    "other_model": (
        "POST",
        GENERATE,
        _change_response(
            lambda response, args: {**response, "modelVersion": args.get("version", "other")}
        ),
    ),
    "no_usage": (
        "POST",
        GENERATE,
        _change_response(lambda response, _: remove_members(response, "usageMetadata")),
    ),
}

BATCH_FAULTS = dict.fromkeys((*END_STATES, "list_lag", "duplicate_batch"), ("POST", CREATE, None))
# All faults by place. The server stores the faults of a batch with the batch.
FAULTS_BY_PLACE: dict[str, Mapping[str, tuple[str, str, Any]]] = {
    "reply": {**REPLIES_BY_WORD, **UNANSWERED_BY_WORD, **CHANGED_REPLIES},
    "document": DOCUMENT_FAULTS,
    "line": LINE_FAULTS,
    "batch": BATCH_FAULTS,
}


@dataclass
class Fault:
    """A scripted fault: it hits the `nth` matching request and later requests, `times` in all."""

    word: str
    place: str
    method: str
    path: str
    key: str
    nth: int
    times: int | None
    args: FaultArguments
    act: Any = field(repr=False)
    match_count: int = 0
    fired_count: int = 0

    def to_document(self) -> Document:
        """Return the fault as a document for `parse_fault`."""
        match = {"method": self.method, "path": self.path, "key": self.key}
        return {
            "fault": self.word,
            "match": match,
            "nth": self.nth,
            "times": self.times,
            "args": dict(self.args),
        }

    def fire(self) -> bool:
        """Count a match, and return whether the fault fires."""
        self.match_count += 1
        is_firing = self.match_count >= self.nth and (
            self.times is None or self.fired_count < self.times
        )
        self.fired_count += is_firing
        return is_firing

    async def strike(self, exchange: Exchange) -> None:
        """Replace or change a reply."""
        if self.word in REPLIES_BY_WORD:
            await exchange.drain()
            reply = self.act(self.args)
            await exchange.reply(to_openai_form(self.word, reply) if exchange.is_openai else reply)
        elif self.word in UNANSWERED_BY_WORD:
            await exchange.drain()
            await self.act(exchange)
        else:
            await self.act(exchange, await exchange.answer(), self.args)

    def spoil(self, lines: Sequence[Any]) -> list[Any]:
        """Return the lines after the fault, which changes only answers."""
        changed_lines: list[Any] = []
        for line in lines:
            is_answer = isinstance(line, dict) and "response" in line
            changed_lines += self.act(line, self.args) if is_answer else [line]
        return changed_lines


class Script:
    """The scripted faults, in their order."""

    def __init__(self) -> None:
        """Start without faults."""
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, documents: Sequence[Mapping[str, Any]]) -> None:
        """Add faults: `fault`, `match` (method, path, key), `nth`, `times`, `args`.

        Raises:
            ValueError: A fault does not exist.
        """
        self._faults += [parse_fault(fault_document) for fault_document in documents]

    def clear(self) -> None:
        """Remove the faults; existing batches keep their faults."""
        self._faults = []

    def matching(self, place: str, method: str, target: str) -> list[Fault]:
        """Return the faults for a request (`target` is its path and query), without counting."""
        return [
            fault
            for fault in self._faults
            if fault.place == place
            and fault.method in {"", method}
            and re.search(fault.path, target)
        ]

    def firing(self, place: str, method: str, target: str) -> list[Fault]:
        """Count and return the faults that fire for a request; only the first for a reply."""
        with self._lock:
            matching_faults = self.matching(place, method, target)
            if place == "reply":
                return next(([fault] for fault in matching_faults if fault.fire()), [])
            return [fault for fault in matching_faults if fault.fire()]

    def to_document(self) -> Document:
        """Return the fire counts, and whether each fault fired as often as scripted."""
        fault_counts = [{"fault": fault.word, "fired": fault.fired_count} for fault in self._faults]
        return {
            "faults": fault_counts,
            "used_up": all(fault.fired_count >= (fault.times or 1) for fault in self._faults),
        }


def parse_fault(fault_document: Mapping[str, Any]) -> Fault:
    """Return the fault that a document describes.

    Raises:
        ValueError: The fault does not exist.
    """
    word = fault_document["fault"]
    match = fault_document.get("match") or {}
    for place, words in FAULTS_BY_PLACE.items():
        if word in words:
            method, path, act = words[word]
            times = fault_document.get("times", 1)
            return Fault(
                word=word,
                place=place,
                method=match.get("method", method),
                path=match.get("path", path),
                key=match.get("key", ""),
                nth=int(fault_document.get("nth", 1)),
                times=times,
                args=fault_document.get("args") or {},
                act=act,
            )
    raise ValueError(f"there is no fault {word!r}")
