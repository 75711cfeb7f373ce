"""The one client of Gemini's API: what can be asked of it, and what each answer must be to count.

What a newcomer would get wrong: creating a batch is not idempotent and takes no key of ours, so `create_batch` makes
exactly one attempt and says honestly when it cannot know what became of it; everything else may be repeated.

The SDK reads the environment, repeats creates, ignores what the server asks for, has no time-out, and drops half of
what the API says. So it is opened with everything explicit and its retries off; each call is bounded as a whole, and a
hook of its HTTP library keeps the bytes of its reply, which `remote` and `responses` read. All calls run in one event
loop in a thread of their own. Errors have our own words, and not the SDK's error behind them, which may echo the key.
"""

import asyncio
import contextlib
import math
import re
import threading
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextvars import ContextVar
from dataclasses import InitVar, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2
import orjson
import tenacity

from pipeline.core.command_hint import CommandHint, HintTemplate
from pipeline.core.errors import (
    ConfigurationError,
    FindableError,
    IncompleteError,
    InconsistentError,
    MissingError,
    NotSentError,
    ThrottledError,
    UnavailableError,
)
from pipeline.core.files import removed_on_error
from pipeline.core.redact import Secret, keep_out_of_logs, redact_document
from pipeline.core.settings import GOOGLE_URL
from pipeline.core.states import STANDARD, Mode
from pipeline.gemini import remote
from pipeline.gemini.embed import build_embedding_request, normalize_vectors
from pipeline.gemini.models import MAX_EMBED_TEXTS, Model
from pipeline.gemini.remote import (
    BATCH_NAME,
    FILE_NAME,
    LATER,
    UNREAD,
    RemoteBatch,
    UnreadableReplyError,
    failure,
    refusal,
)

if TYPE_CHECKING:
    from google import genai

    from pipeline.gemini.embed import Vectors


# Set explicitly, because the SDK's default was v1beta before 3.0 and is v1 since then.
API_VERSION = "v1beta"
MIME_TYPE = "jsonl"  # of an upload, as the Batch API guide has it (read 2026-11)
MOST_PAGES = 1_000  # ours: of a list, in which an empty page may name itself as the next one
PAGE = 100  # entries; of batches and files the API gives no more on one
MOST_CONNECTIONS = 100  # ours: more than there are ever calls at once
MOST_REPLY = (
    256 * 1024 * 1024
)  # ours: bytes of an answer that is no file; a hundred vectors have about 4 MB
TRANSFER_FACTOR = 10  # times as long as a call may take a transfer may take before its size counts
LEAST_RATE = 64 * 1024  # ours: bytes a second of a transfer, beyond that time
LOOK_EVERY_S = 2.0  # ours: between two looks at an upload that is being processed
# A call may take longer than its connection by this time, so that a missing connection is noticed.
CONNECT_S = 0.5
LONGEST_BACKOFF_S = 60.0  # ours: our own waits grow no further; the server may ask for more
# Longest duration of a flex call, which may take 1 to 15 minutes (pricing announcement of 2026-04).
FLEX_S = 900.0
# Our own choice: tries of a call that fails slowly, however long they take.
LEAST_ATTEMPTS = 3

T = TypeVar("T")


@dataclass
class _RunningCall:
    """The call that is under way: until when it may take, the bytes of its last reply, and the tier that served it.

    Of a download that comes gzipped it has the `gzip` stream in the place of the bytes.
    """

    bound: asyncio.Timeout
    body: bytes = b""
    tier: str = ""
    gzip: "_GzipStream | None" = None


class _GzipStream(httpx2.AsyncByteStream):
    """Passes a gzipped body on as it is, and keeps its end: the last four bytes are the length of what it unpacks to.

    The HTTP library takes a body that ends early for a whole one.
    """

    def __init__(self, body: Any) -> None:
        self._body = body
        self._tail = b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._body:
            self._tail = (self._tail + piece)[-4:]
            yield piece

    async def aclose(self) -> None:
        await self._body.aclose()

    def is_whole(self, size: int) -> bool:
        """Return whether an unpacked length of `size` bytes is the one that the gzip data end with."""
        return int.from_bytes(self._tail, "little") == size % 2**32


