"""How the outside server is called: its routes, and the manners of its connections."""

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

from tests.outside.answers import Json, RefusedLine, member, reply
from tests.outside.checking import BadRequestError, check, read_lines
from tests.outside.keeping import question
from tests.outside.telling import (
    OutsideError,
    number,
    operation,
    refusal_of,
    resource,
    token,
)
from tests.outside.working import settle, vector_of

if TYPE_CHECKING:
    from tests.outside.server import Outside

VERSIONS = r"(?:v1|v1beta|v1alpha)"
MODELS = (
    *(
        "gemini-2.5-flash",
        "gemini-2.5-flash-lite",
        "gemini-3.1-flash-lite",
        "gemini-3.5-flash",
        "gemini-3.5-flash-lite",
    ),
    *("gemini-3.6-flash", "gemini-3.8-flash", "gemini-embedding-001", "gemini-embedding-2"),
    "gemini-9-flash",  # so new that no price list has it
)
REFUSES_MINIMAL = ("gemini-3.8-flash", "gemini-9-flash")
MOST_ON_A_PAGE = 3
LONGEST_ID = 40
GZIP_FROM = 300
DROP = struct.pack("ii", 1, 0)  # SO_LINGER: what is closed is reset
MAX_EMBED_BODY_BYTES = (
    4_194_304  # of one embedding call, as the API says where it refuses a larger one
)


