"""One request on its way through a fault: what a fault may do to it, down to the bytes on the connection.

A fault lets the real handler answer and changes the answer, answers itself, or leaves the connection in a state no
handler could. The last needs the connection's transport, which the server puts into the request's state.
"""

import asyncio
import math
import socket
import struct
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

JSON = "application/json; charset=UTF-8"
_ON_ITS_WAY_S = 0.05


@dataclass(frozen=True)
class Answer:
    """A whole answer: what the real handler said, or what is said in its place."""

    status: int
    headers: dict[str, str]
    body: bytes


class Exchange:
    """A request and the connection it came on."""

    def __init__(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, *, advance: Callable[[float], None]
    ) -> None:
        """Keep the handler to ask, the request, and what moves the engine's clock (seconds)."""
        self._app = app
        self._scope = scope
        self._receive = receive
        self._send = send
        self.advance = advance

    @property
    def transport(self) -> asyncio.Transport:
        """The connection itself."""
        transport: asyncio.Transport = self._scope["state"]["transport"]
        return transport

    async def drain(self, most: float = math.inf) -> None:
        """Read the request's body to its end, or at least `most` bytes of it while the client may still be sending."""
        taken = 0
        while taken < most:
            message = await self._receive()
            taken += len(message.get("body", b""))
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                return

    async def proceed(self) -> None:
        """Let the real handler answer as if there were no fault."""
        await self._app(self._scope, self._receive, self._send)

    async def answer(self) -> Answer:
        """Let the real handler answer and return what it said instead of sending it."""
        messages: list[MutableMapping[str, Any]] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self._app(self._scope, self._receive, keep)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in messages[0]["headers"]}
        body = b"".join(message.get("body", b"") for message in messages[1:])
        return Answer(int(messages[0]["status"]), headers, body)

    async def reply(self, answer: Answer) -> None:
        """Send a whole answer; JSON, where its headers say nothing else."""
        fields = {"content-type": JSON, "content-length": str(len(answer.body)), **answer.headers}
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()]
        await self._send({"type": "http.response.start", "status": answer.status, "headers": raw})
        await self._send({"type": "http.response.body", "body": answer.body})

    async def drop(self) -> None:
        """Close the connection without a word (FIN)."""
        self.transport.close()
        await self.gone()

    async def reset(self) -> None:
        """Tear the connection down (RST)."""
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
        await self.gone()

    async def cut(self, answer: Answer, *, at: int, with_length: bool, reset: bool = False) -> None:
        """Send the first `at` bytes of an answer and close, with the whole body's length announced or with none.

        With `reset` the connection is torn down once they are on their way, in place of being closed.
        """
        self.transport.write(_head(answer, with_length=with_length) + answer.body[:at])
        if not reset:
            await self.drop()
            return
        await asyncio.sleep(_ON_ITS_WAY_S)  # a reset takes with it what was not read yet
        await self.reset()

    async def trickle(self, answer: Answer, *, part: str, pause_s: float) -> None:
        """Send an answer's head or its body (`part`) one byte at a time, the rest as ever, until the client is gone."""
        head = _head(answer, with_length=True)
        gone = asyncio.ensure_future(self.gone())
        if part == "body":
            self.transport.write(head)
        for byte in head + answer.body if part == "head" else answer.body:
            if gone.done() or self.transport.is_closing():
                break
            self.transport.write(bytes([byte]))
            await asyncio.sleep(pause_s)
        self.transport.close()
        await gone

    async def drip(self, answer: Answer, *, size: int, pause_s: float) -> None:
        """Send an answer `size` bytes at a time with a pause after each."""
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]
        await self._send({"type": "http.response.start", "status": answer.status, "headers": raw})
        for start in range(0, len(answer.body), size):
            await self._send(
                {"type": "http.response.body", "body": answer.body[start : start + size], "more_body": True}
            )
            await asyncio.sleep(pause_s)
        await self._send({"type": "http.response.body", "body": b""})

    async def gone(self) -> None:
        """Wait until the connection is closed, by whichever side."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


def _head(answer: Answer, *, with_length: bool) -> bytes:
    """Return the head of an answer as bytes for the connection itself, after which it is closed."""
    kind = answer.headers.get("content-type", JSON)
    length = f"Content-Length: {len(answer.body)}\r\n" if with_length else ""
    head = f"HTTP/1.1 {answer.status} OK\r\nContent-Type: {kind}\r\n{length}Connection: close\r\n\r\n"
    return head.encode("latin-1")
