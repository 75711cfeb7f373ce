"""Serve the paths of the API, in v1 and v1beta alike.

Every call needs an API key, of any value. Only upload sessions need no key, because their URL is
the credential.
"""

import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from askrows.emulator import decide, embed, generate, messages
from askrows.emulator.catalogue import MODELS, Model, require_known_model
from askrows.emulator.messages import ApiError, make_invalid_argument_error
from askrows.emulator.openai import PATH_PREFIX, OpenAIApi
from askrows.emulator.state import EngineState, Row, build_batch_operation, build_file_resource
from askrows.emulator.worker import BatchWorker, check_and_count_requests

_API_PATH = re.compile(r"/(?P<prefix>upload/|download/|)(?P<version>v1|v1beta)/(?P<resource>.+)")
# No row has a number of more digits.
_PAGE_NUMBER = re.compile(r"[0-9]{0,18}")
_MAX_PAGE_SIZE = 100
_DEFAULT_BATCH_PAGE_SIZE = 50
_DEFAULT_FILE_PAGE_SIZE = 10
# Greater than the number of every row.
_FIRST_PAGE_TOKEN = 2**62
_UPLOAD_COMMANDS = {"upload", "finalize", "query"}


@dataclass(frozen=True)
class ApiRequest:
    """A request, apart from its method and path."""

    # Address that the client used, up to and including the version.
    base_url: str
    # "v1" or "v1beta".
    version: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes = b""

    def parse_body(self, message_type: str) -> dict[str, Any]:
        """Parse the JSON body as a message; an empty body is an empty message.

        Raises:
            ApiError: 400 in Google's words, if the body is no such message.
        """
        try:
            document = orjson.loads(self.body or b"{}")
        except orjson.JSONDecodeError as error:
            raise make_invalid_argument_error(f"Invalid JSON payload received. {error}") from error

        message: dict[str, Any] = messages.parse_message(message_type, document)
        return message

    def build_list_page(
        self,
        list_name: str,
        list_rows: Callable[[int, int], list[Row]],
        build_resource: Callable[[Row], object],
        *,
        default_size: int,
    ) -> dict[str, Any]:
        """Return the page of a list that the query asks for, with `nextPageToken` if rows remain.

        A page has at most `_MAX_PAGE_SIZE` rows, even if the query asks for more. The page token is
        the number of the last row of the page before; without a token, the first page is returned.

        Args:
            list_name: Member of the reply with the resources; left out if the page is empty.
            list_rows: Takes a limit and a row number, and returns at most so many rows below that
                number, the newest first.
            build_resource: Builds the resource of a row.
            default_size: Page size if the query names no page size, or the page size 0.

        Raises:
            ApiError: 400, if the page size or the page token is not a number.
        """
        size_text = self.query.get("pageSize", "")
        token = self.query.get("pageToken", "")
        if not _PAGE_NUMBER.fullmatch(size_text) or not _PAGE_NUMBER.fullmatch(token):
            raise make_invalid_argument_error(
                f"Invalid page size {size_text!r} or page token {token!r}."
            )

        page_size = min(int(size_text or 0) or default_size, _MAX_PAGE_SIZE)
        # The extra row shows whether there is a next page.
        rows = list_rows(page_size + 1, int(token or _FIRST_PAGE_TOKEN))

        page: dict[str, Any] = {}
        if rows:
            page[list_name] = [build_resource(row) for row in rows[:page_size]]
        if len(rows) > page_size:
            page["nextPageToken"] = str(rows[page_size - 1]["number"])
        return page


