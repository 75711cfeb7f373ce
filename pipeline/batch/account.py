"""What became of a batch, as it is told: its counts, and what went wrong in it, by reason with examples."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core import files
from pipeline.core.states import BatchState
from pipeline.gemini.result_file import ResultFile, key_of_line
from pipeline.store import answers, batches
from pipeline.store.batches import Batch
from pipeline.store.database import Store

if TYPE_CHECKING:
    from pipeline.engine.task import Task
    from pipeline.store.database import Connection


EXAMPLES = 3
ODD = (  # lines of a result that belong to no request: (kind, name of their count in the account, what they are)
    ("unknown", "unknown", "a key that was never asked for"),
    ("duplicate", "duplicates", "a second line for the same key"),
    ("unreadable", "unreadable", "no JSON, and no key to be seen"),
)

_Kind = tuple[str, str]  # outcome and reason


@dataclass(frozen=True)
class Anomaly:
    """One kind of thing that went wrong in a batch, how often, and up to three examples (name, excerpt)."""

    outcome: str
    reason: str
    count: int
    examples: tuple[tuple[str, str], ...]


@dataclass
class IngestSummary:
    """What became of one batch: the four outcomes add up to its requests; the rest is about other lines."""

    batch: Batch
    anomalies: list[Anomaly] = field(default_factory=list)
    unapplied: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    other_versions: list[str] = field(default_factory=list)


def odd_lines(results: ResultFile, batch: Batch) -> list[Anomaly]:
    """Return what stands in a result and belongs to no request; all that was asked for was looked up."""
    examples = results.examples()
    return [
        Anomaly(kind, reason, count, tuple((f"line {line}", said) for line, said in examples[kind]))
        for kind, name, reason in ODD
        if (count := getattr(batch, name))
    ]


def _odd_lines_of(data: Path, batch: Batch) -> list[Anomaly]:
    """Find the same again in the sealed files; without them there are counts and no examples."""
    counts = [Anomaly(kind, reason, getattr(batch, name) or 0, ()) for kind, name, reason in ODD]
    result, asked = data / (batch.result_file or "?"), data / batch.request_file
    if not any(one.count for one in counts) or not (result.is_file() and asked.is_file()):
        return [one for one in counts if one.count]
    with ResultFile(result) as results:
        results.note_asked(key for _, line in files.read_lines(asked) if (key := key_of_line(line)))
        return odd_lines(results, batch)


def batch_account(
    tx: "Connection", task: "Task", number: int, *, data: Path, odd: Sequence[Anomaly] | None = None
) -> IngestSummary:
    """Return what became of a batch: what went wrong in it, by reason with up to three examples of each.

    `odd` are the lines that belong to no request, where they are known; else they are looked for below `data`.
    """
    batch = batches.get_batch(tx, number)
    counts: Counter[_Kind] = Counter()
    shown: dict[_Kind, list[tuple[str, str]]] = {}  # (item id, what was said) of the first of each kind
    for outcome, reason, code, item_id, excerpt in answers.failed_attempts(tx, number):
        word, _, detail = reason.partition(": ")
        kind = (outcome, word if code is None else f"{word}, code {code}")
        counts[kind] += 1
        if counts[kind] <= EXAMPLES:
            shown.setdefault(kind, []).append((item_id, " | ".join(filter(None, (detail, excerpt)))))
    unapplied, outdated, other = answers.unusual(tx, number, model=batch.model)
    names = task.table(tx).names(
        tx, [*(item_id for some in shown.values() for item_id, _ in some), *unapplied, *outdated]
    )
    anomalies = list(_odd_lines_of(data, batch) if odd is None else odd)
    for kind, count in sorted(counts.items()):
        examples = tuple((names.get(item_id, item_id), said) for item_id, said in shown[kind])
        anomalies.append(Anomaly(*kind, count, examples))
    unapplied, outdated = ([names.get(one, one) for one in some] for some in (unapplied, outdated))
    return IngestSummary(batch, anomalies, unapplied, outdated, other)


SHOWN = (
    *("number", "way", "task", "extractor", "model", "reason", "created_at", "submitted_at", "ended_at"),
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


def list_batches(store: Store, *, now: datetime) -> list[BatchSummary]:
    """Return every batch, oldest first; those of one run of our own calls as one."""
    with store.read() as tx:
        return [summary_of(one, now=now) for one in batches.by_run(batches.batches_in_states(tx))]


def summary_of(batch: Batch, *, now: datetime) -> BatchSummary:
    """Return a batch with its age and what it cost, or is estimated to cost."""
    never_sent = batch.state is BatchState.FAILED and batch.remote_name is None
    estimated = 0.0 if never_sent else batch.estimated_cost
    age = (batch.ended_at or now) - batch.created_at
    return BatchSummary(batch, age, estimated if batch.cost is None else batch.cost, batch.cost is not None)
