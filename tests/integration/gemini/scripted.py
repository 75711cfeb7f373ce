"""A scripted HTTP server on a real socket.

Each test scripts the answers, and reads the requests that arrived.
"""

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from askrows.pipeline.provider.gemini.client import Client

KEY = "AIzaSy-secret-test-key"


@dataclass
class ReceivedRequest:
    """An HTTP request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


@dataclass
class Answer:
    """A scripted answer: a JSON document, bytes, or a fault of the connection.

    The faults are `drop`, `reset`, `hang` and `drip`.
    """

    document: Any = None
    code: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    fault: str = ""
    # Announce the whole length, but send only this number of bytes.
    cut: int | None = None

    @property
    def payload(self) -> bytes:
        """Return the bytes of the body."""
        return json.dumps(self.document).encode() if self.body is None else self.body


class Script:
    """The server's side of a test: answers in order, or a function of the request."""

    def __init__(self) -> None:
        """Start without answers and requests."""
        self.answers: list[Answer] = []
        self.reply: Callable[[ReceivedRequest], Answer] | None = None
        self.requests: list[ReceivedRequest] = []
        self.url = ""
        self.test_ended = threading.Event()

    def next(self, request: ReceivedRequest) -> Answer:
        """Return the answer to a request; an unplanned request gets error 418."""
        self.requests.append(request)
        if self.reply is not None:
            return self.reply(request)
        if self.answers:
            return self.answers.pop(0)
        return Answer({"error": {"message": "not scripted"}}, code=418)

    @property
    def calls(self) -> list[str]:
        """Return `METHOD path` of every request until now."""
        return [f"{request.method} {request.path}" for request in self.requests]


class Handler(BaseHTTPRequestHandler):
    """A request handler that answers from the script of its server."""

    protocol_version = "HTTP/1.1"
    # Otherwise the body would arrive 40 ms after its head.
    disable_nagle_algorithm = True
    script: Script

    def respond(self) -> None:
        """Read the whole request, and send the scripted answer."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.script.next(ReceivedRequest(self.command, self.path, headers, body))
        with suppress(OSError):
            self.answer(answer)

    do_GET = do_POST = do_DELETE = respond  # noqa: N815 - names of http.server

    def answer(self, answer: Answer) -> None:
        """Send the answer, or break the connection as scripted."""
        if answer.fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if answer.fault == "hang":
            self.script.test_ended.wait(20)
        if answer.fault in {"drop", "reset", "hang"}:
            self.close_connection = True
            self.connection.close()
            return
        self.send_response(answer.code)
        self.send_header(
            "Content-Type", answer.headers.get("Content-Type", "application/json; charset=UTF-8")
        )
        for name, value in answer.headers.items():
            if name != "Content-Type":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.payload)))
        self.end_headers()
        self.send_body(answer)

    def send_body(self, answer: Answer) -> None:
        """Send the body whole, cut, or byte after byte."""
        if answer.fault == "drip":
            for byte in answer.payload:
                if self.script.test_ended.wait(0.02):
                    return
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
            return
        self.wfile.write(answer.payload if answer.cut is None else answer.payload[: answer.cut])
        if answer.cut is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - of http.server
        """Print nothing on standard error."""


def generated(client: Client, model: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Send a live request from a test without an event loop, and return the raw reply."""
    return asyncio.run(client.generate(model, request))


def decided(client: Client, request: Mapping[str, Any]) -> dict[str, Any]:
    """Ask closed questions from a test without an event loop, and return the raw reply."""
    return asyncio.run(client.ask_decision_model("gemini-decision-1", request))
