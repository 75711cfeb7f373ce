"""The client against the local engine: the whole way of a batch, and the engine's scripted faults."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import orjson
import pytest

from emulator.server import Server, start
from pipeline.core.errors import (
    ConfigurationError,
    KeyRefusedError,
    MissingError,
    NotSentError,
    RefusedError,
    ThrottledError,
    UnavailableError,
)
from pipeline.core.states import Outcome, RemoteState
from pipeline.core.task import Prompt
from pipeline.gemini.client import Client
from pipeline.gemini.operations import RemoteBatch
from pipeline.gemini.requests import build_request, check_request, request_key, request_line
from pipeline.gemini.responses import judge_document, judge_line, line_at_fault
from pipeline.gemini.result_file import ResultFile
from pipeline.gemini.transfers import Upload
from tests.live import generated

MODEL = "gemini-3.5-flash-lite"
SCHEMA = {
    "type": "OBJECT",
    "properties": {"tags": {"type": "ARRAY", "items": {"type": "STRING"}, "minItems": 3, "maxItems": 8}},
    "propertyOrdering": ["tags"],
    "required": ["tags"],
}
LONGEST_S = 20.0


class Engine:
    """One engine, a client of it, and the control calls a test needs."""

    def __init__(self, server: Server, folder: Path) -> None:
        """Connect with waits written down instead of slept."""
        self.waits: list[float] = []
        self.folder = folder
        self.client = Client(
            api_key="local", base_url=server.url, trust_env=False, create_timeout_s=2, sleep=self.waits.append
        )
        self.control = httpx2.Client(base_url=server.url, trust_env=False)

    def script(self, word: str, **members: Any) -> None:
        """Script one fault."""
        assert self.control.post("/_emu/faults", json=[{"fault": word, **members}]).status_code == 200

    def calls(self, method: str, part: str) -> int:
        """Return how many requests of a method had this in their path or query."""
        seen = self.control.get("/_emu/journal").json()["requests"]
        return sum(1 for one in seen if one["method"] == method and part in one["path"])

    def exist(self) -> list[str]:
        """Return the display names of the batches that really exist."""
        return [batch["displayName"] for batch in self.control.get("/_emu/batches").json()["batches"]]

    def upload(self, count: int = 3) -> Upload:
        """Upload a request file with the keys t/0, t/1 and so on."""
        path = self.folder / "requests.jsonl"
        with path.open("wb") as file:
            for number in range(count):
                written = request_line(request_key("t", str(number)), request(f"Lawyer for water law, case {number}."))
                check_request(written)
                file.write(written + b"\n")
        data = path.read_bytes()
        return self.client.upload(path, display_name="w/t/1", sha256=hashlib.sha256(data).hexdigest(), size=len(data))

    def create(self, count: int = 3, *, model: str = MODEL) -> RemoteBatch:
        """Upload a request file and create a batch of it."""
        return self.client.create_batch(model, file_name=self.upload(count).name, display_name="w/t/1")

    def over(self, name: str) -> RemoteBatch:
        """Look at a batch until it is over."""
        deadline = time.monotonic() + LONGEST_S
        while not (batch := self.client.get_batch(name)).state.is_over:
            assert time.monotonic() < deadline, batch
        return batch

    def close(self) -> None:
        """Close the client, then see that every scripted fault was used up."""
        faults = self.control.get("/_emu/faults").json()
        self.control.close()
        self.client.close()
        assert faults["used_up"], faults


def request(text: str) -> dict[str, Any]:
    """Return the request for a text's tags."""
    prompt = Prompt(system="You tag.", parts=[{"text": f"<biography>{text}</biography>"}], max_output_tokens=512)
    return build_request(prompt, schema=SCHEMA, thinking={"thinkingLevel": "MINIMAL"})


@pytest.fixture(name="engine")
def _engine(tmp_path: Path) -> Iterator[Engine]:
    """Start an engine on an empty folder."""
    with start(tmp_path / "state") as server:
        engine = Engine(server, tmp_path)
        yield engine
        engine.close()