class Listener(ThreadingHTTPServer):
    """The socket with all connections."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, outside: "Outside") -> None:
        """Listen at the server's port, or at one of the system's choice."""
        self.outside = outside
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", outside.port), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember a connection, and serve it in a thread."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that is over."""
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away, for many are killed, nor of calls that this server dies in."""
        if not isinstance(sys.exc_info()[1], OSError | sqlite3.ProgrammingError):
            super().handle_error(request, client_address)

    def die(self) -> None:
        """Stop listening and reset every connection."""
        self.shutdown()
        self.server_close()
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, DROP)
                one.shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Listener

    def setup(self) -> None:
        """Note whose connection it is."""
        super().setup()
        self._outside = self.server.outside
        self._kept = self._outside.kept

    def _answer(self) -> None:
        """Answer one call."""
        self._data = self.rfile.read(int(self.headers.get("content-length") or 0))
        path, _, query = self.path.partition("?")
        self._query = dict(word.split("=", 1) for word in query.split("&") if "=" in word)
        self._outside.calls.append(f"{self.command} {path}")
        try:
            self._dispatch(path)
        except OutsideError as error:
            self._send(error.body(), code=error.code)
        except BadRequestError as error:
            self._send(OutsideError(400, str(error)).body(), code=400)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the base class's names

    def _dispatch(self, path: str) -> None:
        """Find the route of a call."""
        if path.startswith("/resume/") and self.command == "POST":
            return self._take_bytes(path.removeprefix("/resume/"))
        self._owner = self._key()
        if code := self._outside.troubles.refusal():
            raise refusal_of(code)
        instead = self._outside.instead
        if instead is not None and (whole := instead(f"{self.command} {path}")) is not None:
            return self._send_whole(*whole)
        for method, pattern, name in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match and method == self.command:
                route: Any = getattr(self, name)
                route(*match.groups())
                return None
        raise OutsideError(404, f"Requested entity was not found: {self.command} {path}")

    def _key(self) -> str:
        """Return whose call it is.

        Raises:
            OutsideError: it has no key.
        """
        key = self.headers.get("x-goog-api-key") or self._query.get("key", "")
        if not key.strip():
            raise OutsideError(
                403,
                "Method doesn't allow unregistered callers (callers without established identity).",
            )
        return hashlib.sha256(key.encode()).hexdigest()

    def _document(self) -> Json:
        """Return the body.

        Raises:
            BadRequestError: it is no JSON object.
        """
        try:
            document = json.loads(self._data or b"{}")
        except ValueError as error:
            raise BadRequestError(f"Invalid JSON payload received. {error}") from error
        if not isinstance(document, dict):
            raise BadRequestError("Invalid JSON payload received. Expected an object.")
        return document

    # files

    def _start_upload(self) -> None:
        """Begin an upload; where its bytes go is told in a header."""
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
        secret = self._kept.begin_upload(self._owner, label=label, mime=mime, declared=declared)
        host = self.headers.get("host", "")
        self._send(
            {},
            {
                "x-goog-upload-url": f"http://{host}/resume/{secret}",
                "x-goog-upload-status": "active",
            },
        )

    def _take_bytes(self, secret: str) -> None:
        """Take a piece of an upload; the last one makes the file. It needs no key."""
        document, status = self._taken(secret)
        self._send(
            document,
            {"x-goog-upload-status": status, "x-goog-upload-size-received": str(len(self._data))},
        )

    def _taken(self, secret: str) -> tuple[Json, str]:
        """Take a piece and return (what is told of it, how the upload stands)."""
        commands = {
            word.strip() for word in self.headers.get("x-goog-upload-command", "").split(",")
        }
        with self._kept.whole():
            session = self._kept.row("SELECT * FROM sessions WHERE id = ?", secret)
            if session is None:
                raise OutsideError(404, "Upload session not found.")
            data = session["data"]
            if int(self.headers.get("x-goog-upload-offset") or 0) != len(data):
                raise OutsideError(400, f"The offset is not {len(data)}.")
            data += self._data
            if "finalize" not in commands:
                self._kept.rows("UPDATE sessions SET data = ? WHERE id = ?", data, secret)
                return {}, "active"
            if len(data) != session["declared"]:
                raise OutsideError(
                    400, f"{len(data)} bytes came, and {session['declared']} were declared."
                )
            name = f"up-{hashlib.sha256(secret.encode()).hexdigest()[:30]}"
            self._kept.rows("DELETE FROM sessions WHERE id = ?", secret)
            label = session["label"]
            mime = session["mime"]
            owner = session["owner"]
            self._kept.keep_file(name, owner, data, label=label, mime=mime, generated=False)
            self._owner = owner
            return {
                "file": resource(self._file(name), self._outside.manner, self._outside.url)
            }, "final"

    def _file(self, name: str) -> Any:
        """Return the row of a file of this caller.

        Raises:
            OutsideError: there is none; whose it is instead is not told.
        """
        found = self._kept.row("SELECT * FROM files WHERE id = ? AND owner = ?", name, self._owner)
        if found is None:
            raise OutsideError(
                403, f"You do not have permission to access the File {name} or it may not exist."
            )
        return found

    def _get_file(self, name: str) -> None:
        """Tell of a file; those with results have names that are too long."""
        _check_id(name, "GetFileRequest")
        self._send(resource(self._file(name), self._outside.manner, self._outside.url))

    def _delete_file(self, name: str) -> None:
        """Forget a file."""
        _check_id(name, "DeleteFileRequest")
        self._kept.rows(
            "DELETE FROM files WHERE id = ? AND owner = ?", self._file(name)["id"], self._owner
        )
        self._send({})

    def _download(self, name: str) -> None:
        """Send the bytes of a result, in pieces; what was uploaded cannot be had."""
        row = self._file(name)
        if not row["generated"]:
            raise OutsideError(400, "Only generated files can be downloaded.")
        data = row["data"]
        is_cut = self._outside.troubles.strikes("cut_downloads")
        self._send_chunks(data[: len(data) // 2] if is_cut else data, is_cut=is_cut)

    # batches

    def _create(self, model: str) -> None:
        """Make a batch of an upload; two equal calls make two."""
        self._check_model(model)
        batch = self._document().get("batch", {})
        name = member(member(batch, "inputConfig"), "fileName") or ""
        row = self._file(name.removeprefix("files/"))
        manner = self._outside.manner
        troubles = self._outside.troubles
        made = self._kept.make_batch(
            read_lines(row["data"]),
            runs_s=manner.pending_s,
            ends_s=manner.pending_s + manner.running_s,
            owner=self._owner,
            model=model,
            label=member(batch, "displayName") or "",
            input=name,
        )
        if troubles.strikes("failed_batches"):
            self._kept.rows("UPDATE batches SET over = 'FAILED', ended = ends WHERE id = ?", made)
        if troubles.strikes("lost_creates"):
            return self._hang_up()
        return self._send(self._operation(made))

    def _operation(self, name: str) -> Json:
        """Return a batch as it stands now."""
        with self._kept.whole():
            outside = self._outside
            settle(self._kept, name, outside.answerer, outside.manner, outside.results)
            row = self._kept.row(
                "SELECT * FROM batches WHERE id = ? AND owner = ? AND NOT hidden", name, self._owner
            )
            if row is None:
                raise OutsideError(404, "Requested entity was not found.")
            counted = self._kept.row("SELECT count(*) FROM lines WHERE batch = ?", row["number"])
        assert counted is not None
        told = operation(row, counted[0], outside.manner)
        if outside.operations is None:
            return told
        result = self._kept.row("SELECT data FROM files WHERE id = ?", f"batch-{name}")
        return outside.operations(told, result["data"] if result else b"")

    def _get_batch(self, name: str) -> None:
        """Tell of a batch."""
        self._send(self._operation(name))

    def _list_batches(self) -> None:
        """Tell of a page of batches, oldest first."""
        if self._outside.manner.empty_page and "pageToken" not in self._query:
            return self._send({"nextPageToken": token(0)})
        sql = "SELECT * FROM batches WHERE owner = ? AND number > ? AND NOT hidden ORDER BY number LIMIT ?"
        found, rest = self._page(sql)
        if found and not rest and self._outside.troubles.strikes("unlisted"):
            found = found[:-1]
        operations = [self._operation(row["id"]) for row in found]
        return self._send(
            {"operations": operations} if operations else {}, more={"nextPageToken": rest}
        )

    def _cancel(self, name: str) -> None:
        """Stop a batch that is not over."""
        self._operation(name)
        self._kept.rows(
            "UPDATE batches SET over = 'CANCELLED', ended = ? WHERE id = ? AND over = ''",
            time.time(),
            name,
        )
        self._send({})

    def _delete_batch(self, name: str) -> None:
        """Let a batch vanish."""
        self._operation(name)
        self._kept.rows("UPDATE batches SET hidden = 1 WHERE id = ?", name)
        self._send({})

    # models

    def _generate(self, model: str) -> None:
        """Answer one request at once."""
        self._check_model(model)
        request = self._document()
        check(
            {
                name: value
                for name, value in request.items()
                if name not in {"serviceTier", "service_tier"}
            },
            "Request",
        )
        thinking = member(member(request, "generationConfig"), "thinkingConfig")
        if model in REFUSES_MINIMAL and member(thinking, "thinkingLevel") == "MINIMAL":
            allowed_levels = "Allowed values are: medium, low, high"
            raise BadRequestError(
                f"Thinking level MINIMAL is not supported for this model. {allowed_levels}"
            )
        try:
            document = self._outside.answerer(request)
        except RefusedLine as refused:
            raise OutsideError(500, refused.message) from refused
        served = self._tier(request)
        self._kept.note_answer("", question(request), "")
        answer = reply(request, document, model=model)
        if self._outside.cached_share:
            usage = answer["usageMetadata"]
            usage["cachedContentTokenCount"] = round(
                usage["promptTokenCount"] * self._outside.cached_share
            )
        if self._outside.replies is not None:
            answer = self._outside.replies(answer)
        self._send(answer, {"x-gemini-service-tier": served} if served else None)

    def _tier(self, request: Json) -> str:
        """Return which tier serves a call that asks for one; flex is shed, or served as another."""
        asked = str(member(request, "serviceTier") or "")
        troubles = self._outside.troubles
        if asked == "flex" and troubles.befalls("shed"):
            raise OutsideError(503, "The service is overloaded. Please try again later.")
        served = "standard" if asked and troubles.befalls("downgraded") else asked
        self._outside.tiers += [(request, served)] if asked else []
        return served

    def _embed_many(self, model: str) -> None:
        """Return a vector for each request; all parts of one are one text."""
        self._check_model(model)
        if len(self._data) > MAX_EMBED_BODY_BYTES:
            raise BadRequestError(
                f"Request payload size exceeds the limit: {MAX_EMBED_BODY_BYTES} bytes."
            )
        requests = self._document().get("requests", [])
        for one in requests:
            check(one, "Embed")
        refused_text = self._outside.refused_text
        if refused_text and any(
            refused_text in json.dumps(request, ensure_ascii=False) for request in requests
        ):
            raise BadRequestError("Request contains an invalid argument.")
        self._send({"embeddings": [{"values": vector_of(one), "shape": [1]} for one in requests]})

    def _describe_model(self, name: str) -> None:
        """Return what the API says of a model."""
        self._check_model(name)
        limits = {"inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536}
        self._send(
            {"name": f"models/{name}", "supportedGenerationMethods": ["generateContent"], **limits}
        )

    def _check_model(self, name: str) -> None:
        """Refuse a model that there is none of."""
        if name not in MODELS or name in self._outside.hidden_models:
            raise OutsideError(404, f"models/{name} is not found for API version v1beta.")

    # the wire

    def _page(self, sql: str) -> tuple[list[Any], str]:
        """Return (rows of a page, token of the next one); it is never as long as some ask for."""
        size = min(int(self._query.get("pageSize") or 0) or MOST_ON_A_PAGE, MOST_ON_A_PAGE)
        after = number(self._query.get("pageToken", ""))
        found = self._kept.rows(sql, self._owner, after, size + 1)
        return found[:size], token(found[size - 1]["number"]) if len(found) > size else ""

    def _send(
        self,
        document: Any,
        headers: Mapping[str, str] | None = None,
        *,
        code: int = 200,
        more: Mapping[str, str] | None = None,
    ) -> None:
        """Send JSON; `more` is what is left out where it is empty. What is long is gzipped, if that is understood."""
        if more:
            document |= {name: value for name, value in more.items() if value}
        data = json.dumps(document, ensure_ascii=False, indent=2).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json; charset=UTF-8")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if len(data) >= GZIP_FROM and "gzip" in self.headers.get("accept-encoding", ""):
            data = gzip.compress(data, 1)
            self.send_header("content-encoding", "gzip")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _send_whole(self, code: int, headers: Mapping[str, str], data: bytes) -> None:
        """Send bytes as they are; their end is told by the end of the connection."""
        self.send_response(code)
        for name, value in {"connection": "close", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        self._hang_up()

    def _send_chunks(self, data: bytes, *, is_cut: bool) -> None:
        """Send bytes in chunks; where they are cut, the last one never comes."""
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
        """End this connection as it is."""
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keep quiet."""


