"""Estimate what requests will use, in a batch or live, from what earlier ones did use.

`batch-submit`, `preflight`, `tag` and `status` all ask here. Tokens are counted from the text of each request; past
answers of the same extractor then say how many its model really counts for such a text and how long its answers are.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini import tokens
from pipeline.gemini.tokens import Usage
from pipeline.store import live_calls, statistics

if TYPE_CHECKING:
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
    past = statistics.past_usage(tx, extractor)
    answers, counted = sum(one.requests for one in past), sum(one.counted_in for one in past)
    if answers < ENOUGH or not counted:
        return Calibration()
    error = statistics.estimate_error(past)
    return Calibration(
        prompt=sum(one.tokens_in for one in past) / counted,
        answer=sum(one.tokens_out for one in past) / answers,
        error=UNMEASURED if error is None else error,
        answers=answers,
    )


def begin_live_run(
    ws: OpenWorkspace,
    tx: "Connection",
    *,
    mode: str,
    items: int,
    usage: Usage,
    batch: bool,
    at: datetime,
    budget: float | None,
) -> int:
    """Add the row of a run that sets out to ask so many items, by batch or live, and return its number."""
    return live_calls.begin_run(
        tx,
        at=at,
        task=ws.task.name,
        extractor=ws.extractor,
        model=ws.model.name,
        mode=mode,
        items=items,
        estimated_in=usage.prompt,
        estimated_out=usage.answer + usage.thoughts,
        estimated_cost=tokens.usage_cost(ws.model, usage, batch=batch, on=ws.now().date()),
        priced_on=ws.model.priced_on.isoformat(),
        budget=budget,
    )
