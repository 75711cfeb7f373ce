"""The client of Gemini's API: uploads, batches, downloads, live calls and embeddings.

The API takes no key of ours that would make a create idempotent. `remote` and `responses` read the
raw replies.

The SDK reads the environment, repeats creates, ignores the delay that a server asks for, sets no
time-out, and drops members of replies. So it gets explicit options, and its retries are off.
"""

import asyncio
import contextlib
import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import orjson

from askrows.pipeline.core.errors import (
    AskrowsError,
    InconsistentError,
    MissingError,
    UploadTypeRefusedError,
)
from askrows.pipeline.core.files import removed_on_error
from askrows.pipeline.core.states import STANDARD
from askrows.pipeline.provider import call_errors
from askrows.pipeline.provider.embed import build_embedding_request
from askrows.pipeline.provider.gemini import api_errors, remote
from askrows.pipeline.provider.gemini.remote import BATCH_NAME_PATTERN, FILE_NAME_PATTERN
from askrows.pipeline.provider.models import Model
from askrows.pipeline.provider.port import (
    DOCTOR_HINT,
    LIST_PAGE_SIZE,
    ProviderClient,
    convert_disk_errors,
)
from askrows.pipeline.provider.providers import GEMINI, Provider
from askrows.pipeline.provider.remote_batch import RemoteBatch
from askrows.pipeline.provider.responses import object_or_empty
from askrows.pipeline.provider.transport import (
    MIN_TRANSFER_BYTES_PER_S,
    running_call,
)

if TYPE_CHECKING:
    import ssl

    from google import genai

# Set explicitly, because the SDK's default was v1beta before 3.0 and is v1 since then.
API_VERSION = "v1beta"
# The types of an uploaded request file, in the order of the tries. The first is documented (Batch
# API guide, read 2026-11), but the API has refused it at times (2025-10).
UPLOAD_MIME_TYPES = ("jsonl", "application/jsonl", "application/json", "text/plain")
# Our own choice: the delay between two status requests for an upload that is being processed.
UPLOAD_POLL_INTERVAL_S = 2.0
# Downloaded bytes are written to disk in blocks of this size.
DOWNLOAD_BUFFER_BYTES = 1 << 20


