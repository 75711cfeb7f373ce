"""The routes of the API: what each path takes and answers, for v1 and v1beta alike.

A key is required everywhere but on upload sessions, whose URL is the credential; any that is not empty will do.
"""

import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from emulator import embed, generate, media, messages
from emulator.catalogue import MODELS, Model, Quotas, find
from emulator.messages import ApiError, invalid
from emulator.state import EngineState, Row, batch_document, file_document
from emulator.worker import BatchWorker, count_requests


def _json(document: object, code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    body = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, code, headers, "application/json; charset=UTF-8")


@dataclass(frozen=True)
class ApiRequest:
    """What a request says; `base_url` is the address it was sent to, up to and with the version."""

    base_url: str
    version: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes = b""

    def message(self, kind: str) -> dict[str, Any]:
        """Return the JSON body as a message in camelCase; refuse what is none in Google's words."""
        try:
            message: dict[str, Any] = messages.read(kind, orjson.loads(self.body or b"{}"))
        except orjson.JSONDecodeError as error:
            raise invalid(f"Invalid JSON payload received. {error}") from error
        return message

    def file(self, row: Row) -> dict[str, Any]:
        """Return the resource of a file, whose addresses are those that were asked."""
        return file_document(row, self.base_url)

    def page(
        self,
        name: str,
        rows_of: Callable[[int, int], list[Row]],
        show: Callable[[Row], object],
        *,
        default: int,
    ) -> dict[str, Any]:
        """Return the page of a list that is asked for; `rows_of` gives so many rows below a number."""
        size = self.query.get("pageSize", "")
        token = self.query.get("pageToken", "")
        if not all(
            re.fullmatch(r"[0-9]{0,18}", text) for text in (size, token)
        ):  # no row has a longer number
            raise invalid(f"Invalid page size {size!r} or page token {token!r}.")
        most = min(int(size or 0) or default, 100)
        rows = rows_of(most + 1, int(token or 2**62))
        shown: dict[str, Any] = {name: [show(row) for row in rows[:most]]} if rows else {}
        return shown | (
            {"nextPageToken": str(rows[most - 1]["number"])} if len(rows) > most else {}
        )


