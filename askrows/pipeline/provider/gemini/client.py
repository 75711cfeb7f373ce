"""The client of Gemini's API: uploads, batches, downloads, live calls and embeddings.

Creating a batch is not idempotent, and the API takes no key of ours. So `create_batch` makes
exactly one attempt, and its error says whether a batch may exist. `generate` and `decide` make one
attempt, too, because a repetition may be paid for twice; all other calls are repeated after
temporary errors. `transport` runs the calls; `remote` and `responses` read the raw replies.
"""

import asyncio
import contextlib
import itertools
import math
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import httpx2

from askrows.pipeline.core.command_hint import CommandHint, HintTemplate
from askrows.pipeline.core.errors import (
    ConfigurationError,
    IncompleteError,
    InconsistentError,
    MissingError,
    UnavailableError,
    UploadTypeRefusedError,
)
from askrows.pipeline.core.files import removed_on_error
from askrows.pipeline.core.redact import Secret
from askrows.pipeline.core.settings import GOOGLE_URL
from askrows.pipeline.core.states import STANDARD, Mode
from askrows.pipeline.core.text import plural
from askrows.pipeline.provider import call_errors
from askrows.pipeline.provider.embed import build_embedding_request, normalize_vectors
from askrows.pipeline.provider.gemini import api_errors, remote
from askrows.pipeline.provider.gemini.remote import BATCH_NAME_PATTERN, FILE_NAME_PATTERN
from askrows.pipeline.provider.gemini.transport import GeminiTransport
from askrows.pipeline.provider.models import Model
from askrows.pipeline.provider.port import KeyList
from askrows.pipeline.provider.providers import GEMINI
from askrows.pipeline.provider.remote_batch import RemoteBatch
from askrows.pipeline.provider.responses import object_or_empty
from askrows.pipeline.provider.retry import RetryPolicy
from askrows.pipeline.provider.transport import (
    MIN_TRANSFER_BYTES_PER_S,
    DownloadWriter,
    running_call,
)

if TYPE_CHECKING:
    from google import genai

    from askrows.pipeline.provider.embed import Vectors


# The types of an uploaded request file, in the order of the tries. The first is documented (Batch
# API guide, read 2026-11), but the API has refused it at times (2025-10).
UPLOAD_MIME_TYPES = ("jsonl", "application/jsonl", "application/json", "text/plain")
# Our own choice: it ends a list whose pages never end.
MAX_LIST_PAGES = 1_000
# The API returns at most this many batches or files per page.
LIST_PAGE_SIZE = 100
# A transfer may take this many times as long as a call, before the time for its size is added.
TRANSFER_TIMEOUT_FACTOR = 10
# Our own choice: the delay between two status requests for an upload that is being processed.
UPLOAD_POLL_INTERVAL_S = 2.0
# Our own choice: the upper limit of our own waits. The server may ask for longer waits.
MAX_BACKOFF_S = 60.0
# Downloaded bytes are written to disk in blocks of this size.
DOWNLOAD_BUFFER_BYTES = 1 << 20
_DOCTOR_HINT = HintTemplate("run `{}`", CommandHint("doctor"))

