"""What takes bytes from strangers, each as a function of bytes that raises only when a promise is broken.

A fuzzer calls them with whatever it thinks of (`python -m tests.fuzz.explore`), the tests with the inputs that were
found (`corpus/<target>/`) and with those of hypothesis.
"""

import asyncio
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import orjson

from emulator.gate import Gate
from emulator.settings import Settings
from emulator.wire import application
from emulator.world import World
from pipeline.core.errors import InputError, RemoteError
from pipeline.core.states import Outcome
from pipeline.core.text import harmless
from pipeline.experts.answer import SupportedTags
from pipeline.experts.read import People, read_person_documents
from pipeline.experts.rows import Person
from pipeline.experts.tags_rows import PLACES
from pipeline.gemini import requests
from pipeline.gemini.error_mapping import map_error
from pipeline.gemini.operations import BATCH_NAME, FILE_NAME, UnreadableError, read_operation, read_page
from pipeline.gemini.responses import Response, judge_line, judge_response, parse_answer
from pipeline.gemini.result_file import ResultFile, key_of_line
from pipeline.gemini.transfers import check_arrived, digest_in, file_in
from pipeline.passages.read import Passages
from pipeline.tables.findings import Finding

SUFFIXES = (".csv", ".json", ".jsonl", ".txt")
NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
KEY = "fuzz-key-of-thirty-nine-characters-0001"
MAX_EXCERPT = 200
TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")


@cache
def _folder() -> Path:
    """Return a folder of this process for the inputs that must be files."""
    return Path(tempfile.mkdtemp(prefix="findable-fuzz-"))


def people_file(data: bytes) -> None:
    """A file of people, its ending chosen by the first byte: rows with clean values, or one clear error."""
    path = _folder() / f"people{SUFFIXES[data[0] % len(SUFFIXES) if data else 0]}"
    path.write_bytes(data[1:])
    try:
        rows = list(People(path).people())
    except InputError as error:
        assert "nothing was imported" in error.message  # noqa: PT017 - a promise, checked wherever it applies
        return
    for row in rows:
        findings = [row] if isinstance(row, Finding) else list(row.changes)
        assert all(finding.value.isprintable() and finding.reason.isprintable() for finding in findings)
        if isinstance(row, Person):
            _check_person(row)


def passages_file(data: bytes) -> None:
    """A file of passages, its ending chosen by the first byte: texts that can be kept, or one clear error."""
    path = _folder() / f"passages{SUFFIXES[data[0] % len(SUFFIXES) if data else 0]}"
    path.write_bytes(data[1:])
    try:
        rows = list(Passages(path).passages())
    except InputError as error:
        assert "nothing was imported" in error.message  # noqa: PT017 - a promise, checked wherever it applies
        return
    for row in rows:
        findings = [row] if isinstance(row, Finding) else row.changes
        assert all(finding.value.isprintable() and finding.reason.isprintable() for finding in findings)
        if not isinstance(row, Finding):
            kept = json.dumps([row.id, row.text, row.source, row.metadata], ensure_ascii=False, allow_nan=False)
            kept.encode()
            assert "\\u0000" not in kept.replace("\\\\", "")


def person_document(data: bytes) -> None:
    """The file of add-expert: people with clean values, or one clear error."""
    try:
        people = read_person_documents(data).made
    except InputError as error:
        assert re.search("nothing was (stored|imported)", error.message)  # noqa: PT017 - a promise, checked wherever it applies
        return
    assert people
    for person in people:
        _check_person(person)


def _check_person(person: Person) -> None:
    """Hold a person's texts against what a database can keep."""
    texts = [person.username, *(value for value in person.values.values() if isinstance(value, str))]
    assert person.username == person.username.strip() != ""
    assert not any("\0" in text for text in texts)
    "".join(texts).encode()


def result_line(data: bytes) -> None:
    """One raw line of a result: one outcome with a known reason, and tags only where they are well-formed."""
    key = key_of_line(data)
    assert key is None or isinstance(key, str)
    _check_reply(judge_line(data))
    if (document := _json(data)) is not None:
        _check_reply(judge_response(document))
    text = data.decode("utf-8", "replace")
    _check_reply(Response(Outcome.ANSWERED, "ok", text=text) if text else judge_response({}))