@dataclass(kw_only=True, eq=False, repr=False)
class Client(ProviderClient):
    """Calls Gemini; see `ProviderClient`."""

    provider: Provider = GEMINI

    @property
    def _sdk(self) -> "genai.Client":
        """Return the SDK, which the first call opens."""
        sdk: genai.Client = self._connected_api
        return sdk

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the header with the key."""
        return {"x-goog-api-key": self.key.reveal()}

    def make_url(self, path: str) -> str:
        """Return the address of a path after the version, such as "decisions"."""
        return f"{self.address.reveal().rstrip('/')}/{API_VERSION}/{path}"

    async def _check_response(self, response: httpx2.Response) -> None:
        """Raise google.genai.errors.APIError if the status of a response is not 200."""
        from google.genai import errors

        await errors.APIError.raise_for_async_response(response)

    def _connect(self, base_url: str, ssl_context: "ssl.SSLContext") -> "genai.Client":
        """Return the SDK with explicit options.

        Switches off the SDK's retries and its warnings about unknown enum values.
        """
        from google import genai
        from google.genai import types

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
        return genai.Client(api_key=self.key.reveal(), vertexai=False, http_options=options)

    def _convert_error(self, error: Exception, *, action: str, timeout_s: float) -> AskrowsError:
        """Return our error for an exception of the SDK, the HTTP library or the network."""
        return api_errors.convert_call_error_or_reraise(
            error,
            action=action,
            api_key=self.key.reveal(),
            now=self.now(),
            address=str(self.address),
            timeout_s=timeout_s,
        )

    async def _record_body_and_check_response(self, response: httpx2.Response) -> None:
        """Record the body and the service tier of a reply in the running call.

        A refused piece of an upload raises an error. The SDK would accept any upload status,
        whatever the HTTP code, and would continue without that piece.

        Raises:
            UnreadableReplyError: The body is too long according to its header, or a piece of an
                upload has an unexpected status.
            google.genai.errors.APIError: The API refused a piece of an upload.
        """
        await super()._record_body_and_check_response(response)
        running_call.get().service_tier = response.headers.get("x-gemini-service-tier", "")

        upload_command = response.request.headers.get("x-goog-upload-command", "")
        if not upload_command.startswith("upload"):
            return
        await self._check_response(response)
        upload_status = response.headers.get("x-goog-upload-status")
        expected_status = "final" if "finalize" in upload_command else "active"
        if upload_status != expected_status:
            raise call_errors.UnreadableReplyError(
                f"a part of the upload has the status {upload_status!r}, not {expected_status!r}",
            )

    # Files and batches

    def upload_file(
        self, path: Path, *, display_name: str, sha256: str, size: int, model: str = ""
    ) -> str:
        """Upload a sealed file; see `ProviderClient.upload_file`.

        Waits until the API has processed the file. The size must agree, and so must the hash if
        the API returns it; a failed upload is deleted. If the API refuses the type of the file, the
        next of UPLOAD_MIME_TYPES is tried.
        """
        del model
        self._check_sealed_file(path, size)

        async def upload_and_verify_once() -> str:
            """Upload the file in one attempt, wait until the API has processed it, and verify it.

            After any failure the upload is deleted, and the error is raised.

            Returns:
                The name of the file at the API.
            """
            config = _make_request_config(
                self.transfer_timeout_s,
                display_name=display_name,
                mime_type=mime_type,
            )
            try:
                upload_call = self._sdk.aio.files.upload(file=path, config=config)
                document = await self.await_and_parse_reply(upload_call)
                file = await self._wait_until_file_is_active(document)
                remote.check_uploaded_size_and_hash(file, sha256=sha256, size=size)
            except Exception:
                await self._delete_failed_upload()
                raise
            return str(file["name"])

        timeout_s = self.transfer_timeout_s + size / MIN_TRANSFER_BYTES_PER_S
        for mime_type in UPLOAD_MIME_TYPES:
            try:
                return self.call_with_retries(
                    upload_and_verify_once, action=f"upload {display_name}", timeout_s=timeout_s
                )
            except UploadTypeRefusedError:
                if mime_type == UPLOAD_MIME_TYPES[-1]:
                    raise
        raise AssertionError("the last type returns or raises")

    async def _wait_until_file_is_active(self, document: Any) -> dict[str, Any]:
        """Poll an uploaded file until it is processed; return its resource.

        Polls every UPLOAD_POLL_INTERVAL_S seconds, for at most the time-out of a transfer. A file
        without a state, or with an unspecified state, counts as ACTIVE.

        Args:
            document: The last reply of the upload.

        Raises:
            RemoteError: The upload's reply has status 200 but contains an error, or a poll failed.
            UnreadableReplyError: The reply names no file, or the file has another state after
                processing, such as FAILED, or is still in the state PROCESSING after the time-out.
        """
        self._check_no_error_in_reply(document)
        file = remote.parse_file_resource(document)
        waited_s = 0.0
        while file["state"] == "PROCESSING" and waited_s < self.transfer_timeout_s:
            await asyncio.to_thread(self.sleep, UPLOAD_POLL_INTERVAL_S)
            waited_s += UPLOAD_POLL_INTERVAL_S
            status_call = self._sdk.aio.files.get(
                name=file["name"],
                config=_make_request_config(self.call_timeout_s),
            )
            file = remote.parse_file_resource(
                {"file": await self.await_and_parse_reply(status_call)}
            )

        if file["state"] not in ("", "ACTIVE", "UNSPECIFIED"):
            raise call_errors.UnreadableReplyError(
                f"the uploaded file has the state {file['state']!r}, not 'ACTIVE'"
            )
        return file

    async def _delete_failed_upload(self) -> None:
        """Delete the file that the last reply names; ignore all errors.

        Google deletes files after two days, so a file that remains does no harm.
        """
        with contextlib.suppress(Exception):
            document = self.parse_last_reply()
            if "file" not in document:
                document = {"file": document}
            name = remote.parse_file_resource(document)["name"]
            await self._sdk.aio.files.delete(
                name=name, config=_make_request_config(self.call_timeout_s)
            )

    def delete_file_or_batch(self, name: str) -> None:
        """Delete an upload or a batch; succeed if it is missing or not accessible (403, 404).

        Args:
            name: `files/…`; any other name must be `batches/…`.

        Raises:
            InconsistentError: The name is malformed.
            AskrowsError: The call failed for another reason, after all retries.
        """
        is_file = name.startswith("files/")
        if is_file:
            _check_remote_name(name, FILE_NAME_PATTERN, "file")
        else:
            _check_remote_name(name, BATCH_NAME_PATTERN, "batch")

        async def delete_resource() -> None:
            resources = self._sdk.aio.files if is_file else self._sdk.aio.batches
            await resources.delete(name=name, config=_make_request_config(self.call_timeout_s))

        with contextlib.suppress(MissingError):
            self.call_with_retries(delete_resource, action=f"delete {name}")

    async def _create_batch(self, model: str, file_name: str, display_name: str) -> RemoteBatch:
        """Send the create call; its reply must not name two batches."""
        _check_remote_name(file_name, FILE_NAME_PATTERN, "file")
        create_call = self._sdk.aio.batches.create(
            model=model,
            src=file_name,
            config=_make_request_config(self.create_timeout_s, display_name=display_name),
        )
        document = await self.await_and_parse_reply(create_call)
        batch = remote.parse_remote_batch(document)

        metadata = document.get("metadata")
        if isinstance(metadata, dict) and metadata.get("name", batch.name) != batch.name:
            raise call_errors.UnreadableReplyError("the reply names two batches")
        return batch

    async def _fetch_batch(self, name: str) -> RemoteBatch:
        """Read a batch."""
        _check_remote_name(name, BATCH_NAME_PATTERN, "batch")
        get_call = self._sdk.aio.batches.get(
            name=name, config=_make_request_config(self.call_timeout_s)
        )
        return remote.parse_remote_batch(await self.await_and_parse_reply(get_call))

    def fetch_model_description(self, name: str) -> dict[str, Any]:
        """Return the API's description of a model (`models.get`): token limits and methods.

        Raises:
            AskrowsError: The call failed after all retries, or its reply does not name a model.
        """

        async def fetch_model() -> dict[str, Any]:
            """Read the model; raise UnreadableReplyError if the reply has no name of a model."""
            get_call = self._sdk.aio.models.get(
                model=name, config=_make_request_config(self.call_timeout_s)
            )
            document = await self.await_and_parse_reply(get_call)
            if not isinstance(document, dict) or not isinstance(document.get("name"), str):
                raise call_errors.UnreadableReplyError("the reply does not describe a model")
            return document

        return self.call_with_retries(fetch_model, action=f"describe the model {name}")

    def list_batches(self) -> list[RemoteBatch]:
        """Return all batches; see `ProviderClient.list_batches`.

        The page size is always sent, because the list has come back empty without it (2025-08).
        """

        async def fetch_page(token: str) -> tuple[list[RemoteBatch], str]:
            config = _make_request_config(
                self.call_timeout_s, page_size=LIST_PAGE_SIZE, page_token=token or None
            )
            list_call: Any = self._sdk.aio.batches.list
            return remote.parse_batch_page(
                await self.await_and_parse_reply(list_call(config=config))
            )

        return self._fetch_all_pages(fetch_page)

    def cancel_batch(self, name: str) -> None:
        """Ask the API to stop a batch; an empty reply is a success.

        Raises:
            InconsistentError: The name is not that of a batch (`batches/…`).
            AskrowsError: The call failed, or its reply is not JSON.
        """
        _check_remote_name(name, BATCH_NAME_PATTERN, "batch")

        async def cancel() -> None:
            await self._sdk.aio.batches.cancel(
                name=name, config=_make_request_config(self.call_timeout_s)
            )
            # An empty body is as good as `{}`. A proxy's page is an error, and is not JSON.
            if running_call.get().body.strip():
                self.parse_last_reply()

        self.call_with_retries(cancel, action=f"cancel {name}")

    def download_result(self, file_name: str, part_path: Path, *, keys: Iterable[str] = ()) -> str:
        """Write a result file to `part_path`; see `ProviderClient.download_result`.

        Args:
            file_name: `files/…`.
            part_path: The file to write. It is removed if an error is raised.
            keys: Not needed here, because a key has any length.
        """
        del keys
        _check_remote_name(file_name, FILE_NAME_PATTERN, "file")
        with (
            convert_disk_errors(part_path),
            removed_on_error(part_path),
            part_path.open("wb", buffering=DOWNLOAD_BUFFER_BYTES) as file,
        ):
            url = self.make_url(f"{file_name}:download?alt=media")
            return self._append_whole_download_and_hash(
                file_name, url=url, file=file, path=part_path
            )

    # Live calls

    async def generate(
        self,
        model: str,
        request: Mapping[str, Any],
        *,
        service_tier: str = STANDARD,
        on_send: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Send one request live with a single attempt; see `ProviderClient.generate`."""
        timeout_s = self.find_live_timeout_s(service_tier)
        body = request if service_tier == STANDARD else {**request, "serviceTier": service_tier}

        async def send_request() -> dict[str, Any]:
            """Send the request and return the reply with its service tier; raise its error."""
            # One call gives one reply: the SDK would otherwise continue a cut answer.
            config = _make_request_config(timeout_s, body=body, automatic_continuation=False)
            document = await self.await_and_parse_reply(
                self._sdk.aio.models.generate_content(model=model, contents="-", config=config),
            )
            reply = self._require_live_reply(document)
            answering_tier = running_call.get().service_tier
            if answering_tier:
                usage = object_or_empty(reply.get("usageMetadata"))
                reply["usageMetadata"] = {**usage, "serviceTier": answering_tier}
            return reply

        return await self._make_live_call(
            send_request, action=f"ask {model}", timeout_s=timeout_s, on_send=on_send
        )

    async def ask_decision_model(
        self,
        model: str,
        request: Mapping[str, Any],
        *,
        on_send: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Ask closed questions with a single attempt; see `ProviderClient.ask_decision_model`.

        The function `decisions` of the SDK is not used: it rewrites the body, raises other errors
        than all other calls, and takes over a second to import (version 3.6.1).
        """
        body = {**request, "model": f"models/{model.removeprefix('models/')}"}

        async def send_request() -> dict[str, Any]:
            """Send the questions and return the reply; raise its error."""
            headers = {
                "content-type": "application/json",
                "x-server-timeout": str(math.ceil(self.call_timeout_s)),
                **self.headers,
            }
            response = await self._http_client.post(
                self.make_url("decisions"), content=orjson.dumps(body), headers=headers
            )
            await self._check_response(response)
            return self._require_live_reply(self.parse_last_reply())

        return await self._make_live_call(
            send_request,
            action=f"ask the decision model {model}",
            timeout_s=self.call_timeout_s,
            on_send=on_send,
        )

    def _require_live_reply(self, document: Any) -> dict[str, Any]:
        """Return the reply to a live call, which must be a JSON object and not empty.

        Raises:
            UnreadableReplyError: The reply is not an object, or is {}.
            RemoteError: The reply has status 200 but contains an error.
        """
        if not isinstance(document, dict) or not document:
            raise call_errors.UnreadableReplyError("the reply is empty or is not a JSON object")

        self._check_no_error_in_reply(document)
        return document

    def _check_no_error_in_reply(self, document: Any) -> None:
        """Raise the error that a reply of the running call contains, although its status is 200."""
        error_code = api_errors.find_error_code_in_reply(document)
        if error_code is not None:
            raise api_errors.build_refusal(
                error_code,
                document,
                action=running_call.get().action,
                api_key=self.key.reveal(),
                now=self.now(),
            )

    async def _fetch_vectors(
        self, model: Model, texts: Sequence[str], *, dim: int, is_query: bool
    ) -> list[Any]:
        """Send the texts and return the vectors of the reply, which are not checked.

        An embedding without `values` is None. Documents may take longer than a query.
        """
        requests = [
            build_embedding_request(text, model, dim=dim, is_query=is_query) for text in texts
        ]
        timeout_s = self.call_timeout_s if is_query else self.transfer_timeout_s
        config = _make_request_config(timeout_s, body={"requests": requests})
        document = await self.await_and_parse_reply(
            self._sdk.aio.models.embed_content(model=model.name, contents="-", config=config),
        )
        return [object_or_empty(embedding).get("values") for embedding in document["embeddings"]]


def _make_request_config(
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


def _check_remote_name(name: str, pattern: re.Pattern[str], kind: str) -> None:
    """Raise InconsistentError if a stored name of a remote file or batch is malformed."""
    if not pattern.fullmatch(name):
        raise InconsistentError(
            f"{name!r} is not a valid name of a {kind} at Gemini", hint=DOCTOR_HINT
        )
