"""Let a request in, or refuse it: its host, its origin, who sends it, what it may change, and how long its body is.

Every address needs the token: in a cookie that the first address sets (as Jupyter does, also for a code that is good
once), or as `Authorization: Bearer`. What changes something needs, with the cookie, a second token that another site
cannot read. The rules are OWASP's of cross-site request forgery and of security headers.
"""

import asyncio
import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, quote, unquote, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web import problem
from web.problem import Refused

CSRF = "x-csrf-token"
MAX_BODY = 1 << 20  # bytes of a request
DROPS = ("POST", "/api/imports")  # what takes a file
MAX_FILE = 1 << 30  # bytes of one
LOGIN = "/login"
MAX_PASSWORD = 4096  # bytes of a form with a password
WRONG_S = 1.0
CODE_S = 120.0  # a code is good for so long: a browser may start slowly
NUL = "\0"  # which PostgreSQL takes in no text
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_LOCKED = """<!doctype html><html lang="en"><meta charset="utf-8"><title>findable</title><main><h1>findable</h1>
<p>This page needs its token. Open the address that <code>make web</code> printed: it ends with
<code>?token=…</code>.</p></main></html>"""

_ASKING = """<!doctype html><html lang="en"><meta charset="utf-8"><title>findable</title><main><h1>findable</h1>
<form method="post" action="/login"><label>Password <input name="password" type="password" autofocus></label>
<button>Enter</button></form></main></html>"""


class OneTimeCodes:
    """Codes that open the page once, soon: what a browser is started with stands in the list of processes."""

    def __init__(self) -> None:
        """Begin with none."""
        self._until: dict[bytes, float] = {}  # by digest

    def new(self) -> str:
        """Return another one."""
        code = secrets.token_urlsafe(24)
        self._until[_digest(code)] = time.monotonic() + CODE_S
        return code

    def take(self, given: str) -> bool:
        """Return whether this is one that was not taken yet, and is not too old."""
        return self._until.pop(_digest(given), 0.0) > time.monotonic()