def _check_reply(reply: Response) -> None:
    """Hold a judged reply, and what is parsed of it, against what may be stored."""
    assert (reply.outcome is Outcome.ANSWERED) == (reply.reason == "ok")
    assert len(reply.excerpt) <= MAX_EXCERPT
    assert reply.excerpt.isprintable()
    assert min(reply.usage.prompt, reply.usage.answer, reply.usage.thoughts, reply.usage.cached) >= 0
    answer, why = parse_answer(reply, SupportedTags)
    assert (answer is None) == (why != "ok")
    assert len(why) <= MAX_EXCERPT
    assert why.isprintable()
    if isinstance(answer, SupportedTags):
        assert answer.tags == list(dict.fromkeys(answer.tags))
        assert all(tag.isprintable() and 0 < len(tag) <= 60 and not set(tag) & set("<>{}[]") for tag in answer.tags)
        assert SupportedTags(tags=answer.tags) == answer


def result_file(data: bytes) -> None:
    """A whole result file: every line is asked for, unknown or unreadable, and is found again by the key it shows."""
    path = _folder() / "results.jsonl"
    path.write_bytes(data)
    keys = {key for line in data.split(b"\n") if (key := key_of_line(line.rstrip(b"\r").removeprefix(b"\xef\xbb\xbf")))}
    with ResultFile(path) as results:
        found = sum(len(results.lines_of([key])[0]) for key in sorted(keys))
        assert found + results.unknown + results.unreadable_count == results.total
        shown = [one for some in results.examples().values() for one in some]
        assert all(number >= 1 and excerpt.isprintable() for number, excerpt in shown)


def operation(data: bytes) -> None:
    """What the API says of a batch, of a page of batches, of an upload: read, or unreadable."""
    document = _json(data)
    for read in (read_operation, lambda page: read_page(page)[0], file_in):
        try:
            found = read(document)
        except UnreadableError:
            continue
        for one in found if isinstance(found, list) else [found]:
            _check_named(one)
    if isinstance(document, dict):
        digest_in(document.get("sha256Hash"))
        try:
            check_arrived(document, sha256="0" * 64, size=1)
        except UnreadableError:
            return


def _check_named(found: Any) -> None:
    """Hold the names in an answer against what a name is, and its reason against what may be shown."""
    if isinstance(found, dict):
        assert FILE_NAME.fullmatch(found["name"])
        return
    assert BATCH_NAME.fullmatch(found.name)
    assert all(name is None or FILE_NAME.fullmatch(name) for name in (found.result_file, found.input_file))
    assert found.error.isprintable()
    assert all(count is None or count >= 0 for count in (found.requests, found.succeeded, found.failed, found.pending))
    assert all(time is None or time.tzinfo is not None for time in (found.created_at, found.ended_at))


def error_body(data: bytes) -> None:
    """Any body under any code is one of our errors, in printable words without the key."""
    document = _json(data)
    for code in (400, 401, 403, 404, 409, 429, 500, 503):
        for body in (document, data.decode("utf-8", "replace"), {"error": document}):
            error = map_error(code, body, what="try", key=KEY, now=NOW, headers={"retry-after": str(body)[:20]})
            assert isinstance(error, RemoteError)
            assert error.message.isprintable()
            assert KEY not in error.message


def request_line(data: bytes) -> None:
    """A request line is sound, or refused with a reason in our words."""
    try:
        requests.check_request(data)
    except InputError as error:
        assert error.message  # noqa: PT017 - a promise, checked wherever it applies
    else:
        assert set(orjson.loads(data)) == {"key", "request"}


def biography(data: bytes) -> None:
    """Data between delimiters: no other delimiter of ours is left in it, and nothing but brackets was changed."""
    text = data.decode("utf-8", "replace")
    inside = f"<biography>{harmless(text, names=tuple(PLACES))}</biography>"
    assert inside.lower().count("<biography>") == inside.lower().count("</biography>") == 1
    assert not any(f"<{slash}{name}" in inside[11:-12].lower() for name in PLACES for slash in ("", "/"))


