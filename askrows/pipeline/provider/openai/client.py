"""The client of OpenAI's API: files, batches, chat completions and embeddings.

Creating a batch is not idempotent, so `create_batch` makes exactly one attempt. The name of the try
is in the metadata of the batch, and in the name of its uploaded file: some servers keep no
metadata. `generate` makes one attempt, too; all other calls are repeated after temporary errors.

The output and the error file of a batch are one result, `files/<output>~<error>`.
"""

import asyncio
import contextlib
import hashlib
import itertools
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO

import httpx2

from askrows.pipeline.core.errors import (
    ConfigurationError,
    IncompleteError,
    InconsistentError,
    MissingError,
)
from askrows.pipeline.core.files import removed_on_error
from askrows.pipeline.core.redact import Secret
from askrows.pipeline.core.states import STANDARD, Mode, RemoteState, remote_state
from askrows.pipeline.core.text import plural
from askrows.pipeline.provider.call_errors import (
    RUN_LATER_HINT,
    UnreadableReplyError,
    format_error,
    to_text,
)
from askrows.pipeline.provider.embed import normalize_vectors
from askrows.pipeline.provider.models import Model
from askrows.pipeline.provider.openai import requests, result_lines
from askrows.pipeline.provider.openai.transport import OpenAITransport
from askrows.pipeline.provider.port import KeyList
from askrows.pipeline.provider.providers import Provider
from askrows.pipeline.provider.remote_batch import RemoteBatch
from askrows.pipeline.provider.responses import object_or_empty, parse_count
from askrows.pipeline.provider.retry import RetryPolicy
from askrows.pipeline.provider.transport import MIN_TRANSFER_BYTES_PER_S, DownloadWriter

if TYPE_CHECKING:
    from askrows.pipeline.provider.embed import Vectors

