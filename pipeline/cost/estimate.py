"""Estimate what requests will use, in a batch or live, from what earlier ones did use.

`batch-submit`, `preflight`, `tag` and `status` all ask here. Tokens are counted from the text of each request; past
answers of the same extractor then say how many its model really counts for such a text and how long its answers are.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.core.errors import RemoteError
from pipeline.core.states import BatchState
from pipeline.gemini import models
from pipeline.gemini.models import MAX_ACTIVE_BATCHES, MAX_STORED_BYTES
from pipeline.gemini.tokens import Usage
from pipeline.store import batches, money

if TYPE_CHECKING:
    from pipeline.core.settings import Settings
    from pipeline.store.batches import Batch
    from pipeline.store.database import Connection


UNMEASURED = 0.10  # ours: how far off an estimate may be that nothing was measured of yet
ENOUGH = 5  # answers from which on they tell more than the count of characters; a comparison has so many


@dataclass(frozen=True)
class Calibration:
    """What past answers say of estimates: tokens per counted prompt token, tokens per answer, and the error so far.

    `answer` (with thoughts) is None where nothing is known and the task's own figure stands. `error` is the mean
    relative error of past estimates of the cost (of the tokens where they cost nothing), at least 0.
    """

    prompt: float = 1.0
    answer: float | None = None
    error: float = UNMEASURED
    answers: int = 0

    def applied(self, usage: Usage, *, count: int) -> Usage:
        """Return what `count` requests will use that were counted to use so much."""
        if self.answer is None:
            return usage
        return Usage(prompt=round(usage.prompt * self.prompt), answer=round(self.answer * count))


def calibration(tx: "Connection", extractor: str) -> Calibration:
    """Return what past answers of an extractor say of its estimates."""
    past = money.past_usage(tx, extractor)
    answers, counted = sum(one.requests for one in past), sum(one.counted_in for one in past)
    if answers < ENOUGH or not counted:
        return Calibration()
    error = money.estimate_error(past)
    return Calibration(
        prompt=sum(one.tokens_in for one in past) / counted,
        answer=sum(one.tokens_out for one in past) / answers,
        error=UNMEASURED if error is None else error,
        answers=answers,
    )


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