T = TypeVar("T")


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
                "the Gemini key is empty or contains characters that are not printable ASCII",
                hint="set GEMINI_API_KEY",
            )
        self._transport = GeminiTransport(
            provider=GEMINI,
            key=Secret(key),
            base_url=Secret.url(base_url or GOOGLE_URL),
            retry_policy=RetryPolicy(
                first_delay_s=self.first_wait_s,
                max_delay_s=MAX_BACKOFF_S,
                max_elapsed_s=self.retry_for_s,
                min_share=0.0,
            ),
            trust_env=self.trust_env,
            sleep=self.sleep,
            now=self.now,
        )

    def open(self) -> None:
        """Open the SDK now, which takes seconds once, so that the first call is no slower.

        Raises:
            ConfigurationError: The base URL, a certificate file or a proxy cannot be used.
        """
        self._transport.open()

    def close(self) -> None:
        """Close the connections and end running calls; a second call does nothing."""
        self._transport.close()

    @property
    def _transfer_timeout_s(self) -> float:
        """Return the time-out of uploads, downloads and bulk embeddings, in seconds."""
        return TRANSFER_TIMEOUT_FACTOR * self.call_timeout_s

    def _call(
        self,
        call: "Callable[[genai.Client], Awaitable[T]]",
        *,
        action: str,
        timeout_s: float | None = None,
        should_wait_for_quota: bool = True,
        should_wait_for_connection: bool = True,
    ) -> T:
        """Make a repeatable call with retries; see `Transport.call_with_retries`.

        Args:
            timeout_s: The time-out of each attempt; None means `call_timeout_s`.
        """
        return self._transport.call_with_retries(
            call,
            action=action,
            timeout_s=timeout_s or self.call_timeout_s,
            should_wait_for_quota=should_wait_for_quota,
            should_wait_for_connection=should_wait_for_connection,
        )

    # Files and batches

    def upload(
        self, path: Path, *, display_name: str, sha256: str, size: int, model: str = ""
    ) -> str:
        """Upload a sealed file; return its remote name, `files/…`, once it is ACTIVE and verified.

        The size must agree, and so must the hash if the API returns it. Each retry starts a new
        upload at byte 0. Files of failed uploads are deleted if possible. If the API refuses the
        type of the file, the next of UPLOAD_MIME_TYPES is tried.

        Args:
            display_name: The name of the upload at the API, also for messages.
            sha256: The file's hash in hex.
            size: The file's size in bytes.
            model: Not needed here.

        Raises:
            InconsistentError: The local file is missing or has another size.
            RemoteError: The upload was refused, or failed until the retry time was used up.
            ConfigurationError: The base URL, a certificate file or a proxy cannot be used.
        """
        del model
        if not path.is_file() or path.stat().st_size != size:
            raise InconsistentError(
                f"{path} is missing or does not have the {size:,} bytes that were sealed",
                hint=_DOCTOR_HINT,
            )
        action = f"upload {display_name}"

        async def send_file(sdk: "genai.Client") -> str:
            """Upload the file in one attempt, wait until the API has processed it, and verify it.

            After any failure the upload is deleted, and the error is raised.

            Returns:
                The name of the file at the API.
            """
            config = _request_config(
                self._transfer_timeout_s,
                display_name=display_name,
                mime_type=mime_type,
            )
            try:
                upload_call = sdk.aio.files.upload(file=path, config=config)
                document = await self._transport.reply_document(upload_call)
                file = await self._wait_until_active(sdk, document, action=action)
                remote.verify_upload(file, sha256=sha256, size=size)
            except Exception:
                await self._delete_failed_upload(sdk)
                raise
            return str(file["name"])

        timeout_s = self._transfer_timeout_s + size / MIN_TRANSFER_BYTES_PER_S
        for mime_type in UPLOAD_MIME_TYPES:
            try:
                return self._call(send_file, action=action, timeout_s=timeout_s)
            except UploadTypeRefusedError:
                if mime_type == UPLOAD_MIME_TYPES[-1]:
                    raise
        raise AssertionError("the last type returns or raises")

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
            RemoteError: The upload's reply has status 200 but contains an error, or a poll failed.
            UnreadableReplyError: The reply names no file, or the file has another state after
                processing, such as FAILED, or is still in the state PROCESSING after the time-out.
        """
        error = document.get("error") if isinstance(document, dict) else None
        if isinstance(error, dict) and isinstance(error.get("code"), int):
            raise self._transport.build_refusal(error["code"], document, action=action)

        file = remote.read_file_resource(document)
        waited_s = 0.0
        while file["state"] == "PROCESSING" and waited_s < self._transfer_timeout_s:
            await asyncio.to_thread(self.sleep, UPLOAD_POLL_INTERVAL_S)
            waited_s += UPLOAD_POLL_INTERVAL_S
            status_call = sdk.aio.files.get(
                name=file["name"],
                config=_request_config(self.call_timeout_s),
            )
            file = remote.read_file_resource(
                {"file": await self._transport.reply_document(status_call)}
            )

        if file["state"] not in ("", "ACTIVE", "UNSPECIFIED"):
            raise call_errors.UnreadableReplyError(
                f"the uploaded file has the state {file['state']!r}, not 'ACTIVE'"
            )
        return file

    async def _delete_failed_upload(self, sdk: "genai.Client") -> None:
        """Delete the file that the last reply names; ignore all errors.

        Google deletes files after two days, so a file that remains does no harm.
        """
        with contextlib.suppress(Exception):
            document = self._transport.parse_reply()
            if "file" not in document:
                document = {"file": document}
            name = remote.read_file_resource(document)["name"]
            await sdk.aio.files.delete(name=name, config=_request_config(self.call_timeout_s))

    def delete(self, name: str) -> None:
        """Delete an upload or a batch; succeed if it is missing or not accessible (403, 404).

        Args:
            name: `files/…`; any other name must be `batches/…`.

        Raises:
            InconsistentError: The name is malformed.
            AskrowsError: The call failed for another reason, after all retries.
        """
        is_file = name.startswith("files/")
        config = _request_config(self.call_timeout_s)
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
            self._call(delete_resource, action=f"delete {name}")

    def create_batch(self, model: str, *, file_name: str, display_name: str) -> RemoteBatch:
        """Create a remote batch with exactly one attempt, and return it as the API describes it.

        Args:
            model: The name of the model.
            file_name: The uploaded request file, `files/…`.
            display_name: The name by which the batch is found again.

        Raises:
            InconsistentError: The file name is malformed.
            RefusedError: A clear refusal (4xx other than 408, 409, 499); no batch was made. Its
                subclass, such as ThrottledError, gives the reason.
            NotSentError: No connection was made; no batch was made.
            UnavailableError: It is unclear whether a batch was made: 5xx, 408, 409, 499, a
                time-out, a cut connection, or a reply that does not name exactly this batch. The
                caller has to look for the display name before another create.
        """
        _check_name(file_name, FILE_NAME_PATTERN, "file")
        timeout_s = self.create_timeout_s or self.call_timeout_s

        async def create(sdk: "genai.Client") -> RemoteBatch:
            """Create the batch; raise UnreadableReplyError if the reply names another batch."""
            create_call = sdk.aio.batches.create(
                model=model,
                src=file_name,
                config=_request_config(timeout_s, display_name=display_name),
            )
            document = await self._transport.reply_document(create_call)
            batch = remote.read_operation(document)

            # If the reply is inconsistent, only the list of batches shows which batch is ours.
            if batch.display_name not in {"", display_name}:
                raise call_errors.UnreadableReplyError("the reply is about another batch")
            metadata = document.get("metadata")
            if isinstance(metadata, dict) and metadata.get("name", batch.name) != batch.name:
                raise call_errors.UnreadableReplyError("the reply names two batches")
            return batch

        attempt = self._transport.attempt_call(
            create,
            action=f"create batch {display_name}",
            timeout_s=timeout_s,
        )
        return self._transport.run(attempt)

    def get_batch(self, name: str) -> RemoteBatch:
        """Return a batch as the API describes it now; failed calls are repeated.

        Raises:
            InconsistentError: The name is malformed.
            MissingError: The batch is missing or not accessible. It may have run nevertheless.
            AskrowsError: The call failed for another reason, or its reply is about another batch.
        """
        _check_name(name, BATCH_NAME_PATTERN, "batch")

        async def fetch_batch(sdk: "genai.Client") -> RemoteBatch:
            """Read the batch; raise UnreadableReplyError if the reply names another batch."""
            get_call = sdk.aio.batches.get(name=name, config=_request_config(self.call_timeout_s))
            batch = remote.read_operation(await self._transport.reply_document(get_call))
            if batch.name != name:
                raise call_errors.UnreadableReplyError("the reply is about another batch")
            return batch

        return self._call(fetch_batch, action=f"read {name}")

    def get_model(self, name: str) -> dict[str, Any]:
        """Return the API's description of a model (`models.get`): token limits and methods.

        Failed calls are repeated.

        Raises:
            MissingError: The API knows no model of that name.
            AskrowsError: The call failed for another reason, or the reply describes no model.
        """

        async def fetch_model(sdk: "genai.Client") -> dict[str, Any]:
            """Read the model; raise UnreadableReplyError if the reply has no name of a model."""
            get_call = sdk.aio.models.get(model=name, config=_request_config(self.call_timeout_s))
            document = await self._transport.reply_document(get_call)
            if not isinstance(document, dict) or not isinstance(document.get("name"), str):
                raise call_errors.UnreadableReplyError("the reply does not describe a model")
            return document

        return self._call(fetch_model, action=f"describe the model {name}")

    def list_batches(self) -> list[RemoteBatch]:
        """Return all batches in the API's order (newest first); never a part of the list.

        Each page has its own retries. The page size is always sent, because the list has come back
        empty without it (2025-08).

        Raises:
            UnavailableError: A page cannot be read, a page names an earlier page as the next, or
                there are more than MAX_LIST_PAGES pages. The list may be incomplete then, so it
                proves the absence of no batch.
            AskrowsError: A page failed for another reason, after its retries.
        """
        config = _request_config(self.call_timeout_s, page_size=LIST_PAGE_SIZE)
        batches: list[RemoteBatch] = []
        page_tokens = set[str]()

        async def fetch_page(sdk: "genai.Client") -> tuple[list[RemoteBatch], str]:
            list_call: Any = sdk.aio.batches.list
            return remote.read_batch_page(
                await self._transport.reply_document(list_call(config=config))
            )

        for _ in range(MAX_LIST_PAGES):
            page, page_token = self._call(fetch_page, action="list the batches")
            batches += page
            if not page_token:
                return batches
            if page_token in page_tokens:
                raise UnavailableError(
                    "the list of batches at Gemini cannot be read to its end: "
                    "a page names an earlier page as the next page",
                    hint=call_errors.RUN_LATER_HINT,
                )
            page_tokens.add(page_token)
            config["page_token"] = page_token
        raise UnavailableError(f"the list of batches at Gemini has over {MAX_LIST_PAGES:,} pages")

    def cancel_batch(self, name: str) -> None:
        """Ask the API to stop a batch; it may still end otherwise, so read its state afterwards.

        Calls that failed for a passing reason are repeated. An empty reply is a success.

        Raises:
            InconsistentError: The name is not that of a batch (`batches/…`).
            AskrowsError: The call failed, or its reply is not JSON.
        """
        _check_name(name, BATCH_NAME_PATTERN, "batch")

        async def cancel(sdk: "genai.Client") -> None:
            await sdk.aio.batches.cancel(name=name, config=_request_config(self.call_timeout_s))
            # An empty body is as good as `{}`. A proxy's page is an error, and is not JSON.
            if running_call.get().body.strip():
                self._transport.parse_reply()

        self._call(cancel, action=f"cancel {name}")

    def download(self, file_name: str, part_path: Path, *, keys: KeyList | None = None) -> str:
        """Write a result file to `part_path` with little memory; return the SHA-256 of its bytes.

        The file is not synced. Each retry writes it from the start. A body that was cut and has no
        length looks complete, so the caller has to count its lines.

        Args:
            file_name: `files/…`. URIs are not accepted, because the SDK cuts them at a dash.
            part_path: The file to write. It is removed if an error is raised.
            keys: Not needed here, because a key has any length.

        Raises:
            InconsistentError: The file name is malformed.
            IncompleteError: Each attempt got fewer bytes than its length, its chunks or its gzip
                trailer say.
            ConfigurationError: The file cannot be written.
            AskrowsError: The call failed for another reason, after all retries.
        """
        del keys
        _check_name(file_name, FILE_NAME_PATTERN, "file")

        async def fetch(sdk: "genai.Client") -> str:
            """Write the file and return its hash; remove it and convert errors if that fails."""
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
                    f"only a part of {file_name} was downloaded: the connection ended early",
                    hint=call_errors.RUN_LATER_HINT,
                ) from error
            # An error of the disk: network errors are other exceptions.
            except OSError as error:
                raise ConfigurationError(
                    f"cannot write {part_path}: {error.strerror}",
                    hint="free disk space, then run the same command again",
                ) from error

        return self._call(
            fetch,
            action=f"download {file_name}",
            timeout_s=self._transfer_timeout_s,
        )

    async def _write_download(self, sdk: "genai.Client", file_name: str, file: BinaryIO) -> str:
        """Write the bytes of a remote file; see `DownloadWriter`.

        Returns:
            The SHA-256 of the bytes. If the reply is gzip data, they are unpacked first.

        Raises:
            IncompleteError: The gzip data ended early.
        """
        writer = DownloadWriter(file)
        # The SDK accepts any object with a `write` method.
        destination: Any = writer
        config = _request_config(self._transfer_timeout_s)
        await sdk.aio.files.download(file=file_name, destination=destination, config=config)
        writer.check_complete(file_name)
        return writer.sha256

    # Live calls

    async def generate(
        self,
        model: str,
        request: Mapping[str, Any],
        *,
        service_tier: str = STANDARD,
        on_send: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Send one request live with a single attempt, and return the raw reply document.

        After an UnavailableError the request may have been answered and charged.

        Args:
            request: The request object of a batch line.
            service_tier: The API's service tier. STANDARD is not sent. Flex has a time-out of at
                least `Provider.flex_timeout_s`.
            on_send: Called directly before the request is sent; see `Transport.attempt_call`.

        Returns:
            The reply. If a header names the service tier that answered, it is in `usageMetadata` as
            `serviceTier`.

        Raises:
            RemoteError: The call failed, or the reply is not a JSON object or is empty. A reply
                with status 200 that contains an error is handled like a reply with its code.
        """
        is_flex = service_tier == Mode.FLEX
        timeout_s = (
            max(GEMINI.flex_timeout_s, self.call_timeout_s) if is_flex else self.call_timeout_s
        )
        body = request if service_tier == STANDARD else {**request, "serviceTier": service_tier}
        action = f"ask {model}"

        async def send_request(sdk: "genai.Client") -> dict[str, Any]:
            """Send the request and return the reply with its service tier; raise its error."""
            # One call gives one reply: the SDK would otherwise continue a cut answer.
            config = _request_config(timeout_s, body=body, automatic_continuation=False)
            document = await self._transport.reply_document(
                sdk.aio.models.generate_content(model=model, contents="-", config=config),
            )
            reply = self._check_live_reply(document, action=action)
            _add_service_tier(reply)
            return reply

        attempt = self._transport.attempt_call(
            send_request, action=action, timeout_s=timeout_s, on_send=on_send
        )
        return await asyncio.wrap_future(self._transport.start(attempt))

    async def decide(
        self,
        model: str,
        request: Mapping[str, Any],
        *,
        on_send: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Ask closed questions with a single attempt, and return the raw reply document.

        A decision model replies a probability for each option of a question. The function
        `decisions` of the SDK is not used: it rewrites the body, raises other errors than all other
        calls, and takes over a second to import (version 3.6.1). After an UnavailableError the
        request may have been answered and charged.

        Args:
            model: The name of a decision model.
            request: `input` and `questions` of the body.
            on_send: Called directly before the request is sent; see `Transport.attempt_call`.

        Raises:
            RemoteError: The call failed, or the reply is not a JSON object or is empty. A reply
                with status 200 that contains an error is handled like a reply with its code.
        """
        body = {**request, "model": f"models/{model.removeprefix('models/')}"}
        action = f"ask the decision model {model}"

        async def send_request(_sdk: "genai.Client") -> dict[str, Any]:
            """Send the questions and return the reply; raise its error."""
            post_call = self._transport.post("decisions", body, timeout_s=self.call_timeout_s)
            document = await self._transport.reply_document(post_call)
            return self._check_live_reply(document, action=action)

        attempt = self._transport.attempt_call(
            send_request, action=action, timeout_s=self.call_timeout_s, on_send=on_send
        )
        return await asyncio.wrap_future(self._transport.start(attempt))

    def _check_live_reply(self, document: Any, *, action: str) -> dict[str, Any]:
        """Return the reply to a live call, which must be a JSON object and not empty.

        Raises:
            UnreadableReplyError: The reply is not an object, or is {}.
            RemoteError: The reply has status 200 but contains an error.
        """
        if not isinstance(document, dict) or not document:
            raise call_errors.UnreadableReplyError("the reply is empty or is not a JSON object")

        error_code = api_errors.find_error_code(document)
        if error_code is not None:
            raise self._transport.build_refusal(error_code, document, action=action)
        return document

    def embed(
        self,
        model: Model,
        texts: Sequence[str],
        *,
        dim: int,
        is_query: bool,
        is_paced: bool = False,
    ) -> "Vectors":
        """Embed texts; return their vectors in the same order, as float32 (len(texts), dim).

        Each vector is scaled to length 1. Failed calls are repeated. If a document has no usable
        vector in a repeated call either, its vector is NaN.

        Args:
            texts: 1 to `Provider.max_embed_texts` texts that are not blank.
            dim: Numbers per vector.
            is_query: The texts are search queries, not documents. A person waits for them, so their
                time-out is that of a short call, and a missing connection is an error at once.
            is_paced: The caller handles quotas, so a ThrottledError is raised at once.

        Raises:
            ValueError: There are too few or too many texts, or a text is blank.
            AskrowsError: The call failed after all retries, or its vectors are unusable.
        """
        max_texts = GEMINI.max_embed_texts
        if not 0 < len(texts) <= max_texts or not all(text.strip() for text in texts):
            raise ValueError(
                f"a call embeds 1 to {max_texts} texts, none of them blank; it got {len(texts)}",
            )
        timeout_s = self.call_timeout_s if is_query else self._transfer_timeout_s
        body = {
            "requests": [
                build_embedding_request(text, model, dim=dim, is_query=is_query) for text in texts
            ]
        }

        attempt_numbers = itertools.count()

        async def request_vectors(sdk: "genai.Client") -> "Vectors":
            """Send the texts; return checked vectors, or raise ValueError if one is unusable."""
            is_repeated = next(attempt_numbers) > 0
            config = _request_config(timeout_s, body=body)
            document = await self._transport.reply_document(
                sdk.aio.models.embed_content(model=model.name, contents="-", config=config),
            )
            vectors = [
                object_or_empty(embedding).get("values") for embedding in document["embeddings"]
            ]
            return normalize_vectors(
                vectors,
                count=len(texts),
                dim=dim,
                is_query=is_query,
                may_have_gaps=is_repeated and not is_query,
            )

        return self._call(
            request_vectors,
            action=f"embed {plural(len(texts), 'text')} with {model.name}",
            timeout_s=timeout_s,
            should_wait_for_quota=not is_paced,
            should_wait_for_connection=not is_query,
        )


def _add_service_tier(document: dict[str, Any]) -> None:
    """Add the service tier that answered to `usageMetadata` of a reply, in place.

    The tier is from a header of the reply, as recorded in the context variable `running_call`. Does
    nothing if no header named a tier. A `usageMetadata` that is not an object is replaced.
    """
    service_tier = running_call.get().service_tier
    if not service_tier:
        return
    usage = document.get("usageMetadata")
    if not isinstance(usage, dict):
        usage = {}
    document["usageMetadata"] = {**usage, "serviceTier": service_tier}


def _request_config(
    timeout_s: float,
    *,
    body: Mapping[str, Any] | None = None,
    **members: object,
) -> Any:
    """Return a config of the SDK, whose type differs from call to call.

    Args:
        timeout_s: The time-out of the call.
        body: Replaces the body that the SDK makes; None or empty keeps it.
        members: Other members of the config.
    """
    http_options: dict[str, Any] = {"timeout": max(1, math.ceil(timeout_s * 1000))}
    if body:
        http_options["extra_body"] = body
    return {"http_options": http_options, **members}


def _check_name(name: str, pattern: re.Pattern[str], kind: str) -> None:
    """Raise InconsistentError if a stored name of a remote file or batch is malformed."""
    if not pattern.fullmatch(name):
        raise InconsistentError(
            f"{name!r} is not a valid name of a {kind} at Gemini", hint=_DOCTOR_HINT
        )