class Api:
    """The application for one state."""

    def __init__(
        self, state: EngineState, worker: BatchWorker, quotas: Quotas, log: Callable[[str], None]
    ) -> None:
        """Serve a state within quotas; `log` gets a line for each request: method, path, status, milliseconds."""
        self._state = state
        self._worker = worker
        self._quotas = quotas
        self._log = log
        self._routes: list[tuple[str, str, Callable[..., Any]]] = [
            (
                "GET",
                r"models",
                lambda _: {"models": [model.document() for model in MODELS.values()]},
            ),
            (
                "GET",
                r"models/(.+)",
                lambda asked, name: find(name, "countTokens", asked.version).document(),
            ),
            ("POST", r"models/(.+):(\w+)", self._call_model),
            (
                "GET",
                r"batches",
                lambda asked: asked.page("operations", state.batches, batch_document, default=50),
            ),
            ("GET", r"batches/([^/]+)", lambda _, name: batch_document(state.batch(name))),
            (
                "POST",
                r"batches/([^/]+):cancel",
                lambda _, name: state.move_batch(state.batch(name)["id"], "CANCELLED") and {},
            ),
            ("DELETE", r"batches/([^/]+)", lambda _, name: state.delete_batch(name)),
            ("POST", r"upload/files", self._start_upload),
            (
                "GET",
                r"files",
                lambda asked: asked.page("files", state.files, asked.file, default=10),
            ),
            ("GET", r"(?:download/)?files/([^/]+):download", lambda _, name: state.download(name)),
            ("GET", r"files/([^/]+)", lambda asked, name: asked.file(state.file(name))),
            ("DELETE", r"files/([^/]+)", lambda _, name: state.delete_file(name)),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        began = time.perf_counter()
        request = Request(scope, receive)
        status = "-"
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
            place = re.fullmatch(r"/(upload/|download/|)(v1|v1beta)/(.+)", request.url.path)
            if place is not None:
                base_url = f"http://{request.headers.get('host', 'localhost')}/{place[2]}"
                asked = ApiRequest(base_url, place[2], request.headers, request.query_params)
                if (
                    place[1] == "upload/"
                    and "upload_id" in asked.query
                    and request.method == "POST"
                ):
                    return await self._take_chunk(asked, request.stream())
                _check_key(asked)
                for method, path, call in self._routes:
                    if request.method == method and (
                        found := re.fullmatch(path, place[1] + place[3])
                    ):
                        asked = replace(asked, body=await request.body())
                        answer = await run_in_threadpool(call, asked, *found.groups())
                        if isinstance(answer, Response):
                            return answer
                        return (
                            FileResponse(answer)
                            if isinstance(answer, Path)
                            else _json(answer or {})
                        )
        except ApiError as error:
            refusal = error
        except ClientDisconnect:
            raise
        except Exception as error:  # noqa: BLE001 - a client is told what went wrong
            refusal = ApiError(500, f"The local engine failed: {type(error).__name__}: {error}")
        else:
            refusal = ApiError(
                404, f"The requested URL {request.url.path} was not found on this server."
            )
        return _json(refusal.body(), refusal.code)

    def _call_model(self, asked: ApiRequest, name: str, method: str) -> dict[str, Any] | Response:
        model = find(name, method, asked.version)
        calls: dict[str, Callable[[ApiRequest, Model], dict[str, Any] | Response]] = {
            "generateContent": self._generate,
            "countTokens": self._count,
            "embedContent": partial(self._embed, many=False),
            "batchEmbedContents": partial(self._embed, many=True),
            "batchGenerateContent": self._create_batch,
        }
        return calls[method](asked, model)

    def _generate(self, asked: ApiRequest, model: Model) -> Response:
        request = asked.message("GenerateContentRequest")
        generate.check_request(request)
        seen = media.looked_at(request)
        self._quotas.admit(model, requests=1, tokens=generate.count_tokens(request, model))
        tier = request.pop("serviceTier", "")
        served = {"x-gemini-service-tier": tier} if tier else None
        return _json(generate.answer(request, model, seen=seen), headers=served)

    def _count(self, asked: ApiRequest, model: Model) -> dict[str, Any]:
        """Count tokens as an answer counts those of its prompt; contents beside a whole request are ignored."""
        request = asked.message("CountTokensRequest")
        request = request.get("generateContentRequest", request)
        media.looked_at(request)
        return {"totalTokens": generate.count_tokens(request, model)}

    def _embed(self, asked: ApiRequest, model: Model, *, many: bool) -> dict[str, Any]:
        """Return one vector for each request, within the quotas."""
        if many:
            requests = asked.message("BatchEmbedContentsRequest").get("requests", [])
        else:
            requests = [asked.message("EmbedContentRequest")]
        if not 1 <= len(requests) <= embed.MAX_ENTRIES:
            said = f"at most {embed.MAX_ENTRIES} requests can be in one batch, and at least one; found {len(requests)}"
            raise invalid(f"* BatchEmbedContentsRequest.requests: {said}")
        for request in requests:
            embed.text_to_embed(request)
        tokens = sum(generate.count_tokens(request, model) for request in requests)
        self._quotas.admit(model, requests=len(requests), tokens=tokens)
        vectors = [{"values": vector} for vector in embed.vectors(requests, model)]
        return {"embeddings": vectors} if many else {"embedding": vectors[0]}

    def _create_batch(self, asked: ApiRequest, model: Model) -> dict[str, Any]:
        """Create a batch: the whole file is checked, one bad line refuses it all."""
        described = asked.message("CreateBatchRequest").get("batch", {})
        file = described.get("inputConfig", {}).get("fileName", "").removeprefix("files/")
        if not file:
            raise invalid(
                "* CreateBatchRequest.batch.input_config.file_name: must be set; nothing else is taken here."
            )
        name = described.get("displayName", "")
        batch = self._state.create_batch(file, model=model.name, name=name, count=count_requests)
        self._worker.wake.set()
        return batch_document(batch)

    def _start_upload(self, asked: ApiRequest) -> Response:
        if asked.headers.get("x-goog-upload-command", "") != "start":
            raise invalid("Expected X-Goog-Upload-Command: start.")
        declared = asked.headers.get("x-goog-upload-header-content-length", "")
        session = self._state.start_upload(
            asked.message("StartUpload").get("file", {}),
            size=int(declared) if declared.isdigit() else None,
            mime_type=asked.headers.get("x-goog-upload-header-content-type", "")
            or "application/octet-stream",
        )
        place = f"upload/{asked.version}/files?upload_id={session}&upload_protocol=resumable"
        url = f"{asked.base_url.removesuffix(asked.version)}{place}"
        return _json({}, headers={"X-Goog-Upload-URL": url, "X-Goog-Upload-Status": "active"})

    async def _take_chunk(self, asked: ApiRequest, pieces: AsyncIterator[bytes]) -> Response:
        """Take a chunk of an upload, end it, or tell where it stands; what a broken-off request brought is not kept."""
        upload = await run_in_threadpool(self._state.upload, asked.query["upload_id"])
        commands = {
            word.strip() for word in asked.headers.get("x-goog-upload-command", "").split(",")
        }
        if not commands <= {"upload", "finalize", "query"}:
            raise invalid(f"Unknown X-Goog-Upload-Command {', '.join(sorted(commands))!r}.")
        path = self._state.path("file", upload["id"])
        size = path.stat().st_size
        offset = asked.headers.get("x-goog-upload-offset", "0")
        if "upload" in commands:
            if offset != str(size):
                raise invalid(
                    f"Upload offset {offset} does not match the {size} bytes received so far."
                )
            with path.open("ab") as out:
                try:
                    async for piece in pieces:
                        out.write(piece)
                except BaseException:
                    out.truncate(size)
                    raise
                size = out.tell()
        received = {"X-Goog-Upload-Size-Received": str(size)}
        if "finalize" not in commands:
            return _json({}, headers=received | {"X-Goog-Upload-Status": "active"})
        file = await run_in_threadpool(self._state.finish_upload, upload)
        shown = {"file": asked.file(file)}
        return _json(shown, headers=received | {"X-Goog-Upload-Status": "final"})


def _check_key(asked: ApiRequest) -> None:
    if not (asked.headers.get("x-goog-api-key", "") or asked.query.get("key", "")).strip():
        message = (
            "Method doesn't allow unregistered callers (callers without established identity)."
        )
        raise ApiError(
            403,
            f"{message} Please use API Key or other form of API consumer identity to call this API.",
        )
