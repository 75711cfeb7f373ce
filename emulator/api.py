"""The routes of the API: what each path takes and answers, for v1 and v1beta alike.

A key is required everywhere but on upload sessions, whose URL is the credential; any that is not empty will do.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from emulator import catalogue, embed, generate, media, messages
from emulator.catalogue import Model
from emulator.errors import ApiError, invalid
from emulator.limits import Quotas
from emulator.state import Row, State, batch_document, file_document
from emulator.worker import Worker, count_requests

_LAST = 2**62
"""Above the number of every row."""


class JsonReply(Response):
    """A JSON reply; numpy vectors inside are written as lists."""

    media_type = "application/json; charset=UTF-8"

    def render(self, content: Any) -> bytes:
        """Return the document's bytes."""
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


@dataclass(frozen=True)
class Asked:
    """What a request says: its version, the address it was sent to up to and with that, its query and its body."""

    version: str
    base_url: str
    query: Mapping[str, str]
    body: bytes

    def message(self, kind: str) -> dict[str, Any]:
        """Return the JSON body as a message in camelCase.

        Raises:
            ApiError: 400 in Google's words for broken JSON, an unknown name or a wrong value.
        """
        try:
            message: dict[str, Any] = messages.read(kind, orjson.loads(self.body or b"{}"))
        except orjson.JSONDecodeError as error:
            raise invalid(f"Invalid JSON payload received. {error}") from error
        except messages.UnknownFieldError as error:
            place = f" at '{error.where}'" if error.where else ""
            text = f'Invalid JSON payload received. Unknown name "{error.name}"{place}: Cannot find field.'
            raise invalid(text, field=error.where or error.name) from error
        except messages.WrongValueError as error:
            raise invalid(str(error), field=error.where) from error
        return message

    def page(self, *, default: int, most: int) -> tuple[int, int]:
        """Return the page size and the number the page begins below.

        Raises:
            ApiError: 400 for a size or a token that is none.
        """
        size, token = self.query.get("pageSize", ""), self.query.get("pageToken", "")
        if not all(re.fullmatch(r"[0-9]{0,18}", text) for text in (size, token)):  # no row has a longer number
            raise invalid(f"Invalid page size {size!r} or page token {token!r}.")
        return min(int(size or 0) or default, most), int(token or _LAST)


