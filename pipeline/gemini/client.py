"""The one client of Gemini's API, on the official SDK: every call bounded in time, every failure one of our errors.

What a newcomer would get wrong: creating a batch is not idempotent and takes no key of ours, so `create_batch` makes
exactly one attempt and says honestly when it cannot know what became of it. Everything else is repeated here, by our
own loop, because the SDK's ignores what the server asks for and would repeat a create too; its retries are off.

The SDK drops half of what the API says of a batch. A response hook, a public way of its HTTP library, keeps the bytes
of the last reply of this thread; a download passes by unread. Keys never reach a message: errors carry our own words,
with Google's quoted and cleaned, and are raised without the SDK's error behind them, whose text may echo the request.

The module is long because no other may import the SDK, its HTTP library or tenacity; all that needs none of them
stands beside it, in `operations`, `refusals`, `transfers` and `embeddings`.
"""

import contextlib
import math
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2
import orjson
import tenacity

from pipeline.discretion import keep_out_of_logs, redact, redact_document
from pipeline.errors import (
    ConfigurationError,
    FindableError,
    InconsistentError,
    MissingError,
    NotSentError,
    RefusedError,
    ThrottledError,
    UnavailableError,
)
from pipeline.gemini import catalogue
from pipeline.gemini.embeddings import framed, task_type, unit_rows
from pipeline.gemini.limits import LIST_PAGE_SIZE, MAX_EMBED_TEXTS
from pipeline.gemini.operations import (
    BATCH_NAME,
    FILE_NAME,
    RemoteBatch,
    RemoteFile,
    UnreadableError,
    read_files,
    read_models,
    read_operation,
    read_page,
)
from pipeline.gemini.refusals import refusal
from pipeline.gemini.transfers import Part, check_arrived, file_in
from pipeline.settings import without_password

if TYPE_CHECKING:
    import numpy as np
    from google import genai
    from google.genai import types

__all__ = ["Client", "RemoteBatch", "RemoteFile", "Upload"]

GOOGLE = "https://generativelanguage.googleapis.com/"
MIME_TYPES = ("jsonl", "application/jsonl", "application/json", "text/plain")  # live refusals differ (2025-10)
LONGEST_BACKOFF_S = 60.0  # ours: our own waits grow no further; the server may ask for more
LEAST_ATTEMPTS = 3  # ours: calls that fail slowly are still tried so often, whatever the time they took
LEAST_RATE = 64 * 1024  # ours: bytes a second below which a reply that never ends is given up
MOST_REPLY = 256 * 1024 * 1024  # ours: bytes of an answer that is no file; a hundred vectors have about 4 MB
MOST_EMPTY_PAGES = 20  # ours: in a row; an empty page may name itself as the next one, once or twice
MOST_PAGES = 1000  # ours: of a list of files or models
FILE_PAGE_SIZE = 100  # the API's most (Files API, read 2026-11)
MODEL_PAGE_SIZE = 1000  # the API's most (models.list, read 2026-11)
LOOK_EVERY_S = 2.0  # ours: between two looks at an upload that is being processed

T = TypeVar("T")


@dataclass(frozen=True)
class Upload:
    """An upload that is whole at the API: its name there (`files/…`) and its size in bytes."""

    name: str
    size: int


