"""Serve files, batches, chat completions and embeddings in the form of OpenAI's API.

- The paths are those of the public API reference (read 2025-09), after `/openai/v1/`.
- The requests of an uploaded batch file are kept as the engine's own lines, which its worker
  answers. The bytes of the upload are kept, too, for their size.
- A line whose schema is not strict gets an error line, as in the live service. So does a request of
  an expired or cancelled batch that was not answered.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson
from starlette.responses import Response

from askrows.emulator import embed, generate, messages
from askrows.emulator.catalogue import MODEL_VERSION, MODELS, Model, require_known_model
from askrows.emulator.messages import ApiError
from askrows.emulator.state import EngineState, Row
from askrows.emulator.worker import BatchWorker, check_and_count_requests

PATH_PREFIX = "/openai/v1/"
MAX_PAGE_SIZE = 100
# Greater than the number of every row.
_FIRST_NUMBER = 2**62
MAX_FILE_BYTES = 200 * 1000**2
MAX_REQUESTS = 50_000
MAX_CUSTOM_ID_CHARS = 64
MAX_EMBED_TEXTS = 2_048
MAX_LEVELS = 10
OK_STATUS = 200
_STATUS_BY_STATE = {
    "PENDING": "validating",
    "RUNNING": "in_progress",
    "SUCCEEDED": "completed",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
    "EXPIRED": "expired",
}
_HTTP_STATUS_BY_CODE = {3: 400, 5: 404, 7: 403, 8: 429, 13: 500, 14: 503, 16: 401}
_FINISH_REASONS = {"STOP": "stop", "MAX_TOKENS": "length"}
# The codes of requests that a batch did not run, by its end.
_NOT_RUN_CODES = {"expired": "batch_expired", "cancelled": "batch_cancelled"}
# A request in place of one that is refused: its answer is not used.
_NO_REQUEST = {
    "contents": [{"role": "user", "parts": [{"text": "-"}]}],
    "generationConfig": {
        "responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}
    },
}
_Document = dict[str, Any]


class Refusal(Exception):  # noqa: N818 - a refused request is the normal case here
    """A refused request: HTTP status and error of the reply."""

    def __init__(self, status: int, message: str, *, code: str = "", param: str = "") -> None:
        """Store the parts of the error reply."""
        super().__init__(message)
        self.status = status
        self.error = {
            "message": message,
            "type": "invalid_request_error",
            "param": param or None,
            "code": code or None,
        }


class OpenAIApi:
    """The handlers of one state."""

    def __init__(self, state: EngineState, worker: BatchWorker) -> None:
        """Prepare the routes; a created batch wakes the worker."""
        self._state = state
        self._worker = worker
        # Whether a batch keeps its metadata; some servers keep none.
        self.keeps_metadata = True
        self._routes: list[tuple[str, str, Callable[..., Any]]] = [
            ("POST", r"files", self._store_upload_and_converted_lines),
            ("GET", r"files/([^/]+)", self._get_file),
            ("GET", r"files/([^/]+)/content", self._get_result_file_content),
            ("DELETE", r"files/([^/]+)", self._delete_file),
            ("POST", r"batches", self._create_batch),
            ("GET", r"batches", self._list_batches),
            ("GET", r"batches/([^/]+)", self._get_batch),
            ("POST", r"batches/([^/]+)/cancel", self._cancel_batch),
            ("POST", r"chat/completions", self._complete_chat),
            ("POST", r"embeddings", self._embed_texts),
            ("GET", r"models/(.+)", self._get_model),
        ]

    def answer(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        body: bytes,
    ) -> Response:
        """Return the response to a request whose path is given after the prefix."""
        try:
            return self._route(method, path, headers=headers, query=query, body=body)
        except Refusal as refusal:
            return _make_json_response({"error": refusal.error}, refusal.status)
        except ApiError as error:
            status = 404 if error.code == 403 else error.code  # noqa: PLR2004 - HTTP's own numbers
            return _make_json_response({"error": Refusal(status, error.message).error}, status)

    def _route(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        body: bytes,
    ) -> Response:
        """Call the handler of a request, and return its result as a response.

        Raises:
            Refusal: 401, the request has no key; 404, there is no such method and path.
        """
        if not headers.get("authorization", "").removeprefix("Bearer ").strip():
            raise Refusal(401, "You didn't provide an API key.", code="invalid_api_key")
        for route_method, pattern, handler in self._routes:
            match = re.fullmatch(pattern, path)
            if match is not None and method == route_method:
                return _make_json_response(handler(headers, query, body, *match.groups()))
        raise Refusal(404, f"Unknown request URL: {method} {path}.", code="unknown_url")

    # Files

    def _store_upload_and_converted_lines(
        self, headers: Mapping[str, str], _query: Mapping[str, str], body: bytes
    ) -> _Document:
        """Store a batch file, and a copy with the engine's own lines; return its description.

        A line that the engine refuses is stored with its refusal. A file above MAX_FILE_BYTES is
        refused with 413.
        """
        file_name, content = _parse_multipart(headers.get("content-type", ""), body)
        if len(content) > MAX_FILE_BYTES:
            raise Refusal(413, "File is too large. Maximum file size is 200 MB.")
        session = self._state.start_upload(
            {"displayName": file_name}, size=None, mime_type="application/jsonl"
        )
        upload = self._state.get_upload(session)
        lines = [
            _convert_or_keep_request_line(line) for line in content.splitlines() if line.strip()
        ]
        self._state.get_blob_path("file", upload["id"]).write_bytes(b"".join(lines))
        self._state.get_blob_path("wire", upload["id"]).write_bytes(content)
        return self._describe_file(self._state.finish_upload(upload))

    def _describe_file(self, file: Row) -> _Document:
        return {
            "id": file["id"],
            "object": "file",
            "bytes": self._state.get_blob_path("wire", file["id"]).stat().st_size,
            "created_at": file["created_ns"] // 10**9,
            "filename": file["display_name"],
            "purpose": "batch",
            "status": "processed",
        }

    def _get_file(self, _headers: Any, _query: Any, _body: Any, file_id: str) -> _Document:
        return self._describe_file(self._state.get_file(file_id))

    def _delete_file(self, _headers: Any, _query: Any, _body: Any, file_id: str) -> _Document:
        self._state.delete_file(file_id)
        return {"id": file_id, "object": "file", "deleted": True}

    def _get_result_file_content(
        self, _headers: Any, _query: Any, _body: Any, file_id: str
    ) -> Response:
        """Return the lines of the output or the error file of a batch.

        The lines are those of the answers so far. Any other file, also an uploaded file, is refused
        with 404.
        """
        match = re.fullmatch(r"(\w+)-(output|errors)", file_id)
        if match is None:
            raise Refusal(404, f"No such File object: {file_id}", param="id")
        batch = self._state.get_batch(match[1])
        is_output = match[2] == "output"
        lines = [
            orjson.dumps(line) + b"\n"
            for line in self._iterate_result_lines(batch)
            if is_output == _belongs_to_output_file(line)
        ]
        return Response(b"".join(lines), media_type="application/octet-stream")

    def _iterate_result_lines(self, batch: Row) -> Iterator[_Document]:
        """Yield the lines of a batch's output and error file, in the order of its answers.

        If the batch is expired or cancelled, an error line for each request without an answer
        follows.
        """
        answered_ids = set[str]()
        path = self._state.get_blob_path("results", batch["id"])
        raw_lines = path.read_bytes().split(b"\n") if path.exists() else []
        for raw_line in filter(None, raw_lines):
            line = orjson.loads(raw_line)
            answered_ids.add(line["key"])
            yield _build_result_line(line)
        code = _NOT_RUN_CODES.get(_STATUS_BY_STATE[self.find_state(batch)])
        if code is None:
            return
        for wire_line in self._state.get_blob_path("wire", batch["file"]).read_bytes().splitlines():
            custom_id = orjson.loads(wire_line)["custom_id"]
            if custom_id not in answered_ids:
                error = {"code": code, "message": "This request could not be executed."}
                yield {"id": "-", "custom_id": custom_id, "response": None, "error": error}

    # Batches

    def _create_batch(self, _headers: Any, _query: Any, body: bytes) -> _Document:
        """Create a batch from an uploaded file, wake the worker, and return the batch.

        The model is that of the file's first line. The metadata are stored if `keeps_metadata`. Any
        other endpoint than chat completions is refused with 400.
        """
        document = _parse_object(body)
        file_id = str(document.get("input_file_id", ""))
        if document.get("endpoint") != "/v1/chat/completions":
            raise Refusal(400, "Unsupported endpoint.", param="endpoint")
        metadata = document.get("metadata") or {}
        file = self._state.get_file(file_id)
        first_line = self._state.get_blob_path("file", file["id"]).read_bytes().partition(b"\n")[0]
        batch = self._state.create_batch(
            file["id"],
            model=orjson.loads(first_line).get("model", ""),
            display_name=" ".join(map(str, metadata.values())),
            check_and_count_requests=check_and_count_requests,
        )
        if self.keeps_metadata:
            path = self._state.get_blob_path("metadata", batch["id"])
            path.write_bytes(orjson.dumps(metadata))
        self._worker.wake.set()
        return self._describe_batch(batch)

    def find_state(self, batch: Row) -> str:
        """Return the engine's state of a batch."""
        return str(batch["state"])

    def find_error(self, batch: Row) -> _Document:
        """Return why a batch failed."""
        return {"code": None, "line": None, "message": batch["error"], "param": None}

    def _describe_batch(self, batch: Row) -> _Document:
        """Return a batch in the form of OpenAI's API.

        It has the ids of an output and an error file only if the batch is over and the file has
        lines. Only a failed batch has `errors`.
        """
        status = _STATUS_BY_STATE[self.find_state(batch)]
        is_over = status not in {"validating", "in_progress", "failed"}
        output_count, error_count = 0, 0
        for line in self._iterate_result_lines(batch) if is_over else ():
            output_count += _belongs_to_output_file(line)
            error_count += not _belongs_to_output_file(line)
        metadata_path = self._state.get_blob_path("metadata", batch["id"])
        errors = [self.find_error(batch)]
        return {
            "id": batch["id"],
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "errors": {"object": "list", "data": errors} if status == "failed" else None,
            "input_file_id": batch["file"],
            "completion_window": "24h",
            "status": status,
            "output_file_id": f"{batch['id']}-output" if output_count else None,
            "error_file_id": f"{batch['id']}-errors" if error_count else None,
            "created_at": batch["created_ns"] // 10**9,
            "request_counts": {
                "total": batch["requests"],
                "completed": output_count if is_over else batch["succeeded"],
                "failed": error_count if is_over else batch["failed"],
            },
            "metadata": orjson.loads(metadata_path.read_bytes())
            if metadata_path.exists()
            else None,
        }

    def _list_batches(self, _headers: Any, query: Mapping[str, str], _body: Any) -> _Document:
        """Return a page of batches, newest first, after the batch `after` of the query.

        The page has `limit` batches (default 20, at most MAX_PAGE_SIZE).
        """
        size = min(int(query.get("limit", 20)), MAX_PAGE_SIZE)
        before = _FIRST_NUMBER
        if "after" in query:
            before = self._state.get_batch(query["after"])["number"]
        rows = self._state.list_batches(size + 1, before)
        page = [self._describe_batch(row) for row in rows[:size]]
        return {"object": "list", "data": page, "has_more": len(rows) > size}

    def _get_batch(self, _headers: Any, _query: Any, _body: Any, batch_id: str) -> _Document:
        return self._describe_batch(self._state.get_batch(batch_id))

    def _cancel_batch(self, _headers: Any, _query: Any, _body: Any, batch_id: str) -> _Document:
        self._state.get_batch(batch_id)
        self._state.update_unfinished_batch(batch_id, "CANCELLED")
        return self._describe_batch(self._state.get_batch(batch_id))

    # Calls

    def _complete_chat(self, _headers: Any, _query: Any, body: bytes) -> _Document:
        """Answer a chat completion at once; the reply repeats the requested service tier."""
        document = _parse_object(body)
        request = convert_chat_body(document)
        model = _find_model(str(document.get("model", "")))
        message = messages.parse_message("GenerateContentRequest", request)
        completion = build_completion(self.answer_message(message, model), model.name)
        completion["service_tier"] = document.get("service_tier", "default")
        return completion

    def answer_message(self, message: _Document, model: Model) -> _Document:
        """Return the engine's reply to a request."""
        return generate.answer_request(message, model)

    def _embed_texts(self, _headers: Any, _query: Any, body: bytes) -> _Document:
        """Return the vectors of a list of 1 to MAX_EMBED_TEXTS texts; else refuse with 400.

        The model is not checked. The default width is 768.
        """
        document = _parse_object(body)
        texts = document.get("input")
        if not isinstance(texts, list) or not 0 < len(texts) <= MAX_EMBED_TEXTS:
            raise Refusal(400, "'input' must be 1 to 2048 texts.", param="input")
        width = document.get("dimensions", 768)
        vectors = embed.embed_requests(
            [
                {"content": {"parts": [{"text": text}]}, "outputDimensionality": width}
                for text in texts
            ]
        )
        data = [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(vectors)
        ]
        return {"object": "list", "data": data, "model": document.get("model")}

    def _get_model(self, _headers: Any, _query: Any, _body: Any, name: str) -> _Document:
        return {"id": _find_model(name).name, "object": "model", "owned_by": "askrows"}


