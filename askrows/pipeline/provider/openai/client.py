"""The client of OpenAI's API: files, batches, chat completions and embeddings.

The name of a try is in the metadata of its batch, and in the name of its uploaded file: some
servers keep no metadata.

The output and the error file of a batch are one result, `files/<output>~<error>`.
"""

import asyncio
import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http import HTTPStatus
from io import BufferedRandom
from pathlib import Path
from typing import Any, BinaryIO

import httpx2

from askrows.pipeline.core.errors import MissingError
from askrows.pipeline.core.files import new_part_path, remove_abandoned_parts, removed_on_error
from askrows.pipeline.core.states import STANDARD, RemoteState, parse_remote_state
from askrows.pipeline.provider.call_errors import UnreadableReplyError
from askrows.pipeline.provider.models import Model
from askrows.pipeline.provider.openai import requests, result_lines
from askrows.pipeline.provider.openai.api_errors import build_refusal
from askrows.pipeline.provider.port import LIST_PAGE_SIZE, ProviderClient, convert_disk_errors
from askrows.pipeline.provider.remote_batch import RemoteBatch
from askrows.pipeline.provider.responses import (
    format_api_error,
    object_or_empty,
    parse_count_or_zero,
    to_text,
)
from askrows.pipeline.provider.transport import MIN_TRANSFER_BYTES_PER_S, running_call

# The member of a batch's metadata with the name of our try.
METADATA_NAME = "askrows"
UPLOAD_SUFFIX = ".jsonl"
WIRE_SUFFIX = ".wire"
COMPLETION_WINDOW = "24h"
# Our own choice: how often the size of an upload is asked for, and the delay between two tries.
MAX_SIZE_LOOKS = 10
SIZE_LOOK_INTERVAL_S = 1.0
MAX_REQUEST_COUNT = 10**9
_ID_PATTERN = re.compile(r"[\w-]+", re.ASCII)
# Some servers reply 201 to an upload or a create. Another success, such as 206, is not complete.
SUCCESS_CODES = frozenset({HTTPStatus.OK, HTTPStatus.CREATED})
# Our words for the states of a batch (Batch API reference, read 2025-09).
_STATES = {
    "validating": "PENDING",
    "in_progress": "RUNNING",
    "finalizing": "RUNNING",
    "completed": "SUCCEEDED",
    "failed": "FAILED",
    "expired": "EXPIRED",
    "cancelling": "CANCELLING",
    "cancelled": "CANCELLED",
}