def test_the_whole_way_of_a_batch(engine: Engine, tmp_path: Path) -> None:
    """Upload, create, look, download, join by key, judge, delete: every request has one answer, none is unknown."""
    batch = engine.create(20)
    assert batch.display_name == "w/t/1"
    over = engine.over(batch.name)
    assert (over.state, over.requests, over.succeeded, over.failed, over.pending) == (
        RemoteState.SUCCEEDED,
        20,
        20,
        0,
        0,
    )
    assert over.result_file is not None
    part = tmp_path / "result.part"
    assert engine.client.download(over.result_file, part) == part.stat().st_size
    with ResultFile(part) as results:
        replies = [judge_line(one) for number in range(20) for one in results.lines(f"t/{number}")]
        assert (results.total, results.unknown, results.duplicates) == (20, 0, 0)
    assert [reply.outcome for reply in replies] == [Outcome.ANSWERED] * 20
    assert {reply.model_version for reply in replies} == {"findable-local-1"}
    assert all(reply.usage.prompt > 0 and reply.usage.answer > 0 for reply in replies)
    assert over.input_file is not None
    engine.client.delete_batch(batch.name)
    engine.client.delete_upload(over.input_file)
    engine.client.delete_upload(over.input_file)
    assert engine.client.list_batches() == []
    with pytest.raises(MissingError):
        engine.client.get_batch(batch.name)


def test_live_call_and_vectors(engine: Engine) -> None:
    """A live call gives an answer, and texts give unit rows, the same for the same text."""
    reply = judge_document(
        engine_reply := {"response": generated(engine.client, MODEL, request("Water law and irrigation."))}
    )
    assert reply.outcome is Outcome.ANSWERED, engine_reply
    assert orjson.loads(reply.text)["tags"]
    vectors = engine.client.embed("findable-local-embedding-1", ["water law", "jazz", "water law"], dim=256, query=True)
    assert vectors.shape == (3, 256)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.array_equal(vectors[0], vectors[2])


def test_list_of_several_pages(engine: Engine) -> None:
    """A list longer than a page is read whole."""
    upload = engine.upload(1)
    for number in range(103):
        engine.client.create_batch(MODEL, file_name=upload.name, display_name=f"w/t/{number}")
        if number % 50 == 0:
            engine.over(engine.client.list_batches()[0].name)  # at most 100 may be active at once
    engine.script("empty_page")
    engine.script("page_status", args={"code": 503}, nth=2)
    assert sorted(batch.display_name for batch in engine.client.list_batches()) == sorted(
        f"w/t/{number}" for number in range(103)
    )


@pytest.mark.parametrize("fault", ["create_lost_reply", "create_lost_reply_status", "create_slow_reply"])
def test_create_whose_reply_was_lost(engine: Engine, fault: str) -> None:
    """A create that worked and whose answer was lost is unclear, was sent once, and is found by its name."""
    engine.script(fault, **({"args": {"seconds": 5}} if fault == "create_slow_reply" else {}))
    with pytest.raises(UnavailableError):
        engine.create()
    assert engine.calls("POST", ":batchGenerateContent") == 1
    assert [batch.display_name for batch in engine.client.list_batches()] == ["w/t/1"] == engine.exist()


CREATE = {"method": "POST", "path": ":batchGenerateContent"}
CREATES: dict[str, tuple[dict[str, Any], type[Exception], int]] = {
    "drop": ({}, UnavailableError, 0),
    "reset": ({}, UnavailableError, 0),
    "html_502": ({}, UnavailableError, 0),
    "html_as_json": ({}, UnavailableError, 0),
    "html_200": ({}, UnavailableError, 0),
    "empty_200": ({}, UnavailableError, 0),
    "wrong_shape": ({}, UnavailableError, 0),
    "list_wrapped": ({"args": {"code": 503}}, UnavailableError, 0),
    "redirect": ({}, UnavailableError, 0),
    "no_name": ({}, UnavailableError, 1),
    "status": ({"args": {"code": 409}}, UnavailableError, 0),
    "quota_batch": ({}, ThrottledError, 0),
    "quota_bare": ({}, ThrottledError, 0),
    "quota_day": ({}, ThrottledError, 0),
    "key_invalid": ({}, KeyRefusedError, 0),
    "bad_line": ({}, RefusedError, 0),
}


@pytest.mark.parametrize("fault", CREATES)
def test_create_under_a_fault(engine: Engine, fault: str) -> None:
    """Under every fault a create is sent once and has the kind of error that says what may exist there."""
    members, kind, exist = CREATES[fault]
    upload = engine.upload(1)
    engine.script(fault, match=CREATE, **members)
    with pytest.raises(kind) as caught:
        engine.client.create_batch(MODEL, file_name=upload.name, display_name="w/t/1")
    assert isinstance(caught.value, RefusedError) is (kind is not UnavailableError)
    assert engine.calls("POST", ":batchGenerateContent") == 1
    assert len(engine.exist()) == exist
    if fault == "bad_line":
        assert line_at_fault(str(caught.value)) == 1


