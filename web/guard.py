"""Let a request in, or refuse it: its host, its origin, who sends it, what it may change, and how long its body is.

Every address needs the token: in a cookie that the first address sets, or as `Authorization: Bearer`. What changes
something with the cookie must come from the page itself, as the browser says it. The rules are OWASP's of cross-site
request forgery and of security headers.
"""

import hmac
from dataclasses import dataclass, field
from functools import partial
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, quote, unquote, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.core.command_hint import CommandHint, OptionHint
from web import errors
from web.errors import RequestRefused

MAX_BODY = 1 << 20  # bytes of a request
UPLOAD = ("POST", "/api/imports")  # what takes a file
MAX_FILE = 1 << 30  # bytes of one
NUL = "\0"  # which PostgreSQL takes in no text
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "private, no-cache",
}
_LOCKED = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>findable</title><main><h1>findable</h1>
<p>This page needs its token. Open the address that <code>{CommandHint("web")}</code> printed: it ends with
<code>?token=…</code>.</p></main></html>"""


@dataclass(frozen=True)
class AccessRules:
    """Who may come in: the token, the names under which the page is reached (host:port), and whether it only reads.

    Cookies know no ports, so `cookie` is another name for each page of a machine.
    """

    token: str = field(repr=False)
    hosts: frozenset[str]
    cookie: str = "findable"
    readonly: bool = False

    def is_token(self, given: str) -> bool:
        """Return whether this is the token, in constant time."""
        return hmac.compare_digest(given.encode(), self.token.encode())


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, *, access: AccessRules) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that is not let in, else hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sending = partial(_sent, send)
        try:
            answer = self._checked(scope)
        except RequestRefused as refused:
            answer = _refusal(scope, refused)
        if answer is not None:
            await answer(scope, receive, sending)
            return
        await self._app(scope, _Limited(receive, _most(scope)), sending)

    def _checked(self, scope: Scope) -> Response | None:
        """Return the answer to a request that brings the token in its address; None where it is let in."""
        headers = Headers(scope=scope)
        is_safe = scope["method"] in SAFE
        host = headers.get("host", "")
        site = headers.get("sec-fetch-site")
        if host not in self._access.hosts:
            raise RequestRefused(421, f"{host!r} is not an address of this page")
        origin = headers.get("origin")
        is_other = origin is not None and origin.partition("://")[2] != host
        if is_other or (not is_safe and site not in {None, "same-origin", "none"}):
            raise RequestRefused(403, "another site asked for this")
        if entered := self._entered(scope):
            return entered
        by_cookie = self._has_cookie(headers)
        if NUL in scope["path"] or NUL in unquote(scope["query_string"].decode("latin-1")):
            raise RequestRefused(
                422, "the address holds NUL, which no text here does", hint="leave it out"
            )
        if is_safe:
            return None
        if self._access.readonly:
            raise RequestRefused(
                403,
                "this page is read-only; nothing was changed",
                hint=f"start it without {OptionHint(readonly=True)}",
            )
        if by_cookie and origin is None and site != "same-origin":
            raise RequestRefused(
                403,
                "the request does not come from this page; nothing was changed",
                hint="reload the page",
            )
        return None

    def _entered(self, scope: Scope) -> Response | None:
        """Return the answer to an address with the token: the cookie, and the address without it."""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if scope["method"] != "GET" or not self._access.is_token(
            dict(reversed(query)).get("token", "")
        ):
            return None
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        address = "/" + quote(scope["path"].lstrip("/\\")) + (f"?{rest}" if rest else "")
        answer = RedirectResponse(address, status_code=303)
        answer.set_cookie(
            self._access.cookie, self._access.token, httponly=True, samesite="strict", path="/"
        )
        return answer

    def _has_cookie(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._access.is_token(given.strip()):
            return False
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self._access.cookie)
        except CookieError:
            found = None
        if found is None or not self._access.is_token(found.value):
            raise RequestRefused(
                401,
                "the token is missing or wrong",
                hint=f"open the address that `{CommandHint('web')}` printed",
            )
        return True


class _Limited:
    """A request's body, which is cut off where it is longer than it said, or than it may be."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._left = most

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise RequestRefused(413, "the body is too long")
        return message


async def _sent(send: Send, message: Message) -> None:
    if message["type"] == "http.response.start":
        headers = MutableHeaders(scope=message)
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
    await send(message)


def _most(scope: Scope) -> int:
    return MAX_FILE if (scope["method"], scope["path"]) == UPLOAD else MAX_BODY


def _refusal(scope: Scope, refused: RequestRefused) -> Response:
    is_page = not scope["path"].startswith("/api") and "text/html" in Headers(scope=scope).get(
        "accept", ""
    )
    if refused.status == 401 and is_page:  # noqa: PLR2004 - HTTP's own number
        return HTMLResponse(_LOCKED, status_code=refused.status)
    return errors.response(errors.of(refused))
