"""The client of Gemini's API: uploads, batches, downloads, live calls and embeddings.

- Creating a batch is not idempotent, and the API takes no key of ours. So `create_batch` makes
  exactly one attempt, and its error says whether a batch may exist. All other calls but `generate`
  are repeated.
- The SDK reads the environment, repeats creates, ignores the delay that a server asks for, sets no
  time-out, and drops members of replies. So it gets explicit options, and its retries are off.
- Each call has a time-out as a whole.
- A hook of the HTTP library keeps the bytes of each reply, which `remote` and `responses` read.
- All calls run in one event loop in a thread of its own.
- Errors have our own messages and no SDK error as their cause, because that may echo the key.
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
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

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
from pipeline.gemini import api_errors, remote
from pipeline.gemini.api_errors import (
    RUN_LATER_HINT,
    SDK_PARSE_ERRORS,
    UnreadableReplyError,
    build_refusal,
    convert_exception,
)
from pipeline.gemini.embed import build_embedding_request, normalize_vectors
from pipeline.gemini.models import MAX_EMBED_TEXTS, Model
from pipeline.gemini.remote import BATCH_NAME_PATTERN, FILE_NAME_PATTERN, RemoteBatch
from pipeline.gemini.retry import RetryPolicy

if TYPE_CHECKING:
    import ssl

    from google import genai

    from pipeline.gemini.embed import Vectors


# Set explicitly, because the SDK's default was v1beta before 3.0 and is v1 since then.
API_VERSION = "v1beta"
# The type of an uploaded request file (Batch API guide, read 2026-11).
UPLOAD_MIME_TYPE = "jsonl"
# Our own choice: it ends a list in which an empty page names itself as the next page.
MAX_LIST_PAGES = 1_000
# The API returns at most this many batches or files per page.
LIST_PAGE_SIZE = 100
# Our own choice: more than the number of calls that ever run at once.
MAX_CONNECTIONS = 100
# Our own choice, except for downloads: the vectors of a hundred texts take about 4 MB.
MAX_REPLY_BYTES = 256 * 1024 * 1024
# A transfer may take this many times as long as a call, before the time for its size is added.
TRANSFER_TIMEOUT_FACTOR = 10
# Our own choice: a slower transfer fails, once its first time-out is used up.
MIN_TRANSFER_BYTES_PER_S = 64 * 1024
# Our own choice: the delay between two status requests for an upload that is being processed.
UPLOAD_POLL_INTERVAL_S = 2.0
# A call may take longer than its connection by this time, so that a missing connection is noticed.
CONNECT_GRACE_S = 0.5
# Our own choice: the upper limit of our own waits. The server may ask for longer waits.
MAX_BACKOFF_S = 60.0
# Longest duration of a flex call, which may take 1 to 15 minutes (pricing announcement of 2026-04).
FLEX_TIMEOUT_S = 900.0
# Our own choice: attempts of a call that fails slowly, however long they take.
MIN_ATTEMPTS = 3
# Downloaded bytes are written to disk in blocks of this size.
DOWNLOAD_BUFFER_BYTES = 1 << 20
_DOCTOR_HINT = HintTemplate("run `{}`", CommandHint("doctor"))

T = TypeVar("T")


@dataclass
class _RunningCall:
    """A call of the SDK, and the parts of its last reply that the SDK does not return."""

    # The time-out of the whole call.
    timeout: asyncio.Timeout
    # Bytes of the last reply; empty for a download.
    body: bytes = b""
    # The service tier that answered, from a header; "" if the header is missing.
    service_tier: str = ""
    # The body of a download that arrives gzipped.
    gzip_stream: "_GzipStream | None" = None


class _GzipStream(httpx2.AsyncByteStream):
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
        await self._body.aclose()

    def has_unpacked_size(self, size_bytes: int) -> bool:
        """Return whether the gzip data end with this unpacked length (modulo 2**32)."""
        return int.from_bytes(self._tail, "little") == size_bytes % 2**32


_running_call: ContextVar[_RunningCall] = ContextVar("findable_call")


@dataclass(kw_only=True, eq=False, repr=False)
class Client:
    """Calls a base URL with a key, from any thread or event loop; `close` it at the end.

    Nothing is opened before the first call. The environment is not read, except for proxies and
    certificates if `trust_env` is set.

    A call raises NotSentError if no connection was made. It raises UnavailableError if its effect
    is unknown or its reply is unreadable. Refusals raise the errors of `api_errors.build_refusal`.
    """

    api_key: InitVar[str]
    # None means Google's own address.
    base_url: InitVar[str | None] = None
    # Time-outs of whole calls, in seconds.
    call_timeout_s: float = 60
    create_timeout_s: float = 60
    # The upper limit of all waits of one operation together.
    retry_for_s: float = 60
    # The upper limit of the first wait, before it grows.
    first_wait_s: float = 1.0
    trust_env: bool = True
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def __post_init__(self, api_key: str, base_url: str | None) -> None:
        """Check the key and store it with the address, both as secrets; open nothing.

        Blanks around the key are removed. Without `base_url` the address is GOOGLE_URL.

        Raises:
            ConfigurationError: The key is empty, or has characters that are not printable ASCII.
        """
        key = api_key.strip()
        if not key or not (key.isascii() and key.isprintable()):
            raise ConfigurationError(
                "the Gemini key is empty or holds characters no key has",
                hint="set GEMINI_API_KEY",
            )
        self._key = Secret(key)
        self._base_url = Secret.url(base_url or GOOGLE_URL)
        self._retry_policy = RetryPolicy(
            first_delay_s=self.first_wait_s,
            max_delay_s=MAX_BACKOFF_S,
            max_elapsed_s=self.retry_for_s,
            min_share=0.0,
        )
        self._opening_lock = threading.Lock()

    # Files and batches

    def upload(self, path: Path, *, display_name: str, sha256: str, size: int) -> str:
        """Upload a sealed file; return its remote name, `files/…`, once it is ACTIVE and verified.

        The size must agree, and so must the hash if the API returns it. Each retry starts a new
        upload at byte 0. Files of failed uploads are deleted if possible.

        Args:
            sha256: The file's hash in hex.
            size: The file's size in bytes.

        Raises:
            InconsistentError: The local file is missing or has another size.
            RemoteError: The upload was refused, or failed until the retry time was used up.
            ConfigurationError: The base URL, a certificate file or a proxy cannot be used.
        """
        if not path.is_file() or path.stat().st_size != size:
            raise InconsistentError(
                f"{path} is not there with the {size} bytes it was sealed with",
                hint=_DOCTOR_HINT,
            )
        action = f"upload {display_name}"

        async def send_file(sdk: "genai.Client") -> str:
            """Upload and verify the file; return its name. Delete a failed upload."""
            config: Any = {
                "display_name": display_name,
                "mime_type": UPLOAD_MIME_TYPE,
                **_request_config(self._transfer_timeout_s),
            }
            try:
                upload_call = sdk.aio.files.upload(file=path, config=config)
                document = await self._reply_document(upload_call)
                file = await self._wait_until_active(sdk, document, action=action)
                remote.verify_upload(file, sha256=sha256, size=size)
            except Exception:
                await self._delete_failed_upload(sdk)
                raise
            return str(file["name"])

        timeout_s = self._transfer_timeout_s + size / MIN_TRANSFER_BYTES_PER_S
        return self._call_with_retries(send_file, action=action, timeout_s=timeout_s)

    async def _wait_until_active(
        self,
        sdk: "genai.Client",
        document: Any,
        *,
        action: str,
    ) -> dict[str, Any]:
        """Poll an uploaded file until it is processed; return its resource.

        Polls every UPLOAD_POLL_INTERVAL_S seconds, for at most the time-out of a transfer. A file
        without a state, or with an unspecified state, counts as ACTIVE.

        Args:
            document: The last reply of the upload.
            action: A verb and its object for error messages.

        Raises:
            RemoteError: The reply has status 200 but contains an error.
            UnreadableReplyError: The reply names no file, or the file does not become ACTIVE.
        """
        error = document.get("error") if isinstance(document, dict) else None
        if isinstance(error, dict) and isinstance(error.get("code"), int):
            raise build_refusal(
                error["code"],
                document,
                action=action,
                key=self._key.reveal(),
                now=self.now(),
            )

        file = remote.read_file_resource(document)
        waited_s = 0.0
        while file.get("state") == "PROCESSING" and waited_s < self._transfer_timeout_s:
            await asyncio.to_thread(self.sleep, UPLOAD_POLL_INTERVAL_S)
            waited_s += UPLOAD_POLL_INTERVAL_S
            config: Any = _request_config(self.call_timeout_s)
            status_call = sdk.aio.files.get(name=file["name"], config=config)
            file = remote.read_file_resource({"file": await self._reply_document(status_call)})

        if file.get("state", "ACTIVE") not in ("ACTIVE", "STATE_UNSPECIFIED"):
            raise UnreadableReplyError(f"the upload is {file.get('state')!r} and not ACTIVE")
        return file

    async def _delete_failed_upload(self, sdk: "genai.Client") -> None:
        """Delete the file that the last reply names; ignore all errors.

        Google deletes files after two days, so a file that remains does no harm.
        """
        with contextlib.suppress(Exception):
            document = self._parse_reply()
            if "file" not in document:
                document = {"file": document}
            name = remote.read_file_resource(document)["name"]
            config: Any = _request_config(self.call_timeout_s)
            await sdk.aio.files.delete(name=name, config=config)

    def delete(self, name: str) -> None:
        """Delete an upload or a batch; succeed if it is missing or not accessible (403, 404).

        Args:
            name: `files/…`; any other name must be `batches/…`.

        Raises:
            InconsistentError: The name is malformed.
            FindableError: The call failed for another reason, after all retries.
        """
        is_file = name.startswith("files/")
        config: Any = _request_config(self.call_timeout_s)
        if is_file:
            _check_name(name, FILE_NAME_PATTERN, "file")
        else:
            _check_name(name, BATCH_NAME_PATTERN, "batch")

        async def delete_resource(sdk: "genai.Client") -> None:
            if is_file:
                await sdk.aio.files.delete(name=name, config=config)
            else:
                await sdk.aio.batches.delete(name=name, config=config)

        with contextlib.suppress(MissingError):
            self._call_with_retries(delete_resource, action=f"delete {name}")

    def create_batch(self, model: str, *, file_name: str, display_name: str) -> RemoteBatch:
        """Create a batch with exactly one attempt, and return it as the API describes it.

        Args:
            model: The name of the model.
            file_name: The uploaded request file, `files/…`.
            display_name: The name by which the batch is found again.

        Raises:
            InconsistentError: The file name is malformed.
            RefusedError: A clear refusal (4xx other than 408, 409, 499); no batch was made. Its
                subclass gives the reason.
            NotSentError: No connection was made; no batch was made.
            UnavailableError: Unclear (5xx, 408, 409, 499, time-out, cut connection, a reply without
                a batch's name, with two names or with another display name). A batch may exist, so
                the caller has to look for the display name first.
        """
        _check_name(file_name, FILE_NAME_PATTERN, "file")
        timeout_s = self.create_timeout_s or self.call_timeout_s

        async def create(sdk: "genai.Client") -> RemoteBatch:
            """Create the batch; raise UnreadableReplyError if the reply may be about another."""
            config: Any = {"display_name": display_name, **_request_config(timeout_s)}
            document = await self._reply_document(
                sdk.aio.batches.create(model=model, src=file_name, config=config),
            )
            batch = remote.read_operation(document)

            # If the reply is inconsistent, only the list of batches shows which batch is ours.
            if batch.display_name not in {"", display_name}:
                raise UnreadableReplyError("the answer is about another batch")
            metadata = document.get("metadata")
            if isinstance(metadata, dict) and metadata.get("name", batch.name) != batch.name:
                raise UnreadableReplyError("the answer names two batches")
            return batch

        attempt = self._attempt_call(
            create,
            action=f"create batch {display_name}",
            timeout_s=timeout_s,
        )
        return self._run(attempt)

    def get_batch(self, name: str) -> RemoteBatch:
        """Return a batch as the API describes it now; failed calls are repeated.

        Raises:
            InconsistentError: The name is malformed.
            MissingError: The batch is missing or not accessible. It may have run nevertheless.
            FindableError: The call failed for another reason, or its reply is about another batch.
        """
        _check_name(name, BATCH_NAME_PATTERN, "batch")

        async def fetch_batch(sdk: "genai.Client") -> RemoteBatch:
            """Read the batch; raise UnreadableReplyError if the reply is about another."""
            config: Any = _request_config(self.call_timeout_s)
            get_call = sdk.aio.batches.get(name=name, config=config)
            batch = remote.read_operation(await self._reply_document(get_call))
            if batch.name != name:
                raise UnreadableReplyError("the answer is about another batch")
            return batch

        return self._call_with_retries(fetch_batch, action=f"read {name}")

    def get_model(self, name: str) -> dict[str, Any]:
        """Return the API's description of a model (`models.get`): token limits and methods.

        Failed calls are repeated.

        Raises:
            MissingError: The API knows no model of that name.
            FindableError: The call failed for another reason, or the reply describes no model.
        """

        async def fetch_model(sdk: "genai.Client") -> dict[str, Any]:
            """Read the model; raise UnreadableReplyError if the reply has no name of a model."""
            config: Any = _request_config(self.call_timeout_s)
            get_call = sdk.aio.models.get(model=name, config=config)
            document = await self._reply_document(get_call)
            if not isinstance(document, dict) or not isinstance(document.get("name"), str):
                raise UnreadableReplyError("the answer describes no model")
            return document

        return self._call_with_retries(fetch_model, action=f"describe the model {name}")

    def list_batches(self) -> list[RemoteBatch]:
        """Return all batches in the API's order (newest first); never a part of the list.

        Each page has its own retries. The page size is always sent, because the list has come back
        empty without it (2025-08).

        Raises:
            UnavailableError: A page cannot be read, or there are more than MAX_LIST_PAGES pages.
            FindableError: A page failed for another reason, after its retries.
        """
        config: dict[str, Any] = {
            "page_size": LIST_PAGE_SIZE,
            **_request_config(self.call_timeout_s),
        }
        batches: list[RemoteBatch] = []

        async def fetch_page(sdk: "genai.Client") -> tuple[list[RemoteBatch], str]:
            list_call: Any = sdk.aio.batches.list
            return remote.read_batch_page(await self._reply_document(list_call(config=config)))

        for _ in range(MAX_LIST_PAGES):
            page, page_token = self._call_with_retries(fetch_page, action="list the batches")
            batches += page
            if not page_token:
                return batches
            config["page_token"] = page_token
        raise UnavailableError("the pages do not end, when asked to list the batches")

    def cancel_batch(self, name: str) -> None:
        """Ask the API to stop a batch; it may still end otherwise, so read its state afterwards.

        Failed calls are repeated. An empty reply is a success.

        Raises:
            InconsistentError: The name is malformed.
            FindableError: The call failed, or its reply is not JSON.
        """
        _check_name(name, BATCH_NAME_PATTERN, "batch")

        async def cancel(sdk: "genai.Client") -> None:
            config: Any = _request_config(self.call_timeout_s)
            await sdk.aio.batches.cancel(name=name, config=config)
            # An empty body is as good as `{}`. A proxy's page is an error, and is not JSON.
            if _running_call.get().body.strip():
                self._parse_reply()

        self._call_with_retries(cancel, action=f"cancel {name}")

    def download(self, file_name: str, part_path: Path) -> int:
        """Write a result file to `part_path` with little memory; return its size in bytes.

        The file is not synced. Each retry writes it from the start. A body that was cut and has no
        length looks complete, so the caller has to count its lines.

        Args:
            file_name: `files/…`. URIs are not accepted, because the SDK cuts them at a dash.
            part_path: The file to write. It is removed if an error is raised.

        Raises:
            InconsistentError: The file name is malformed.
            IncompleteError: Each attempt got fewer bytes than its length, its chunks or its gzip
                trailer say.
            ConfigurationError: The file cannot be written.
            FindableError: The call failed for another reason, after all retries.
        """
        _check_name(file_name, FILE_NAME_PATTERN, "file")

        async def fetch(sdk: "genai.Client") -> int:
            """Write the file and return its size; remove it and convert errors if that fails."""
            try:
                # This thread opened the file and removes it. The thread that waits for the download
                # may be interrupted earlier.
                with (
                    removed_on_error(part_path),
                    part_path.open("wb", buffering=DOWNLOAD_BUFFER_BYTES) as file,
                ):
                    return await self._write_download(sdk, file_name, file)
            except httpx2.RemoteProtocolError as error:
                raise IncompleteError(
                    f"{file_name} came incomplete: the connection ended early",
                    hint=RUN_LATER_HINT,
                ) from error
            # An error of the disk: network errors are other exceptions.
            except OSError as error:
                message = f"cannot write {part_path}: {error.strerror}"
                raise ConfigurationError(message, hint="make room, then run it again") from error

        return self._call_with_retries(
            fetch,
            action=f"download {file_name}",
            timeout_s=self._transfer_timeout_s,
        )

    async def _write_download(self, sdk: "genai.Client", file_name: str, file: BinaryIO) -> int:
        """Write the bytes of a remote file, and extend the call's time-out with each chunk.

        Returns:
            The number of bytes written.

        Raises:
            IncompleteError: The gzip data ended early.
        """
        running_call = _running_call.get()
        timeout = running_call.timeout

        def write_chunk(chunk: bytes) -> None:
            file.write(chunk)
            extra_s = len(chunk) / MIN_TRANSFER_BYTES_PER_S
            timeout.reschedule((timeout.when() or 0.0) + extra_s)

        # The SDK accepts any object with a `write` method.
        destination: Any = SimpleNamespace(write=write_chunk)
        config: Any = _request_config(self._transfer_timeout_s)
        await sdk.aio.files.download(file=file_name, destination=destination, config=config)

        stream = running_call.gzip_stream
        if stream is not None and not stream.has_unpacked_size(file.tell()):
            raise IncompleteError(
                f"{file_name} came incomplete: its gzip data end early",
                hint=RUN_LATER_HINT,
            )
        return file.tell()

    # Live calls

    async def generate(
        self,
        model: str,
        request: Mapping[str, Any],
        *,
        service_tier: str = STANDARD,
    ) -> dict[str, Any]:
        """Send one request live with a single attempt, and return the raw reply document.

        After an UnavailableError the request may have been answered and charged.

        Args:
            request: The request object of a batch line.
            service_tier: The API's service tier. STANDARD is not sent. Flex has a time-out of at
                least FLEX_TIMEOUT_S.

        Returns:
            The reply. If a header names the service tier that answered, it is in `usageMetadata`
            as `serviceTier`.

        Raises:
            RemoteError: The call failed, or the reply is not a JSON object with members. An error
                in a reply with status 200 is raised as the status that the error contains.
        """
        is_flex = service_tier == Mode.FLEX
        timeout_s = max(FLEX_TIMEOUT_S, self.call_timeout_s) if is_flex else self.call_timeout_s
        body = request if service_tier == STANDARD else {**request, "serviceTier": service_tier}
        action = f"ask {model}"

        async def send_request(sdk: "genai.Client") -> dict[str, Any]:
            """Send the request and return the reply with its service tier; raise its error."""
            # One call gives one reply: the SDK would otherwise continue a cut answer.
            config: Any = {
                "automatic_continuation": False,
                **_request_config(timeout_s, body=body),
            }
            document = await self._reply_document(
                sdk.aio.models.generate_content(model=model, contents="-", config=config),
            )
            if not isinstance(document, dict) or not document:
                raise UnreadableReplyError("the answer is no JSON object")

            error_code = api_errors.find_error_code(document)
            if error_code is not None:
                raise build_refusal(
                    error_code,
                    document,
                    action=action,
                    key=self._key.reveal(),
                    now=self.now(),
                )
            _add_service_tier(document)
            return document

        attempt = self._attempt_call(send_request, action=action, timeout_s=timeout_s)
        return await asyncio.wrap_future(self._start(attempt))

    def embed(
        self,
        model: Model,
        texts: Sequence[str],
        *,
        dim: int,
        query: bool,
        is_paced: bool = False,
    ) -> "Vectors":
        """Embed texts; return float32 (len(texts), dim), rows of unit length in their order.

        Failed calls are repeated.

        Args:
            texts: 1 to MAX_EMBED_TEXTS texts that are not blank.
            dim: Numbers per vector.
            query: The texts are search queries, not documents. A user waits for them, so their
                time-out is that of a short call.
            is_paced: The caller handles quotas, so a ThrottledError is raised at once.

        Raises:
            ValueError: There are too few or too many texts, or a text is blank.
            FindableError: The call failed after all retries, or its vectors are unusable.
        """
        if not 0 < len(texts) <= MAX_EMBED_TEXTS or not all(text.strip() for text in texts):
            raise ValueError(
                f"one call embeds 1 to {MAX_EMBED_TEXTS} texts that are not blank, "
                f"not {len(texts)}",
            )
        timeout_s = self.call_timeout_s if query else self._transfer_timeout_s
        requests = [build_embedding_request(text, model, dim=dim, is_query=query) for text in texts]
        body = {"requests": requests}

        async def request_vectors(sdk: "genai.Client") -> "Vectors":
            """Send the texts; return checked vectors, or raise ValueError if one is unusable."""
            config: Any = _request_config(timeout_s, body=body)
            document = await self._reply_document(
                sdk.aio.models.embed_content(model=model.name, contents="-", config=config),
            )
            vectors = [embedding.get("values") for embedding in document["embeddings"]]
            return normalize_vectors(vectors, count=len(texts), dim=dim)

        return self._call_with_retries(
            request_vectors,
            action=f"embed {len(texts)} texts with {model.name}",
            timeout_s=timeout_s,
            should_wait_for_quota=not is_paced,
        )

    def close(self) -> None:
        """Close the connections and end running calls; a second call does nothing."""
        with self._opening_lock:
            loop = self.__dict__.pop("_loop", None)
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()

    # Attempts, and the event loop that runs them

    @property
    def _transfer_timeout_s(self) -> float:
        """Return the time-out of uploads, downloads and bulk embeddings, in seconds."""
        return TRANSFER_TIMEOUT_FACTOR * self.call_timeout_s

    def _call_with_retries(
        self,
        call: "Callable[[genai.Client], Awaitable[T]]",
        *,
        action: str,
        timeout_s: float | None = None,
        should_wait_for_quota: bool = True,
    ) -> T:
        """Repeat a call until it succeeds, fails for good, or the retry time is used up.

        Only an UnavailableError, a NotSentError and a minute's quota are repeated; a daily quota is
        not. A wait lasts as long as the server asks, or as our own jittered backoff if that is
        longer. Attempts end if the waits would exceed `retry_for_s` in total. They also end once
        that time has passed since the start, but not before MIN_ATTEMPTS.

        Args:
            call: Makes the call with the SDK. It has to be repeatable.
            action: A verb and its object for error messages.
            timeout_s: The time-out of each attempt; None means `call_timeout_s`.
            should_wait_for_quota: Also repeat the call after a quota of the minute refused it.

        Returns:
            The result of `call`.

        Raises:
            FindableError: The error of the last attempt.
        """
        attempt_timeout_s = timeout_s or self.call_timeout_s

        def is_transient(error: BaseException) -> bool:
            if isinstance(error, ThrottledError):
                # A daily quota does not recover within the retry time.
                return should_wait_for_quota and error.resets_at is None
            return isinstance(error, UnavailableError | NotSentError)

        def next_delay_s(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            requested_s = getattr(error, "retry_after_s", None)
            return self._retry_policy.delay_s(state.attempt_number, requested_s=requested_s)

        def should_stop(state: tenacity.RetryCallState) -> bool:
            total_delay_s = state.idle_for + state.upcoming_sleep
            is_slow = (state.seconds_since_start or 0.0) >= self.retry_for_s
            is_slow_for_good = is_slow and state.attempt_number >= MIN_ATTEMPTS
            return is_slow_for_good or self._retry_policy.is_over(total_delay_s)

        def attempt() -> T:
            return self._run(self._attempt_call(call, action=action, timeout_s=attempt_timeout_s))

        retrying = tenacity.Retrying(
            sleep=self.sleep,
            retry=tenacity.retry_if_exception(is_transient),
            wait=next_delay_s,
            stop=should_stop,
            reraise=True,
        )
        return retrying(attempt)

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the client's event loop and return its result.

        If this thread is interrupted meanwhile, the coroutine is cancelled. Errors of the coroutine
        are raised unchanged.

        Raises:
            FindableError: The client was closed during the call.
        """
        future = self._start(call)
        try:
            return future.result()
        except CancelledError:
            raise FindableError(
                "the client was closed during the call",
                hint=RUN_LATER_HINT,
            ) from None
        except BaseException:
            future.cancel()
            raise

    def _start(self, call: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine in the client's event loop, which is started if necessary."""
        with self._opening_lock:
            return asyncio.run_coroutine_threadsafe(call, self._loop)

    async def _attempt_call(
        self,
        call: "Callable[[genai.Client], Awaitable[T]]",
        *,
        action: str,
        timeout_s: float,
    ) -> T:
        """Make one attempt of a call within a time-out; open the SDK before the first call.

        The time-out of the whole attempt is longer by CONNECT_GRACE_S. The reply of the attempt is
        recorded for `_reply_document`.

        Raises:
            FindableError: The converted error of the network, the SDK or the API.
            ConfigurationError: The SDK cannot be opened.
        """
        with self._opening_lock:
            sdk = self._sdk
        try:
            async with asyncio.timeout(timeout_s + CONNECT_GRACE_S) as timeout:
                _running_call.set(_RunningCall(timeout))
                return await call(sdk)
        except Exception as error:  # noqa: BLE001 - a fault of our own is raised as it is
            raise convert_exception(
                error,
                action=action,
                key=self._key.reveal(),
                now=self.now(),
                address=str(self._base_url),
                timeout_s=timeout_s,
            ) from None

    async def _reply_document(self, call: Awaitable[object]) -> Any:
        """Await a call of the SDK and return the JSON of its reply, without credentials.

        The reply is used even if the SDK cannot parse it. A list that contains an entry of another
        program is such a reply, and a live reply was paid for.
        """
        try:
            await call
        except SDK_PARSE_ERRORS:
            if not _running_call.get().body:
                raise
        return self._parse_reply()

    def _parse_reply(self) -> Any:
        """Return the JSON of the last reply of the running call, without credentials."""
        body = redact_document(_running_call.get().body, self._key.reveal())
        return orjson.loads(body)

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """Start the daemon thread with the client's event loop; return the loop.

        When the loop is stopped, the thread cancels all tasks and closes the connections.
        """
        runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        loop = runner.get_loop()

        def serve() -> None:
            """Run the loop until it is stopped, then cancel its tasks and close the connections."""
            with runner:
                loop.run_forever()
                # Cancel the tasks first. A connection that closes during a call is another error.
                for task in asyncio.all_tasks(loop):
                    task.cancel()
                if self.__dict__.pop("_sdk", None):
                    loop.run_until_complete(self._http_client.aclose())

        self._thread = threading.Thread(target=serve, name="gemini", daemon=True)
        self._thread.start()
        return loop

    @cached_property
    def _sdk(self) -> "genai.Client":
        """Open the HTTP client and the SDK with explicit options, and return the SDK.

        Keeps the key out of the logs of libraries. Switches off the SDK's retries and its warnings
        about unknown enum values.

        Raises:
            ConfigurationError: The base URL, a certificate file or a proxy cannot be used.
        """
        from google import genai
        from google.genai import types

        base_url = self._checked_base_url()
        self._http_client, ssl_context = self._open_http_client()
        keep_out_of_logs(self._key.reveal())

        # The SDK warns of enum values that it does not know. They are of no use to a user, and
        # `states` handles unknown values.
        warnings.filterwarnings(
            "ignore",
            r".* is not a valid \w+$",
            UserWarning,
            r"google\.genai\._common$",
        )
        options = types.HttpOptions(
            base_url=base_url,
            api_version=API_VERSION,
            retry_options=types.HttpRetryOptions(attempts=1),
            httpx_async_client=self._http_client,
            client_args={"verify": ssl_context, "trust_env": False},
        )
        return genai.Client(api_key=self._key.reveal(), vertexai=False, http_options=options)

    def _checked_base_url(self) -> str:
        """Return the base URL; raise ConfigurationError if it is not an HTTP address of a host.

        An address with a blank is refused, too.
        """
        base_url = self._base_url.reveal()
        parsed_url = httpx2.URL()
        with contextlib.suppress(httpx2.InvalidURL):
            parsed_url = httpx2.URL(base_url)

        is_http = parsed_url.scheme in {"http", "https"}
        if not is_http or not parsed_url.host or re.search(r"\s", base_url):
            raise ConfigurationError(
                f"{self._base_url} is no address of a server",
                hint="GOOGLE_GEMINI_BASE_URL must begin with http:// or https://",
            )
        return base_url

    def _open_http_client(self) -> "tuple[httpx2.AsyncClient, ssl.SSLContext]":
        """Create the HTTP client, with a hook that records each reply, and its SSL context.

        Raises:
            ConfigurationError: A certificate file or a proxy of the environment cannot be used.
        """
        try:
            ssl_context = httpx2.create_ssl_context(trust_env=self.trust_env)
            http_client = httpx2.AsyncClient(
                verify=ssl_context,
                trust_env=self.trust_env,
                limits=httpx2.Limits(
                    max_connections=MAX_CONNECTIONS,
                    max_keepalive_connections=MAX_CONNECTIONS,
                ),
                event_hooks={"response": [_record_response]},
            )
        # An error of the SSL library, which does not name the file.
        except OSError as error:
            raise ConfigurationError(
                f"the certificates that the environment names cannot be read: {error.strerror}",
                hint="set SSL_CERT_FILE and SSL_CERT_DIR to what is there, or unset them",
            ) from error
        except (ImportError, ValueError, httpx2.InvalidURL) as error:
            raise ConfigurationError(
                "the proxy that the environment names cannot be used (no address, or SOCKS)",
                hint="set HTTPS_PROXY to an http:// address, "
                "or unset ALL_PROXY, HTTP_PROXY and HTTPS_PROXY",
            ) from error
        return http_client, ssl_context


async def _record_response(response: httpx2.Response) -> None:
    """Record the body and the service tier of a reply in the running call.

    A download is not read here; if it is gzipped, its stream is replaced by a stream that checks
    the length, which is recorded.

    A refused piece of an upload raises an error. The SDK would accept any upload status, whatever
    the HTTP code, and would continue without that piece.

    Raises:
        UnreadableReplyError: The body is longer than MAX_REPLY_BYTES according to its header, or a
            piece of an upload has an unexpected status.
        google.genai.errors.APIError: The API refused a piece of an upload.
    """
    from google.genai import errors

    running_call = _running_call.get()
    if response.request.url.path.endswith(":download"):
        encoding = response.headers.get("content-encoding", "")
        if encoding.strip().lower() == "gzip":
            gzip_stream = _GzipStream(response.stream)
            running_call.gzip_stream = gzip_stream
            response.stream = gzip_stream
        return

    if int(response.headers.get("content-length", 0)) > MAX_REPLY_BYTES:
        raise UnreadableReplyError("the answer does not end")
    running_call.body = await response.aread()
    running_call.service_tier = response.headers.get("x-gemini-service-tier", "")

    upload_command = response.request.headers.get("x-goog-upload-command", "")
    if not upload_command.startswith("upload"):
        return
    await errors.APIError.raise_for_async_response(response)
    upload_status = response.headers.get("x-goog-upload-status")
    expected_status = "final" if "finalize" in upload_command else "active"
    if upload_status != expected_status:
        raise UnreadableReplyError(
            f"a piece of the upload was answered with the status {upload_status!r}",
        )


def _add_service_tier(document: dict[str, Any]) -> None:
    """Add the service tier of the running call to `usageMetadata` of a reply, in place.

    Does nothing if no header named a tier. An invalid `usageMetadata` is replaced.
    """
    service_tier = _running_call.get().service_tier
    if not service_tier:
        return
    usage = document.get("usageMetadata")
    if not isinstance(usage, dict):
        usage = {}
    document["usageMetadata"] = {**usage, "serviceTier": service_tier}


def _request_config(timeout_s: float, *, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a config of the SDK with a time-out and optionally a body that replaces its own.

    The config's type differs from call to call, so callers declare it as Any.
    """
    http_options: dict[str, Any] = {"timeout": max(1, math.ceil(timeout_s * 1000))}
    if body:
        http_options["extra_body"] = body
    return {"http_options": http_options}


def _check_name(name: str, pattern: re.Pattern[str], kind: str) -> None:
    """Raise InconsistentError if a stored name of a remote file or batch is malformed."""
    if not pattern.fullmatch(name):
        raise InconsistentError(f"{name!r} is no name of a {kind} at Gemini", hint=_DOCTOR_HINT)