READS: dict[str, dict[str, Any]] = {
    "drop": {},
    "reset": {},
    "html_502": {},
    "html_as_json": {},
    "html_200": {},
    "empty_200": {},
    "wrong_shape": {},
    "list_wrapped": {"args": {"code": 503}},
    "quota_minute": {},
    "quota_bare": {},
    "get_status": {"args": {"code": 504}},
}


@pytest.mark.parametrize("fault", READS)
def test_look_under_a_fault(engine: Engine, fault: str) -> None:
    """Under every fault that passes, a look is repeated after a wait and then answered."""
    name = engine.create(1).name
    engine.script(fault, match={"method": "GET", "path": "/batches/"}, **READS[fault])
    before = len(engine.waits)
    assert engine.client.get_batch(name).name == name
    assert len(engine.waits) == before + 1


UPLOADS = {
    "mime_refused": {"args": {"mime_type": "jsonl"}},
    "mime_refused_final": {},
    "chunk_lost": {},
    "early_final": {},
    "drop_chunk": {},
    "chunk_status": {},
    "file_processing": {},
    "file_failed": {},
    "no_upload_url": {},
}


@pytest.mark.parametrize("fault", UPLOADS)
def test_upload_under_a_fault(engine: Engine, fault: str) -> None:
    """Under every fault of an upload the whole file arrives in the end, and nothing else is left there."""
    path = engine.folder / "large.jsonl"
    path.write_bytes(b"x" * (8 * 1024 * 1024 + 5))
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    engine.script(fault, match={"path": ""} if fault in {"chunk_lost", "early_final"} else {})
    upload = engine.client.upload(path, display_name="w", sha256=sha, size=path.stat().st_size)
    files = engine.control.get("/v1beta/files", headers={"x-goog-api-key": "local"}).json().get("files", [])
    assert [(file["name"], file["sizeBytes"]) for file in files] == [(upload.name, str(path.stat().st_size))]


@pytest.mark.parametrize("fault", ["download_status", "cut_with_length"])
def test_download_under_a_fault(engine: Engine, tmp_path: Path, fault: str) -> None:
    """A download that fails or is cut is written again from its start."""
    over = engine.over(engine.create(50).name)
    assert over.result_file is not None
    engine.script(fault)
    engine.client.download(over.result_file, tmp_path / "r.part")
    with ResultFile(tmp_path / "r.part") as results:
        assert results.total == 50
    assert len(engine.waits) == 1


@pytest.mark.parametrize("fault", ["vectors_fused", "vectors_short", "vectors_wrong_dimension", "vectors_nan"])
def test_vectors_under_a_fault(engine: Engine, fault: str) -> None:
    """Vectors that do not fit are asked for again."""
    engine.script(fault)
    assert engine.client.embed("gemini-embedding-2", ["a", "b", "c"], dim=768, query=False).shape == (3, 768)
    assert len(engine.waits) == 1


def test_failed_batch_keeps_its_reason_and_state_words_may_be_new(engine: Engine) -> None:
    """The reason of a failed batch is there; unknown and missing states are not over."""
    engine.script("batch_fails")
    name = engine.create(1).name
    assert engine.over(name).error != ""
    engine.script("unknown_state")
    unknown = engine.client.get_batch(name)
    engine.script("missing_state")
    missing = engine.client.get_batch(name)
    assert (unknown.state.is_over, missing.state.is_over, missing.word) == (False, False, None)
    assert unknown.word


def test_engine_that_is_gone(tmp_path: Path) -> None:
    """An engine that was stopped is one that nothing is sent to; an unknown model is said so."""
    with start(tmp_path / "state") as server:
        client = Client(api_key="local", base_url=server.url, trust_env=False, sleep=lambda _seconds: None)
        with pytest.raises(MissingError):
            generated(client, "gemini-9", request("x"))
        with pytest.raises((ConfigurationError, RefusedError)):
            client.embed("gemini-embedding-2", ["a"], dim=5000, query=False)
    with pytest.raises(NotSentError):
        client.create_batch(MODEL, file_name="files/abc", display_name="w")
    client.close()