class Client:
    """Speaks to one base URL with one key. Usable from several threads; `close` it at the end."""

    def __init__(
        self,
        *,
        api_key: str,
        base_url: str | None = None,
        api_version: str = "v1beta",
        create_timeout_s: float = 60,
        call_timeout_s: float = 60,
        transfer_timeout_s: float = 600,
        retry_for_s: float = 60,
        first_wait_s: float = 1.0,
        trust_env: bool = True,
        mime_types: Sequence[str] = MIME_TYPES,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Keep how to connect; nothing is opened or imported before the first call.

        Nothing is read from the environment but, with `trust_env`, proxies and certificates. Time-outs are seconds
        without any sign of life; `retry_for_s` bounds the waits of one operation together.

        Raises:
            ConfigurationError: the key is empty or holds what no HTTP header can.
        """
        self._key = api_key.strip()
        if not self._key or not (self._key.isascii() and self._key.isprintable()):
            raise ConfigurationError(
                "the Gemini key is empty or holds characters no key has", hint="set GEMINI_API_KEY"
            )
        self._base_url = base_url or GOOGLE
        self._api_version = api_version
        self._create_timeout_s = create_timeout_s
        self._call_timeout_s = call_timeout_s
        self._transfer_timeout_s = transfer_timeout_s
        self._retry_for_s = retry_for_s
        self._backoff = tenacity.wait_random_exponential(multiplier=first_wait_s, max=LONGEST_BACKOFF_S)
        self._trust_env = trust_env
        self._mime_types = tuple(mime_types)
        self._sleep = sleep
        self._now = now
        self._seen = threading.local()
        self._opened = threading.Lock()

    def upload(self, path: Path, *, display_name: str, sha256: str, size: int) -> Upload:
        """Upload a sealed file and return it when it is ACTIVE and the API has all of its bytes.

        The size must agree, and the hash (hex) where the API tells one. A failure anywhere begins again from byte 0
        with a new upload; what a failed one left is deleted as well as can be. A refused MIME type tries the next.

        Raises:
            InconsistentError: the file here has not the size it was sealed with; nothing was sent.
            RefusedError: refused, with every MIME type where that was the reason.
            UnavailableError, NotSentError: no whole upload within the bound.
        """
        if not path.is_file() or path.stat().st_size != size:
            raise InconsistentError(f"{path} is not there with the {size} bytes it was sealed with", hint=_DOCTOR)
        for mime_type in self._mime_types[:-1]:
            try:
                return self._upload_as(mime_type, path, display_name=display_name, sha256=sha256, size=size)
            except RefusedError as refused:
                if "mime type" not in refused.message.lower():
                    raise
        return self._upload_as(self._mime_types[-1], path, display_name=display_name, sha256=sha256, size=size)

    def delete_upload(self, name: str) -> None:
        """Delete an upload; one that is gone or not ours any more (403, 404) counts as deleted."""
        _check_name(name, FILE_NAME, "file")
        with contextlib.suppress(MissingError):
            self._patiently(lambda sdk: sdk.files.delete(name=name, config=self._options()), what=f"delete {name}")

    def create_batch(self, model: str, *, file_name: str, display_name: str) -> RemoteBatch:
        """Create a batch with exactly one attempt, and return what the API says of it.

        Raises:
            RefusedError: a clear no (4xx other than 408, 409, 499); no batch was made. Its kinds say why.
            NotSentError: no connection was made; no batch was made.
            UnavailableError: unclear (5xx, 408, 409, 499, time-out, cut connection, an answer without a batch's name
                or with another display name): a batch may exist. Look for the display name before anything else.
        """
        _check_name(file_name, FILE_NAME, "file")
        seconds = self._create_timeout_s

        def create(sdk: "genai.Client") -> RemoteBatch:
            """Send the call once and read the raw operation."""
            config: Any = {"display_name": display_name, **self._options(seconds)}
            sdk.batches.create(model=model, src=file_name, config=config)
            document = self._document()
            made = read_operation(document)
            inside = document.get("metadata")
            if made.display_name not in {"", display_name}:
                raise UnreadableError("the answer is about another batch")
            if isinstance(inside, dict) and inside.get("name", made.name) != made.name:
                raise UnreadableError("the answer names two batches")  # the list tells which is ours
            return made

        return self._once(create, what=f"create batch {display_name}", seconds=seconds)

    def get_batch(self, name: str) -> RemoteBatch:
        """Return what the API says of one batch now.

        Raises:
            MissingError: it was deleted, or belongs to another project. Not proof that it never ran.
        """
        _check_name(name, BATCH_NAME, "batch")

        def look(sdk: "genai.Client") -> RemoteBatch:
            """Ask once and read the raw operation."""
            sdk.batches.get(name=name, config=self._options())
            batch = read_operation(self._document())
            if batch.name != name:
                raise UnreadableError("the answer is about another batch")
            return batch

        return self._patiently(look, what=f"read {name}")

    def list_batches(self) -> list[RemoteBatch]:
        """Return every batch the API lists, in its order (newest first), or raise; never a part of the list.

        Pages are fetched one by one, each with its own retries. An empty page that names a next one is passed over.

        Raises:
            UnavailableError: a page could not be had within the bound, or the pages go in a circle.
        """
        batches: list[RemoteBatch] = []
        token, read, empty = "", set[str](), 0
        while True:
            page, following = self._page(token)
            batches += page
            if page:
                read.add(token)
            empty = 0 if page else empty + 1
            if not following:
                return batches
            if following in read or empty > MOST_EMPTY_PAGES:
                raise UnavailableError("the list of batches does not end: a page leads back to an earlier one")
            token = following

    def list_files(self) -> list[RemoteFile]:
        """Return every file the API keeps for this key, uploads and results, page by page.

        Raises:
            UnavailableError: a page could not be had within the bound, or the pages do not end.
        """

        def look(sdk: "genai.Client", config: Any) -> tuple[list[RemoteFile], str]:
            """Fetch one page once."""
            sdk.files.list(config=config)
            return read_files(self._document())

        return self._everything(look, what="list the files", page_size=FILE_PAGE_SIZE)

    def list_models(self) -> list[str]:
        """Return the names of the models that this key can reach, without `models/`.

        Raises:
            UnavailableError: a page could not be had within the bound, or the pages do not end.
        """

        def look(sdk: "genai.Client", config: Any) -> tuple[list[str], str]:
            """Fetch one page once."""
            sdk.models.list(config=config)
            return read_models(self._document())

        return self._everything(look, what="list the models", page_size=MODEL_PAGE_SIZE)

    def cancel_batch(self, name: str) -> None:
        """Ask the API to stop a batch; it may still end otherwise, so look at it afterwards.

        Raises:
            MissingError: it is not there, or not ours.
        """
        _check_name(name, BATCH_NAME, "batch")

        def cancel(sdk: "genai.Client") -> None:
            """Ask once, and take no page for a yes."""
            sdk.batches.cancel(name=name, config=self._options())
            self._check_done()

        self._patiently(cancel, what=f"cancel {name}")

    def delete_batch(self, name: str) -> None:
        """Delete a batch at the API; one that is gone (403, 404) counts as deleted."""
        _check_name(name, BATCH_NAME, "batch")
        with contextlib.suppress(MissingError):
            self._patiently(lambda sdk: sdk.batches.delete(name=name, config=self._options()), what=f"delete {name}")

    def download(self, file_name: str, part: Path) -> int:
        """Write a result file to `part` at flat memory and return its size in bytes; nothing is synced here.

        By name only: a URI would be cut at the dash by the SDK, and `files.get` refuses names of results. Each retry
        writes the file from its start. A cut body without a length looks whole, so count its lines afterwards. When
        this raises, no `part` is left.

        Raises:
            ConfigurationError: `part` cannot be written, the disk is full for instance.
            MissingError: the result is not there any more.
        """
        _check_name(file_name, FILE_NAME, "file")
        seconds = self._transfer_timeout_s

        def fetch(sdk: "genai.Client") -> int:
            """Stream the file once."""
            with Part(part) as target:
                destination: Any = target  # the SDK takes anything with a write method
                sdk.files.download(file=file_name, destination=destination, config=self._options(seconds))
                return target.size

        try:
            return self._patiently(fetch, what=f"download {file_name}", seconds=seconds)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def generate(self, model: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Ask one live question with the request object of a batch line, and return the raw reply document.

        Raises:
            ThrottledError: a quota; a daily one is not waited for.
        """
        seconds = self._transfer_timeout_s

        def ask(sdk: "genai.Client") -> dict[str, Any]:
            """Send the request once and read the raw reply."""
            contents, config = _live(request, self._options(seconds))
            sdk.models.generate_content(model=model, contents=contents, config=config)
            document = self._document()
            if not isinstance(document, dict) or not document:
                raise UnreadableError("the answer is no JSON object")
            return document

        return self._patiently(ask, what=f"ask {model}", seconds=seconds)

    def embed(
        self, model: "catalogue.Model | str", texts: Sequence[str], *, dim: int, query: bool
    ) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
        """Return float32 (len(texts), dim) with rows of unit length, in the order of `texts`; at most 100 texts.

        Each text is a content of its own. A task type is sent for `gemini-embedding-001` and the local models; for
        `gemini-embedding-2` the task stands in the text: `task: search result | query: …` for a query, and
        `title: none | text: …` for a document.

        Raises:
            ValueError: no text, more than 100, or a blank one.
            UnavailableError: the vectors do not fit the texts, however often they were asked for.
        """
        if not 0 < len(texts) <= MAX_EMBED_TEXTS or not all(text.strip() for text in texts):
            raise ValueError(f"one call embeds 1 to {MAX_EMBED_TEXTS} texts that are not blank, not {len(texts)}")
        known = catalogue.known(model) if isinstance(model, str) else model
        seconds = self._transfer_timeout_s

        def ask(sdk: "genai.Client") -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
            """Send the texts once and check what comes back."""
            contents, config = _embedding(known, texts, dim=dim, query=query, options=self._options(seconds))
            reply = sdk.models.embed_content(model=known.name, contents=contents, config=config)
            vectors = [embedding.values for embedding in reply.embeddings or ()]
            return unit_rows(vectors, count=len(texts), dim=dim)

        return self._patiently(ask, what=f"embed {len(texts)} texts with {known.name}", seconds=seconds)

    def close(self) -> None:
        """Close the connections; closing twice does no harm."""
        opened = self.__dict__.pop("_sdk", None)
        if opened is not None:
            opened.close()
            self._http.close()

    @cached_property
    def _sdk(self) -> "genai.Client":
        """The SDK's client, made at the first call: explicit in all that it would read from the environment."""
        from google import genai
        from google.genai import types

        keep_out_of_logs(self._key)
        self._http = self._opened_http()
        options = types.HttpOptions(
            base_url=self._base_url,
            api_version=self._api_version,
            timeout=_milliseconds(self._call_timeout_s),
            retry_options=types.HttpRetryOptions(attempts=1),
            httpx_client=self._http,
            httpx_async_client=httpx2.AsyncClient(trust_env=False),  # never used; or the SDK makes one with the proxies
        )
        return genai.Client(api_key=self._key, vertexai=False, http_options=options)

    def _opened_http(self) -> httpx2.Client:
        """Return the connections the SDK uses, through the environment's proxies where we may.

        Raises:
            ConfigurationError: a proxy there is none, or of a kind that needs a package which is not installed.
        """
        try:
            hooks: dict[str, list[Callable[..., Any]]] = {"request": [self._watch], "response": [self._keep]}
            return httpx2.Client(event_hooks=hooks, trust_env=self._trust_env)
        except (ImportError, ValueError, httpx2.InvalidURL) as error:
            raise ConfigurationError(
                "the proxy that the environment names cannot be used (no address, or SOCKS)",
                hint="set HTTPS_PROXY to an http:// address, or unset ALL_PROXY, HTTP_PROXY and HTTPS_PROXY",
            ) from error

    def _upload_as(self, mime_type: str, path: Path, *, display_name: str, sha256: str, size: int) -> Upload:
        """Upload with one MIME type, from the start again after each failure, within the bound."""
        seconds = self._transfer_timeout_s

        def send(sdk: "genai.Client") -> Upload:
            """Upload once, wait until it is ACTIVE, and hold it against the file here."""
            config: Any = {"display_name": display_name, "mime_type": mime_type, **self._options(seconds)}
            file: dict[str, Any] | None = None
            try:
                self._send_file(sdk, path, config)
                file = file_in(self._document())
                check_arrived(self._active(sdk, file), sha256=sha256, size=size)
            except Exception:
                self._delete_orphan(file)
                raise
            return Upload(file["name"], size)

        return self._patiently(send, what=f"upload {path.name}", seconds=seconds)

    def _send_file(self, sdk: "genai.Client", path: Path, config: Any) -> None:
        """Send the file once; a refusal that hides in a 200 (as a missing `file`) is raised as what it is."""
        try:
            sdk.files.upload(file=path, config=config)
        except KeyError:
            document = self._document()
            error = document.get("error") if isinstance(document, dict) else None
            if not isinstance(error, dict) or not isinstance(error.get("code"), int):
                raise
            raise self._refusal(error["code"], document, what=f"upload {path.name}") from None

    def _delete_orphan(self, file: dict[str, Any] | None) -> None:
        """Delete what a failed upload left, when it is known and as well as can be; Google does it after two days."""
        with contextlib.suppress(FindableError, ValueError):
            name = (file or file_in(self._document()))["name"]
            self._once(lambda sdk: sdk.files.delete(name=name), what=f"delete {name}")

    def _active(self, sdk: "genai.Client", file: dict[str, Any]) -> dict[str, Any]:
        """Return the file resource when it is ACTIVE, looking again while it is being processed.

        A server that tells no state has nothing to process: its size and hash decide.
        """
        waited = 0.0
        while file.get("state") == "PROCESSING" and waited < self._transfer_timeout_s:
            self._sleep(LOOK_EVERY_S)
            waited += LOOK_EVERY_S
            name = file["name"]
            sdk.files.get(name=name, config=self._options())
            file = file_in({"file": self._document()})
        if file.get("state", "ACTIVE") not in ("ACTIVE", "STATE_UNSPECIFIED"):
            raise UnreadableError(f"the upload is {file.get('state')!r} and not ACTIVE")
        return file

    def _page(self, token: str) -> tuple[list[RemoteBatch], str]:
        """Return one page of the list and the token of the next, with retries of its own."""

        def look(sdk: "genai.Client") -> tuple[list[RemoteBatch], str]:
            """Fetch the page once, always with a page size."""
            config: Any = {"page_size": LIST_PAGE_SIZE, **({"page_token": token} if token else {}), **self._options()}
            sdk.batches.list(config=config)
            return read_page(self._document())

        return self._patiently(look, what="list the batches")

    def _everything(
        self, look: "Callable[[genai.Client, Any], tuple[list[T], str]]", *, what: str, page_size: int
    ) -> list[T]:
        """Return what stands on all pages of a list, each fetched with its own retries; never a part of it.

        Raises:
            UnavailableError: a page leads back to an earlier one, or there are more than any list has.
        """
        found: list[T] = []
        tokens = [""]
        while True:
            config = {"page_size": page_size, **({"page_token": tokens[-1]} if tokens[-1] else {}), **self._options()}
            page, following = self._one_page(look, config, what=what)
            found += page
            if not following:
                return found
            if following in tokens or len(tokens) >= MOST_PAGES:
                raise UnavailableError(f"the pages do not end, when asked to {what}")
            tokens.append(following)

    def _one_page(
        self, look: "Callable[[genai.Client, Any], tuple[list[T], str]]", config: Any, *, what: str
    ) -> tuple[list[T], str]:
        """Return one page and the token of the next."""
        return self._patiently(lambda sdk: look(sdk, config), what=what)

    def _patiently(self, do: "Callable[[genai.Client], T]", *, what: str, seconds: float | None = None) -> T:
        """Do something that may be done twice, until it works, is refused for good, or the bound is reached."""
        retrying = tenacity.Retrying(
            sleep=self._sleep,
            retry=tenacity.retry_if_exception(_may_pass),
            wait=self._wait,
            stop=self._enough,
            reraise=True,
        )
        return retrying(lambda: self._once(do, what=what, seconds=seconds or self._call_timeout_s))

    def _wait(self, state: tenacity.RetryCallState) -> float:
        """Return the longer of our own jittered backoff and what the server asks for, in seconds."""
        error = state.outcome.exception() if state.outcome else None
        return max(self._backoff(state), getattr(error, "retry_after_s", None) or 0.0)

    def _enough(self, state: tenacity.RetryCallState) -> bool:
        """Return whether the next wait would go beyond the bound; slow failures get three attempts all the same."""
        if state.idle_for + state.upcoming_sleep > self._retry_for_s:
            return True
        return state.attempt_number >= LEAST_ATTEMPTS and (state.seconds_since_start or 0.0) > self._retry_for_s

    def _once(self, do: "Callable[[genai.Client], T]", *, what: str, seconds: float = 0.0) -> T:
        """Do one attempt and turn whatever goes wrong into one of our errors, without the SDK's behind it."""
        from google.genai import errors

        # the SDK warns of words it does not know, and they are no news to a user; ours are told apart in states.py
        warnings.filterwarnings("ignore", r".* is not a valid \w+$", UserWarning, r"google\.genai\._common$")
        self._seen.body = b""
        self._seen.head_until = math.inf
        self._seen.seconds = seconds or self._call_timeout_s
        sdk = self._opened_sdk()
        try:
            return do(sdk)
        except errors.APIError as error:
            headers = getattr(error.response, "headers", None)
            raise self._refusal(error.code, error.details, what=what, headers=headers) from None
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            raise self._broken(error, what=what) from None
        except (ValueError, LookupError, TypeError, AttributeError, OSError, RecursionError) as error:
            text = redact(" ".join(f"{type(error).__name__}: {error}".split()), self._key)[:200]
            message = f"Gemini's answer cannot be read, when asked to {what}: {text}"
            raise UnavailableError(message, hint=_LATER) from None

    def _opened_sdk(self) -> "genai.Client":
        """Return the SDK's client; one of several threads makes it.

        Raises:
            ConfigurationError: the base URL is none, or a proxy or certificates cannot be used.
        """
        with self._opened:
            if not _is_address(self._base_url):
                raise self._no_address()
            try:
                return self._sdk
            except OSError as error:  # of the SSL library, which does not say which file
                raise ConfigurationError(
                    f"the certificates that the environment names cannot be read: {error.strerror}",
                    hint="set SSL_CERT_FILE and SSL_CERT_DIR to what is there, or unset them",
                ) from error

    def _no_address(self) -> ConfigurationError:
        """Return the error for a base URL that is none."""
        return ConfigurationError(f"{without_password(self._base_url)!r} is no address of a server", hint=_ADDRESS)

    def _refusal(
        self, code: int, document: Any, *, what: str, headers: Mapping[str, str] | None = None
    ) -> FindableError:
        """Return the error for a code and a body."""
        return refusal(code, document, what=what, key=self._key, now=self._now(), headers=headers)

    def _broken(self, error: Exception, *, what: str) -> FindableError:
        """Return the error for a failure of the transport: nothing sent, no answer in time, or cut."""
        if isinstance(error, httpx2.UnsupportedProtocol | httpx2.InvalidURL):
            return self._no_address()
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout | httpx2.ProxyError):
            reason = redact(" ".join(str(error).split()), self._key)[:200]
            text = f"cannot connect to {without_password(self._base_url)} to {what}; nothing was sent"
            return NotSentError(f"{text} ({reason})" if reason else text, hint="check the network, then run it again")
        if isinstance(error, httpx2.TimeoutException):
            return UnavailableError(f"no answer within {self._seen.seconds:g} s, when asked to {what}", hint=_LATER)
        text = f"the connection broke ({type(error).__name__}), when Gemini was asked to {what}"
        return UnavailableError(text, hint=_LATER)

    def _watch(self, request: httpx2.Request) -> None:
        """Have the connection tell how far a request is: the HTTP library's time-outs are those of a single read."""
        request.extensions["trace"] = self._trace

    def _trace(self, event: str, facts: Mapping[str, Any]) -> None:
        """Bound the wait for the head of a reply as a whole: byte by byte it could go on for ever."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._bound_reads(facts["return_value"])
        elif event.endswith(".receive_response_headers.started"):
            self._seen.head_until = time.monotonic() + self._seen.seconds
        elif event.endswith(".receive_response_headers.complete"):
            self._seen.head_until = math.inf

    def _bound_reads(self, stream: Any) -> None:
        """Let no read of a new connection go on beyond the moment at which the head of a reply must be here."""
        read = stream.read

        def bounded(max_bytes: int, timeout: float | None = None) -> bytes:
            """Read what there is, within the time-out and the time that is left."""
            left = self._seen.head_until - time.monotonic()
            if left <= 0:
                raise httpx2.ReadTimeout("the head of the reply comes too slowly to end")
            data: bytes = read(max_bytes, left if timeout is None else min(timeout, left))
            return data

        stream.read = bounded

    def _keep(self, response: httpx2.Response) -> None:
        """Keep the bytes of a reply that is not a download, and stop an upload at the first piece that went wrong."""
        is_download = response.request.url.path.endswith(":download")
        if isinstance(response.stream, httpx2.SyncByteStream):
            most = math.inf if is_download else MOST_REPLY
            response.stream = _Paced(response.stream, response.request, seconds=self._seen.seconds, most=most)
        if is_download:
            return
        self._seen.body = response.read()
        if response.request.headers.get("x-goog-upload-command", "").startswith("upload"):
            _check_piece(response)

    def _document(self) -> Any:
        """Return the JSON of this thread's last reply, without the key should the server have echoed it.

        Raises:
            ValueError: the reply was empty or no JSON.
        """
        return orjson.loads(redact_document(self._seen.body, self._key))

    def _check_done(self) -> None:
        """Refuse the answer of somebody in between to a call whose own answer says nothing.

        Raises:
            ValueError: it is no JSON; an empty one is as good as `{}`.
        """
        if self._seen.body.strip():
            self._document()

    def _options(self, seconds: float | None = None) -> Any:
        """Return the time-out of one call as the SDK's config, whose type differs from call to call."""
        return {"http_options": {"timeout": _milliseconds(seconds or self._call_timeout_s)}}


