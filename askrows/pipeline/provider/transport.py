"""Run calls: an event loop in a thread of its own, time-outs, retries and raw replies.

- The running call is the attempt that is being made, with the bytes of its last reply.
- Each call has a time-out as a whole.
- A hook of the HTTP library keeps the bytes of each reply.
- Errors have our own messages and no error of a library as their cause, because that may echo the
  key.
"""

import asyncio
import contextlib
import re
import threading
import time
from abc import ABC
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import CancelledError, Future
from contextvars import ContextVar
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2
import tenacity

from askrows.pipeline.core.errors import (
    AskrowsError,
    ConfigurationError,
    NotSentError,
    ThrottledError,
    UnavailableError,
)
from askrows.pipeline.core.redact import Secret, keep_out_of_logs, redact_document
from askrows.pipeline.provider.call_errors import (
    PARSE_ERRORS,
    RUN_LATER_HINT,
    UnreadableReplyError,
    convert_connection_error_or_reraise,
)
from askrows.pipeline.provider.providers import Provider
from askrows.pipeline.provider.responses import decode_json_document
from askrows.pipeline.provider.retry import RetryPolicy

if TYPE_CHECKING:
    import ssl

# Our own choice: more than the number of calls that ever run at once.
MAX_CONNECTIONS = 100
# Our own choice, except for downloads: the vectors of a hundred texts take about 4 MB.
MAX_REPLY_BYTES = 256 * 1024 * 1024
# A call may take longer than its connection by this time, so that a missing connection is noticed.
CONNECT_GRACE_S = 0.5
# Our own choice: a person who waits hears within five seconds that no connection can be made.
CONNECT_TIMEOUT_S = 4.0
# Our own choice: a slower transfer fails, once its first time-out is used up.
MIN_TRANSFER_BYTES_PER_S = 64 * 1024
# Our own choice: attempts of a call that fails slowly, however long they take.
MIN_ATTEMPTS = 3
# Our own choice: the upper limit of our own waits. The server may ask for longer waits.
MAX_BACKOFF_S = 60.0

T = TypeVar("T")


@dataclass
class RunningCall:
    """A call, and the parts of its last reply that a library does not return."""

    # A verb and its object for error messages.
    action: str
    # The time-out of the whole call.
    timeout: asyncio.Timeout
    # Called when a connection exists, directly before the request is written to it.
    on_send: Callable[[], None] | None = None
    # Bytes of the last reply; empty for a download.
    body: bytes = b""
    # The service tier that answered, from a header; "" if the header is missing.
    service_tier: str = ""
    # Whether the reply is a file, whose bytes are not recorded.
    is_download: bool = False


class GzipStream(httpx2.AsyncByteStream):
    """A gzipped body that is passed on unchanged, and whose last four bytes are remembered.

    These bytes are the unpacked length. The HTTP library accepts a body that ends early, so the
    length has to be compared.
    """

    def __init__(self, body: Any) -> None:
        self._body = body
        self._tail = b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._body:
            self._tail = (self._tail + chunk)[-4:]
            yield chunk

    async def aclose(self) -> None:
        """Close the body."""
        await self._body.aclose()

    def has_unpacked_size(self, size_bytes: int) -> bool:
        """Return whether the gzip data end with this unpacked length (modulo 2**32)."""
        return int.from_bytes(self._tail, "little") == size_bytes % 2**32


running_call: ContextVar[RunningCall] = ContextVar("askrows_call")


