"""The list of batches as people read it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pipeline.core.states import BatchState
from pipeline.engine.workspace import OpenWorkspace
from pipeline.store import batches
from pipeline.store.batches import Batch


@dataclass(frozen=True)
class BatchSummary:
    """One batch: `cost` in USD is what it cost where `is_actual`, else what it is estimated to cost."""

    number: int
    task: str
    state: str
    remote_name: str | None
    rows: int
    done: str
    cost: float
    is_actual: bool
    age: str
    reason: str | None
    document: dict[str, Any]


def run(ws: OpenWorkspace) -> list[BatchSummary]:
    """Return every batch, oldest first."""
    with ws.store.read() as tx:
        return [_row(batch, now=ws.now()) for batch in batches.batches_in_states(tx)]


def _row(batch: Batch, *, now: datetime) -> BatchSummary:
    """Return one batch as a row."""
    is_actual = batch.cost is not None
    never_sent = batch.state is BatchState.FAILED and batch.remote_name is None
    cost = batch.cost if batch.cost is not None else 0.0 if never_sent else batch.estimated_cost
    age = (batch.ended_at or now) - batch.created_at
    document = {
        **{name: getattr(batch, name) for name in _SHOWN},
        "state": batch.state.value,
        "cost": cost,
        "cost_is_actual": is_actual,
        "age_s": round(age.total_seconds()),
    }
    return BatchSummary(
        number=batch.number,
        task=batch.task,
        state=batch.state.value,
        remote_name=batch.remote_name,
        rows=batch.requests,
        done=_done(batch),
        cost=cost,
        is_actual=is_actual,
        age=_words(age),
        reason=batch.reason,
        document=document,
    )


_SHOWN = (
    *("number", "task", "extractor", "model", "reason", "created_at", "submitted_at", "ended_at"),
    *("remote_name", "remote_word", "tries", "requests", "estimated_in", "estimated_out", "estimated_cost"),
    *("priced_on", "tokens_in", "tokens_out", "answered", "refused", "invalid", "missing", "not_applied"),
    *("unknown", "duplicates", "unreadable"),
)


def _done(batch: Batch) -> str:
    """Return how far a batch has come: answers of an ingested one, else what the API counts."""
    if batch.answered is not None:
        return f"{batch.answered} answered"
    return "-" if batch.remote_done is None else str(batch.remote_done)


def _words(age: timedelta) -> str:
    """Return an age as people say it."""
    minutes = int(age.total_seconds() // 60)
    if minutes < 1:
        return f"{age.total_seconds():.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"  # noqa: PLR2004 - two hours
