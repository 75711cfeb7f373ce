"""Check each request before the application sees it, and add security headers to each response.

Checks: host, origin, token, read-only mode and body size. The token comes as a cookie, which the
first address sets, or as `Authorization: Bearer`. A request that changes something with the cookie
must come from the page itself. The rules follow OWASP's cheat sheets on cross-site request forgery
and on security headers.
"""

import hmac
from dataclasses import dataclass, field
from functools import partial
from http.cookies import CookieError, SimpleCookie
from typing import Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from askrows.pipeline.core.command_hint import CommandHint, OptionHint
from askrows.web.errors import RequestRefusedError, make_problem_response, to_problem_document

MAX_BODY_BYTES = 1 << 20
# The only request that may send a file.
UPLOAD_ROUTE = ("POST", "/api/imports")
MAX_FILE_BYTES = 1 << 30
# PostgreSQL stores no text with this character.
NUL = "\0"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'"
)
SECURITY_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "private, no-cache",
}
_MISSING_TOKEN_HTML = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>askrows</title>'
    "<main><h1>askrows</h1>\n"
    "<p>This page needs its token. "
    f"Open the address that <code>{CommandHint('web')}</code> printed: "
    "it ends with\n<code>?token=…</code>.</p></main></html>"
)


@dataclass(frozen=True)
class AccessRules:
    """Rules for requests to one page."""

    token: str = field(repr=False)
    # Values of the Host header that are accepted, as host:port.
    hosts: frozenset[str]
    # Name of the cookie. Browsers share cookies between ports, so each page needs its own name.
    cookie: str = "askrows"
    readonly: bool = False

    def is_token(self, text: str) -> bool:
        """Return whether a text is the token, compared in constant time."""
        return hmac.compare_digest(text.encode(), self.token.encode())


class Guard:
    """ASGI middleware that checks every request to the application."""

    def __init__(self, app: ASGIApp, *, access: AccessRules) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refused request or a sign-in; pass any other request to the application.

        Responses get security headers. The body of a request may have MAX_BODY_BYTES, that of an
        upload MAX_FILE_BYTES. Other scopes than HTTP are passed unchecked.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        send_secured = partial(_send_with_security_headers, send)
        try:
            response = self._check_or_sign_in_request(scope)
        except RequestRefusedError as error:
            response = _refusal_response(scope, error)

        if response is not None:
            await response(scope, receive, send_secured)
            return
        is_upload = (scope["method"], scope["path"]) == UPLOAD_ROUTE
        max_bytes = MAX_FILE_BYTES if is_upload else MAX_BODY_BYTES
        await self._app(scope, _LimitedBody(receive, max_bytes), send_secured)

    def _check_or_sign_in_request(self, scope: Scope) -> Response | None:
        """Return None if a request may pass, or the redirect that signs a reader in.

        Raises:
            RequestRefusedError: The request is refused with one of these statuses:

                - 421: the Host header is not an address of this page.
                - 403: another site sent the request.
                - 401: there is no valid token.
                - 422: the address contains NUL.
                - 403: the request changes something, and the page is read-only.
                - 403: the request changes something by the cookie, and no header proves that the
                  page sent it.

            A request changes something unless its method is in SAFE_METHODS.
        """
        headers = Headers(scope=scope)
        is_safe = scope["method"] in SAFE_METHODS
        host = headers.get("host", "")
        fetch_site = headers.get("sec-fetch-site")
        if host not in self._access.hosts:
            raise RequestRefusedError(421, f"{host!r} is not an address of this page")

        origin = headers.get("origin")
        has_other_origin = origin is not None and origin.partition("://")[2] != host
        is_cross_site = fetch_site not in {None, "same-origin", "none"}
        if has_other_origin or (not is_safe and is_cross_site):
            raise RequestRefusedError(403, "the request comes from another site")

        if (sign_in := self._make_sign_in_response_if_token(scope)) is not None:
            return sign_in

        credential = self._authenticate(headers)
        if NUL in scope["path"] or NUL in unquote(scope["query_string"].decode("latin-1")):
            raise RequestRefusedError(
                422,
                "the address contains the character NUL",
                hint="remove it",
            )

        if is_safe:
            return None
        if self._access.readonly:
            raise RequestRefusedError(
                403,
                "this page is read-only; nothing was changed",
                hint=f"start it without {OptionHint(readonly=True)}",
            )
        if credential == "cookie" and origin is None and fetch_site != "same-origin":
            raise RequestRefusedError(
                403,
                "the request does not come from this page; nothing was changed",
                hint="reload the page",
            )
        return None

    def _make_sign_in_response_if_token(self, scope: Scope) -> Response | None:
        """Return a redirect that sets the cookie, if a GET has the valid token in its address.

        The redirect leads to the same address without the token. For any other request, also with a
        wrong token, the result is None.
        """
        parameters = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        # Of several tokens the first counts.
        token = dict(reversed(parameters)).get("token", "")
        if scope["method"] != "GET" or not self._access.is_token(token):
            return None

        # A path that begins with two slashes would lead to another host.
        address = "/" + quote(scope["path"].lstrip("/\\"))
        query = urlencode([(name, value) for name, value in parameters if name != "token"])
        if query:
            address += f"?{query}"

        response = RedirectResponse(address, status_code=303)
        response.set_cookie(
            self._access.cookie,
            self._access.token,
            httponly=True,
            samesite="lax",
            path="/",
        )
        return response

    def _authenticate(self, headers: Headers) -> Literal["bearer", "cookie"]:
        """Return where the request has the valid token; raise if it has none.

        "bearer" is the header `Authorization: Bearer`, which is read first. If its token is wrong,
        the cookie is read, too.

        Raises:
            RequestRefusedError: 401, neither has the valid token.
        """
        scheme, _, bearer_token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._access.is_token(bearer_token.strip()):
            return "bearer"

        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self._access.cookie)
        except CookieError:
            cookie = None
        if cookie is None or not self._access.is_token(cookie.value):
            raise RequestRefusedError(
                401,
                "the token is missing or wrong",
                hint=f"open the address that `{CommandHint('web')}` printed",
            )
        return "cookie"


class _LimitedBody:
    """ASGI receive callable that raises RequestRefusedError (413) if a body is too long."""

    def __init__(self, receive: Receive, max_bytes: int) -> None:
        self._receive = receive
        self._remaining_bytes = max_bytes

    async def __call__(self) -> Message:
        message = await self._receive()
        self._remaining_bytes -= len(message.get("body", b""))
        if self._remaining_bytes < 0:
            raise RequestRefusedError(413, "the body is too long")
        return message


async def _send_with_security_headers(send: Send, message: Message) -> None:
    """Send an ASGI message; add the security headers that a response does not set itself."""
    if message["type"] == "http.response.start":
        headers = MutableHeaders(scope=message)
        for name, value in SECURITY_HEADERS.items():
            headers.setdefault(name, value)
    await send(message)


def _refusal_response(scope: Scope, refused: RequestRefusedError) -> Response:
    """Return the response to a refused request: problem+json, or HTML for a missing token.

    HTML is returned only with status 401, to a browser that did not request an API path.
    """
    accepts_html = "text/html" in Headers(scope=scope).get("accept", "")
    is_page = accepts_html and not scope["path"].startswith("/api")
    if refused.status == 401 and is_page:  # noqa: PLR2004 - HTTP's own number
        return HTMLResponse(_MISSING_TOKEN_HTML, status_code=refused.status)
    return make_problem_response(to_problem_document(refused))