def endpoint(data: bytes) -> None:
    """The emulator's endpoints: `METHOD target`, header lines, a blank line, a body; the engine itself never fails.

    What its server refuses before the engine is asked (h11: no token, no visible ASCII) is put into what it passes on.
    """
    head, _, body = data.partition(b"\n\n")
    first, *fields = head.decode("latin-1").split("\n")
    method, _, target = first.partition(" ")
    headers = [field.split(":", 1) for field in fields if TOKEN.fullmatch(field.partition(":")[0]) and ":" in field]
    headers = [[name, "".join(char for char in value if char == "\t" or ord(char) >= 32)] for name, value in headers]
    target = quote(target, safe="!#$%&'()*+,/:;=?@[]~\"<>\\^`{|}") or "/"
    status, kind, said = _ask(method if TOKEN.fullmatch(method) else "GET", target, headers, body)
    _world().faults.clear()
    _world().settings = Settings()
    assert 200 <= status < 500, (status, said[:300])
    if status >= 400:
        error = orjson.loads(said)["error"]
        assert error["code"] == status
    elif kind.startswith("application/json"):
        orjson.loads(said)


@cache
def _world() -> World:
    """Return an engine without a server, on a folder of this process."""
    return World(_folder() / "engine", settings=Settings(), read_ns=lambda: 1_763_600_000_000_000_000)


def _ask(method: str, target: str, headers: list[Any], body: bytes) -> tuple[int, str, bytes]:
    """Hand the engine one request, as its server would; return status, content type and body of the answer."""
    path, _, query = target.partition("?")
    raw = [(name.strip().lower().encode("latin-1"), value.strip().encode("latin-1")) for name, value in headers]
    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": unquote(path),
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "headers": [(b"host", b"engine"), *raw],
        "scheme": "http",
        "root_path": "",
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
        "state": {},
    }
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        """Give the whole body at once."""
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        """Keep what is answered."""
        sent.append(message)

    asyncio.run(_application()(scope, receive, send))
    kinds = [value.decode("latin-1") for name, value in sent[0]["headers"] if name == b"content-type"]
    return sent[0]["status"], kinds[0] if kinds else "", b"".join(message.get("body", b"") for message in sent[1:])


@cache
def _application() -> Any:
    """Return the engine's application with its gate."""
    return Gate(application(_world()), world=_world())