@dataclass(kw_only=True, eq=False, repr=False)
class OpenAIClient(ProviderClient):
    """Calls OpenAI, or a server that speaks its API; see `ProviderClient`."""

    # Returns the model of a name, whose fields say how it is asked.
    require_asked_model: Callable[[str], Model]
    # The names of input files by id, in our form of a display name.
    _file_names: dict[str, str] = field(default_factory=dict, init=False)

    async def request(self, method: str, path: str, **options: Any) -> Any:
        """Make one call and return the JSON of its reply, without the key.

        Raises:
            RemoteError: The status of the reply is not in SUCCESS_CODES.
            ValueError: The reply is not JSON.
        """
        response = await self._http_client.request(
            method, self.make_url(path), headers=self.headers, **options
        )
        await self._check_response(response)
        return self.parse_last_reply()

    def make_url(self, path: str) -> str:
        """Return the address of a path after the version, such as `batches`."""
        return f"{self.address.reveal().rstrip('/')}/{path}"

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the header with the key; a server of one's own may need none."""
        key = self.key.reveal()
        return {"authorization": f"Bearer {key}"} if key else {}

    async def _check_response(self, response: httpx2.Response) -> None:
        """Raise the error of `build_refusal` if a reply is not a success; its body was read."""
        if response.status_code in SUCCESS_CODES:
            return
        try:
            document = self.parse_last_reply()
        except ValueError:
            document = response.text
        raise build_refusal(
            response.status_code,
            document,
            provider=self.provider,
            action=running_call.get().action,
            api_key=self.key.reveal(),
            now=self.now(),
            headers=response.headers,
        )

    def _request_with_retries(self, action: str, method: str, path: str, **options: Any) -> Any:
        """Make a repeatable call with retries, and return the JSON of its reply."""

        async def send() -> Any:
            return await self.request(method, path, **options)

        return self.call_with_retries(send, action=action)

    # Files and batches

    def upload_file(
        self, path: Path, *, display_name: str, sha256: str, size: int, model: str
    ) -> str:
        """Translate and upload a sealed file; see `ProviderClient.upload_file`.

        The lines are translated to OpenAI's form in a temporary file. OpenAI returns no hash of an
        upload, so only the size of the translated file is compared.
        """
        del sha256
        self._check_sealed_file(path, size)
        asked_model = self.require_asked_model(model)
        with _open_empty_wire_file(path) as wire_file, path.open("rb") as lines:
            wire_file.writelines(requests.make_wire_line(asked_model, line) for line in lines)
            return self._upload_and_verify_wire_file(
                wire_file, f"{display_name}{UPLOAD_SUFFIX}", wire_file.tell()
            )

    def _upload_and_verify_wire_file(self, file: BinaryIO, name: str, size: int) -> str:
        """Upload an open file and return its remote name, `files/…`, after its size was verified.

        An upload that is not verified is deleted. Failed calls are repeated.
        """

        async def upload_and_verify_once() -> str:
            """Upload the file in one attempt, and return its remote name after a check of its size.

            A file that fails the check is deleted, and the error is raised.
            """
            file.seek(0)
            document = await self.request(
                "POST",
                "files",
                data={"purpose": "batch"},
                files={"file": (name, file, "application/jsonl")},
            )
            file_id = _parse_plain_id(object_or_empty(document).get("id"))
            if not file_id:
                raise UnreadableReplyError("the reply does not name a file")
            remote_name = f"files/{file_id}"
            try:
                await self._wait_for_and_check_uploaded_size(document, remote_name, size)
            except Exception:
                with contextlib.suppress(Exception):
                    await self.request("DELETE", remote_name)
                raise
            return remote_name

        timeout_s = self.transfer_timeout_s + size / MIN_TRANSFER_BYTES_PER_S
        return self.call_with_retries(
            upload_and_verify_once, action=f"upload {name}", timeout_s=timeout_s
        )

    async def _wait_for_and_check_uploaded_size(
        self, document: dict[str, Any], remote_name: str, size: int
    ) -> None:
        """Compare the size of an upload; read the file's resource again until it has a size.

        Raises:
            UnreadableReplyError: The size differs, or is still missing after MAX_SIZE_LOOKS reads.
        """
        for _ in range(MAX_SIZE_LOOKS):
            if document.get("bytes") is not None:
                break
            await asyncio.to_thread(self.sleep, SIZE_LOOK_INTERVAL_S)
            document = await self.request("GET", remote_name)
        if document.get("bytes") != size:
            raise UnreadableReplyError(f"{document.get('bytes')} of {size} bytes were uploaded")

    def delete_file_or_batch(self, name: str) -> None:
        """Delete an upload; succeed if it is missing. A batch stays: OpenAI cannot delete it."""
        if name.startswith("files/"):
            with contextlib.suppress(MissingError):
                self._request_with_retries(f"delete {name}", "DELETE", name)

    async def _create_batch(self, _model: str, file_name: str, display_name: str) -> RemoteBatch:
        """Send the create call."""
        body = {
            "input_file_id": file_name.removeprefix("files/"),
            "endpoint": requests.ENDPOINT,
            "completion_window": COMPLETION_WINDOW,
            "metadata": {METADATA_NAME: display_name},
        }
        return _parse_remote_batch(await self.request("POST", "batches", json=body))

    async def _fetch_batch(self, name: str) -> RemoteBatch:
        """Read a batch."""
        return _parse_remote_batch(await self.request("GET", name))

    def list_batches(self) -> list[RemoteBatch]:
        """Return all batches; see `ProviderClient.list_batches`.

        The name of a batch without metadata is that of its input file.
        """

        async def fetch_batches_page(token: str) -> tuple[list[tuple[RemoteBatch, str]], str]:
            """Return the batches of a page with the ids of their input files, and the next token.

            The token is "" for the first page, and after the last page.
            """
            params: dict[str, Any] = {"limit": LIST_PAGE_SIZE}
            if token:
                params["after"] = token
            page = object_or_empty(await self.request("GET", "batches", params=params))
            documents = page.get("data")
            if not isinstance(documents, list):
                raise UnreadableReplyError("the page is not a list")
            entries = [
                (_parse_remote_batch(document), _parse_plain_id(document.get("input_file_id")))
                for document in documents
            ]
            if not page.get("has_more"):
                return entries, ""
            return entries, documents[-1]["id"]

        return [
            batch
            if batch.display_name
            else self._copy_with_file_name_as_display_name(batch, file_id)
            for batch, file_id in self._fetch_all_pages(fetch_batches_page)
        ]

    def _copy_with_file_name_as_display_name(self, batch: RemoteBatch, file_id: str) -> RemoteBatch:
        """Return a batch whose display name is the name of its input file without UPLOAD_SUFFIX.

        The name is "" if the file is missing. Each file is read once.
        """
        if file_id and file_id not in self._file_names:
            file: Any = {}
            with contextlib.suppress(MissingError):
                file = self._request_with_retries(f"read {file_id}", "GET", f"files/{file_id}")
            file_name = to_text(object_or_empty(file).get("filename"))
            self._file_names[file_id] = file_name.removesuffix(UPLOAD_SUFFIX)
        return replace(batch, display_name=self._file_names.get(file_id, ""))

    def cancel_batch(self, name: str) -> None:
        """Ask the server to stop a batch; it may still end otherwise."""
        self._request_with_retries(f"cancel {name}", "POST", f"{name}/cancel")

    def fetch_model_description(self, name: str) -> dict[str, Any]:
        """Return the server's description of a model."""
        document: dict[str, Any] = self._request_with_retries(
            f"describe the model {name}", "GET", f"models/{name}"
        )
        return document

    def download_result(self, file_name: str, part_path: Path, *, keys: Iterable[str]) -> str:
        """Write the translated lines of a result to a path; see `ProviderClient.download_result`.

        `file_name` has the ids of the output file and the error file, joined by "~". The returned
        hash is that of their original bytes, one file after the other, with a line end after each.
        """
        file_ids = file_name.removeprefix("files/").split("~")
        with _open_empty_wire_file(part_path) as wire_file:
            for file_id in file_ids:
                file_name = f"files/{file_id}"
                url = self.make_url(f"{file_name}/content")
                self._append_whole_download_and_hash(
                    file_name, url=url, file=wire_file, path=part_path
                )
                _append_missing_line_end(wire_file)
            wire_file.seek(0)
            sha256 = hashlib.file_digest(wire_file, "sha256").hexdigest()
            wire_file.seek(0)
            has_wrong_form = result_lines.have_all_requests_failed_alike(wire_file)
            wire_file.seek(0)
            lines = result_lines.translate_result_lines(
                wire_file,
                has_wrong_form=has_wrong_form,
                keys_by_id={requests.make_custom_id(key): key for key in keys},
            )
            with removed_on_error(part_path), part_path.open("wb") as part_file:
                part_file.writelines(lines)
        return sha256

    # Live calls

    async def generate(
        self,
        model: str,
        request: Mapping[str, Any],
        *,
        service_tier: str = STANDARD,
        on_send: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Send one request live with a single attempt; see `ProviderClient.generate`.

        The request is translated to a chat completion, and its reply to a reply of ours.
        """
        body = requests.make_completion_body(self.require_asked_model(model), request)
        if service_tier != STANDARD:
            body["service_tier"] = service_tier

        async def send() -> dict[str, Any]:
            document = await self.request("POST", "chat/completions", json=body)
            if not isinstance(document, dict) or not isinstance(document.get("choices"), list):
                raise UnreadableReplyError("the reply is not a chat completion")
            return requests.convert_completion(document)

        return await self._make_live_call(
            send,
            action=f"ask {model}",
            timeout_s=self.find_live_timeout_s(service_tier),
            on_send=on_send,
        )

    async def _fetch_vectors(
        self, model: Model, texts: Sequence[str], *, dim: int, is_query: bool
    ) -> list[Any]:
        """Send the texts and return their vectors in order, which are not checked.

        Queries are embedded as documents are.
        """
        del is_query
        body = {"model": model.name, "input": list(texts), "dimensions": dim}
        document = await self.request("POST", "embeddings", json=body)
        entries = sorted(document["data"], key=lambda entry: entry["index"])
        return [entry["embedding"] for entry in entries]


def _parse_remote_batch(document: Any) -> RemoteBatch:
    """Return the batch that the server describes; its display name is in the metadata, or "".

    It has a result file only in a final state. An expired or cancelled batch has 0 failed requests,
    because requests that never ran may count as failed.

    Raises:
        UnreadableReplyError: The document names no batch.
    """
    fields = object_or_empty(document)
    if not _parse_plain_id(fields.get("id")):
        raise UnreadableReplyError("the reply does not name a batch")
    word = _STATES.get(to_text(fields.get("status")), to_text(fields.get("status")).upper())
    state = parse_remote_state(word)
    counts = object_or_empty(fields.get("request_counts"))
    completed = parse_count_or_zero(counts.get("completed"), below=MAX_REQUEST_COUNT)
    failed = parse_count_or_zero(counts.get("failed"), below=MAX_REQUEST_COUNT)
    # Requests that never ran may count as failed.
    if state in {RemoteState.EXPIRED, RemoteState.CANCELLED}:
        failed = 0
    created_at = parse_count_or_zero(fields.get("created_at"), below=10**11)
    file_ids = [fields.get("output_file_id"), fields.get("error_file_id")]
    result_name = "~".join(filter(None, map(_parse_plain_id, file_ids)))
    errors = object_or_empty(fields.get("errors")).get("data")
    return RemoteBatch(
        name=f"batches/{fields['id']}",
        display_name=to_text(object_or_empty(fields.get("metadata")).get(METADATA_NAME)),
        created_at=datetime.fromtimestamp(created_at, UTC) if created_at else None,
        state_name=f"BATCH_STATE_{word}" if word else None,
        state=state,
        result_file=f"files/{result_name}" if result_name and state.is_final else None,
        error="; ".join(map(_format_batch_error, errors)) if isinstance(errors, list) else "",
        ended_request_count=completed + failed,
        failed_request_count=failed,
    )


@contextlib.contextmanager
def _open_empty_wire_file(path: Path) -> Iterator[BufferedRandom]:
    """Open a new part file next to a path for the bytes on the wire, and remove it at the end.

    Parts that killed processes left are removed first.
    Its name is not that of a request file: a process that prepares a batch deletes unknown ones.
    """
    target = path.with_suffix(WIRE_SUFFIX)
    remove_abandoned_parts(target)
    with convert_disk_errors(path), removed_on_error(new_part_path(target)) as wire_path:
        with wire_path.open("w+b") as wire_file:
            yield wire_file
        wire_path.unlink()


def _append_missing_line_end(file: BufferedRandom) -> None:
    """Add a line end to the end of a file, unless it is empty or ends with one."""
    size_bytes = file.seek(0, os.SEEK_END)
    if size_bytes == 0:
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        file.write(b"\n")


def _parse_plain_id(member: Any) -> str:
    """Return an id of the server, which becomes a part of a URL; "" if it is not a plain one."""
    file_id = to_text(member)
    return file_id if _ID_PATTERN.fullmatch(file_id) else ""


def _format_batch_error(error: Any) -> str:
    """Return an error of a failed batch as `parse_bad_line_number` reads it."""
    fields = object_or_empty(error)
    place = f"Error on line {fields['line']}: " if fields.get("line") else ""
    message = f"{place}{to_text(fields.get('message'))}"
    return format_api_error({"code": fields.get("code") or "", "message": message})