# The member of a batch's metadata with the name of our try.
METADATA_NAME = "askrows"
UPLOAD_SUFFIX = ".jsonl"
COMPLETION_WINDOW = "24h"
LIST_PAGE_SIZE = 100
# Our own choice: it ends a list whose pages never end.
MAX_LIST_PAGES = 1_000
# Our own choice: how often the size of an upload is asked for, and the delay between two tries.
MAX_SIZE_LOOKS = 10
SIZE_LOOK_INTERVAL_S = 1.0
# A transfer may take this many times as long as a call, before the time for its size is added.
TRANSFER_TIMEOUT_FACTOR = 10
MAX_BACKOFF_S = 60.0
MAX_REQUEST_COUNT = 10**9
_ID_PATTERN = re.compile(r"[\w-]+", re.ASCII)
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
class OpenAIClient:
    """Calls a base URL with a key, from any thread or event loop; `close` it at the end."""

    api_key: InitVar[str]
    base_url: InitVar[str]
    provider: Provider
    # Returns the model of a name, whose fields say how it is asked.
    find_model: Callable[[str], Model]
    # Time-outs of whole calls, in seconds.
    call_timeout_s: float = 60
    create_timeout_s: float = 60
    # The upper limit of all waits of one operation together, and of the first wait.
    retry_for_s: float = 60
    first_wait_s: float = 1.0
    trust_env: bool = True
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    # Names of input files by their id, for servers that keep no metadata.
    _file_names: dict[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self, api_key: str, base_url: str) -> None:
        """Check the key and store it with the address, both as secrets; open nothing.

        Raises:
            ConfigurationError: The key has characters that are not printable ASCII.
        """
        key = api_key.strip()
        if not (key.isascii() and key.isprintable()):
            raise ConfigurationError(
                f"the key of {self.provider.name} contains characters that are not printable ASCII",
                hint=f"set {self.provider.key_variable}",
            )
        self._transport = OpenAITransport(
            provider=self.provider,
            key=Secret(key),
            base_url=Secret.url(base_url),
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
        """Open the connections now."""
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
        action: str,
        method: str,
        path: str,
        *,
        check: Callable[[Any], None] = lambda _document: None,
        **options: Any,
    ) -> Any:
        """Make a repeatable call with retries, and return the JSON of its reply.

        Args:
            check: Raises an UnreadableReplyError about a reply that cannot be used.
        """

        async def send(http: httpx2.AsyncClient) -> Any:
            document = await self._transport.request(http, method, path, action=action, **options)
            check(document)
            return document

        timeout_s = options.setdefault("timeout", self.call_timeout_s)
        return self._transport.call_with_retries(send, action=action, timeout_s=timeout_s)

    # Files and batches

    def upload(self, path: Path, *, display_name: str, sha256: str, size: int, model: str) -> str:
        """Translate and upload a sealed file; return its name once its size is verified.

        OpenAI tells no hash of an upload, so the size on the wire is compared.

        Raises:
            InconsistentError: The local file is missing or has another size.
            ConfigurationError: The file is too large on the wire.
            RemoteError: The upload was refused, or failed until the retry time was used up.
        """
        del sha256
        if not path.is_file() or path.stat().st_size != size:
            raise InconsistentError(
                f"{path} is missing or does not have the {size:,} bytes that were sealed"
            )
        with TemporaryFile() as wire_file:
            asked_model = self.find_model(model)
            with path.open("rb") as lines:
                for line in lines:
                    wire_file.write(requests.make_wire_line(asked_model, line))
            wire_size = wire_file.tell()
            max_wire_bytes = self.provider.max_file_bytes
            if wire_size > max_wire_bytes:
                raise ConfigurationError(
                    f"the request file has {wire_size:,} bytes on the wire, and "
                    f"{self.provider.name} accepts {max_wire_bytes:,}; nothing was sent",
                    hint="set a smaller ASKROWS_BATCH_BYTES, and give up this batch",
                )
            file_id = self._upload_file(wire_file, f"{display_name}{UPLOAD_SUFFIX}", wire_size)
        return f"files/{file_id}"

    def _upload_file(self, file: BinaryIO, name: str, size: int) -> str:
        """Upload an open file and return its id; a retry starts a new upload at byte 0.

        A failed upload is deleted if possible.
        """
        action = f"upload {name}"
        timeout_s = self._transfer_timeout_s + size / MIN_TRANSFER_BYTES_PER_S

        async def send(http: httpx2.AsyncClient) -> str:
            file.seek(0)
            document = await self._transport.request(
                http,
                "POST",
                "files",
                action=action,
                data={"purpose": "batch"},
                files={"file": (name, file, "application/jsonl")},
                timeout=timeout_s,
            )
            file_id = _read_id(object_or_empty(document).get("id"))
            if not file_id:
                raise UnreadableReplyError("the reply does not name a file")
            try:
                await self._verify_size(http, document, size, action=action)
            except Exception:
                with contextlib.suppress(Exception):
                    path = f"files/{file_id}"
                    await self._transport.request(http, "DELETE", path, action=action)
                raise
            return file_id

        return self._transport.call_with_retries(send, action=action, timeout_s=timeout_s)

    async def _verify_size(
        self, http: httpx2.AsyncClient, document: dict[str, Any], size: int, *, action: str
    ) -> None:
        """Compare the size of an upload; a size that is not there yet is asked for again.

        Raises:
            UnreadableReplyError: The size differs, or is not told in MAX_SIZE_LOOKS looks.
        """
        path = f"files/{document['id']}"
        for _ in range(MAX_SIZE_LOOKS):
            if document.get("bytes") is not None:
                break
            await asyncio.to_thread(self.sleep, SIZE_LOOK_INTERVAL_S)
            document = await self._transport.request(http, "GET", path, action=action)
        if document.get("bytes") != size:
            raise UnreadableReplyError(f"{document.get('bytes')} of {size} bytes were uploaded")

    def delete(self, name: str) -> None:
        """Delete an upload; succeed if it is missing. A batch of OpenAI cannot be deleted."""
        kind, _, file_id = name.partition("/")
        if kind == "files":
            with contextlib.suppress(MissingError):
                self._call(f"delete {name}", "DELETE", f"files/{file_id}")

    def create_batch(self, model: str, *, file_name: str, display_name: str) -> RemoteBatch:
        """Create a remote batch with exactly one attempt; see `port.ProviderClient`."""
        del model
        action = f"create batch {display_name}"
        body = {
            "input_file_id": file_name.removeprefix("files/"),
            "endpoint": requests.ENDPOINT,
            "completion_window": COMPLETION_WINDOW,
            "metadata": {METADATA_NAME: display_name},
        }

        async def create(http: httpx2.AsyncClient) -> RemoteBatch:
            document = await self._transport.request(
                http, "POST", "batches", action=action, json=body, timeout=self.create_timeout_s
            )
            batch = self._read_batch(document, _find_metadata_name(document))
            if batch.display_name not in {"", display_name}:
                raise UnreadableReplyError("the reply is about another batch")
            return batch

        attempt = self._transport.attempt_call(
            create, action=action, timeout_s=self.create_timeout_s
        )
        return self._transport.run(attempt)

    def get_batch(self, name: str) -> RemoteBatch:
        """Return a batch as the server describes it now; failed calls are repeated."""

        def check(document: Any) -> None:
            if self._read_batch(document, "").name != name:
                raise UnreadableReplyError("the reply is about another batch")

        path = f"batches/{name.removeprefix('batches/')}"
        document = self._call(f"read {name}", "GET", path, check=check)
        return self._read_batch(document, _find_metadata_name(document))

    def list_batches(self) -> list[RemoteBatch]:
        """Return all batches in the server's order (newest first); never a part of the list."""
        batches: list[RemoteBatch] = []
        params: dict[str, Any] = {"limit": LIST_PAGE_SIZE}
        for _ in range(MAX_LIST_PAGES):
            page = self._call(
                "list the batches", "GET", "batches", check=self._check_page, params=dict(params)
            )
            batches += [
                self._read_batch(document, self._find_display_name(document))
                for document in page["data"]
            ]
            if not page.get("has_more"):
                return batches
            last_name = batches[-1].name.removeprefix("batches/") if batches else ""
            if params.get("after") == last_name:
                break
            params["after"] = last_name
        raise IncompleteError(
            f"the list of batches at {self.provider.name} cannot be read to its end: "
            "a page names an earlier page, or there are too many",
            hint=RUN_LATER_HINT,
        )

    def _check_page(self, page: Any) -> None:
        """Check that a page is a list of batches; raise UnreadableReplyError if it is not."""
        documents = object_or_empty(page).get("data")
        if not isinstance(documents, list):
            raise UnreadableReplyError("the page is not a list")
        for document in documents:
            self._read_batch(document, "")

    def cancel_batch(self, name: str) -> None:
        """Ask the server to stop a batch; it may still end otherwise."""
        self._call(f"cancel {name}", "POST", f"batches/{name.removeprefix('batches/')}/cancel")

    def get_model(self, name: str) -> dict[str, Any]:
        """Return the server's description of a model."""
        document: dict[str, Any] = self._call(f"describe the model {name}", "GET", f"models/{name}")
        return document

    def _find_display_name(self, document: Any) -> str:
        """Return our name of a batch from its metadata, else from the name of its input file."""
        name = _find_metadata_name(document)
        file_id = _read_id(object_or_empty(document).get("input_file_id"))
        if name or not file_id:
            return name
        if file_id not in self._file_names:
            file: Any = {}
            with contextlib.suppress(MissingError):
                file = self._call(f"read {file_id}", "GET", f"files/{file_id}")
            file_name = to_text(object_or_empty(file).get("filename"))
            self._file_names[file_id] = file_name.removesuffix(UPLOAD_SUFFIX)
        return self._file_names[file_id]

    def _read_batch(self, document: Any, display_name: str) -> RemoteBatch:
        """Return the batch that the server describes.

        Raises:
            UnreadableReplyError: The document names no batch.
        """
        fields = object_or_empty(document)
        if not _read_id(fields.get("id")):
            raise UnreadableReplyError("the reply does not name a batch")
        word = _STATES.get(to_text(fields.get("status")), to_text(fields.get("status")).upper())
        state = remote_state(word)
        counts = object_or_empty(fields.get("request_counts"))
        completed = parse_count(counts.get("completed"), below=MAX_REQUEST_COUNT)
        failed = parse_count(counts.get("failed"), below=MAX_REQUEST_COUNT)
        # Requests that never ran may count as failed.
        if state in {RemoteState.EXPIRED, RemoteState.CANCELLED}:
            failed = 0
        created_at = parse_count(fields.get("created_at"), below=10**11)
        file_ids = [fields.get("output_file_id"), fields.get("error_file_id")]
        result_name = "~".join(filter(None, map(_read_id, file_ids)))
        errors = object_or_empty(fields.get("errors")).get("data")
        return RemoteBatch(
            name=f"batches/{fields['id']}",
            display_name=display_name,
            created_at=datetime.fromtimestamp(created_at, UTC) if created_at else None,
            state_name=f"BATCH_STATE_{word}" if word else None,
            state=state,
            result_file=f"files/{result_name}" if result_name and state.is_final else None,
            error="; ".join(map(_describe_error, errors)) if isinstance(errors, list) else "",
            ended_request_count=completed + failed,
            failed_request_count=failed,
        )

    def download(self, file_name: str, part_path: Path, *, keys: KeyList) -> str:
        """Write the translated lines of a result to `part_path`; return the hash of its bytes.

        The bytes are those of the output file, then of the error file, as they came.

        Raises:
            IncompleteError: Each attempt got fewer bytes than its length or gzip trailer say.
            ConfigurationError: The file cannot be written.
        """
        file_ids = file_name.removeprefix("files/").split("~")
        with TemporaryFile() as wire_file:
            for file_id in file_ids:
                self._append_download(file_id, wire_file)
            wire_file.seek(0)
            sha256 = hashlib.file_digest(wire_file, "sha256").hexdigest()
            common_error = result_lines.find_common_error(_iterate_lines(wire_file))
            lines = result_lines.translate_lines(
                _iterate_lines(wire_file),
                has_wrong_form=common_error is not None,
                find_key=_KeyFinder(keys),
            )
            with removed_on_error(part_path), part_path.open("wb") as part_file:
                part_file.writelines(lines)
        return sha256

    def _append_download(self, file_id: str, wire_file: BinaryIO) -> None:
        """Append the bytes of a remote file to an open file; a retry begins at the same place."""
        start = wire_file.tell()
        action = f"download {file_id}"

        async def fetch(http: httpx2.AsyncClient) -> None:
            wire_file.seek(start)
            wire_file.truncate()
            writer = DownloadWriter(wire_file)
            url = self._transport.make_url(f"files/{file_id}/content")
            try:
                async with http.stream(
                    "GET", url, headers=self._transport.headers, timeout=self._transfer_timeout_s
                ) as response:
                    if not response.is_success:
                        raise self._transport.build_refusal(response, action=action)
                    async for chunk in response.aiter_bytes():
                        writer.write(chunk)
            except httpx2.RemoteProtocolError as error:
                raise IncompleteError(
                    f"only a part of {file_id} was downloaded: the connection ended early",
                    hint=RUN_LATER_HINT,
                ) from error
            writer.check_complete(file_id)

        self._transport.call_with_retries(fetch, action=action, timeout_s=self._transfer_timeout_s)

    # Live calls

    async def generate(
        self,
        model: str,
        request: Mapping[str, Any],
        *,
        service_tier: str = STANDARD,
        on_send: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Send one request live with a single attempt, and return the reply in our form.

        Raises:
            RemoteError: The call failed, or the reply is not a JSON object. A reply with status 200
                that contains an error is handled like a reply with its code.
        """
        is_flex = service_tier == Mode.FLEX
        timeout_s = (
            max(self.provider.flex_timeout_s, self.call_timeout_s)
            if is_flex
            else self.call_timeout_s
        )
        body = requests.make_body(self.find_model(model), request)
        if service_tier != STANDARD:
            body["service_tier"] = service_tier
        action = f"ask {model}"

        async def send(http: httpx2.AsyncClient) -> dict[str, Any]:
            document = await self._transport.request(
                http, "POST", "chat/completions", action=action, json=body, timeout=timeout_s
            )
            if not isinstance(document, dict) or not isinstance(document.get("choices"), list):
                raise UnreadableReplyError("the reply is not a chat completion")
            return requests.read_completion(document)

        attempt = self._transport.attempt_call(
            send, action=action, timeout_s=timeout_s, on_send=on_send
        )
        return await asyncio.wrap_future(self._transport.start(attempt))

    async def decide(
        self,
        model: str,
        request: Mapping[str, Any],
        *,
        on_send: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Refuse: the modes that call this are refused before.

        Raises:
            ConfigurationError: Always.
        """
        del request, on_send
        raise ConfigurationError(
            f"{self.provider.name} has no decision models; {model} was not asked"
        )

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

        If a document has no usable vector in a repeated call either, its vector is NaN.

        Raises:
            AskrowsError: The call failed after all retries, or its vectors are unusable.
        """
        action = f"embed {plural(len(texts), 'text')} with {model.name}"
        timeout_s = self.call_timeout_s if is_query else self._transfer_timeout_s
        body = {"model": model.name, "input": list(texts), "dimensions": dim}
        attempt_numbers = itertools.count()

        async def send(http: httpx2.AsyncClient) -> "Vectors":
            is_repeated = next(attempt_numbers) > 0
            document = await self._transport.request(
                http, "POST", "embeddings", action=action, json=body, timeout=timeout_s
            )
            entries = sorted(document["data"], key=lambda entry: entry["index"])
            return normalize_vectors(
                [entry["embedding"] for entry in entries],
                count=len(texts),
                dim=dim,
                is_query=is_query,
                may_have_gaps=is_repeated and not is_query,
            )

        return self._transport.call_with_retries(
            send,
            action=action,
            timeout_s=timeout_s,
            should_wait_for_quota=not is_paced,
            should_wait_for_connection=not is_query,
        )


class _KeyFinder:
    """Finds the key of a request for its id on the wire; reads the keys at most once."""

    def __init__(self, keys: KeyList) -> None:
        self._keys = keys
        self._keys_by_id: dict[str, str] | None = None

    def __call__(self, custom_id: str) -> str:
        """Return the key; an id that is no hash of a long key is the key itself."""
        if len(custom_id) != requests.SHORT_ID_CHARS or "/" in custom_id:
            return custom_id
        if self._keys_by_id is None:
            self._keys_by_id = {requests.make_custom_id(key): key for key in self._keys()}
        return self._keys_by_id.get(custom_id, custom_id)


def _read_id(member: Any) -> str:
    """Return an id of the server, which becomes a part of a URL; "" if it is not a plain one."""
    file_id = to_text(member)
    return file_id if _ID_PATTERN.fullmatch(file_id) else ""


def _iterate_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of an open file that are not blank, from its beginning."""
    file.seek(0)
    lines: Iterable[bytes] = file
    return (line for line in lines if line.strip())


def _find_metadata_name(document: Any) -> str:
    """Return our name of a batch from its metadata; "" if they have none."""
    metadata = object_or_empty(object_or_empty(document).get("metadata"))
    return to_text(metadata.get(METADATA_NAME))


def _describe_error(error: Any) -> str:
    """Return an error of a failed batch as `parse_bad_line_number` reads it."""
    fields = object_or_empty(error)
    place = f"Error on line {fields['line']}: " if fields.get("line") else ""
    message = f"{place}{to_text(fields.get('message'))}"
    return format_error({"code": fields.get("code") or "", "message": message})
