"""A client of the engine without the SDK: plain HTTP."""

import json
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx2

from tests.scratch import MAX_WAIT_S, wait_until

TAGS_SCHEMA = {
    "type": "OBJECT",
    "properties": {"tags": {"type": "ARRAY", "items": {"type": "STRING"}}},
}
MODEL = "gemini-3.5-flash-lite"
GENERATE = f"/v1beta/models/{MODEL}:generateContent"
CREATE = f"/v1beta/models/{MODEL}:batchGenerateContent"


def request_for(
    text: str, schema: Mapping[str, Any] = TAGS_SCHEMA, **config: Any
) -> dict[str, Any]:
    """Return a request about a text."""
    return {
        "contents": [{"role": "user", "parts": [{"text": f"<biography>{text}</biography>"}]}],
        "generationConfig": {"responseSchema": schema, **config},
    }


def request_file(count: int) -> bytes:
    """Return a request file with the keys `k/0`, `k/1` and so on."""
    texts = (
        f"Lawyer for water law and irrigation, case number {number}." for number in range(count)
    )
    lines = [
        json.dumps({"key": f"k/{n}", "request": request_for(text)}) for n, text in enumerate(texts)
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def create_body(file: str, *, name: str = "b") -> dict[str, Any]:
    """Return the body of a create call."""
    return {"batch": {"inputConfig": {"fileName": file}, "displayName": name}}


def index_by_key(lines: Sequence[bytes]) -> dict[Any, dict[str, Any]]:
    """Return the documents of a result file by key; each key appears once."""
    documents = [json.loads(line) for line in lines if line.strip()]
    documents_by_key = {document.get("key"): document for document in documents}
    assert len(documents_by_key) == len(documents)
    return documents_by_key


class Caller:
    """A client that calls an engine with a key."""

    def __init__(self, url: str) -> None:
        """Call the engine at `url`."""
        self.url = url
        self.http = httpx2.Client(
            base_url=url,
            headers={"x-goog-api-key": "any"},
            timeout=MAX_WAIT_S,
            verify=False,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        """Return the caller itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.http.close()

    def get(self, path: str) -> dict[str, Any]:
        """Return the document of a GET that must be answered with 200."""
        reply = self.http.get(path)
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def post(self, path: str, document: object) -> dict[str, Any]:
        """Return the document of a POST that must be answered with 200."""
        reply = self.http.post(path, json=document)
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def expect_refusal(
        self, path: str, document: object = None, *, method: str = "POST"
    ) -> dict[str, Any]:
        """Return the error of a call that must be refused."""
        reply = self.http.request(method, path, json=document if method == "POST" else None)
        assert reply.status_code >= 400, reply.text
        error: dict[str, Any] = reply.json()["error"]
        assert error["code"] == reply.status_code
        return error

    def start_upload(self, size: int, **description: Any) -> str:
        """Begin an upload of `size` bytes and return the session's URL."""
        headers = {
            "X-Goog-Upload-Command": "start",
            "X-Goog-Upload-Header-Content-Length": str(size),
        }
        reply = self.http.post("/upload/v1beta/files", headers=headers, json={"file": description})
        assert reply.status_code == 200, reply.text
        return str(reply.headers["x-goog-upload-url"])

    def send_chunk(
        self, session: str, content: bytes, *, offset: int = 0, command: str = "upload, finalize"
    ) -> httpx2.Response:
        """Send a chunk of an upload."""
        headers = {"X-Goog-Upload-Command": command, "X-Goog-Upload-Offset": str(offset)}
        return self.http.post(session, headers=headers, content=content)

    def upload(self, content: bytes) -> str:
        """Upload a whole file and return its name."""
        name: str = self.send_chunk(self.start_upload(len(content)), content).json()["file"]["name"]
        return name

    def create(self, content: bytes, *, name: str = "b") -> str:
        """Upload a request file, create a batch from it, and return its name."""
        return str(self.post(CREATE, create_body(self.upload(content), name=name))["name"])

    def wait(self, name: str) -> dict[str, Any]:
        """Poll a batch until it ends and return its operation."""
        path = f"/v1beta/{name}"
        wait_until(lambda: self.get(path).get("done"))
        return self.get(path)

    def results(self, operation: Mapping[str, Any]) -> list[bytes]:
        """Return the lines of an operation's result file."""
        reply = self.http.get(
            f"/v1beta/{operation['response']['responsesFile']}:download?alt=media"
        )
        assert reply.status_code == 200, reply.text
        return reply.content.split(b"\n")
