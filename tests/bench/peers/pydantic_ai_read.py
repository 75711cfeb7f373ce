"""pydantic-ai: its reading of a finished batch of the Gemini API, each result decoded and its text validated.

What the API says of the batch, and the file, come from memory. Its answers are objects in a list, stored nowhere.
"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import AsyncMock

from google.genai import types
from pydantic import ValidationError
from pydantic_ai.exceptions import ModelAPIError
from pydantic_ai.models._google_batch import _batch_group
from pydantic_ai.models.batch import Batch, BatchRequest
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.providers.google import GoogleProvider

from tests.bench.measure import Timed
from tests.bench.peers import lines


def read(data: Path) -> Timed:
    """Read by `batch_results`, `batch_decode`, and the answer's own model."""
    model = GoogleModel("gemini-2.5-flash", provider=GoogleProvider(api_key="none"))
    _read(model, lines.some(data))
    try:
        torn: int | str = _read(model, lines.torn(data))[1]
    except ValidationError as error:
        torn = type(error).__name__
    path = lines.result(data)
    return lambda: lines.told(*_read(model, path), torn)


def _read(model: GoogleModel, path: Path) -> tuple[int, int, int]:
    """Return how many results there were, how many were kept, and how many refused."""
    job = types.BatchJob(
        name="batches/1", state=types.JobState.JOB_STATE_SUCCEEDED, dest=types.BatchJobDestination(file_name="files/1")
    )
    model.client.aio.batches.get = AsyncMock(return_value=job)
    model.client.aio.files.download = AsyncMock(return_value=path.read_bytes())
    batch = Batch(
        id="batches/1",
        model_name=model.model_name,
        provider_name=model.system,
        group=_batch_group(model),
        status="ended",
        created_at=datetime.now(UTC),
        request_count=0,
    )
    results = asyncio.run(model.batch_results(batch))
    kept, refused = {}, 0
    for result in results:
        try:
            response = model.batch_decode(result, BatchRequest(custom_id=result.custom_id, messages=[]))
            kept[result.custom_id] = lines.Tags.model_validate_json(response.text or "")
        except (ModelAPIError, ValidationError):
            refused += 1
    return len(results), len(kept), refused