def _belongs_to_output_file(line: Mapping[str, Any]) -> bool:
    """Return whether a line belongs into the output file."""
    response = line["response"] or {}
    return response.get("status_code") == OK_STATUS


def _find_model(name: str) -> Model:
    """Return the engine's model of a name.

    Raises:
        Refusal: 404, if there is no such model.
    """
    if name not in MODELS:
        raise Refusal(404, f"The model `{name}` does not exist.", code="model_not_found")
    return require_known_model(name, MODELS[name].methods[0])


def _make_json_response(content: Any, status: int = 200) -> Response:
    """Return a response with a JSON document, which may contain NumPy arrays."""
    if isinstance(content, Response):
        return content
    document = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(document, status, media_type="application/json")


def _parse_object(body: bytes) -> _Document:
    """Parse a JSON object; raise a Refusal if it is none."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise Refusal(400, "We could not parse the JSON body of your request.")
    return document


def _parse_multipart(content_type: str, body: bytes) -> tuple[str, bytes]:
    """Return the name and the content of the file in a form; raise a Refusal if there is none."""
    boundary = content_type.partition("boundary=")[2].strip('"').encode()
    for part in body.split(b"--" + boundary):
        head, _, content = part.partition(b"\r\n\r\n")
        match = re.search(rb'name="file"; filename="([^"]*)"', head)
        if boundary and match is not None:
            return match[1].decode(), content.removesuffix(b"\r\n")
    raise Refusal(400, "'file' is a required property", param="file")


def _convert_or_keep_request_line(raw_line: bytes) -> bytes:
    """Return the engine's line for a line of a batch file.

    A line that is no such JSON object, or has a too long `custom_id`, stays unchanged. A request
    that is refused is replaced by _NO_REQUEST, with the error as `refusal`.
    """
    try:
        document = orjson.loads(raw_line)
        custom_id, body = document["custom_id"], document["body"]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return raw_line + b"\n"
    line = {"key": custom_id, "model": body.get("model", "")}
    if len(custom_id) > MAX_CUSTOM_ID_CHARS:
        return raw_line + b"\n"
    try:
        line["request"] = convert_chat_body(body)
    except Refusal as refusal:
        line |= {"request": _NO_REQUEST, "refusal": refusal.error}
    return orjson.dumps(line) + b"\n"


def convert_chat_body(body: Mapping[str, Any]) -> _Document:
    """Return the engine's request for the body of a chat completion.

    Messages of the system become the system instruction; if there are several, the last counts.
    All other messages become turns of the user.

    Raises:
        Refusal: 400, the messages or the JSON schema are missing, or a schema that is declared as
            strict is not strict.
    """
    chat = body.get("messages")
    response_format = body.get("response_format") or {}
    json_schema = response_format.get("json_schema") or {}
    if not isinstance(chat, list) or not chat or "schema" not in json_schema:
        raise Refusal(400, "'messages' and a JSON schema are required.", param="messages")
    if json_schema.get("strict"):
        _check_strict_schema(json_schema["schema"], path="()", level=1)

    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    request: _Document = {
        "contents": [],
        "generationConfig": {"responseSchema": _convert_schema(json_schema["schema"])},
    }
    if limit is not None:
        request["generationConfig"]["maxOutputTokens"] = limit
    for message in chat:
        content = message["content"]
        parts = [{"text": content}] if isinstance(content, str) else [*map(_convert_part, content)]
        if message["role"] == "system":
            request["systemInstruction"] = {"parts": parts}
        else:
            request["contents"].append({"role": "user", "parts": parts})
    return request


def _convert_part(part: Mapping[str, Any]) -> _Document:
    """Return a text or an image of a message as a part of the engine's request."""
    if part["type"] == "text":
        return {"text": part["text"]}
    head, _, data = part["image_url"]["url"].partition(";base64,")
    return {"inlineData": {"mimeType": head.removeprefix("data:"), "data": data}}