@dataclass(frozen=True)
class Access:
    """Who may come in: the token, the names under which the page is reached (host:port), and whether it only reads.

    Cookies know no ports, so `cookie` is another name for each page of a machine. With a `password` a browser gets the
    cookie for it; with a `proxy` (its header, and the addresses that it comes from) it says who is let in.
    """

    token: str = field(repr=False)
    hosts: frozenset[str]
    cookie: str = "findable"
    readonly: bool = False
    password: str = field(default="", repr=False)
    proxy: tuple[str, frozenset[str]] | None = None
    codes: OneTimeCodes = field(default_factory=OneTimeCodes, repr=False, compare=False)

    def is_token(self, given: str) -> bool:
        """Return whether this is the token, in constant time."""
        return hmac.compare_digest(given.encode(), self.token.encode())

    def is_password(self, given: str) -> bool:
        """Return whether this is the password, in constant time; never where there is none."""
        return hmac.compare_digest(_digest(given), _digest(self.password)) and bool(self.password)

    def is_named(self, scope: Scope) -> bool:
        """Return whether the proxy sent a request, and says whose it is."""
        if self.proxy is None:
            return False
        header, addresses = self.proxy
        came_from = scope.get("client")
        return (
            came_from is not None and came_from[0] in addresses and bool(Headers(scope=scope).get(header, "").strip())
        )

    @property
    def csrf(self) -> str:
        """Return the second token, which the page's own requests send in a header."""
        return hmac.new(self.token.encode(), b"csrf", hashlib.sha256).hexdigest()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        """Stand before `app`."""
        self._app, self._access, self._trying = app, access, asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that is not let in, else hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with_headers = _with_headers(send)
        try:
            answer = self._checked(scope)
            if answer is None and _is_login(scope):
                answer = await self._login(scope, _Limited(receive, MAX_PASSWORD))
        except Refused as refused:
            answer = _refusal(scope, refused, asks=bool(self._access.password))
        if answer is not None:
            await answer(scope, receive, with_headers)
            return
        await self._app(scope, _Limited(receive, _most(scope)), with_headers)

    def _checked(self, scope: Scope) -> Response | None:
        """Return the answer to a request that brings the token in its address; None where it is let in.

        Raises:
            Refused: it is not.
        """
        headers, method = Headers(scope=scope), scope["method"]
        host = headers.get("host", "")
        if host not in self._access.hosts:
            raise Refused(421, f"{host!r} is not an address of this page")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise Refused(403, "another site asked for this")
        if method not in SAFE and headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            raise Refused(403, "another site asked for this")
        if entered := self._entered(scope):
            return entered
        if _is_login(scope) and self._access.password:
            return None
        by_cookie = self._who(scope)
        self._check_length(headers, _most(scope))
        if NUL in scope["path"] or NUL in unquote(scope["query_string"].decode("latin-1")):
            raise Refused(422, "the address holds NUL, which no text here does", hint="leave it out")
        if method in SAFE:
            return None
        if self._access.readonly:
            raise Refused(403, "this page is read-only; nothing was changed", hint="start it without READONLY=1")
        if by_cookie and not hmac.compare_digest(headers.get(CSRF, "").encode(), self._access.csrf.encode()):
            raise Refused(403, "the request does not come from this page; nothing was changed", hint="reload the page")
        return None

    @staticmethod
    def _check_length(headers: Headers, most: int) -> None:
        """Refuse a body that says to be longer than `most` bytes; one that does not say it is cut off, see `_Limited`.

        Raises:
            Refused: it is longer, or its length is no number.
        """
        said = headers.get("content-length", "0")
        if not said.isdecimal():
            raise Refused(400, "the length of the body is no number")
        if int(said) > most:
            raise Refused(413, f"the body is longer than {most:,} bytes; nothing was changed")

    def _entered(self, scope: Scope) -> Response | None:
        """Return the answer to an address with the token, or a code for it: the cookie, and the address without it."""
        if scope["method"] != "GET":
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = {name: value for name, value in reversed(query) if name in {"token", "code"}}
        is_known = self._access.is_token(given.get("token", "")) or self._access.codes.take(given.get("code", ""))
        if not is_known:
            return None
        rest = urlencode([(name, value) for name, value in query if name not in given])
        return self._with_cookie("/" + quote(scope["path"].lstrip("/\\")) + (f"?{rest}" if rest else ""))

    async def _login(self, scope: Scope, receive: Receive) -> Response:
        """Return the answer to a password: the cookie, and the first page.

        Raises:
            Refused: it is not the password, which is said after a second; one is tried at a time.
        """
        form = parse_qsl((await Request(scope, receive).body()).decode("ascii", "replace"))
        async with self._trying:
            if not self._access.is_password(dict(form).get("password", "")):
                await asyncio.sleep(WRONG_S)
                raise Refused(401, "the password is wrong", hint="try again")
        return self._with_cookie("/")

    def _with_cookie(self, address: str) -> Response:
        """Return the answer that sets the cookie, and leads to an address."""
        answer = RedirectResponse(address, status_code=303)
        answer.set_cookie(self._access.cookie, self._access.token, httponly=True, samesite="strict", path="/")
        return answer

    def _who(self, scope: Scope) -> bool:
        """Return whether a browser sent a request: with the token in the cookie, or through the proxy; else a program.

        Raises:
            Refused: it has none, or another one.
        """
        headers = Headers(scope=scope)
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._access.is_token(given.strip()):
            return False
        if self._access.is_named(scope):
            return True
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self._access.cookie)
        except CookieError:
            found = None
        if found is None or not self._access.is_token(found.value):
            raise Refused(401, "the token is missing or wrong", hint="open the address that `make web` printed")
        return True


class _Limited:
    """A request's body, which is cut off where it is longer than it said, or than it may be."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._left = receive, most

    async def __call__(self) -> Message:
        """Return the next piece."""
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise Refused(413, "the body is too long")
        return message


def _most(scope: Scope) -> int:
    """Return how many bytes the body of a request may have."""
    return MAX_FILE if (scope["method"], scope["path"]) == DROPS else MAX_BODY


def _is_login(scope: Scope) -> bool:
    """Return whether a request brings a password."""
    return bool((scope["method"], scope["path"]) == ("POST", LOGIN))


def _refusal(scope: Scope, refused: Refused, *, asks: bool) -> Response:
    """Return the answer to a request that is not let in: a page for a browser that only lacks the token."""
    is_page = not scope["path"].startswith("/api") and "text/html" in Headers(scope=scope).get("accept", "")
    if refused.status == 401 and is_page:  # noqa: PLR2004 - HTTP's own number
        return HTMLResponse(_ASKING if asks else _LOCKED, status_code=refused.status)
    return problem.response(problem.of(refused))


def _with_headers(send: Send) -> Send:
    """Return what sends an answer with the headers that every answer has."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", "private, no-cache")
        await send(message)

    return sending