class _Paced(httpx2.SyncByteStream):
    """A body that must go on, with at most `most` bytes: an end within the time-out, or 64 KiB a second beyond it."""

    def __init__(self, stream: httpx2.SyncByteStream, request: httpx2.Request, *, seconds: float, most: float) -> None:
        """Begin to count now, when the head of the reply is here."""
        self._stream = stream
        self._request = request
        self._seconds = seconds
        self._most = most
        self._began = time.monotonic()

    def __iter__(self) -> Iterator[bytes]:
        """Yield the pieces of the body, or stop with a time-out when they come too slowly.

        Raises:
            UnreadableError: there are more bytes than any answer has that is kept in memory.
        """
        received = 0
        for piece in self._stream:
            received += len(piece)
            if time.monotonic() - self._began > self._seconds + received / LEAST_RATE:
                raise httpx2.ReadTimeout("the reply comes too slowly to end", request=self._request)
            if received > self._most:
                raise UnreadableError("the answer does not end")
            yield piece

    def close(self) -> None:
        """Close the connection's side of it."""
        self._stream.close()


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


def _live(request: Mapping[str, Any], options: dict[str, Any]) -> "tuple[list[Any], types.GenerateContentConfig]":
    """Return contents and config of the SDK that put exactly this request object on the wire."""
    from google.genai import types

    contents = [types.Content.model_validate_json(orjson.dumps(content)) for content in request["contents"]]
    fields = {name: value for name, value in request.items() if name not in {"contents", "generationConfig"}}
    settings = dict(request.get("generationConfig") or {})
    schema = settings.pop("responseSchema", None)
    config = types.GenerateContentConfig.model_validate_json(orjson.dumps({**settings, **fields}))
    config.http_options = types.HttpOptions.model_validate(options["http_options"])
    config.automatic_continuation = False  # one call, one reply
    if schema is not None:
        config.response_schema = types.Schema.model_validate_json(orjson.dumps(schema))
    return contents, config


