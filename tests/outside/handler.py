"""Routes and connections of the outside server."""

import contextlib
import gzip
import hashlib
import json
import re
import socket
import sqlite3
import struct
import sys
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from tests.outside.answers import Answerer, Json, RefusedLine, member, reply, request_vector
from tests.outside.deciding import DECISION_MODEL, decide, decision_hash, with_unknown_type
from tests.outside.keeping import Keeping, Line, error_line, question, read_lines
from tests.outside.telling import (
    OutsideError,
    operation,
    page_start,
    page_token,
    refusal_of,
    resource,
)

if TYPE_CHECKING:
    from tests.outside.server import Outside

VERSIONS = r"(?:v1|v1beta|v1alpha)"
MODELS = (
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemini-3.1-flash-lite",
    "gemini-3.5-flash",
    "gemini-3.5-flash-lite",
    "gemini-3.6-flash",
    "gemini-3.8-flash",
    "gemini-embedding-001",
    "gemini-embedding-2",
    # A new model without a price in any list.
    "gemini-9-flash",
)
REFUSES_MINIMAL = ("gemini-3.8-flash", "gemini-9-flash")
MAX_PAGE_ROWS = 3
MIN_GZIP_BYTES = 300
# SO_LINGER: closing a connection resets it.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
# The limit of an embedding call in the error message of the API.
MAX_EMBED_BODY_BYTES = 4_194_304


