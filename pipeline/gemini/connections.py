"""Open the HTTP connections to Gemini, and bound every reply in time and in size.

The HTTP library's own time-outs are those of a single read, so a reply that comes byte by byte could go on for ever.
The transports here bound the head of a reply as a whole, and its body by a least rate. They take the place of the
library's default transport, so the proxy of the environment is chosen here too.
"""

import contextlib
import math
import re
import ssl
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import httpcore2
import httpx2

from pipeline.gemini.operations import UnreadableError

LEAST_RATE = 64 * 1024  # ours: bytes a second below which a reply that never ends is given up
MOST_CONNECTIONS = 200  # ours: more than there are ever live calls at once
MOST_REPLY = 256 * 1024 * 1024  # ours: bytes of an answer that is no file; a hundred vectors have about 4 MB


def is_address(text: str) -> bool:
    """Return whether a base URL can be one: http or https, and a host."""
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL:
        return False
    return url.scheme in {"http", "https"} and bool(url.host) and re.search(r"\s", text) is None


def bounded_client(
    base_url: str, *, seconds: Callable[[], float], trust_env: bool, response_hook: Callable[[httpx2.Response], None]
) -> httpx2.Client:
    """Return a client for calls one after the other; `seconds` is asked for the time-out of the one under way.

    Raises:
        ValueError: the environment's proxy cannot be used. OSError: its certificates cannot be read.
    """
    pool = httpcore2.ConnectionPool(
        ssl_context=httpx2.create_ssl_context(trust_env=trust_env),
        proxy=_core_proxy(_environment_proxy(base_url) if trust_env else None),
        max_connections=100,
        max_keepalive_connections=20,
        keepalive_expiry=5.0,
        network_backend=_BoundedBackend(seconds),
    )
    hooks = {"response": [response_hook]}
    return httpx2.Client(transport=_BoundedTransport(pool, seconds), event_hooks=hooks, trust_env=trust_env)


def bounded_async_client(base_url: str, *, trust_env: bool, response_hook: Callable[..., Any]) -> httpx2.AsyncClient:
    """Return a client for many calls at once; the caller bounds the time of each.

    Raises:
        ValueError: the environment's proxy cannot be used. OSError: its certificates cannot be read.
    """
    transport = _BoundedAsyncTransport(
        verify=httpx2.create_ssl_context(trust_env=trust_env),
        proxy=_environment_proxy(base_url) if trust_env else None,
        limits=httpx2.Limits(max_connections=MOST_CONNECTIONS, max_keepalive_connections=MOST_CONNECTIONS),
    )
    return httpx2.AsyncClient(transport=transport, event_hooks={"response": [response_hook]}, trust_env=trust_env)


def untrusting_context() -> ssl.SSLContext:
    """Return the settings of TLS for connections that are never made; reading certificates for them takes time."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _environment_proxy(base_url: str) -> httpx2.Proxy | None:
    url, found = httpx2.URL(base_url), urllib.request.getproxies()
    address = found.get(url.scheme) or found.get("all")
    if not address:
        return None
    proxy = httpx2.Proxy(address if "://" in address else f"http://{address}")
    if proxy.url.scheme not in {"http", "https"}:
        raise ValueError("a SOCKS proxy cannot be used")
    return None if urllib.request.proxy_bypass(url.host) else proxy


def _core_proxy(proxy: httpx2.Proxy | None) -> httpcore2.Proxy | None:
    if proxy is None:
        return None
    return httpcore2.Proxy(_core_url(proxy.url), auth=proxy.raw_auth, headers=proxy.headers.raw)


def _core_url(url: httpx2.URL) -> httpcore2.URL:
    return httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


@contextlib.contextmanager
def _httpx_errors() -> Iterator[None]:
    """Raise the errors of the connection pool as those of the HTTP library that have the same names."""
    try:
        yield
    except (
        httpcore2.TimeoutException,
        httpcore2.NetworkError,
        httpcore2.ProtocolError,
        httpcore2.ProxyError,
        httpcore2.UnsupportedProtocol,
    ) as error:
        raise getattr(httpx2, type(error).__name__)(str(error)) from error


class _BoundedTransport(httpx2.BaseTransport):
    """Sends requests through a pool whose streams bound the head of a reply; its body is bounded here."""

    def __init__(self, pool: httpcore2.ConnectionPool, seconds: Callable[[], float]) -> None:
        self._pool, self._seconds = pool, seconds

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        with _httpx_errors():
            reply = self._pool.handle_request(
                httpcore2.Request(
                    method=request.method,
                    url=_core_url(request.url),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        reply.extensions["network_stream"].end_head()
        most = math.inf if request.url.path.endswith(":download") else MOST_REPLY
        body = _BoundedBody(reply.stream, request, seconds=self._seconds(), most=most)
        return httpx2.Response(reply.status, headers=reply.headers, stream=body, extensions=reply.extensions)

    def close(self) -> None:
        self._pool.close()


class _BoundedBody(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body that must go on, with at most `most` bytes: an end within the time-out, or 64 KiB a second beyond it."""

    def __init__(self, stream: Any, request: httpx2.Request, *, seconds: float, most: float) -> None:
        self._stream, self._request = stream, request
        self._seconds, self._most = seconds, most
        self._began, self._received = time.monotonic(), 0

    def __iter__(self) -> Iterator[bytes]:
        with _httpx_errors():
            for piece in self._stream:
                yield self._counted(piece)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            yield self._counted(piece)

    def _counted(self, piece: bytes) -> bytes:
        self._received += len(piece)
        if time.monotonic() - self._began > self._seconds + self._received / LEAST_RATE:
            raise httpx2.ReadTimeout("the reply comes too slowly to end", request=self._request)
        if self._received > self._most:
            raise UnreadableError("the answer does not end")
        return piece

    def close(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        await self._stream.aclose()


class _BoundedBackend(httpcore2.SyncBackend):
    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        stream = super().connect_tcp(host, port, timeout, local_address, socket_options)
        return _BoundedStream(stream, self._seconds)


class _BoundedStream(httpcore2.NetworkStream):
    """A connection on which the head of a reply comes as a whole within the time-out of the call.

    The clock starts at the first read after a write, and `end_head` stops it.
    """

    def __init__(self, stream: httpcore2.NetworkStream, seconds: Callable[[], float]) -> None:
        self._stream, self._seconds = stream, seconds
        self._head_until: float | None = math.inf

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what there is, within the time-out of one read and the time that is left for the head."""
        if self._head_until is None:
            self._head_until = time.monotonic() + self._seconds()
        left = self._head_until - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("the head of the reply comes too slowly to end")
        least = min(left, math.inf if timeout is None else timeout)
        return self._stream.read(max_bytes, None if math.isinf(least) else least)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._head_until = None
        self._stream.write(buffer, timeout)

    def end_head(self) -> None:
        """Take the head for complete: what follows is bounded by its rate."""
        self._head_until = math.inf

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _BoundedStream(self._stream.start_tls(ssl_context, server_hostname, timeout), self._seconds)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _BoundedAsyncTransport(httpx2.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        reply = await super().handle_async_request(request)
        body = _BoundedBody(reply.stream, request, seconds=math.inf, most=MOST_REPLY)
        return httpx2.Response(reply.status_code, headers=reply.headers, stream=body, extensions=reply.extensions)