_under_way: ContextVar[_RunningCall] = ContextVar("findable_call")


@dataclass(kw_only=True, eq=False, repr=False)
class Client:
    """Speaks to one base URL with one key. Usable from several threads and event loops; `close` it at the end.

    Nothing is opened before the first call, nor read from the environment but, with `trust_env`, proxies and
    certificates. Time-outs are seconds for a whole call; `retry_for_s` bounds the waits of one operation together.
    """

    api_key: InitVar[str]
    base_url: InitVar[str | None] = None
    call_timeout_s: float = 60
    create_timeout_s: float = 60
    retry_for_s: float = 60
    first_wait_s: float = 1.0
    trust_env: bool = True
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def __post_init__(self, api_key: str, base_url: str | None) -> None:
        key = api_key.strip()
        if not key or not (key.isascii() and key.isprintable()):
            raise ConfigurationError(
                "the Gemini key is empty or holds characters no key has", hint="set GEMINI_API_KEY"
            )
        self._key = Secret(key)
        self._address = Secret.url(base_url or GOOGLE_URL)
        self._backoff = tenacity.wait_random_exponential(
            multiplier=self.first_wait_s, max=LONGEST_BACKOFF_S
        )
        self._opening = threading.Lock()

    def upload(self, path: Path, *, display_name: str, sha256: str, size: int) -> str:
        """Upload a sealed file; return its name there, `files/…`, when it is ACTIVE and the API has all of its bytes.

        The size must agree, and the hash (hex) where the API gives one. A failure anywhere begins again from byte 0
        with a new upload; what a failed one left is deleted as well as can be.
        """
        if not path.is_file() or path.stat().st_size != size:
            raise InconsistentError(
                f"{path} is not there with the {size} bytes it was sealed with", hint=_DOCTOR
            )
        what = f"upload {display_name}"

        async def send(sdk: "genai.Client") -> str:
            config: Any = {
                "display_name": display_name,
                "mime_type": MIME_TYPE,
                **_options(self._transfer_s),
            }
            try:
                document = await self._raw(sdk.aio.files.upload(file=path, config=config))
                file = await self._processed(sdk, document, what=what)
                remote.check_arrived(file, sha256=sha256, size=size)
            except Exception:
                await self._delete_orphan(sdk)
                raise
            return str(file["name"])

        return self._call(send, what=what, seconds=self._transfer_s + size / LEAST_RATE)

    async def _processed(self, sdk: "genai.Client", document: Any, *, what: str) -> dict[str, Any]:
        """Return the file of an upload's last reply when it is ACTIVE; without a state it is at once."""
        error = document.get("error") if isinstance(document, dict) else None
        if isinstance(error, dict) and isinstance(
            error.get("code"), int
        ):  # a refusal may hide in a 200
            raise refusal(
                error["code"], document, what=what, key=self._key.reveal(), now=self.now()
            )
        file = remote.file_in(document)
        waited = 0.0
        while file.get("state") == "PROCESSING" and waited < self._transfer_s:
            await asyncio.to_thread(self.sleep, LOOK_EVERY_S)
            waited += LOOK_EVERY_S
            look = sdk.aio.files.get(name=file["name"], config=_options(self.call_timeout_s))
            file = remote.file_in({"file": await self._raw(look)})
        if file.get("state", "ACTIVE") not in ("ACTIVE", "STATE_UNSPECIFIED"):
            raise UnreadableReplyError(f"the upload is {file.get('state')!r} and not ACTIVE")
        return file

    async def _delete_orphan(self, sdk: "genai.Client") -> None:
        """Delete what a failed upload left, when it is known and as well as can be; Google does it after two days."""
        with contextlib.suppress(Exception):
            document = self._document()
            name = remote.file_in(document if "file" in document else {"file": document})["name"]
            await sdk.aio.files.delete(name=name, config=_options(self.call_timeout_s))

    def delete(self, name: str) -> None:
        """Delete an upload or a batch; one that is gone or not ours any more (403, 404) counts as deleted."""
        is_file = name.startswith("files/")
        config = _options(self.call_timeout_s)
        if is_file:
            _check_name(name, FILE_NAME, "file")
        else:
            _check_name(name, BATCH_NAME, "batch")

        async def delete(sdk: "genai.Client") -> None:
            if is_file:
                await sdk.aio.files.delete(name=name, config=config)
            else:
                await sdk.aio.batches.delete(name=name, config=config)

        with contextlib.suppress(MissingError):
            self._call(delete, what=f"delete {name}")

    def create_batch(self, model: str, *, file_name: str, display_name: str) -> RemoteBatch:
        """Create a batch with exactly one attempt, and return what the API says of it.

        Raises:
            RefusedError: a clear no (4xx other than 408, 409, 499); no batch was made. Its kinds say why.
            NotSentError: no connection was made; no batch was made.
            UnavailableError: unclear (5xx, 408, 409, 499, time-out, cut connection, no batch's name, or another display
                name): a batch may exist. Look for the display name before anything else.
        """
        _check_name(file_name, FILE_NAME, "file")
        seconds = self.create_timeout_s or self.call_timeout_s

        async def create(sdk: "genai.Client") -> RemoteBatch:
            config: Any = {"display_name": display_name, **_options(seconds)}
            document = await self._raw(
                sdk.aio.batches.create(model=model, src=file_name, config=config)
            )
            made = remote.read_operation(document)
            inside = document.get("metadata")
            if made.display_name not in {"", display_name}:
                raise UnreadableReplyError("the answer is about another batch")
            if isinstance(inside, dict) and inside.get("name", made.name) != made.name:
                raise UnreadableReplyError(
                    "the answer names two batches"
                )  # the list tells which is ours
            return made

        return self._run(
            self._attempt(create, what=f"create batch {display_name}", seconds=seconds)
        )

    def get_batch(self, name: str) -> RemoteBatch:
        """Return what the API says of one batch now; a MissingError is no proof that it never ran."""
        _check_name(name, BATCH_NAME, "batch")

        async def look(sdk: "genai.Client") -> RemoteBatch:
            config: Any = _options(self.call_timeout_s)
            batch = remote.read_operation(
                await self._raw(sdk.aio.batches.get(name=name, config=config))
            )
            if batch.name != name:
                raise UnreadableReplyError("the answer is about another batch")
            return batch

        return self._call(look, what=f"read {name}")

    def get_model(self, name: str) -> dict[str, Any]:
        """Return what the API's `models.get` says of a model: limits in tokens and methods.

        Raises:
            MissingError: The API knows no model of that name.
        """

        async def look(sdk: "genai.Client") -> dict[str, Any]:
            config: Any = _options(self.call_timeout_s)
            document = await self._raw(sdk.aio.models.get(model=name, config=config))
            if not isinstance(document, dict) or not isinstance(document.get("name"), str):
                raise UnreadableReplyError("the answer describes no model")
            return document

        return self._call(look, what=f"describe the model {name}")

    def list_batches(self) -> list[RemoteBatch]:
        """Return every batch the API lists, in its order (newest first), or raise; never a part of the list.

        Each page has its own retries; without a page size the list has come back empty (2025-08).
        """
        config: dict[str, Any] = {"page_size": PAGE, **_options(self.call_timeout_s)}
        found: list[RemoteBatch] = []

        async def ask(sdk: "genai.Client") -> tuple[list[RemoteBatch], str]:
            call: Any = sdk.aio.batches.list
            return remote.read_page(await self._raw(call(config=config)))

        for _ in range(MOST_PAGES):
            page, config["page_token"] = self._call(ask, what="list the batches")
            found += page
            if not config["page_token"]:
                return found
        raise UnavailableError("the pages do not end, when asked to list the batches")

    def cancel_batch(self, name: str) -> None:
        """Ask the API to stop a batch; it may still end otherwise, so look at it afterwards."""
        _check_name(name, BATCH_NAME, "batch")

        async def cancel(sdk: "genai.Client") -> None:
            config: Any = _options(self.call_timeout_s)
            await sdk.aio.batches.cancel(name=name, config=config)
            if (
                _under_way.get().body.strip()
            ):  # an empty one is as good as `{}`, the page of a proxy is not
                self._document()

        self._call(cancel, what=f"cancel {name}")

    def download(self, file_name: str, part: Path) -> int:
        """Write a result file to `part` at flat memory and return its size in bytes; nothing is synced here.

        By name only: the SDK would cut a URI at the dash. Each retry writes the file from its start. A cut body
        without a length looks whole, so count its lines afterwards. When this raises, no `part` is left.

        Raises:
            IncompleteError: fewer bytes came than its length, its chunks or its gzip trailer say, at each try.
        """
        _check_name(file_name, FILE_NAME, "file")
        incomplete = f"{file_name} came incomplete"

        async def fetch(sdk: "genai.Client") -> int:
            bound = _under_way.get().bound
            try:
                # removed here, where it is opened: who waits for it may be interrupted before that
                with removed_on_error(part), part.open("wb", buffering=1 << 20) as file:

                    def write(data: bytes) -> None:
                        file.write(data)
                        bound.reschedule((bound.when() or 0.0) + len(data) / LEAST_RATE)

                    target: Any = SimpleNamespace(
                        write=write
                    )  # the SDK takes anything with a write method
                    config: Any = _options(self._transfer_s)
                    await sdk.aio.files.download(file=file_name, destination=target, config=config)
                    stream = _under_way.get().gzip
                    if stream is not None and not stream.is_whole(file.tell()):
                        raise IncompleteError(f"{incomplete}: its gzip data end early", hint=LATER)
                    return file.tell()
            except httpx2.RemoteProtocolError as error:
                raise IncompleteError(
                    f"{incomplete}: the connection ended early", hint=LATER
                ) from error
            except OSError as error:  # of the disk: those of the network have other names
                message = f"cannot write {part}: {error.strerror}"
                raise ConfigurationError(message, hint="make room, then run it again") from error

        return self._call(fetch, what=f"download {file_name}", seconds=self._transfer_s)

    async def generate(
        self, model: str, request: Mapping[str, Any], *, tier: str = STANDARD
    ) -> dict[str, Any]:
        """Ask one question with the request object of a batch line, once, and return the raw reply document.

        Nothing is repeated: after an UnavailableError it may have been answered and paid for. An error that comes with
        status 200 is raised as the status that it carries. The tier that served it stands in the document's
        `usageMetadata`, as `serviceTier`, where the API says so in a header.
        """
        seconds = max(FLEX_S, self.call_timeout_s) if tier == Mode.FLEX else self.call_timeout_s
        body = request if tier == STANDARD else {**request, "serviceTier": tier}
        what = f"ask {model}"

        async def ask(sdk: "genai.Client") -> dict[str, Any]:
            config: Any = {
                "automatic_continuation": False,
                **_options(seconds, body=body),
            }  # one call, one reply
            document = await self._raw(
                sdk.aio.models.generate_content(model=model, contents="-", config=config)
            )
            if not isinstance(document, dict) or not document:
                raise UnreadableReplyError("the answer is no JSON object")
            if (code := remote.code_in_reply(document)) is not None:
                raise refusal(code, document, what=what, key=self._key.reveal(), now=self.now())
            if served := _under_way.get().tier:
                usage = document.get("usageMetadata")
                document["usageMetadata"] = {
                    **(usage if isinstance(usage, dict) else {}),
                    "serviceTier": served,
                }
            return document

        call = self._attempt(ask, what=what, seconds=seconds)
        return await asyncio.wrap_future(self._begun(call))

    def embed(
        self, model: Model, texts: Sequence[str], *, dim: int, query: bool, is_paced: bool = False
    ) -> "Vectors":
        """Return float32 (len(texts), dim), rows of unit length; where the caller `is_paced` no quota is waited for."""
        if not 0 < len(texts) <= MAX_EMBED_TEXTS or not all(text.strip() for text in texts):
            raise ValueError(
                f"one call embeds 1 to {MAX_EMBED_TEXTS} texts that are not blank, not {len(texts)}"
            )
        seconds = self.call_timeout_s if query else self._transfer_s  # a user waits for a query's
        body = {
            "requests": [
                build_embedding_request(text, model, dim=dim, query=query) for text in texts
            ]
        }

        async def ask(sdk: "genai.Client") -> "Vectors":
            config: Any = _options(seconds, body=body)
            document = await self._raw(
                sdk.aio.models.embed_content(model=model.name, contents="-", config=config)
            )
            return normalize_vectors(
                [one.get("values") for one in document["embeddings"]], count=len(texts), dim=dim
            )

        what = f"embed {len(texts)} texts with {model.name}"
        return self._call(ask, what=what, seconds=seconds, waits_for_quota=not is_paced)

    def close(self) -> None:
        """Close the connections, and end what is under way; closing twice does no harm."""
        with self._opening:
            loop = self.__dict__.pop("_loop", None)
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()

    @property
    def _transfer_s(self) -> float:
        return TRANSFER_FACTOR * self.call_timeout_s

    def _call(
        self,
        ask: "Callable[[genai.Client], Awaitable[T]]",
        *,
        what: str,
        seconds: float | None = None,
        waits_for_quota: bool = True,
    ) -> T:
        """Do something that may be done twice, until it works, is refused for good, or the bound is reached.

        Between tries it waits as long as the server asks to, or our own jittered backoff, the longer of both; calls
        that fail slowly are tried three times all the same.
        """

        def may_pass(error: BaseException) -> bool:
            if isinstance(error, ThrottledError):
                return waits_for_quota and error.resets_at is None  # a daily one does not pass
            return isinstance(error, UnavailableError | NotSentError)

        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            return max(self._backoff(state), getattr(error, "retry_after_s", None) or 0.0)

        slow = tenacity.stop_after_attempt(LEAST_ATTEMPTS) & tenacity.stop_after_delay(
            self.retry_for_s
        )
        retrying = tenacity.Retrying(
            sleep=self.sleep,
            retry=tenacity.retry_if_exception(may_pass),
            wait=wait,
            stop=lambda state: (
                slow(state) or state.idle_for + state.upcoming_sleep > self.retry_for_s
            ),
            reraise=True,
        )
        return retrying(
            lambda: self._run(self._attempt(ask, what=what, seconds=seconds or self.call_timeout_s))
        )

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        future = self._begun(call)
        try:
            return future.result()
        except CancelledError:
            raise FindableError("the client was closed during the call", hint=LATER) from None
        except BaseException:
            future.cancel()
            raise

    def _begun(self, call: Coroutine[Any, Any, T]) -> Future[T]:
        with self._opening:
            return asyncio.run_coroutine_threadsafe(call, self._loop)

    async def _attempt(
        self, ask: "Callable[[genai.Client], Awaitable[T]]", *, what: str, seconds: float
    ) -> T:
        with self._opening:
            sdk = self._sdk
        try:
            async with asyncio.timeout(seconds + CONNECT_S) as bound:
                _under_way.set(_RunningCall(bound))
                return await ask(sdk)
        except Exception as error:  # noqa: BLE001 - a fault of our own is raised as it is
            key = self._key.reveal()
            address = str(self._address)
            raise failure(
                error, what=what, key=key, now=self.now(), address=address, seconds=seconds
            ) from None

    async def _raw(self, call: Awaitable[object]) -> Any:
        """Make a call of the SDK and return the JSON of its reply, whose 200 the SDK may have no types for.

        One entry of a list, made by another program in the same project, is enough for that; and a reply that was paid
        for is not lost to it.
        """
        try:
            await call
        except UNREAD:
            if not _under_way.get().body:
                raise
        return self._document()

    def _document(self) -> Any:
        return orjson.loads(redact_document(_under_way.get().body, self._key.reveal()))

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        loop = runner.get_loop()

        def serve() -> None:
            with runner:
                loop.run_forever()
                for task in asyncio.all_tasks(loop):
                    task.cancel()  # they are told first, not by a connection that is closed under them
                if self.__dict__.pop("_sdk", None):
                    loop.run_until_complete(self._http.aclose())

        self._thread = threading.Thread(target=serve, name="gemini", daemon=True)
        self._thread.start()
        return loop

    @cached_property
    def _sdk(self) -> "genai.Client":
        from google import genai
        from google.genai import types

        address = self._address.reveal()
        url = httpx2.URL()
        with contextlib.suppress(httpx2.InvalidURL):
            url = httpx2.URL(address)
        if url.scheme not in {"http", "https"} or not url.host or re.search(r"\s", address):
            raise ConfigurationError(
                f"{self._address} is no address of a server",
                hint="GOOGLE_GEMINI_BASE_URL must begin with http:// or https://",
            )
        try:
            context = httpx2.create_ssl_context(trust_env=self.trust_env)
            self._http = httpx2.AsyncClient(
                verify=context,
                trust_env=self.trust_env,
                limits=httpx2.Limits(
                    max_connections=MOST_CONNECTIONS, max_keepalive_connections=MOST_CONNECTIONS
                ),
                event_hooks={"response": [_keep]},
            )
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
        keep_out_of_logs(self._key.reveal())
        # the SDK warns of words it does not know, and they are no news to a user; ours are told apart in states.py
        warnings.filterwarnings(
            "ignore", r".* is not a valid \w+$", UserWarning, r"google\.genai\._common$"
        )
        options = types.HttpOptions(
            base_url=address,
            api_version=API_VERSION,
            retry_options=types.HttpRetryOptions(attempts=1),
            httpx_async_client=self._http,
            client_args={"verify": context, "trust_env": False},
        )
        return genai.Client(api_key=self._key.reveal(), vertexai=False, http_options=options)


