"""A scripted HTTP server on a real socket: each test says what it answers, and sees every request that arrived."""

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

from pipeline.gemini.client import Client

KEY = "AIzaSy-secret-test-key"


@dataclass
class Seen:
    """One request as it arrived."""

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
    """What to answer: a JSON document or bytes, or a fault of the wire (`drop`, `reset`, `hang`, `drip`)."""

    document: Any = None
    code: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    fault: str = ""
    cut: int | None = None  # promise the whole length, send this many bytes
    lengthless: bool = False

    @property
    def payload(self) -> bytes:
        """Return the bytes of the body."""
        return json.dumps(self.document).encode() if self.body is None else self.body


class Script:
    """The server's part of the conversation: answers in order, or a function of the request."""

    def __init__(self) -> None:
        """Start with nothing to say."""
        self.answers: list[Answer] = []
        self.reply: Callable[[Seen], Answer] | None = None
        self.seen: list[Seen] = []
        self.url = ""
        self.over = threading.Event()

    def next(self, seen: Seen) -> Answer:
        """Return the answer to a request; a request that was not planned for is an error 418."""
        self.seen.append(seen)
        if self.reply is not None:
            return self.reply(seen)
        return (
            self.answers.pop(0)
            if self.answers
            else Answer({"error": {"message": "not scripted"}}, code=418)
        )

    @property
    def calls(self) -> list[str]:
        """Return `METHOD path` of every request so far."""
        return [f"{seen.method} {seen.path}" for seen in self.seen]


class Handler(BaseHTTPRequestHandler):
    """Answers from the script of its server."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a head and its body would lie 40 ms apart
    script: Script

    def do_any(self) -> None:
        """Read the request whole and answer as the script says."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.script.next(Seen(self.command, self.path, headers, body))
        with suppress(OSError):
            self.answer(answer)

    do_GET = do_POST = do_DELETE = do_any  # noqa: N815 - the names http.server looks for

    def answer(self, answer: Answer) -> None:
        """Send one answer, or break the connection as it says."""
        if answer.fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if answer.fault == "hang":
            self.script.over.wait(20)
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
        if answer.lengthless:
            self.close_connection = True
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(answer.payload)))
        self.end_headers()
        self.send_body(answer)

    def send_body(self, answer: Answer) -> None:
        """Send the body whole, cut, or one byte at a time."""
        if answer.fault == "drip":
            for byte in answer.payload:
                if self.script.over.wait(0.02):
                    return
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
            return
        self.wfile.write(answer.payload if answer.cut is None else answer.payload[: answer.cut])
        if answer.cut is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parameter's name in http.server
        """Say nothing on standard error."""


def generated(client: Client, model: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Ask one question live from a test that has no event loop, and return the raw reply document."""
    return asyncio.run(client.generate(model, request))
