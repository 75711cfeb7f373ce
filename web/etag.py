"""Give every document of the API the hash of what it says, and nothing to a program that has it already (RFC 9110)."""

import hashlib

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NOT_MODIFIED = 304


def etag_of(body: bytes) -> str:
    """Return the tag of a document."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def sent_once(request: Request, body: bytes, media_type: str, **headers: str) -> Response:
    """Return an answer that is no document of the API, or 304 where its reader has it."""
    told = {"etag": etag_of(body), **headers}
    if told["etag"] in _listed(request.headers.get("if-none-match", "")):
        return Response(status_code=_NOT_MODIFIED, headers=told)
    return Response(body, media_type=media_type, headers=told)


def _listed(given: str) -> list[str]:
    return [one.strip().removeprefix("W/") for one in given.split(",")]


class Tagged:
    """ASGI middleware: a GET of a JSON document in one piece gets an ETag if it has none, and 304 if it is known."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, and tag the answer."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        has = _listed(Headers(scope=scope).get("if-none-match", ""))
        await self._app(scope, receive, _Tagging(send, has))


class _Tagging:
    """Sends one answer, whose head waits for its body."""

    def __init__(self, send: Send, has: list[str]) -> None:
        self._send, self._has = send, has
        self._head: Message | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_document(message):
            self._head = message
            return
        head, self._head = self._head, None
        if head is None:
            await self._send(message)
            return
        headers, body = MutableHeaders(scope=head), message.get("body", b"")
        if not message.get("more_body"):
            headers["etag"] = headers.get("etag") or etag_of(body)
            if headers["etag"] in self._has:
                head["status"], message["body"] = _NOT_MODIFIED, b""
                del headers["content-length"]
        await self._send(head)
        await self._send(message)


def _is_document(message: Message) -> bool:
    """Return whether an answer is a JSON document that was found."""
    return message["status"] == 200 and Headers(raw=message["headers"]).get("content-type") == "application/json"  # noqa: PLR2004 - HTTP's own number