def _embedding(
    model: catalogue.Model, texts: Sequence[str], *, dim: int, query: bool, options: dict[str, Any]
) -> "tuple[list[Any], types.EmbedContentConfig]":
    """Return contents and config for an embedding call: one content per text."""
    from google.genai import types

    contents = [types.Content(role="user", parts=[types.Part(text=framed(text, model, query=query))]) for text in texts]
    config = types.EmbedContentConfig(
        output_dimensionality=dim,
        task_type=task_type(model, query=query),
        http_options=types.HttpOptions.model_validate(options["http_options"]),
    )
    return contents, config


def _may_pass(error: BaseException) -> bool:
    """Return whether asking again within the bound can help; a daily quota cannot pass."""
    if isinstance(error, ThrottledError):
        return error.resets_at is None
    return isinstance(error, UnavailableError | NotSentError)


def _check_name(name: str, form: Any, what: str) -> None:
    """Refuse a name that could never be one, before anything is sent."""
    if not form.fullmatch(name):
        raise InconsistentError(f"{name!r} is no name of a {what} at Gemini", hint=_DOCTOR)


def _is_address(text: str) -> bool:
    """Return whether a base URL can be one: http or https, and a host."""
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL:
        return False
    return url.scheme in {"http", "https"} and bool(url.host) and re.search(r"\s", text) is None


def _milliseconds(seconds: float) -> int:
    """Return whole milliseconds, at least one."""
    return max(1, math.ceil(seconds * 1000))


_LATER = "nothing here was changed; run the same command again later"
_DOCTOR = "run `make doctor`"
_ADDRESS = "GOOGLE_GEMINI_BASE_URL must begin with http:// or https://"