def _check_strict_schema(schema: Mapping[str, Any], *, path: str, level: int) -> None:
    """Check a strict schema and the schemas in it, with at most MAX_LEVELS levels.

    Raises:
        Refusal: 400 in the words of the live service, the schema is not strict.
    """
    reason = ""
    members = schema.get("properties", {})
    if level == 1 and schema.get("type") != "object":
        reason = "schema must be a JSON Schema of 'type: \"object\"'"
    elif level > MAX_LEVELS:
        reason = "too many levels of nesting"
    elif "properties" in schema and schema.get("additionalProperties") is not False:
        reason = "'additionalProperties' is required to be supplied and to be false"
    elif sorted(schema.get("required", ())) != sorted(members):
        reason = "'required' is required to be supplied and to include every key in properties"
    if reason:
        raise Refusal(
            400,
            f"Invalid schema for response_format 'answer': In context={path}, {reason}.",
            param="response_format",
        )
    children = [*members.items(), *enumerate(schema.get("anyOf", ()))]
    if "items" in schema:
        children.append(("items", schema["items"]))
    for name, child in children:
        _check_strict_schema(child, path=f"{path[:-1]}{name!r}, )", level=level + 1)


def _convert_schema(schema: Mapping[str, Any]) -> _Document:
    """Return the engine's schema for a JSON schema.

    A type or alternative "null" makes the schema nullable. Of several other types only the first
    type is used. Unknown keywords are left out.
    """
    copied = ("description", "format", "minimum", "maximum", "minItems", "maxItems")
    converted: _Document = {name: schema[name] for name in copied if name in schema}
    if "anyOf" in schema:
        choices = [choice for choice in schema["anyOf"] if choice != {"type": "null"}]
        converted["anyOf"] = [_convert_schema(choice) for choice in choices]
        converted["nullable"] = len(choices) < len(schema["anyOf"])
        return converted
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    converted["type"] = kinds[0].upper()
    converted["nullable"] = "null" in kinds
    if "enum" in schema:
        converted["enum"] = [choice for choice in schema["enum"] if choice is not None]
    if "items" in schema:
        converted["items"] = _convert_schema(schema["items"])
    if "properties" in schema:
        members = {name: _convert_schema(node) for name, node in schema["properties"].items()}
        converted |= {"properties": members, "propertyOrdering": list(members)}
        converted["required"] = list(schema.get("required", ()))
    return converted