@dataclass(kw_only=True, eq=False, repr=False)
class Transport(ABC):
    """Runs calls to a base URL with a key, from any thread or event loop; `close` it at the end.

    The calls run in an event loop of its own, with time-outs and retries. Nothing is opened before
    the first call. The environment is not read, except for proxies and certificates if `trust_env`
    is set.
    """

    api_key: InitVar[str]
    # None means the provider's own address.
    base_url: InitVar[str | None] = None
    provider: Provider
    # Time-outs of whole calls, in seconds.
    call_timeout_s: float = 60
    create_timeout_s: float = 60
    # The upper limit of all waits of one operation together, and of the first wait.
    retry_for_s: float = 60
    first_wait_s: float = 1.0
    trust_env: bool = True
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _opening_lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self, api_key: str, base_url: str | None) -> None:
        """Check the key and store it with the address, both as secrets; open nothing.

        Blanks around the key are removed. A server of one's own may need no key.

        Raises:
            ConfigurationError: The key has characters that are not printable ASCII.
        """
        key = api_key.strip()
        if not (key.isascii() and key.isprintable()):
            raise ConfigurationError(
                f"the key of {self.provider.name} contains characters that are not printable ASCII",
                hint=f"set {self.provider.key_variable}",
            )
        self.key = Secret(key)
        self.address = Secret.from_url(base_url or self.provider.own_address)
        # How often a failing call is repeated, except after a clear refusal.
        self.retry_policy = RetryPolicy(
            first_delay_s=self.first_wait_s,
            max_delay_s=MAX_BACKOFF_S,
            max_elapsed_s=self.retry_for_s,
            min_share=0.0,
        )

    def open(self) -> None:
        """Open the connections unless they are open; otherwise the first call opens them.

        Raises:
            ConfigurationError: The base URL, a certificate file or a proxy cannot be used.
        """
        self.run(self._open())

    async def _open(self) -> Any:
        with self._opening_lock:
            return self._connected_api

    def close(self) -> None:
        """Close the connections and end running calls; a second call does nothing."""
        with self._opening_lock:
            loop = self.__dict__.pop("_loop", None)
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()

    def call_with_retries(
        self,
        call: Callable[[], Awaitable[T]],
        *,
        action: str,
        timeout_s: float | None = None,
        should_wait_for_quota: bool = True,
        should_wait_for_connection: bool = True,
    ) -> T:
        """Make a call, and repeat it until it succeeds, fails for good, or the time is used up.

        Only an UnavailableError, a NotSentError and a minute's quota are repeated; a daily quota is
        not. A wait lasts as long as the server asks, or as our own random delay if that is longer.
        No further attempt is made in two cases:

        - All waits together would be longer than the time of the retry policy.
        - That time has passed since the start, and at least MIN_ATTEMPTS attempts were made.

        Args:
            call: Makes the call. It has to be repeatable.
            action: A verb and its object for error messages.
            timeout_s: The time-out of each attempt; None means `call_timeout_s`.
            should_wait_for_quota: Also repeat the call after a quota of the minute refused it.
            should_wait_for_connection: Also repeat the call after no connection was made.

        Returns:
            The result of `call`.

        Raises:
            AskrowsError: The error of the last attempt.
        """

        def is_transient(error: BaseException) -> bool:
            if isinstance(error, ThrottledError):
                # A daily quota does not recover within the retry time.
                return should_wait_for_quota and error.resets_at is None
            if isinstance(error, NotSentError):
                return should_wait_for_connection
            return isinstance(error, UnavailableError)

        def next_delay_s(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            requested_s = getattr(error, "retry_after_s", None)
            return self.retry_policy.compute_delay_s(state.attempt_number, requested_s=requested_s)

        def should_stop(state: tenacity.RetryCallState) -> bool:
            total_delay_s = state.idle_for + state.upcoming_sleep
            is_slow = (state.seconds_since_start or 0.0) >= self.retry_policy.max_elapsed_s
            is_slow_for_good = is_slow and state.attempt_number >= MIN_ATTEMPTS
            return is_slow_for_good or self.retry_policy.is_over(total_delay_s)

        def attempt() -> T:
            attempt_call = self.attempt_call(
                call, action=action, timeout_s=timeout_s or self.call_timeout_s
            )
            return self.run(attempt_call)

        retrying = tenacity.Retrying(
            sleep=self.sleep,
            retry=tenacity.retry_if_exception(is_transient),
            wait=next_delay_s,
            stop=should_stop,
            reraise=True,
        )
        return retrying(attempt)

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the client's event loop and return its result.

        If this thread is interrupted meanwhile, the coroutine is cancelled. Errors of the coroutine
        are raised unchanged.

        Raises:
            AskrowsError: The client was closed during the call.
        """
        future = self.start(call)
        try:
            return future.result()
        except CancelledError:
            raise AskrowsError(
                "the client was closed during the call",
                hint=RUN_LATER_HINT,
            ) from None
        except BaseException:
            future.cancel()
            raise

    def start(self, call: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine in the client's event loop, which is started if necessary."""
        with self._opening_lock:
            return asyncio.run_coroutine_threadsafe(call, self._loop)

    async def attempt_call(
        self,
        call: Callable[[], Awaitable[T]],
        *,
        action: str,
        timeout_s: float,
        on_send: Callable[[], None] | None = None,
    ) -> T:
        """Make one attempt of a call within a time-out; connect before the first call.

        The time-out of the whole attempt is longer by CONNECT_GRACE_S. The bytes of its replies are
        recorded in `running_call`, from which `await_and_parse_reply` reads them.

        Args:
            call: Makes the call.
            action: A verb and its object for error messages.
            timeout_s: The time-out in seconds.
            on_send: Called directly before a request is written to its connection. If it raises an
                error, the request is not sent.

        Raises:
            AskrowsError: The converted error of the network or the API.
            ConfigurationError: The connections cannot be opened.
        """
        await self._open()
        try:
            async with asyncio.timeout(timeout_s + CONNECT_GRACE_S) as timeout:
                running_call.set(RunningCall(action, timeout, on_send))
                return await call()
        except Exception as error:  # noqa: BLE001 - a fault of our own is raised as it is
            raise self._convert_error(error, action=action, timeout_s=timeout_s) from None

    async def await_and_parse_reply(self, call: Awaitable[object]) -> Any:
        """Await a call and return the JSON of its reply, without credentials.

        The reply is used even if a library cannot parse it. A list that contains an entry of
        another program is such a reply, and a live reply was paid for.
        """
        try:
            await call
        except PARSE_ERRORS:
            if not running_call.get().body:
                raise
        return self.parse_last_reply()

    def parse_last_reply(self) -> Any:
        """Return the JSON of the last reply of the running call, without credentials."""
        body = redact_document(running_call.get().body, self.key.reveal())
        return decode_json_document(body)

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """Return the client's event loop; the first access starts its daemon thread.

        When the loop is stopped, the thread cancels all tasks and closes the connections.
        """
        runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        loop = runner.get_loop()

        def run_loop_and_close_connections() -> None:
            """Run the loop until it is stopped, then cancel its tasks and close the connections."""
            with runner:
                loop.run_forever()
                # Cancel the tasks first. A connection that closes during a call is another error.
                for task in asyncio.all_tasks(loop):
                    task.cancel()
                if self.__dict__.pop("_connected_api", None):
                    loop.run_until_complete(self._http_client.aclose())

        self._thread = threading.Thread(
            target=run_loop_and_close_connections, name=self.provider.protocol, daemon=True
        )
        self._thread.start()
        return loop

    @cached_property
    def _connected_api(self) -> Any:
        """Return what calls use; the first access opens it and the HTTP client.

        Keeps the key out of the logs of libraries.

        Raises:
            ConfigurationError: The base URL, a certificate file or a proxy cannot be used.
        """
        base_url = self._require_base_url()
        self._http_client, ssl_context = self._make_http_client()
        keep_out_of_logs(self.key.reveal())
        return self._connect(base_url, ssl_context)

    def _connect(self, base_url: str, ssl_context: "ssl.SSLContext") -> Any:
        """Return what calls use on the HTTP client: an SDK, or the HTTP client itself."""
        del base_url, ssl_context
        return self._http_client

    def _convert_error(self, error: Exception, *, action: str, timeout_s: float) -> AskrowsError:
        """Return our error for an exception of the HTTP client, the network or a parser."""
        if isinstance(error, AskrowsError):
            return error
        return convert_connection_error_or_reraise(
            error,
            provider=self.provider.name,
            action=action,
            api_key=self.key.reveal(),
            address=str(self.address),
            timeout_s=timeout_s,
        )

    async def _record_body_and_check_response(self, response: httpx2.Response) -> None:
        """Record the body of a reply in the running call, except that of a download.

        Raises:
            UnreadableReplyError: The body is longer than MAX_REPLY_BYTES according to its header.
        """
        call = running_call.get()
        if call.is_download and response.status_code == HTTPStatus.OK:
            return
        if int(response.headers.get("content-length", 0)) > MAX_REPLY_BYTES:
            raise UnreadableReplyError(f"the reply is longer than {MAX_REPLY_BYTES:,} bytes")
        call.body = await response.aread()

    def _require_base_url(self) -> str:
        """Return the base URL; raise ConfigurationError if it is not an HTTP address of a host.

        An address with a blank is refused, too.
        """
        base_url = self.address.reveal()
        parsed_url = httpx2.URL()
        with contextlib.suppress(httpx2.InvalidURL):
            parsed_url = httpx2.URL(base_url)

        is_http = parsed_url.scheme in {"http", "https"}
        if not is_http or not parsed_url.host or re.search(r"\s", base_url):
            raise ConfigurationError(
                f"{self.address} is not the address of a server",
                hint=f"{self.provider.address_variable} must begin with http:// or https://",
            )
        return base_url

    def _make_http_client(self) -> "tuple[httpx2.AsyncClient, ssl.SSLContext]":
        """Create the HTTP client, with a hook that records each reply, and its SSL context.

        Raises:
            ConfigurationError: A certificate file or a proxy of the environment cannot be used.
        """
        try:
            ssl_context = httpx2.create_ssl_context(trust_env=self.trust_env)
            # A call has a time-out as a whole.
            http_client = httpx2.AsyncClient(
                verify=ssl_context,
                trust_env=self.trust_env,
                timeout=None,
                limits=httpx2.Limits(
                    max_connections=MAX_CONNECTIONS,
                    max_keepalive_connections=MAX_CONNECTIONS,
                ),
                event_hooks={
                    "request": [_add_connect_timeout_and_send_hook],
                    "response": [self._record_body_and_check_response],
                },
            )
        # An error of the SSL library, which does not name the file.
        except OSError as error:
            raise ConfigurationError(
                "the certificates in SSL_CERT_FILE or SSL_CERT_DIR cannot be read: "
                f"{error.strerror}",
                hint="set SSL_CERT_FILE to a file and SSL_CERT_DIR to a folder, or unset both",
            ) from error
        except (ImportError, ValueError, httpx2.InvalidURL) as error:
            raise ConfigurationError(
                "the proxy in the environment cannot be used: its address is invalid, or it is a "
                "SOCKS proxy",
                hint="set HTTPS_PROXY to an http:// address, "
                "or unset ALL_PROXY, HTTP_PROXY and HTTPS_PROXY",
            ) from error
        return http_client, ssl_context


async def _add_connect_timeout_and_send_hook(request: httpx2.Request) -> None:
    """Shorten the time-out for making a connection, and let the request call `on_send`.

    A slow reply keeps the time-out of its call.
    """
    timeouts = request.extensions["timeout"]
    timeouts["connect"] = min(timeouts["connect"] or CONNECT_TIMEOUT_S, CONNECT_TIMEOUT_S)
    on_send = running_call.get().on_send
    if on_send is None:
        return

    async def trace(event_name: str, details: Mapping[str, Any]) -> None:
        """Call `on_send` when the request itself is sent, not the request to a proxy before it."""
        is_start = event_name.endswith("send_request_headers.started")
        if is_start and details["request"].method != b"CONNECT":
            on_send()

    request.extensions["trace"] = trace


def wrap_gzip_stream(response: httpx2.Response) -> GzipStream | None:
    """Watch the body of a download, if it arrives gzipped, so that its length can be checked.

    The body is not read here. Its stream is replaced by the returned stream. Returns None if the
    body is not gzipped.
    """
    encoding = response.headers.get("content-encoding", "")
    if encoding.strip().lower() != "gzip":
        return None
    gzip_stream = GzipStream(response.stream)
    response.stream = gzip_stream
    return gzip_stream


def extend_running_call_timeout(byte_count: int) -> None:
    """Add the seconds to the running call that bytes take at MIN_TRANSFER_BYTES_PER_S."""
    timeout = running_call.get().timeout
    extra_s = byte_count / MIN_TRANSFER_BYTES_PER_S
    timeout.reschedule((timeout.when() or 0.0) + extra_s)
