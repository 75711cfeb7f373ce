"""The operation a client sees for a batch, as create, get and list answer it."""

import json
from typing import Any

import orjson

from emulator.batches import ACTIVE, Batch
from emulator.clock import timestamp
from emulator.files import Files

_TYPES = "type.googleapis.com/google.ai.generativelanguage.v1main."
_MESSAGES = {
    "generate": ("GenerateContentBatch", "GenerateContentBatchOutput"),
    "embed": ("EmbedContentBatch", "EmbedContentBatchOutput"),
}


def document(batch: Batch, *, now_ns: int, files: Files) -> dict[str, Any]:
    """Return the operation of a batch as create, get and list answer it at that moment."""
    state = batch.shown_state(now_ns)
    over = state not in ACTIVE
    message, output_message = _MESSAGES[batch.kind]
    metadata: dict[str, Any] = {"@type": _TYPES + message, "model": f"models/{batch.model}"}
    if batch.display_name:
        metadata["displayName"] = batch.display_name
    if batch.input_file:
        metadata["inputConfig"] = {"fileName": batch.input_file}
    output = _output(batch, files) if over and batch.has_output else None
    if output is not None:
        metadata["output"] = output
    metadata["createTime"] = timestamp(batch.created_ns)
    if over:
        metadata["endTime"] = timestamp(batch.ended_ns)
    metadata["updateTime"] = timestamp(batch.updated_ns)
    metadata["batchStats"] = _stats(batch, over=over)
    metadata |= {"state": f"BATCH_STATE_{state}", "name": f"batches/{batch.id}"}
    operation: dict[str, Any] = {"name": f"batches/{batch.id}", "metadata": metadata}
    if over:
        operation["done"] = True
    if over and batch.error:
        operation["error"] = json.loads(batch.error)
    elif output is not None:
        operation["response"] = {"@type": _TYPES + output_message, **output}
    return operation


def _output(batch: Batch, files: Files) -> dict[str, Any]:
    """Return where the results are, or the results themselves where the requests came inside the call."""
    name = f"batch-{batch.id}"
    if batch.input_file:
        return {"responsesFile": f"files/{name}"}
    lines = files.path(name).read_bytes().split(b"\n")
    return {"inlinedResponses": {"inlinedResponses": [orjson.loads(line) for line in lines if line.strip()]}}


def _stats(batch: Batch, *, over: bool) -> dict[str, str]:
    """Return the counts as strings; counts of zero are left out, as the live service does."""
    succeeded, failed = batch.succeeded, batch.failed
    if not over and batch.looks < batch.looks_needed:
        # Held back by a script: no more may show than its share of the looks.
        share = batch.requests * batch.looks // batch.looks_needed
        succeeded, failed = min(succeeded, share), 0
    pending = 0 if over and batch.state == "SUCCEEDED" else batch.requests - succeeded - failed
    counts = {
        "requestCount": batch.requests,
        "successfulRequestCount": succeeded,
        "failedRequestCount": failed,
        "pendingRequestCount": pending,
    }
    return {name: str(count) for name, count in counts.items() if count}