class Api:
    """The ASGI application of one state."""

    def __init__(
        self,
        state: EngineState,
        worker: BatchWorker,
        log: Callable[[str], None],
    ) -> None:
        """Prepare the routes.

        Args:
            worker: Is woken when a batch is created.
            log: Called with one line for each request: method, path, status, milliseconds.
        """
        self._state = state
        self._worker = worker
        self._log = log
        # The same state in the form of OpenAI's API.
        self.openai = OpenAIApi(state, worker)
        # A handler takes the request and the groups of its pattern. It returns a JSON document, a
        # file to send, or a complete response. None is an empty document.
        self._routes: list[tuple[str, str, Callable[..., Any]]] = [
            ("GET", r"models", self._list_models),
            ("GET", r"models/(.+)", self._get_model),
            ("POST", r"models/(.+):(\w+)", self._call_model),
            ("POST", r"decisions", self._answer_decision),
            ("GET", r"batches", self._list_batches),
            ("GET", r"batches/([^/]+)", self._get_batch),
            ("POST", r"batches/([^/]+):cancel", self._cancel_batch),
            ("DELETE", r"batches/([^/]+)", self._delete_batch),
            ("POST", r"upload/files", self._start_upload),
            ("GET", r"files", self._list_files),
            ("GET", r"(?:download/)?files/([^/]+):download", self._get_results_path),
            ("GET", r"files/([^/]+)", self._get_file),
            ("DELETE", r"files/([^/]+)", self._delete_file),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request and log it.

        If the client disconnects early, nothing is raised. The logged status of a request without a
        response is "-".
        """
        started_s = time.perf_counter()
        request = Request(scope, receive)
        status = "-"
        try:
            with suppress(ClientDisconnect):
                response = await self._route_and_convert_errors(request)
                status = str(response.status_code)
                await response(scope, receive, send)
        finally:
            duration_ms = (time.perf_counter() - started_s) * 1000
            self._log(f"{request.method} {scope['path']} {status} {duration_ms:.0f} ms")

    async def _route_and_convert_errors(self, request: Request) -> Response:
        """Return the response to a request; an error becomes a reply in Google's form.

        An ApiError has its own status. Any other error becomes a 500 reply with its type and text.

        Raises:
            ClientDisconnect: The client closed the connection early.
        """
        try:
            return await self._route(request)
        except ApiError as error:
            api_error = error
        except ClientDisconnect:
            raise
        except Exception as error:  # noqa: BLE001 - the client learns of a fault of the engine
            api_error = ApiError(500, f"The local engine failed: {type(error).__name__}: {error}")
        return _make_json_response(api_error.to_dict(), api_error.code)

    async def _route(self, request: Request) -> Response:
        """Call the handler of a request, on another thread, and make a response of its result.

        A path of OpenAI's API is answered by `self.openai`. A dict becomes JSON, a path the file's
        content, and None an empty document. A chunk of an upload is received on this thread. It
        needs no API key, because its address has the secret id of the upload session.

        Raises:
            ApiError: 403 if the key is missing, 404 if there is no such path, or as the handler
                raises it.
        """
        if request.url.path.startswith(PATH_PREFIX):
            body = await request.body()
            return await run_in_threadpool(
                self.openai.answer,
                request.method,
                request.url.path.removeprefix(PATH_PREFIX),
                headers=request.headers,
                query=request.query_params,
                body=body,
            )
        path_error = ApiError(
            404,
            f"The requested URL {request.url.path} was not found on this server.",
        )
        path_match = _API_PATH.fullmatch(request.url.path)
        if path_match is None:
            raise path_error

        version = path_match["version"]
        base_url = f"http://{request.headers.get('host', 'localhost')}/{version}"
        api_request = ApiRequest(base_url, version, request.headers, request.query_params)

        is_upload = path_match["prefix"] == "upload/" and request.method == "POST"
        if is_upload and "upload_id" in api_request.query:
            return await self._execute_upload_commands(api_request, request.stream())

        key = api_request.headers.get("x-goog-api-key", "") or api_request.query.get("key", "")
        if not key.strip():
            raise ApiError(
                403,
                "Method doesn't allow unregistered callers "
                "(callers without established identity). "
                "Please use API Key or other form of API consumer identity to call this API.",
            )
        path = path_match["prefix"] + path_match["resource"]
        for method, pattern, handler in self._routes:
            match = re.fullmatch(pattern, path)
            if request.method != method or match is None:
                continue

            api_request = replace(api_request, body=await request.body())
            reply = await run_in_threadpool(handler, api_request, *match.groups())
            if isinstance(reply, Response):
                return reply
            if isinstance(reply, Path):
                return FileResponse(reply)
            return _make_json_response(reply or {})

        raise path_error

    def _list_models(self, _: ApiRequest) -> dict[str, Any]:
        return {"models": [model.to_dict() for model in MODELS.values()]}

    def _get_model(self, request: ApiRequest, name: str) -> dict[str, Any]:
        # Every model has the method countTokens.
        return require_known_model(name, "countTokens", request.version).to_dict()

    def _call_model(self, request: ApiRequest, name: str, method: str) -> dict[str, Any] | Response:
        """Call a method of a model with a request, and return its reply.

        Args:
            name: Model name.
            method: For example "generateContent".

        Raises:
            ApiError: 404 if the model is unknown or lacks the method, or as the method raises it.
        """
        model = require_known_model(name, method, request.version)
        handlers: dict[str, Callable[[ApiRequest, Model], dict[str, Any] | Response]] = {
            "generateContent": self._generate_content,
            "countTokens": self._count_tokens,
            "embedContent": self._embed_text,
            "batchEmbedContents": self._embed_texts,
            "batchGenerateContent": self._create_batch,
        }
        return handlers[method](request, model)

    def _generate_content(self, request: ApiRequest, model: Model) -> Response:
        """Answer a request; a requested service tier is repeated in a header.

        Raises:
            ApiError: 400 if the request is wrong.
        """
        message = request.parse_body("GenerateContentRequest")
        service_tier = message.pop("serviceTier", "")
        headers = {"x-gemini-service-tier": service_tier} if service_tier else None
        return _make_json_response(generate.answer_request(message, model), headers=headers)

    def _answer_decision(self, request: ApiRequest) -> dict[str, Any]:
        """Answer the questions of a decision; return the response message.

        Raises:
            ApiError: 400 if the request is wrong or has more tokens than the model accepts, 404 if
                the model is no decision model.
        """
        message = request.parse_body("CreateDecisionRequest")
        decision = decide.check_and_parse_decision_request(message)
        model = require_known_model(decision.model_name, "createDecision", request.version)
        token_count = decision.token_count
        if token_count > model.input_limit:
            raise make_invalid_argument_error(
                f"The input token count ({token_count}) exceeds the maximum number of tokens "
                f"allowed ({model.input_limit}).",
            )
        return decide.answer_decision(decision)

    def _count_tokens(self, request: ApiRequest, _: Model) -> dict[str, Any]:
        """Return the tokens of a prompt as its answer would count them.

        If the message contains a whole request, its other contents are ignored.

        Raises:
            ApiError: 400 if the request or its media are wrong.
        """
        message = request.parse_body("CountTokensRequest")
        message = message.get("generateContentRequest", message)
        return {"totalTokens": generate.count_tokens(message)}

    def _embed_text(self, request: ApiRequest, _: Model) -> dict[str, Any]:
        """Return the reply with the vector of the one embedding request in the body.

        Raises:
            ApiError: 400 if the request is wrong.
        """
        (vector,) = embed.embed_requests([request.parse_body("EmbedContentRequest")])
        return {"embedding": {"values": vector}}

    def _embed_texts(self, request: ApiRequest, _: Model) -> dict[str, Any]:
        """Return the reply with a vector for each embedding request in the body.

        Raises:
            ApiError: 400 if a request is wrong or their number is not in 1 to
                `embed.MAX_BATCH_REQUESTS`.
        """
        embed_requests = request.parse_body("BatchEmbedContentsRequest").get("requests", [])
        if not 1 <= len(embed_requests) <= embed.MAX_BATCH_REQUESTS:
            raise make_invalid_argument_error(
                "* BatchEmbedContentsRequest.requests: "
                f"at most {embed.MAX_BATCH_REQUESTS} requests can be in one batch, "
                f"and at least one; found {len(embed_requests)}",
            )
        return {
            "embeddings": [{"values": vector} for vector in embed.embed_requests(embed_requests)]
        }

    def _create_batch(self, request: ApiRequest, model: Model) -> dict[str, Any]:
        """Create a batch from an uploaded file, wake the worker, and return the batch's operation.

        Raises:
            ApiError: 400, if no file is named (requests in the body are not supported) or any of
                its lines is invalid. 403, if there is no such file.
        """
        batch_message = request.parse_body("CreateBatchRequest").get("batch", {})
        file_name = batch_message.get("inputConfig", {}).get("fileName", "")
        file_id = file_name.removeprefix("files/")
        if not file_id:
            raise make_invalid_argument_error(
                "* CreateBatchRequest.batch.input_config.file_name: "
                "must be set; nothing else is taken here.",
            )

        batch = self._state.create_batch(
            file_id,
            model=model.name,
            display_name=batch_message.get("displayName", ""),
            check_and_count_requests=check_and_count_requests,
        )
        self._worker.wake.set()
        return build_batch_operation(batch)

    def _list_batches(self, request: ApiRequest) -> dict[str, Any]:
        return request.build_list_page(
            "operations",
            self._state.list_batches,
            build_batch_operation,
            default_size=_DEFAULT_BATCH_PAGE_SIZE,
        )

    def _get_batch(self, _: ApiRequest, batch_id: str) -> dict[str, Any]:
        return build_batch_operation(self._state.get_batch(batch_id))

    def _delete_batch(self, _: ApiRequest, batch_id: str) -> None:
        self._state.delete_batch(batch_id)

    def _cancel_batch(self, _: ApiRequest, batch_id: str) -> None:
        self._state.update_unfinished_batch(self._state.get_batch(batch_id)["id"], "CANCELLED")

    def _list_files(self, request: ApiRequest) -> dict[str, Any]:
        return request.build_list_page(
            "files",
            self._state.list_files,
            partial(build_file_resource, base_url=request.base_url),
            default_size=_DEFAULT_FILE_PAGE_SIZE,
        )

    def _get_file(self, request: ApiRequest, file_id: str) -> dict[str, Any]:
        return build_file_resource(self._state.get_file(file_id), request.base_url)

    def _get_results_path(self, _: ApiRequest, file_id: str) -> Path:
        return self._state.get_results_path(file_id)

    def _delete_file(self, _: ApiRequest, file_id: str) -> None:
        self._state.delete_file(file_id)

    def _start_upload(self, request: ApiRequest) -> Response:
        """Create an upload session, and return its URL in a header.

        A declared size that is not a number counts as not declared.

        Raises:
            ApiError: 400, if the command is not "start" or the declared size is too large.
        """
        headers = request.headers
        if headers.get("x-goog-upload-command", "") != "start":
            raise make_invalid_argument_error("Expected X-Goog-Upload-Command: start.")

        declared_size = headers.get("x-goog-upload-header-content-length", "")
        session_id = self._state.start_upload(
            request.parse_body("StartUpload").get("file", {}),
            size=int(declared_size) if declared_size.isdecimal() else None,
            mime_type=headers.get("x-goog-upload-header-content-type", "")
            or "application/octet-stream",
        )
        server_url = request.base_url.removesuffix(request.version)
        query = f"upload_id={session_id}&upload_protocol=resumable"
        upload_url = f"{server_url}upload/{request.version}/files?{query}"
        return _make_json_response(
            {},
            headers={"X-Goog-Upload-URL": upload_url, "X-Goog-Upload-Status": "active"},
        )

    async def _execute_upload_commands(
        self, request: ApiRequest, chunks: AsyncIterator[bytes]
    ) -> Response:
        """Execute the commands of an upload request: append its body, finish, or report the size.

        The commands are "upload", "finalize" and "query", in a header. The reply has in headers the
        number of bytes received until now and the status of the upload. After `finalize` its body
        is the file's resource. The bytes of a request that breaks off are removed again.

        Raises:
            ApiError: 404, there is no such session. 400, a command is unknown, the offset is not
                the size so far, or the final size is not the declared size.
        """
        upload = await run_in_threadpool(self._state.get_upload, request.query["upload_id"])
        command_header = request.headers.get("x-goog-upload-command", "")
        commands = {command.strip() for command in command_header.split(",")}
        if not commands <= _UPLOAD_COMMANDS:
            command_list = ", ".join(sorted(commands))
            raise make_invalid_argument_error(f"Unknown X-Goog-Upload-Command {command_list!r}.")

        path = self._state.get_blob_path("file", upload["id"])
        size = path.stat().st_size
        if "upload" in commands:
            offset = request.headers.get("x-goog-upload-offset", "0")
            if offset != str(size):
                raise make_invalid_argument_error(
                    f"Upload offset {offset} does not match the {size} bytes received so far.",
                )
            size = await _append_chunks(path, size, chunks)

        headers = {"X-Goog-Upload-Size-Received": str(size), "X-Goog-Upload-Status": "active"}
        if "finalize" not in commands:
            return _make_json_response({}, headers=headers)

        file = await run_in_threadpool(self._state.finish_upload, upload)
        headers["X-Goog-Upload-Status"] = "final"
        return _make_json_response(
            {"file": build_file_resource(file, request.base_url)}, headers=headers
        )


async def _append_chunks(path: Path, size: int, chunks: AsyncIterator[bytes]) -> int:
    """Append chunks to a file of `size` bytes, and return its new size.

    If anything is raised meanwhile, the file is cut to `size` again.
    """
    with path.open("ab") as file:
        try:
            async for chunk in chunks:
                file.write(chunk)
        except BaseException:
            file.truncate(size)
            raise
        return file.tell()


def _make_json_response(
    document: object,
    code: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a response with a JSON document, which may contain NumPy arrays."""
    return Response(
        orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY),
        code,
        headers,
        "application/json; charset=UTF-8",
    )