_MODEL = rf"/{VERSIONS}/models/([^/:]+)"
_ROUTES = (
    ("POST", rf"/upload/{VERSIONS}/files", "_start_upload"),
    ("GET", rf"(?:/download)?/{VERSIONS}/files/([^/:]+):download", "_download"),
    ("GET", rf"/{VERSIONS}/files/([^/:]+)", "_get_file"),
    ("DELETE", rf"/{VERSIONS}/files/([^/:]+)", "_delete_file"),
    ("POST", rf"{_MODEL}:batchGenerateContent", "_create"),
    ("GET", rf"/{VERSIONS}/batches", "_list_batches"),
    ("GET", rf"/{VERSIONS}/batches/([^/:]+)", "_get_batch"),
    ("POST", rf"/{VERSIONS}/batches/([^/:]+):cancel", "_cancel"),
    ("DELETE", rf"/{VERSIONS}/batches/([^/:]+)", "_delete_batch"),
    ("POST", rf"{_MODEL}:generateContent", "_generate"),
    ("GET", _MODEL, "_describe_model"),
    ("POST", rf"{_MODEL}:batchEmbedContents", "_embed_many"),
)


def _check_id(name: str, message: str) -> None:
    """Refuse a name that is too long to be one of a file."""
    if len(name) > LONGEST_ID:
        text = f"* {message}.name: File ID (name excluding 'files/') cannot be more than {LONGEST_ID} characters."
        raise OutsideError(400, text)