class Api:
    """The application for one state."""

    def __init__(self, state: State, worker: Worker, quotas: Quotas, log: Callable[[str], None]) -> None:
        """Serve a state within quotas; `log` gets a line for each request: method, path, status, milliseconds."""
        self._state, self._worker, self._quotas, self._log = state, worker, quotas, log
        self._routes: list[tuple[str, str, Callable[..., Any]]] = [
            (
                "GET",
                r"/(v1|v1beta)/models",
                lambda _: {"models": [one.document() for one in catalogue.MODELS.values()]},
            ),
            ("GET", r"/(v1|v1beta)/models/(.+)", self._get_model),
            ("POST", r"/(v1|v1beta)/models/(.+):(\w+)", self._call_model),
            ("GET", r"/(v1|v1beta)/batches", self._list_batches),
            ("GET", r"/(v1|v1beta)/batches/([^/]+)", lambda _, name: batch_document(state.batch(name))),
            ("POST", r"/(v1|v1beta)/batches/([^/]+):cancel", self._cancel_batch),
            ("DELETE", r"/(v1|v1beta)/batches/([^/]+)", lambda _, name: state.delete_batch(name)),
            ("GET", r"/(v1|v1beta)/files", self._list_files),
            ("GET", r"/(?:download/)?(v1|v1beta)/files/([^/]+):download", lambda _, name: state.download(name)),
            ("GET", r"/(v1|v1beta)/files/([^/]+)", lambda asked, name: file_document(state.file(name), asked.base_url)),
            ("DELETE", r"/(v1|v1beta)/files/([^/]+)", lambda _, name: state.delete_file(name)),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        began, request, status = time.perf_counter(), Request(scope, receive), "-"
        try:
            response = await self._response(request)
            status = str(response.status_code)
            await response(scope, receive, send)
        except ClientDisconnect:
            pass
        finally:
            took_ms = (time.perf_counter() - began) * 1000
            self._log(f"{request.method} {scope['path']} {status} {took_ms:.0f} ms")

    async def _response(self, request: Request) -> Response:
        """Return the response to a request; a refusal in Google's form, also where the engine itself is at fault."""
        try:
            session = request.query_params.get("upload_id")
            uploads = re.fullmatch(r"/upload/(v1|v1beta)/files", request.url.path) and request.method == "POST"
            if session is None:
                _check_key(request)
            if uploads:
                return await (self._start_upload(request) if session is None else self._take_chunk(request, session))
            for method, path, call in self._routes:
                if request.method == method and (found := re.fullmatch(path, request.url.path)):
                    version, *names = found.groups()
                    asked = Asked(version, _address(request, version), request.query_params, await request.body())
                    answer = await run_in_threadpool(call, asked, *names)
                    return FileResponse(answer) if isinstance(answer, Path) else JsonReply(answer or {})
        except ApiError as error:
            refusal = error
        except ClientDisconnect:
            raise
        except Exception as error:  # noqa: BLE001 - a client is told what went wrong
            refusal = ApiError(500, f"The local engine failed: {type(error).__name__}: {error}")
        else:
            refusal = ApiError(404, f"The requested URL {request.url.path} was not found on this server.")
        return JsonReply(refusal.body(), status_code=refusal.code)

    def _get_model(self, asked: Asked, name: str) -> dict[str, Any]:
        return catalogue.find(name, method="countTokens", version=asked.version).document()

    def _call_model(self, asked: Asked, name: str, method: str) -> dict[str, Any]:
        """Answer a method of a model: `models/<name>:<method>`."""
        model = catalogue.find(name, method=method, version=asked.version)
        calls = {
            "generateContent": self._generate,
            "countTokens": self._count,
            "embedContent": self._embed_one,
            "batchEmbedContents": self._embed_many,
            "batchGenerateContent": self._create_batch,
        }
        return calls[method](asked, model)

    def _generate(self, asked: Asked, model: Model) -> dict[str, Any]:
        """Check, count and answer a request: what is refused, by whichever of them, counts against nothing."""
        request = asked.message("GenerateContentRequest")
        generate.check_request(request, model)
        seen = media.looked_at(request)
        self._quotas.admit(model, requests=1, tokens=generate.count_tokens(request, model).total)
        return generate.answer(request, model, seen=seen)

    def _count(self, asked: Asked, model: Model) -> dict[str, Any]:
        """Count tokens as an answer counts those of its prompt; contents beside a whole request are ignored."""
        request = asked.message("CountTokensRequest")
        request = request.get("generateContentRequest", request)
        media.looked_at(request)
        tokens = generate.count_tokens(request, model)
        return {"totalTokens": tokens.total, "promptTokensDetails": tokens.details()}

    def _embed_one(self, asked: Asked, model: Model) -> dict[str, Any]:
        return {"embedding": self._embedded([asked.message("EmbedContentRequest")], model)[0]}

    def _embed_many(self, asked: Asked, model: Model) -> dict[str, Any]:
        requests = asked.message("BatchEmbedContentsRequest").get("requests", [])
        if not 1 <= len(requests) <= embed.MAX_ENTRIES:
            raise invalid(
                f"* BatchEmbedContentsRequest.requests: at most {embed.MAX_ENTRIES} requests can be in one batch, "
                f"and at least one; found {len(requests)}"
            )
        return {"embeddings": self._embedded(requests, model)}

    def _embedded(self, requests: Sequence[Mapping[str, Any]], model: Model) -> list[dict[str, Any]]:
        """Return one vector for each request, within the quotas, which count texts."""
        for request in requests:
            embed.text_to_embed(request)
        tokens = sum(generate.count_tokens(request, model).total for request in requests)
        self._quotas.admit(model, requests=len(requests), tokens=tokens)
        return [{"values": vector} for vector in embed.vectors(requests, model)]

    def _create_batch(self, asked: Asked, model: Model) -> dict[str, Any]:
        """Create a batch: the whole file is checked, one bad line refuses it all."""
        described = asked.message("CreateBatchRequest").get("batch", {})
        file = described.get("inputConfig", {}).get("fileName", "").removeprefix("files/")
        if not file:
            raise invalid("* CreateBatchRequest.batch.input_config.file_name: must be set; nothing else is taken here.")
        batch_id = self._state.take_input(file)
        try:
            requests = count_requests(self._state.path("input", batch_id))
            name = described.get("displayName", "")
            batch = self._state.create_batch(batch_id, model=model.name, name=name, file=file, requests=requests)
        except BaseException:
            self._state.path("input", batch_id).unlink(missing_ok=True)
            raise
        self._worker.wake()
        return batch_document(batch)

    def _list_batches(self, asked: Asked) -> dict[str, Any]:
        size, before = asked.page(default=50, most=100)
        return _page("operations", self._state.batches(size=size + 1, before=before), size, batch_document)

    def _cancel_batch(self, _asked: Asked, name: str) -> None:
        """Cancel a batch at once, without results; one that is over stays as it is."""
        self._state.move_batch(self._state.batch(name)["id"], "CANCELLED")

    def _list_files(self, asked: Asked) -> dict[str, Any]:
        size, before = asked.page(default=10, most=100)
        files = self._state.files(size=size + 1, before=before)
        return _page("files", files, size, lambda file: file_document(file, asked.base_url))

    async def _start_upload(self, request: Request) -> Response:
        if request.headers.get("x-goog-upload-command", "") != "start":
            raise invalid("Expected X-Goog-Upload-Command: start.")
        version = request.url.path.split("/")[2]
        address = _address(request, version)
        described = Asked(version, address, {}, await request.body()).message("StartUpload").get("file", {})
        declared = request.headers.get("x-goog-upload-header-content-length", "")
        mime_type = request.headers.get("x-goog-upload-header-content-type", "") or "application/octet-stream"
        session = await run_in_threadpool(
            self._state.start_upload,
            described,
            size=int(declared) if declared.isdigit() else None,
            mime_type=mime_type,
        )
        url = f"{address.removesuffix(version)}upload/{version}/files?upload_id={session}&upload_protocol=resumable"
        return JsonReply({}, headers={"X-Goog-Upload-URL": url, "X-Goog-Upload-Status": "active"})

    async def _take_chunk(self, request: Request, session: str) -> Response:
        """Take a chunk of an upload, end it, or tell where it stands; what a broken-off request brought is not kept."""
        upload = await run_in_threadpool(self._state.upload, session)
        commands = {word.strip() for word in request.headers.get("x-goog-upload-command", "").split(",")}
        if not commands <= {"upload", "finalize", "query"}:
            raise invalid(f"Unknown X-Goog-Upload-Command {', '.join(sorted(commands))!r}.")
        path = self._state.path("file", upload["id"])
        size = path.stat().st_size
        if "upload" in commands:
            offset = request.headers.get("x-goog-upload-offset", "0")
            if offset != str(size):
                raise invalid(f"Upload offset {offset} does not match the {size} bytes received so far.")
            with path.open("ab") as out:
                try:
                    async for piece in request.stream():
                        out.write(piece)
                except BaseException:
                    out.truncate(size)
                    raise
                size = out.tell()
        received = {"X-Goog-Upload-Size-Received": str(size)}
        if "finalize" not in commands:
            return JsonReply({}, headers=received | {"X-Goog-Upload-Status": "active"})
        file = await run_in_threadpool(self._state.finish_upload, upload)
        shown = {"file": file_document(file, _address(request, request.url.path.split("/")[2]))}
        return JsonReply(shown, headers=received | {"X-Goog-Upload-Status": "final"})


def _check_key(request: Request) -> None:
    if not (request.headers.get("x-goog-api-key", "") or request.query_params.get("key", "")).strip():
        message = "Method doesn't allow unregistered callers (callers without established identity)."
        raise ApiError(403, f"{message} Please use API Key or other form of API consumer identity to call this API.")


def _address(request: Request, version: str) -> str:
    """Return where the client reached this server, up to and with the version."""
    return f"http://{request.headers.get('host', 'localhost')}/{version}"


def _page(name: str, rows: Sequence[Row], size: int, show: Callable[[Row], object]) -> dict[str, Any]:
    """Return one page of a list, of which `rows` has one more than `size` where another page follows."""
    shown: dict[str, Any] = {name: [show(row) for row in rows[:size]]} if rows else {}
    return shown | ({"nextPageToken": str(rows[size - 1]["number"])} if len(rows) > size else {})
