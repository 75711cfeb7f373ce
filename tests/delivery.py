"""Prepare batches without an API, and deliver any result file of a test."""

from collections.abc import Sequence
from pathlib import Path

import orjson

from askrows.pipeline.batch import batch_files
from askrows.pipeline.batch import prepare as batch_prepare
from askrows.pipeline.batch.batch_plan import Selection
from askrows.pipeline.core import files
from askrows.pipeline.store import batches
from tests.acceptance.result_lines import TAGS, make_line, make_response
from tests.lab import KEY, Workspace


def workspace_at(data: Path) -> Workspace:
    """Return an empty workspace on the gemini backend with an unreachable server."""
    environ = {
        "ASKROWS_DATA": str(data),
        "GEMINI_API_KEY": KEY,
        "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:9",
        "ASKROWS_RETRY_FOR": "0",
    }
    return Workspace(data, environ)


def prepare(workspace: Workspace) -> list[str]:
    """Prepare a batch of all open people, and return its keys in the order of its lines."""
    with workspace.open() as ws, ws.workspace.display.bar("", None) as bar:
        run = ws.sync_task()
        numbers = batch_prepare.prepare_batches(run, Selection(), bar=bar)[0]
        assert len(numbers) == 1
        requests = batch_files.request_path(ws.workspace.data, numbers[0]).read_bytes().splitlines()
    return [orjson.loads(request)["key"] for request in requests]


def deliver(workspace: Workspace, data: bytes) -> None:
    """Deliver a result file to the last prepared batch, as `batch-poll` does."""
    with workspace.open() as ws, ws.workspace.store.write() as tx:
        batch_number = batches.list_batches_in_states(tx)[-1].number
        sealed = files.seal_bytes(batch_files.result_path(ws.workspace.data, batch_number), data)
        name = f"try-{batch_number}"
        remote_name = f"batches/remote-{batch_number}"
        batches.record_submitting(
            tx, batches.get_batch(tx, batch_number), display_name=name, now=ws.workspace.now()
        )
        batch = batches.get_batch(tx, batch_number)
        batches.record_submitted(
            tx,
            batch,
            remote_name=remote_name,
            display_name=name,
            outcome="created",
            now=ws.workspace.now(),
        )
        batch = batches.get_batch(tx, batch_number)
        batch_fields = {"remote_word": "BATCH_STATE_SUCCEEDED"}
        batches.record_downloaded(
            tx,
            batch,
            sealed.path,
            sealed,
            event_reason="succeeded",
            now=ws.workspace.now(),
            **batch_fields,
        )


def result(keys: Sequence[str], text: str = TAGS) -> bytes:
    """Return a result file with the answer `text` for each key, as the API writes it."""
    response = make_response(text)
    return b"".join(make_line(key, response) + b"\n" for key in keys)