class Listener(ThreadingHTTPServer):
    """The socket of the server with all its connections."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, server: "Outside") -> None:
        """Listen at the port of the server; the system chooses a port if it is 0."""
        self.owner = server
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", server.port), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Record a connection and serve it in a thread."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Remove a closed connection."""
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors of killed clients and of calls during a stop of the server."""
        if not isinstance(sys.exc_info()[1], OSError | sqlite3.ProgrammingError):
            super().handle_error(request, client_address)

    def die(self) -> None:
        """Stop listening and reset every connection."""
        self.shutdown()
        self.server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                connection.shutdown(socket.SHUT_RDWR)


def settle(server: "Outside", name: str) -> None:
    """Store the results of a batch if its time is over.

    The results come from the answerer, or from `results` if it is set. The keys stay in their order
    if `mixing` changes the order of the replies.
    """
    keeping = server.kept
    with keeping.transaction():
        row = keeping.row(
            "SELECT * FROM batches WHERE id = ? AND over = '' AND ends <= ?", name, time.time()
        )
        if row is None:
            return

        if server.results is None:
            result_lines = [
                _result(keeping, row, line, server.answerer)
                for line in keeping.lines_of(row["number"])
            ]
            if server.mixing is not None:
                keys = [line.pop("key") for line in result_lines]
                result_lines = [
                    {**reply_members, "key": key}
                    for key, reply_members in zip(keys, server.mixing(result_lines), strict=True)
                ]
            lines = [json.dumps(line, ensure_ascii=False) for line in result_lines]
            content = "\n".join(lines).encode()
            failed_count = sum("error" in line for line in result_lines)
        else:
            content = server.results([line.key for line in keeping.lines_of(row["number"])])
            failed_count = 0

        keeping.keep_file(
            f"batch-{name}",
            row["owner"],
            content,
            label="",
            mime="application/jsonl",
            generated=True,
        )
        keeping.rows(
            "UPDATE batches SET over = ?, ended = ends, failed = ? WHERE id = ?",
            server.ending,
            failed_count,
            name,
        )


def _result(keeping: Keeping, row: Any, line: Line, answerer: Answerer) -> Json:
    """Return the result line of a request and record its answer."""
    try:
        reply_document = reply(line.request, answerer(line.request), model=row["model"])
    except RefusedLine as refusal:
        keeping.note_answer(line.key, line.question, row["id"], refused=True)
        return error_line(line.key, refusal)
    keeping.note_answer(line.key, line.question, row["id"])
    return {"response": reply_document, "key": line.key}


class Handler(BaseHTTPRequestHandler):
    """A connection of a client."""

    protocol_version = "HTTP/1.1"
    server: Listener

    def setup(self) -> None:
        """Store the server of the connection."""
        super().setup()
        self._server = self.server.owner
        self._state = self._server.kept

    def _answer(self) -> None:
        """Answer a call."""
        self._data = self.rfile.read(int(self.headers.get("content-length") or 0))
        path, _, query = self.path.partition("?")
        self._query = dict(word.split("=", 1) for word in query.split("&") if "=" in word)
        self._server.calls.append(f"{self.command} {path}")
        try:
            self._dispatch(path)
        except OutsideError as error:
            self._send(error.body(), code=error.code)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the base class's names

    def _dispatch(self, path: str) -> None:
        """Find and call the route of a call."""
        if path.startswith("/resume/") and self.command == "POST":
            return self._take_bytes(path.removeprefix("/resume/"))

        self._owner = self._key()
        if code := self._server.troubles.refusal():
            raise refusal_of(code)
        reply_hook = self._server.instead
        if (
            reply_hook is not None
            and (reply_parts := reply_hook(f"{self.command} {path}")) is not None
        ):
            return self._send_whole(*reply_parts)

        for method, pattern, name in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match and method == self.command:
                route: Any = getattr(self, name)
                route(*match.groups())
                return None
        raise OutsideError(404, f"Requested entity was not found: {self.command} {path}")

    def _key(self) -> str:
        """Return the owner of a call: a hash of its key.

        Raises:
            OutsideError: The call has no key.
        """
        key = self.headers.get("x-goog-api-key") or self._query.get("key", "")
        if not key.strip():
            raise OutsideError(
                403,
                "Method doesn't allow unregistered callers (callers without established identity).",
            )
        return hashlib.sha256(key.encode()).hexdigest()

    def _document(self) -> Json:
        """Return the body. The local engine checks whether the product's requests are valid."""
        document: Json = json.loads(self._data or b"{}")
        return document

    # files

    def _start_upload(self) -> None:
        """Start an upload; a header contains the address for its bytes."""
        if self.headers.get("x-goog-upload-command", "").strip().lower() != "start":
            raise OutsideError(400, "Only resumable uploads are served here.")
        file = self._document().get("file", {})
        declared = int(
            self.headers.get("x-goog-upload-header-content-length")
            or member(file, "sizeBytes")
            or 0
        )
        mime = (
            self.headers.get("x-goog-upload-header-content-type") or member(file, "mimeType") or ""
        )
        label = member(file, "displayName") or ""
        secret = self._state.begin_upload(self._owner, label=label, mime=mime, declared=declared)
        host = self.headers.get("host", "")
        self._send(
            {},
            {
                "x-goog-upload-url": f"http://{host}/resume/{secret}",
                "x-goog-upload-status": "active",
            },
        )

    def _take_bytes(self, secret: str) -> None:
        """Receive a piece of an upload; the last piece creates the file. No key is needed."""
        document, status = self._store_piece(secret)
        self._send(
            document,
            {"x-goog-upload-status": status, "x-goog-upload-size-received": str(len(self._data))},
        )

    def _store_piece(self, secret: str) -> tuple[Json, str]:
        """Store a piece; return the document of the reply and the state of the upload."""
        command_header = self.headers.get("x-goog-upload-command", "")
        commands = {word.strip() for word in command_header.split(",")}
        with self._state.transaction():
            session = self._state.row("SELECT * FROM sessions WHERE id = ?", secret)
            if session is None:
                raise OutsideError(404, "Upload session not found.")
            received_bytes = session["data"]
            if int(self.headers.get("x-goog-upload-offset") or 0) != len(received_bytes):
                raise OutsideError(400, f"The offset is not {len(received_bytes)}.")
            received_bytes += self._data
            if "finalize" not in commands:
                self._state.rows(
                    "UPDATE sessions SET data = ? WHERE id = ?", received_bytes, secret
                )
                return {}, "active"
            if len(received_bytes) != session["declared"]:
                declared = session["declared"]
                message = f"{len(received_bytes)} bytes came, and {declared} were declared."
                raise OutsideError(400, message)

            name = f"up-{hashlib.sha256(secret.encode()).hexdigest()[:30]}"
            self._state.rows("DELETE FROM sessions WHERE id = ?", secret)
            label = session["label"]
            mime = session["mime"]
            owner = session["owner"]
            self._state.keep_file(
                name, owner, received_bytes, label=label, mime=mime, generated=False
            )
            self._owner = owner
            return {"file": resource(self._file(name), self._server.url)}, "final"

    def _file(self, name: str) -> Any:
        """Return the row of a file of this caller.

        Raises:
            OutsideError: The caller has no such file.
        """
        row = self._state.row("SELECT * FROM files WHERE id = ? AND owner = ?", name, self._owner)
        if row is None:
            message = f"You do not have permission to access the File {name} or it may not exist."
            raise OutsideError(403, message)
        return row

    def _delete_file(self, name: str) -> None:
        """Delete a file."""
        self._state.rows(
            "DELETE FROM files WHERE id = ? AND owner = ?", self._file(name)["id"], self._owner
        )
        self._send({})

    def _download(self, name: str) -> None:
        """Send the bytes of a result in pieces; uploaded files cannot be downloaded."""
        row = self._file(name)
        if not row["generated"]:
            raise OutsideError(400, "Only generated files can be downloaded.")
        data = row["data"]
        is_cut = self._server.troubles.strikes("cut_downloads")
        self._send_chunks(data[: len(data) // 2] if is_cut else data, is_cut=is_cut)

    # batches

    def _create(self, model: str) -> None:
        """Create a batch from an upload; two equal calls create two batches."""
        self._check_model(model)
        batch = self._document().get("batch", {})
        name = member(member(batch, "inputConfig"), "fileName") or ""
        row = self._file(name.removeprefix("files/"))
        troubles = self._server.troubles
        batch_id = self._state.make_batch(
            read_lines(row["data"]),
            runs_s=self._server.pending_s,
            ends_s=self._server.pending_s + self._server.running_s,
            owner=self._owner,
            model=model,
            label=member(batch, "displayName") or "",
            input=name,
        )
        if troubles.strikes("failed_batches"):
            self._state.rows(
                "UPDATE batches SET over = 'FAILED', ended = ends WHERE id = ?", batch_id
            )
        if troubles.strikes("lost_creates"):
            return self._hang_up()
        return self._send(self._operation(batch_id))

    def _operation(self, name: str) -> Json:
        """Return the operation of a batch in its current state."""
        with self._state.transaction():
            server = self._server
            settle(server, name)
            row = self._state.row(
                "SELECT * FROM batches WHERE id = ? AND owner = ? AND NOT hidden", name, self._owner
            )
            if row is None:
                raise OutsideError(404, "Requested entity was not found.")
            count_row = self._state.row("SELECT count(*) FROM lines WHERE batch = ?", row["number"])
        assert count_row is not None
        operation_document = operation(row, count_row[0])
        if server.operations is None:
            return operation_document
        result = self._state.row("SELECT data FROM files WHERE id = ?", f"batch-{name}")
        return server.operations(operation_document, result["data"] if result else b"")

    def _get_batch(self, name: str) -> None:
        """Send the operation of a batch."""
        self._send(self._operation(name))

    def _list_batches(self) -> None:
        """Send a page of batches, oldest first."""
        if "pageToken" not in self._query:
            return self._send({"nextPageToken": page_token(0)})

        condition = "owner = ? AND number > ? AND NOT hidden"
        sql = f"SELECT * FROM batches WHERE {condition} ORDER BY number LIMIT ?"  # noqa: S608
        rows, next_token = self._page(sql)
        if rows and not next_token and self._server.troubles.strikes("unlisted"):
            rows = rows[:-1]
        operations = [self._operation(row["id"]) for row in rows]
        return self._send(
            {"operations": operations} if operations else {},
            optional_members={"nextPageToken": next_token},
        )

    def _cancel(self, name: str) -> None:
        """Cancel a batch that has not ended."""
        self._operation(name)
        self._state.rows(
            "UPDATE batches SET over = 'CANCELLED', ended = ? WHERE id = ? AND over = ''",
            time.time(),
            name,
        )
        self._send({})

    def _delete_batch(self, name: str) -> None:
        """Hide a batch from all calls."""
        self._operation(name)
        self._state.rows("UPDATE batches SET hidden = 1 WHERE id = ?", name)
        self._send({})

    # models

    def _generate(self, model: str) -> None:
        """Answer a live call."""
        self._check_model(model)
        request = self._document()
        # A killed process sends its headers without a body.
        if not member(request, "contents"):
            raise OutsideError(400, "* GenerateContentRequest.contents: contents is not specified")

        thinking = member(member(request, "generationConfig"), "thinkingConfig")
        if model in REFUSES_MINIMAL and member(thinking, "thinkingLevel") == "MINIMAL":
            message = "Thinking level MINIMAL is not supported for this model."
            raise OutsideError(400, f"{message} Allowed values are: medium, low, high")

        try:
            document = self._server.answerer(request)
        except RefusedLine as refusal:
            raise OutsideError(500, refusal.message) from refusal

        serving_tier = self._tier(request)
        self._state.note_answer("", question(request), "")
        answer = reply(request, document, model=model)
        if self._server.cached_share:
            usage = answer["usageMetadata"]
            cached_tokens = usage["promptTokenCount"] * self._server.cached_share
            usage["cachedContentTokenCount"] = round(cached_tokens)
        if self._server.replies is not None:
            answer = self._server.replies(answer)
        self._send(answer, {"x-gemini-service-tier": serving_tier} if serving_tier else None)

    def _decide(self) -> None:
        """Answer the questions of a decision, or show the next scripted fault."""
        request = self._document()
        model = str(request.get("model", ""))
        if model != f"models/{DECISION_MODEL}" or DECISION_MODEL in self._server.hidden_models:
            raise OutsideError(404, f"{model} is not found for API version v1beta.")
        fault = self._server.troubles.next_decision_fault()
        if fault == "drop":
            return self._hang_up()
        if fault.isdecimal():
            raise refusal_of(int(fault))
        answer = decide(request)
        if fault == "blocked":
            block = {"block_reason": "prohibited_content", "block_reason_message": "No."}
            return self._send({"prompt_feedback": block})

        self._state.note_answer("", decision_hash(request), "")
        self._server.decisions.append(request)
        if fault == "lost":
            return self._hang_up()
        if fault == "unknown":
            answer = with_unknown_type(answer)
        if self._server.decision_replies is not None:
            answer = self._server.decision_replies(answer)
        return self._send(answer)

    def _tier(self, request: Json) -> str:
        """Return the serving tier of a call; flex calls may be refused or served as standard."""
        requested_tier = str(member(request, "serviceTier") or "")
        troubles = self._server.troubles
        if requested_tier == "flex" and troubles.befalls("shed"):
            raise OutsideError(503, "The service is overloaded. Please try again later.")
        if not requested_tier:
            return ""

        serving_tier = "standard" if troubles.befalls("downgraded") else requested_tier
        self._server.tiers.append((request, serving_tier))
        return serving_tier

    def _embed_many(self, model: str) -> None:
        """Send a vector for each request; the parts of a request are joined into a text."""
        self._check_model(model)
        if len(self._data) > MAX_EMBED_BODY_BYTES:
            raise OutsideError(400, "Request payload size exceeds the limit: 4194304 bytes.")

        requests = self._document().get("requests", [])
        refused_text = self._server.refused_text
        bodies = [json.dumps(request, ensure_ascii=False) for request in requests]
        if refused_text and any(refused_text in body for body in bodies):
            raise OutsideError(400, "Request contains an invalid argument.")
        vectors = [request_vector(request) for request in requests]
        spoilt_text = self._server.spoilt_text
        for index, body in enumerate(bodies):
            if spoilt_text and spoilt_text in body:
                vectors[index] = self._server.bad_vector
        embeddings = [{"values": vector, "shape": [1]} for vector in vectors]
        self._send({"embeddings": embeddings})

    def _describe_model(self, name: str) -> None:
        """Send the description of a model."""
        if name != DECISION_MODEL:
            self._check_model(name)
        limits = {"inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536}
        self._send(
            {"name": f"models/{name}", "supportedGenerationMethods": ["generateContent"], **limits}
        )

    def _check_model(self, name: str) -> None:
        """Refuse an unknown or hidden model."""
        if name not in MODELS or name in self._server.hidden_models:
            raise OutsideError(404, f"models/{name} is not found for API version v1beta.")

    # the wire

    def _page(self, sql: str) -> tuple[list[Any], str]:
        """Return the rows of a page and the token of the next page; pages are always short."""
        size = min(int(self._query.get("pageSize") or 0) or MAX_PAGE_ROWS, MAX_PAGE_ROWS)
        last_number = page_start(self._query["pageToken"])
        rows = self._state.rows(sql, self._owner, last_number, size + 1)
        next_token = page_token(rows[size - 1]["number"]) if len(rows) > size else ""
        return rows[:size], next_token

    def _send(
        self,
        document: Any,
        headers: Mapping[str, str] | None = None,
        *,
        code: int = 200,
        optional_members: Mapping[str, str] | None = None,
    ) -> None:
        """Send JSON without empty optional members; long bodies may be gzipped."""
        if optional_members:
            document |= {name: value for name, value in optional_members.items() if value}
        body = json.dumps(document, ensure_ascii=False, indent=2).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json; charset=UTF-8")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if len(body) >= MIN_GZIP_BYTES and "gzip" in self.headers.get("accept-encoding", ""):
            body = gzip.compress(body, 1)
            self.send_header("content-encoding", "gzip")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_whole(self, code: int, headers: Mapping[str, str], data: bytes) -> None:
        """Send bytes without a length; the end of the connection is their end."""
        self.send_response(code)
        for name, value in {"connection": "close", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        self._hang_up()

    def _send_chunks(self, data: bytes, *, is_cut: bool) -> None:
        """Send bytes in chunks; a cut download has no last chunk."""
        self.send_response(200)
        self.send_header("content-type", "application/octet-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        size = max(1, -(-len(data) // 3))
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            self.wfile.write(f"{len(piece):X};n={start}\r\n".encode() + piece + b"\r\n")
        if is_cut:
            return self._hang_up()
        self.wfile.write(b"0\r\n\r\n")
        return None

    def _hang_up(self) -> None:
        """Close this connection without an end of the reply."""
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Log nothing."""


_MODEL = rf"/{VERSIONS}/models/([^/:]+)"
_ROUTES = (
    ("POST", rf"/upload/{VERSIONS}/files", "_start_upload"),
    ("GET", rf"(?:/download)?/{VERSIONS}/files/([^/:]+):download", "_download"),
    ("DELETE", rf"/{VERSIONS}/files/([^/:]+)", "_delete_file"),
    ("POST", rf"{_MODEL}:batchGenerateContent", "_create"),
    ("GET", rf"/{VERSIONS}/batches", "_list_batches"),
    ("GET", rf"/{VERSIONS}/batches/([^/:]+)", "_get_batch"),
    ("POST", rf"/{VERSIONS}/batches/([^/:]+):cancel", "_cancel"),
    ("DELETE", rf"/{VERSIONS}/batches/([^/:]+)", "_delete_batch"),
    ("POST", rf"{_MODEL}:generateContent", "_generate"),
    # Decisions are documented for this version only.
    ("POST", "/v1beta/decisions", "_decide"),
    ("GET", _MODEL, "_describe_model"),
    ("POST", rf"{_MODEL}:batchEmbedContents", "_embed_many"),
)
