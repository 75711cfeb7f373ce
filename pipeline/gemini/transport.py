"""Make calls through the SDK's client: every call bounded in time, every failure one of our errors.

What a newcomer would get wrong: the SDK reads the environment, repeats creates, ignores what the server asks for, has
no time-out, and drops half of what the API says. So it is opened with everything explicit and its retries off:
`with_retries` repeats what may be done twice, and `attempt` makes one call alone. A hook, a public way of its HTTP
library, keeps the bytes of the last reply of this thread; a download passes by unread. Keys never reach a message:
errors carry our own words, with Google's quoted and cleaned, and are raised without the SDK's error behind them, whose
text may echo the request.
"""

import contextlib
import math
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import InitVar, dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2
import orjson
import tenacity

from pipeline.core.errors import (
    ConfigurationError,
    FindableError,
    NotSentError,
    ThrottledError,
    UnavailableError,
    interrupts_kept,
)
from pipeline.core.redact import Secret, keep_out_of_logs, redact, redact_document
from pipeline.gemini.connections import bounded_async_client, bounded_client, is_address, untrusting_context
from pipeline.gemini.error_mapping import LATER, map_error
from pipeline.gemini.operations import UnreadableError

if TYPE_CHECKING:
    from google import genai


GOOGLE = "https://generativelanguage.googleapis.com/"
API_VERSION = "v1beta"
LONGEST_BACKOFF_S = 60.0  # ours: our own waits grow no further; the server may ask for more
LEAST_ATTEMPTS = 3  # ours: calls that fail slowly are still tried so often, whatever the time they took
NOT_TYPED = (ValueError, LookupError, TypeError, AttributeError)  # what the SDK raises of a reply it has no types for

T = TypeVar("T")
Closing = Callable[[], Awaitable[None]]