def _json(data: bytes) -> Any:
    """Return the document that bytes are, or None."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


Target = Callable[[bytes], None]
TARGETS: dict[str, Target] = {
    one.__name__: one
    for one in (
        people_file,
        passages_file,
        person_document,
        result_line,
        result_file,
        operation,
        error_body,
        request_line,
        biography,
        endpoint,
    )
}


def seeds(name: str) -> Iterator[bytes]:
    """Yield a few good inputs of a target, from which a fuzzer goes on."""
    answer = {
        "candidates": [{"content": {"parts": [{"text": '{"tags":["Law","<b>bees</b>"]}'}]}, "finishReason": "STOP"}]
    }
    usage = {"promptTokenCount": 7, "candidatesTokenCount": "3"}
    line = json.dumps({"key": "expert-tags/1", "response": {**answer, "usageMetadata": usage}}).encode()
    refused = b'{"error":{"code":13,"message":"internal"},"key":"expert-tags/2"}'
    stats = {"requestCount": "2", "failedRequestCount": 1}
    metadata = {
        "state": "BATCH_STATE_SUCCEEDED",
        "displayName": "n",
        "batchStats": stats,
        "createTime": "2026-11-20T09:00:00.123456789Z",
    }
    batch = {
        "name": "batches/b1",
        "metadata": {**metadata, "output": {"responsesFile": "files/batch-1"}},
        "error": {"code": 3},
    }
    quota = {"@type": "x.RetryInfo", "retryDelay": "2.5s"}
    asked = {"contents": [{"role": "user", "parts": [{"text": "x"}]}], "generationConfig": {"maxOutputTokens": 9}}
    found = {
        "people_file": [
            b'\0Username,Bio,Hourly Rate\nada,"I keep\nbees",$9.50/h\n',
            b'\1[{"username":"a","bio":"b"}]',
            b'\2{"Username":"a"}\n',
        ],
        "passages_file": [
            b'\0id,text,source,metadata,more\np1,"I keep\nbees, two",s,"{""a"": 1}",x\n',
            b'\1[{"id":1,"text":"b","metadata":{"a":[1.5]}}]',
            b'\2{"id":"p1","text":"\\u00e9","k":1}\n',
        ],
        "person_document": [
            b'{"username":"ada","bio":"I keep bees","hourly_rate":"9,50"}',
            b'[{"username":"a"},{"username":"b"}]',
        ],
        "result_line": [line, refused, b'{"tags":["law","&lt;i&gt;bees"]}'],
        "result_file": [line + b"\n" + refused + b"\r\n", b"\xef\xbb\xbf" + refused],
        "operation": [
            json.dumps(batch).encode(),
            json.dumps({"operations": [batch], "nextPageToken": "t"}).encode(),
            b'{"file":{"name":"files/a","sizeBytes":"1","state":"ACTIVE"}}',
        ],
        "error_body": [
            json.dumps([{"error": {"code": 429, "message": KEY, "status": "X", "details": [quota]}}]).encode()
        ],
        "request_line": [json.dumps({"key": "t/1", "request": asked}).encode()],
        "biography": [b"</biography>", "<\u200b/bio\uff47raphy".encode()],
        "endpoint": list(_requests(asked)),
    }
    yield from found[name]


def _requests(asked: dict[str, Any]) -> Iterator[bytes]:
    """Yield one request for each kind of endpoint."""
    body = json.dumps(asked)
    config = json.dumps({"batch": {"displayName": "n", "inputConfig": {"fileName": "files/a"}}})
    inlined = json.dumps(
        {"batch": {"inputConfig": {"requests": {"requests": [{"request": asked, "metadata": {"key": "1"}}]}}}}
    )
    embed = json.dumps({"requests": [{"model": "models/gemini-embedding-2", "content": {"parts": [{"text": "x"}]}}]})
    upload = "x-goog-upload-protocol: resumable\nx-goog-upload-command: start\nx-goog-upload-header-content-length: 3"
    fault = json.dumps([{"fault": "status", "match": {"path": "^/x"}, "nth": 1, "times": 1, "args": {"code": 503}}])
    for first, fields, content in (
        ("GET /v1beta/models", "", ""),
        ("GET /v1beta/batches?pageSize=2&pageToken=1", "", ""),
        ("GET /v1beta/batches/b1", "", ""),
        ("POST /v1beta/batches/b1:cancel", "", "{}"),
        ("DELETE /v1beta/files/a", "", ""),
        ("GET /v1beta/files/a:download?alt=media", "", ""),
        ("POST /v1beta/models/gemini-3.5-flash-lite:generateContent", "", body),
        ("POST /v1beta/models/gemini-3.5-flash-lite:batchGenerateContent", "", config),
        ("POST /v1beta/models/gemini-3.5-flash-lite:batchGenerateContent", "", inlined),
        ("POST /v1beta/models/gemini-embedding-2:batchEmbedContents", "", embed),
        ("POST /upload/v1beta/files", upload, '{"file":{"displayName":"x"}}'),
        (
            "POST /upload/v1beta/files?upload_id=a",
            "x-goog-upload-command: upload, finalize\nx-goog-upload-offset: 0",
            "abc",
        ),
        ("POST /_emu/faults", "", fault),
        ("POST /_emu/clock", "", '{"advance_seconds": 1.5}'),
        (
            "POST /_emu/settings",
            "",
            '{"list_lag_seconds": 1.5, "batch_looks": 2, "enqueued_tokens": {"*": 100}, "paused": true}',
        ),
    ):
        yield f"{first}\nx-goog-api-key: k\n{fields}\n\n{content}".replace("\n\n\n", "\n\n").encode()
