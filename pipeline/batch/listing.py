"""List every batch with what it cost, or is estimated to cost, and how far it has come."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from pipeline.core.states import BatchState
from pipeline.store import batches
from pipeline.store.batches import Batch
from pipeline.store.database import Store

SHOWN = (
    *("number", "task", "extractor", "model", "reason", "created_at", "submitted_at", "ended_at"),
    *("remote_name", "remote_word", "tries", "requests", "estimated_in", "estimated_out", "estimated_cost"),
    *("priced_on", "tokens_in", "tokens_out", "answered", "refused", "invalid", "missing", "not_applied"),
    *("unknown", "duplicates", "unreadable"),
)

BY_HAND, BEFORE_SENT = CANCELLED = ("cancelled by hand", "cancelled before it was sent")  # as its reason begins


class BatchSummary(NamedTuple):
    """One batch with its age; `cost` in USD is what it cost where `is_actual`, else what it is estimated to cost."""

    batch: Batch
    age: timedelta
    cost: float
    is_actual: bool

    @property
    def done(self) -> str:
        """Return how far it has come: answers of an ingested one, else what the API counts."""
        done = self.batch.remote_done if self.batch.answered is None else self.batch.answered
        return "-" if done is None else str(done)

    @property
    def age_words(self) -> str:
        """Return the age as people say it; of a batch that is over, how long it took, where no clock went back."""
        seconds = self.age.total_seconds()
        hours, minutes = divmod(int(seconds // 60), 60)
        if seconds < 0:
            return "-"
        if self.age.days > 3:  # noqa: PLR2004 - longer than any batch takes
            return f"{self.age.days} days"
        if hours > 1:
            return f"{hours} h {minutes} min"
        return f"{hours * 60 + minutes} min" if hours or minutes else f"{seconds:.0f} s"

    @property
    def document(self) -> dict[str, Any]:
        """Return the batch for programs."""
        figures = {"cost": self.cost, "cost_is_actual": self.is_actual, "age_s": round(self.age.total_seconds())}
        return {name: getattr(self.batch, name) for name in SHOWN} | {"state": self.batch.state.value} | figures


def run(store: Store, *, now: datetime) -> list[BatchSummary]:
    """Return every batch, oldest first."""
    with store.read() as tx:
        return [summary_of(batch, now=now) for batch in batches.batches_in_states(tx)]


def summary_of(batch: Batch, *, now: datetime) -> BatchSummary:
    """Return a batch with its age and what it cost, or is estimated to cost."""
    never_sent = batch.state is BatchState.FAILED and batch.remote_name is None
    estimated = 0.0 if never_sent else batch.estimated_cost
    age = (batch.ended_at or now) - batch.created_at
    return BatchSummary(batch, age, estimated if batch.cost is None else batch.cost, batch.cost is not None)