def _build_result_line(line: Mapping[str, Any]) -> _Document:
    """Return the line of an output or error file for an answered line of the engine.

    `response` has the status 400 for a refused request, the HTTP status of an error, or 200 with
    the chat completion. `error` is always None.
    """
    status = OK_STATUS
    if line.get("refusal"):
        status, body = 400, {"error": line["refusal"]}
    elif "error" in line:
        status = _HTTP_STATUS_BY_CODE.get(line["error"]["code"], 500)
        body = {"error": Refusal(status, line["error"]["message"]).error}
    else:
        body = build_completion(line["response"], line.get("model", ""))
    response = {"status_code": status, "request_id": f"req-{line['key']}", "body": body}
    return {
        "id": f"line-{line['key']}",
        "custom_id": line["key"],
        "response": response,
        "error": None,
    }


def build_completion(reply: Mapping[str, Any], model_name: str) -> _Document:
    """Return the chat completion for a reply of the engine.

    Any end except STOP and MAX_TOKENS becomes "content_filter". The usage is left out if the reply
    has none. Thought tokens count as output. The model is `model_name` if the local engine
    answered, else the version in the reply.
    """
    usage = reply.get("usageMetadata", {})
    choices = []
    for candidate in reply.get("candidates", ()):
        parts = candidate.get("content", {}).get("parts", ())
        text = "".join(part.get("text", "") for part in parts)
        finish_reason = _FINISH_REASONS.get(candidate["finishReason"], "content_filter")
        message = {"role": "assistant", "content": text, "refusal": None}
        choices.append({"index": 0, "message": message, "finish_reason": finish_reason})
    thoughts = usage.get("thoughtsTokenCount", 0)
    output_tokens = usage.get("candidatesTokenCount", 0) + thoughts
    version = reply.get("modelVersion")
    completion: _Document = {
        "id": f"chatcmpl-{reply.get('responseId', '')}",
        "object": "chat.completion",
        "model": model_name if version == MODEL_VERSION else version,
        "choices": choices,
    }
    if usage:
        completion["usage"] = {
            "prompt_tokens": usage.get("promptTokenCount", 0),
            "completion_tokens": output_tokens,
            "total_tokens": usage.get("promptTokenCount", 0) + output_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": thoughts},
        }
    return completion