async def _keep(response: httpx2.Response) -> None:
    """Keep the bytes of a reply that is not a download, and stop an upload at the first piece that went wrong.

    The SDK takes any status word for success, whatever the HTTP code, and then goes on without the piece that was lost.
    """
    from google.genai import errors

    if response.request.url.path.endswith(":download"):
        if response.headers.get("content-encoding", "").strip().lower() == "gzip":
            response.stream = _under_way.get().gzip = _GzipStream(response.stream)
        return
    if int(response.headers.get("content-length", 0)) > MOST_REPLY:
        raise UnreadableReplyError("the answer does not end")
    call = _under_way.get()
    call.body = await response.aread()
    call.tier = response.headers.get("x-gemini-service-tier", "")
    command = response.request.headers.get("x-goog-upload-command", "")
    if not command.startswith("upload"):
        return
    await errors.APIError.raise_for_async_response(response)
    word = response.headers.get("x-goog-upload-status")
    if word != ("final" if "finalize" in command else "active"):
        raise UnreadableReplyError(f"a piece of the upload was answered with the status {word!r}")


def _options(seconds: float, *, body: Mapping[str, Any] | None = None) -> Any:
    """Return the SDK's config, whose type differs from call to call: its time, and a body in place of its own."""
    milliseconds = max(1, math.ceil(seconds * 1000))
    return {"http_options": {"timeout": milliseconds, **({"extra_body": body} if body else {})}}


def _check_name(name: str, form: re.Pattern[str], what: str) -> None:
    if not form.fullmatch(name):
        raise InconsistentError(f"{name!r} is no name of a {what} at Gemini", hint=_DOCTOR)


_DOCTOR = HintTemplate("run `{}`", CommandHint("doctor"))
