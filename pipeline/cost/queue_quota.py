"""Count what waits at the API against its quotas: batches, their prompt tokens, and bytes of uploads.

What does not fit goes out when earlier batches are over. The API refuses what passes its quota, and nothing is lost by
that; but a file that is written, uploaded and refused is work for nothing.
"""

from typing import TYPE_CHECKING

from pipeline.core.errors import RemoteError
from pipeline.core.states import BatchState
from pipeline.gemini import models
from pipeline.gemini.limits import MAX_ACTIVE_BATCHES, MAX_STORED_BYTES
from pipeline.store import batches

if TYPE_CHECKING:
    from pipeline.core.settings import Settings
    from pipeline.store.batches import Batch
    from pipeline.store.database import Connection


AT_API = (BatchState.SUBMITTING, BatchState.SUBMITTED)
WAITING = (BatchState.PREPARED, *AT_API)  # at the API, or about to be


class QuotaFullError(RemoteError):
    """By our own count the API would refuse a batch for what is there already; it goes out as others end."""


def quota_left(tx: "Connection", model: models.Model, *, tier: str) -> int | None:
    """Return how many more estimated prompt tokens may be put into a batch now, at least 0.

    None where no limit is known, and where nothing of this model waits: the first batch always goes, whatever its size.
    """
    most = model.enqueued(tier)
    if most is None:
        return None
    waiting = batches.queue_load(tx, *WAITING, model=model.name)
    return max(0, most - waiting.tokens) if waiting.of_model else None


def quota_shortfall(tx: "Connection", batch: "Batch", settings: "Settings") -> str:
    """Return why the API would refuse a batch for what is there already: batches, their tokens, or uploads; else ""."""
    active = batches.queue_load(tx, *AT_API, model=batch.model, but=batch.number)
    others = batches.queue_load(tx, *WAITING, model=batch.model, but=batch.number)
    model = models.load_models(settings.models_file).get(batch.model)
    most = None if model is None else model.enqueued(settings.tier)
    tokens = active.tokens + batch.estimated_in
    stored = others.uploaded + batch.request_size
    if active.number >= MAX_ACTIVE_BATCHES:
        return f"{active.number} batches are at the API, and it takes {MAX_ACTIVE_BATCHES}"
    if active.number and most is not None and tokens > most:
        return f"with it {tokens:,} tokens would wait for {batch.model}, and the API takes {most:,}"
    if stored > MAX_STORED_BYTES:
        return f"with it {stored:,} bytes would be uploaded, and the API keeps {MAX_STORED_BYTES:,}"
    return ""
