"""Batches without an API: prepared by the real code, then handed whatever result file a test thinks of."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson

from pipeline.batch import folder
from pipeline.batch import prepare as batch_prepare
from pipeline.core import files
from pipeline.engine.workspace import OpenWorkspace
from pipeline.experts import table
from pipeline.store import batches
from tests.lab import KEY, Workspace

MODEL = "gemini-3.5-flash-lite"
USAGE = {"promptTokenCount": 100, "candidatesTokenCount": 20, "thoughtsTokenCount": 5, "totalTokenCount": 125}
TAGS = '{"tags":["water law","beekeeping","soil science"]}'

Lines = Sequence[bytes]


def workspace_at(data: Path) -> Workspace:
    """Return an empty workspace on the gemini backend whose server cannot be reached: nothing here may ask it."""
    environ = {
        "FINDABLE_DATA": str(data),
        "GEMINI_API_KEY": KEY,
        "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:9",
        "FINDABLE_RETRY_FOR": "0",
    }
    return Workspace(data, environ)


def put_people(workspace: Workspace, count: int, *, first: int = 0) -> None:
    """Put people with a bio and no tags into a workspace; their ids count up from 1."""
    with workspace.open() as ws, ws.store.write() as tx:
        for number in range(first, first + count):
            table.insert_person(tx, f"person-{number:04d}", {"bio": f"I keep bees, number {number}."})


def prepare(workspace: Workspace) -> list[str]:
    """Prepare one batch of all people who can be asked, and return its keys in the order of its lines."""
    with workspace.open() as ws, ws.display.bar("", None) as bar:
        numbers = batch_prepare.prepare_batches(ws, batch_prepare.Selection(), bar=bar).numbers
        assert len(numbers) == 1
        requests = folder.request_path(ws.data, numbers[0]).read_bytes().splitlines()
    return [orjson.loads(request)["key"] for request in requests]


def deliver(workspace: Workspace, data: bytes, *, word: str = "BATCH_STATE_SUCCEEDED", why: str | None = None) -> int:
    """Hand the last prepared batch a result file, as if `batch-poll` had brought it home; return its number."""
    with workspace.open() as ws:
        with ws.store.read() as tx:
            batch = batches.batches_in_states(tx)[-1]
        sealed = files.seal_bytes(folder.result_path(ws.data, batch.number), data)
        bring(ws, batch.number, sealed, word=word, why=why)
    return batch.number


def bring(
    ws: OpenWorkspace, number: int, sealed: files.Sealed, *, word: str = "BATCH_STATE_SUCCEEDED", why: str | None = None
) -> None:
    """Take a prepared batch through the states that lead to its sealed result."""
    name = f"try-{number}"
    facts = {
        "result_file": str(sealed.path.relative_to(ws.data)),
        "result_sha256": sealed.sha256,
        "result_size": sealed.size,
        "remote_word": word,
        "reason": why,
    }
    with ws.store.write() as tx:
        batches.mark_submitting(tx, batches.get_batch(tx, number), display_name=name, at=ws.now())
        batch, remote_name = batches.get_batch(tx, number), f"batches/remote-{number}"
        batches.mark_submitted(tx, batch, remote_name=remote_name, display_name=name, how="created", at=ws.now())
        batches.mark_downloaded(tx, batches.get_batch(tx, number), why="succeeded", at=ws.now(), **facts)


def response(text: str | None = TAGS, *, finish: str = "STOP", **more: Any) -> dict[str, Any]:
    """Return a GenerateContentResponse with one candidate, without content where there is no text."""
    candidate: dict[str, Any] = {"finishReason": finish, "index": 0}
    if text is not None:
        candidate["content"] = {"parts": [{"text": text}], "role": "model"}
    return {
        "candidates": [candidate],
        "usageMetadata": USAGE,
        "modelVersion": MODEL,
        "responseId": "response-1",
        **more,
    }


def line(key: Any, body: dict[str, Any] | None = None, **more: Any) -> bytes:
    """Return one result line as the API writes it: the response first, then the key."""
    return orjson.dumps({"response": response() if body is None else body, **more, "key": key})


def error(key: Any, code: Any, message: str | None = "An internal error has occurred.", **more: Any) -> bytes:
    """Return one error line."""
    said = {} if message is None else {"message": message}
    return orjson.dumps({"error": {"code": code, **said}, **more, "key": key})


def result(keys: Sequence[str], *, spoil: Callable[[str], Lines] | None = None) -> bytes:
    """Return a result file with a good line for each key, but the first one's as `spoil` has it."""
    lines = [line(key) for key in keys[1:]]
    lines[:0] = [line(keys[0])] if spoil is None else spoil(keys[0])
    return b"".join(one + b"\n" for one in lines)