@dataclass(kw_only=True, eq=False, repr=False)
class Transport:
    """The SDK's client with our bounds, our retries and our errors. Usable from several threads.

    Nothing is opened or imported before the first call. Nothing is read from the environment but, with `trust_env`,
    proxies and certificates. Time-outs are seconds without any sign of life; `retry_for_s` bounds the waits of one
    operation together.

    Raises:
        ConfigurationError: the key is empty or holds what no HTTP header can.
    """

    api_key: InitVar[str]
    base_url: InitVar[str | None] = None
    call_timeout_s: float = 60
    retry_for_s: float = 60
    first_wait_s: float = 1.0
    trust_env: bool = True
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def __post_init__(self, api_key: str, base_url: str | None) -> None:
        """Check the key."""
        key = api_key.strip()
        if not key or not (key.isascii() and key.isprintable()):
            raise ConfigurationError(
                "the Gemini key is empty or holds characters no key has", hint="set GEMINI_API_KEY"
            )
        self._key, self._address = Secret(key), Secret.url(base_url or GOOGLE)
        self._backoff = tenacity.wait_random_exponential(multiplier=self.first_wait_s, max=LONGEST_BACKOFF_S)
        self._seen = threading.local()
        self._opened = threading.Lock()

    def close(self) -> None:
        """Close the connections; closing twice does no harm."""
        opened = self.__dict__.pop("_sdk", None)
        if opened is not None:
            opened.close()
            self._http.close()

    def with_retries(
        self,
        do: "Callable[[genai.Client], T]",
        *,
        what: str,
        seconds: float | None = None,
        at_once: tuple[type[BaseException], ...] = (),
    ) -> T:
        """Do something that may be done twice, until it works, is refused for good, or the bound is reached.

        What is to be raised `at_once` is not waited for.
        """
        retrying = tenacity.Retrying(
            sleep=self.sleep,
            retry=tenacity.retry_if_exception(lambda error: _may_pass(error) and not isinstance(error, at_once)),
            wait=self._wait,
            stop=self._enough,
            reraise=True,
        )
        return retrying(lambda: self.attempt(do, what=what, seconds=seconds or self.call_timeout_s))

    def _wait(self, state: tenacity.RetryCallState) -> float:
        """Return the longer of our own jittered backoff and what the server asks for, in seconds."""
        error = state.outcome.exception() if state.outcome else None
        return max(self._backoff(state), getattr(error, "retry_after_s", None) or 0.0)

    def _enough(self, state: tenacity.RetryCallState) -> bool:
        """Return whether the next wait would go beyond the bound; slow failures get three attempts all the same."""
        if state.idle_for + state.upcoming_sleep > self.retry_for_s:
            return True
        return state.attempt_number >= LEAST_ATTEMPTS and (state.seconds_since_start or 0.0) > self.retry_for_s

    def attempt(self, do: "Callable[[genai.Client], T]", *, what: str, seconds: float = 0.0) -> T:
        """Do one attempt and turn whatever goes wrong into one of our errors, without the SDK's behind it."""
        self._seen.body = b""
        self._seen.seconds = seconds or self.call_timeout_s
        sdk = self.opened_sdk()
        try:
            with interrupts_kept():
                return do(sdk)
        except Exception as error:
            ours = self.translated(error, what=what, seconds=self._seen.seconds)
            if ours is None:
                raise
            raise ours from None

    def translated(self, error: Exception, *, what: str, seconds: float) -> FindableError | None:
        """Return our error for whatever went wrong in one attempt, or None where it is one already, or a bug."""
        from google.genai import errors

        if isinstance(error, errors.APIError):
            headers = getattr(error.response, "headers", None)
            return self.refused(error.code, error.details, what=what, headers=headers)
        if isinstance(error, httpx2.HTTPError | httpx2.InvalidURL | httpx2.StreamError):
            return self._broken(error, what=what, seconds=seconds)
        if isinstance(error, ValueError | LookupError | TypeError | AttributeError | OSError | RecursionError):
            text = redact(" ".join(f"{type(error).__name__}: {error}".split()), self._key.reveal())[:200]
            message = f"Gemini's answer cannot be read, when asked to {what}: {text}"
            return UnavailableError(message, hint=LATER)
        return None

    def opened_sdk(self) -> "genai.Client":
        """Return the SDK's client; one of several threads makes it.

        Raises:
            ConfigurationError: the base URL is none, or a proxy or certificates cannot be used.
        """
        with self._opened, self.opening():
            return self._sdk

    @contextlib.contextmanager
    def opening(self) -> "Iterator[None]":
        """Turn what goes wrong while connections are made ready into one of our errors.

        Raises:
            ConfigurationError: the base URL is none, or a proxy or certificates cannot be used.
        """
        if not is_address(self._address.reveal()):
            raise self._no_address()
        try:
            yield
        except OSError as error:  # of the SSL library, which does not say which file
            raise ConfigurationError(
                f"the certificates that the environment names cannot be read: {error.strerror}",
                hint="set SSL_CERT_FILE and SSL_CERT_DIR to what is there, or unset them",
            ) from error
        except (ImportError, ValueError, httpx2.InvalidURL) as error:
            raise ConfigurationError(
                "the proxy that the environment names cannot be used (no address, or SOCKS)",
                hint="set HTTPS_PROXY to an http:// address, or unset ALL_PROXY, HTTP_PROXY and HTTPS_PROXY",
            ) from error

    def _no_address(self) -> ConfigurationError:
        return ConfigurationError(f"{str(self._address)!r} is no address of a server", hint=_ADDRESS)

    def refused(
        self, code: int, document: Any, *, what: str, headers: Mapping[str, str] | None = None
    ) -> FindableError:
        """Return the error for a code and a body."""
        return map_error(code, document, what=what, key=self._key.reveal(), now=self.now(), headers=headers)

    def _broken(self, error: Exception, *, what: str, seconds: float) -> FindableError:
        """Return the error for a failure of the transport: nothing sent, no answer in time, or cut."""
        if isinstance(error, httpx2.UnsupportedProtocol | httpx2.InvalidURL):
            return self._no_address()
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout | httpx2.ProxyError):
            reason = redact(" ".join(str(error).split()), self._key.reveal())[:200]
            text = f"cannot connect to {self._address} to {what}; nothing was sent"
            return NotSentError(f"{text} ({reason})" if reason else text, hint="check the network, then run it again")
        if isinstance(error, httpx2.TimeoutException):
            return UnavailableError(f"no answer within {seconds:g} s, when asked to {what}", hint=LATER)
        text = f"the connection broke ({type(error).__name__}), when Gemini was asked to {what}"
        return UnavailableError(text, hint=LATER)

    def _keep(self, response: httpx2.Response) -> None:
        """Keep the bytes of a reply that is not a download, and stop an upload at the first piece that went wrong."""
        if response.request.url.path.endswith(":download"):
            return
        self._seen.body = response.read()
        if response.request.headers.get("x-goog-upload-command", "").startswith("upload"):
            _check_piece(response)

    def raw_document(self, call: Callable[[], object]) -> Any:
        """Make a call of the SDK and return the JSON of its reply, whose 200 the SDK may have no types for.

        One entry of a list, made by another program in the same project, is enough for that.

        Raises:
            ValueError: the reply was empty or no JSON.
        """
        self._seen.body = b""
        try:
            call()
        except NOT_TYPED:
            if not self._seen.body:
                raise
        return self.document()

    def document(self) -> Any:
        """Return the JSON of this thread's last reply, without the key should the server have echoed it.

        Raises:
            ValueError: the reply was empty or no JSON.
        """
        return self.read_document(self._seen.body)

    def check_done(self) -> None:
        """Refuse a page that a proxy gives in answer to a call whose own answer says nothing.

        Raises:
            ValueError: it is no JSON; an empty one is as good as `{}`.
        """
        if self._seen.body.strip():
            self.document()

    def options(self, seconds: float | None = None) -> Any:
        """Return the time-out of one call as the SDK's config, whose type differs from call to call."""
        return {"http_options": {"timeout": milliseconds(seconds or self.call_timeout_s)}}

    @cached_property
    def _sdk(self) -> "genai.Client":
        self._http = bounded_client(
            self._address.reveal(),
            seconds=lambda: self._seen.seconds,
            trust_env=self.trust_env,
            response_hook=self._keep,
        )
        # the async one is never used here; without it the SDK makes one of its own with the proxies
        return self.sdk_with(self._http, httpx2.AsyncClient(trust_env=False, verify=untrusting_context()))

    def sdk_with(self, http: httpx2.Client, async_http: httpx2.AsyncClient) -> "genai.Client":
        """Return an SDK client over these connections, explicit in all that it would read from the environment."""
        from google import genai
        from google.genai import types

        keep_out_of_logs(self._key.reveal())
        # the SDK warns of words it does not know, and they are no news to a user; ours are told apart in states.py
        warnings.filterwarnings("ignore", r".* is not a valid \w+$", UserWarning, r"google\.genai\._common$")
        options = types.HttpOptions(
            base_url=self._address.reveal(),
            api_version=API_VERSION,
            timeout=milliseconds(self.call_timeout_s),
            retry_options=types.HttpRetryOptions(attempts=1),
            httpx_client=http,
            httpx_async_client=async_http,
        )
        return genai.Client(api_key=self._key.reveal(), vertexai=False, http_options=options)

    def opened_async(self, hook: Callable[[httpx2.Response], Awaitable[None]]) -> "tuple[genai.Client, Closing]":
        """Return an SDK client for many calls at once, whose replies pass through `hook`, and how to close it.

        Raises:
            ConfigurationError: see `opening`.
        """
        with self._opened, self.opening():
            http = bounded_async_client(self._address.reveal(), trust_env=self.trust_env, response_hook=hook)
            unused = httpx2.Client(trust_env=False, verify=untrusting_context())
            sdk = self.sdk_with(unused, http)

        async def close() -> None:
            await http.aclose()
            unused.close()

        return sdk, close

    def read_document(self, body: bytes) -> Any:
        """Return the JSON of a reply, without the key should the server have echoed it.

        Raises:
            ValueError: the reply was empty or no JSON.
        """
        return orjson.loads(redact_document(body, self._key.reveal()))


def _check_piece(response: httpx2.Response) -> None:
    """Refuse the reply to one piece of an upload that the SDK would take for good, or would sleep on.

    It takes any status word for success, whatever the HTTP code, and then goes on without the piece that was lost.
    """
    from google.genai import errors

    errors.APIError.raise_for_response(response)
    word = response.headers.get("x-goog-upload-status")
    last = "finalize" in response.request.headers["x-goog-upload-command"]
    if word != ("final" if last else "active"):
        raise UnreadableError(f"a piece of the upload was answered with the status {word!r}")


def _may_pass(error: BaseException) -> bool:
    """Return whether asking again within the bound can help; a daily quota cannot pass."""
    if isinstance(error, ThrottledError):
        return error.resets_at is None
    return isinstance(error, UnavailableError | NotSentError)


def milliseconds(seconds: float) -> int:
    """Return whole milliseconds, at least one."""
    return max(1, math.ceil(seconds * 1000))


_ADDRESS = "GOOGLE_GEMINI_BASE_URL must begin with http:// or https://"
