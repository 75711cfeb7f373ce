"""A client of the engine without the SDK: plain HTTP, and the control calls that tests need."""

import json
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx2

TAGS_SCHEMA = {"type": "OBJECT", "properties": {"tags": {"type": "ARRAY", "items": {"type": "STRING"}}}}
MODEL = "gemini-3.5-flash-lite"
_LONGEST_S = 20.0


def request_for(text: str) -> dict[str, Any]:
    """Return a request for the tags of a text."""
    return {
        "contents": [{"role": "user", "parts": [{"text": f"<biography>{text}</biography>"}]}],
        "generationConfig": {"responseMimeType": "application/json", "responseSchema": TAGS_SCHEMA},
    }


def request_file(count: int) -> bytes:
    """Return a request file with the keys `k/0`, `k/1` and so on."""
    texts = (f"Lawyer for water law and irrigation, case number {number}." for number in range(count))
    lines = [json.dumps({"key": f"k/{n}", "request": request_for(text)}) for n, text in enumerate(texts)]
    return "".join(f"{line}\n" for line in lines).encode()


class Caller:
    """Calls one engine with one key."""

    def __init__(self, url: str, *, key: str = "local") -> None:
        """Call the engine at `url`."""
        self.url = url
        self.key = key
        # no keep-alive: a fault that breaks a connection must not reach into the next call
        limits = httpx2.Limits(max_keepalive_connections=0)
        self.http = httpx2.Client(
            base_url=url, headers={"x-goog-api-key": key}, timeout=_LONGEST_S, trust_env=False, limits=limits
        )

    def __enter__(self) -> Self:
        """Return the caller itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.http.close()

    def get(self, path: str) -> dict[str, Any]:
        """Return the document of a GET that must be answered 200."""
        return self._good(self.http.get(path))

    def post(self, path: str, document: object) -> dict[str, Any]:
        """Return the document of a POST that must be answered 200."""
        return self._good(self.http.post(path, json=document))

    def refused(self, path: str, document: object, *, method: str = "POST") -> dict[str, Any]:
        """Return the error of a call that must be refused."""
        reply = self.http.request(method, path, json=document) if method == "POST" else self.http.request(method, path)
        assert reply.status_code >= 400, reply.text
        error: dict[str, Any] = reply.json()["error"]
        assert error["code"] == reply.status_code
        return error

    def _good(self, reply: httpx2.Response) -> dict[str, Any]:
        assert reply.status_code == 200, reply.text
        document: dict[str, Any] = reply.json()
        return document

    def script(self, word: str, **members: object) -> None:
        """Script one fault."""
        self.post("/_emu/faults", [{"fault": word, **members}])

    def faults(self) -> dict[str, Any]:
        """Return the scripted faults as the engine shows them."""
        return self.get("/_emu/faults")

    def settings(self, **changed: object) -> dict[str, Any]:
        """Change settings of the engine."""
        return self.post("/_emu/settings", changed)

    def journal(self) -> list[dict[str, Any]]:
        """Return what was asked of the engine, oldest first."""
        requests: list[dict[str, Any]] = self.get("/_emu/journal")["requests"]
        return requests

    def start_upload(self, size: int, *, described: Mapping[str, Any] | None = None) -> str:
        """Begin an upload of `size` bytes and return the session's URL."""
        headers = {
            "X-Goog-Upload-Protocol": "resumable",
            "X-Goog-Upload-Command": "start",
            "X-Goog-Upload-Header-Content-Length": str(size),
            "X-Goog-Upload-Header-Content-Type": "jsonl",
        }
        reply = self.http.post("/upload/v1beta/files", headers=headers, json={"file": dict(described or {})})
        assert reply.status_code == 200, reply.text
        return str(reply.headers["x-goog-upload-url"])

    def chunk(
        self, session: str, data: bytes, *, offset: int = 0, command: str = "upload, finalize"
    ) -> httpx2.Response:
        """Send one chunk of an upload."""
        headers = {"X-Goog-Upload-Command": command, "X-Goog-Upload-Offset": str(offset)}
        return self.http.post(session, headers=headers, content=data)

    def upload(self, data: bytes) -> str:
        """Upload a file whole and return its name."""
        name: str = self.chunk(self.start_upload(len(data)), data).json()["file"]["name"]
        return name

    def create(self, data: bytes, *, name: str = "b", model: str = MODEL) -> dict[str, Any]:
        """Upload a request file and create a batch of it."""
        return self.create_from(self.upload(data), name=name, model=model)

    def create_from(self, file: str, *, name: str = "b", model: str = MODEL) -> dict[str, Any]:
        """Create a batch of an uploaded file."""
        return self.post(f"/v1beta/models/{model}:batchGenerateContent", batch_of(file, name=name))

    def wait(self, name: str) -> dict[str, Any]:
        """Look at a batch until it is over and return its operation."""
        deadline = time.monotonic() + _LONGEST_S
        while not (operation := self.get(f"/v1beta/{name}")).get("done"):
            assert time.monotonic() < deadline, operation
        return operation

    def run(self, data: bytes, *, model: str = MODEL) -> list[bytes]:
        """Run a request file through a batch and return the lines of its result file, split at line feeds alone."""
        return self.results(self.wait(self.create(data, model=model)["name"]))

    def results(self, operation: Mapping[str, Any]) -> list[bytes]:
        """Return the lines of an operation's result file."""
        return self.download(operation["response"]["responsesFile"]).split(b"\n")

    def download(self, name: str) -> bytes:
        """Return the bytes of a generated file."""
        reply = self.http.get(f"/v1beta/{name}:download?alt=media")
        assert reply.status_code == 200, reply.text
        return reply.content


def batch_of(file: str, *, name: str = "b") -> dict[str, Any]:
    """Return the body of a create call."""
    return {"batch": {"inputConfig": {"fileName": file}, "displayName": name}}


def documents(lines: Sequence[bytes]) -> list[dict[str, Any]]:
    """Return the documents in the lines of a result file; each line must be one."""
    return [json.loads(line) for line in lines if line.strip()]


def by_key(lines: Sequence[bytes]) -> dict[str, dict[str, Any]]:
    """Return the documents of a result file by key."""
    return {document["key"]: document for document in documents(lines)}
