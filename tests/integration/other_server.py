"""Another server that speaks the protocol: written from the wire notes alone, with nothing of our emulator in it.

It is as different as the notes allow: other spellings, other places, no statistics, members nobody knows.
"""

import contextlib
import hashlib
import itertools
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Manner:
    """How this server speaks."""

    states: str = "BATCH_STATE_"
    stats: str = "texts"  # texts, numbers, or none
    output: str = "metadata"  # where the result's name stands: metadata or response
    key_first: bool = False
    runs_for: int = 2  # looks before a batch is over
    sha256: bool = True
    state: bool = True  # whether an upload's resource tells its state
    line_end: str = "\n"


@dataclass
class Other:
    """What the server holds: uploads and results by name, batches by id, and every call it was sent."""

    manner: Manner
    files: dict[str, bytes] = field(default_factory=dict)
    results: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, Json] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    url: str = ""

    def upload(self, data: bytes) -> Json:
        """Keep an upload and return its resource."""
        name = f"files/up{next(self.numbers)}"
        self.files[name] = data
        file: Json = {"name": name, "sizeBytes": str(len(data)), "state": "ACTIVE", "novelty": [1]}
        if not self.manner.state:
            del file["state"]
        if self.manner.sha256:
            import base64

            file["sha256Hash"] = base64.b64encode(hashlib.sha256(data).hexdigest().encode()).decode()
        return file

    def create(self, model: str, asked: Json) -> Json:
        """Make a batch of an upload; it is answered at once and says so later."""
        name = f"batches/{hashlib.sha256(str(next(self.numbers)).encode()).hexdigest()[:36]}"
        lines = [
            json.loads(line) for line in self.files[asked["batch"]["inputConfig"]["fileName"]].split(b"\n") if line
        ]
        replies = [self._result(line) for line in reversed(lines)]
        self.results[f"files/batch-{name[8:]}"] = self.manner.line_end.join(replies).encode()
        self.batches[name] = {"model": model, "displayName": asked["batch"]["displayName"], "n": len(lines), "looks": 0}
        return self.operation(name)

    def _result(self, line: Json) -> str:
        """Return one result line."""
        members = {"response": answer(line["request"]), "key": line["key"]}
        if self.manner.key_first:
            members = dict(reversed(members.items()))
        return json.dumps(members, ensure_ascii=False)

    def operation(self, name: str, *, look: bool = False) -> Json:
        """Return a batch as it stands."""
        batch = self.batches[name]
        batch["looks"] += look
        over = batch["looks"] > self.manner.runs_for
        state = self.manner.states + ("SUCCEEDED" if over else "RUNNING" if batch["looks"] else "PENDING")
        metadata = {"state": state, "displayName": batch["displayName"], "model": f"models/{batch['model']}", "x": {}}
        counts = {"requestCount": batch["n"], ("successfulRequestCount" if over else "pendingRequestCount"): batch["n"]}
        if self.manner.stats != "none":
            texts = self.manner.stats == "texts"
            metadata["batchStats"] = {name: str(n) if texts else n for name, n in counts.items()}
        operation: Json = {"name": name, "metadata": metadata}
        if over:
            where = {"responsesFile": f"files/batch-{name[8:]}"}
            operation |= {"done": True, "response": {} if self.manner.output == "metadata" else where}
            if self.manner.output == "metadata":
                metadata["output"] = where
        return operation


def answer(request: Json) -> Json:
    """Return a reply whose tags are the longest words of the question's last part."""
    text = request["contents"][-1]["parts"][-1]["text"]
    words = sorted(set(re.findall(r"[a-z]{5,}", text.lower())), key=lambda word: (-len(word), word))
    parts = [{"text": json.dumps({"tags": words[:3] or ["nothing"]})}]
    usage = {"promptTokenCount": len(text) // 4, "candidatesTokenCount": 9, "totalTokenCount": len(text) // 4 + 9}
    candidate = {"content": {"parts": parts, "role": "model"}, "finishReason": "STOP", "surprise": None}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "other-1"}


def vector(text: str, width: int) -> list[float]:
    """Return a vector that is not of unit length: words as hashed places."""
    values = [0.001] * width
    for word in re.findall(r"[a-z]{4,}", text.lower()):
        values[int(hashlib.sha256(word.encode()).hexdigest(), 16) % width] += 3.0
    return values


class Handler(BaseHTTPRequestHandler):
    """The routes of the wire notes, under one version."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_GET(self) -> None:
        """Answer get, list and download."""
        other, path = self._other(), self.path.split("?")[0]
        if path.endswith(":download"):
            self._send(other.results.get(path.removeprefix("/v1beta/").removesuffix(":download")))
        elif path == "/v1beta/batches":
            self._send({"operations": [other.operation(name) for name in reversed(other.batches)]})
        elif path.removeprefix("/v1beta/") in other.batches:
            self._send(other.operation(path.removeprefix("/v1beta/"), look=True))
        else:
            self._send(None)

    def do_DELETE(self) -> None:
        """Forget an upload."""
        self._send({} if self._other().files.pop(self.path.removeprefix("/v1beta/"), None) is not None else None)

    def do_POST(self) -> None:
        """Answer uploads, creates and the models' own methods."""
        other, path = self._other(), self.path.split("?")[0]
        data = self.rfile.read(int(self.headers.get("content-length") or 0))
        command = self.headers.get("x-goog-upload-command", "")
        if command == "start":
            self._send({}, {"X-Goog-Upload-URL": f"{other.url}/session/1", "X-Goog-Upload-Status": "active"})
        elif path.startswith("/session/"):
            assert "finalize" in command, "the tests' files are small"
            self._send({"file": other.upload(data)}, {"X-Goog-Upload-Status": "final"})
        else:
            model, _, method = path.removeprefix("/v1beta/models/").partition(":")
            asked = json.loads(data)
            if method == "batchGenerateContent":
                self._send(other.create(model, asked))
            elif method == "generateContent":
                self._send(answer(asked))
            elif method == "batchEmbedContents":
                vectors = [vector(_text(one), one.get("outputDimensionality", 768)) for one in asked["requests"]]
                self._send({"embeddings": [{"values": values} for values in vectors]})
            else:
                self._send(None)

    def _other(self) -> Other:
        """Note the call, check its key, and return the server's state."""
        other = self.server.other
        other.calls.append(f"{self.command} {self.path}")
        if "/session/" not in self.path:
            assert self.headers.get("x-goog-api-key"), "a call without a key"
        return other

    def _send(self, document: Json | bytes | None, headers: Json | None = None) -> None:
        """Answer with JSON, with bytes, or with 404."""
        missing = {"error": {"code": 404, "message": f"no {self.path}", "status": "NOT_FOUND"}}
        data = (
            document if isinstance(document, bytes) else json.dumps(missing if document is None else document).encode()
        )
        self.send_response(404 if document is None else 200)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keep quiet."""


class Server(ThreadingHTTPServer):
    """The server with its state."""

    daemon_threads = True

    def __init__(self, other: Other) -> None:
        """Listen on a port of the system's choice."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.other = other
        other.url = f"http://127.0.0.1:{self.server_port}"


def _text(request: Json) -> str:
    """Return the text of one request to embed."""
    return " ".join(part["text"] for part in request["content"]["parts"])


@contextlib.contextmanager
def serving(manner: Manner) -> Iterator[Other]:
    """Run the server for the length of a block."""
    server = Server(Other(manner))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.other
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
