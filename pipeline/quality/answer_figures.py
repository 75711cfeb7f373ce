"""Measure the answers of a task that measures none itself: how many there are, what they hold, how alike they are.

Everything is read from the record of answers as it comes, at flat memory; a field of few values gets a bar for each.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.quality.figures import Distribution, Figure, Quality, Sample
from pipeline.quality.measures import Bound, gates_of, share, usage_figures
from pipeline.quality.statistics import Choice
from pipeline.store import statistics
from pipeline.store.answers import FORGOTTEN

if TYPE_CHECKING:
    from pipeline.core.task import Task
    from pipeline.store.database import Connection

SEED = 7
SAMPLES = 20  # for a person to read
MOST_VALUES = 12  # different values of a field that has bars; one with more is no choice
MOST_SHOWN = 300  # characters of an answer in a sample
FEWEST = 20  # answers: of fewer a figure may be anything by chance
BOUNDS: tuple[Bound, ...] = (
    ("answered", 0.9, None, FEWEST, "A row that was asked about should have an answer."),
    ("failed", None, 0.5, FEWEST, "If half fail, something is wrong: each is paid for and asked again."),
    ("cut", None, 0.05, FEWEST, "An answer that the limit cut is paid for twice: raise max_output_tokens."),
    ("same", None, 0.5, FEWEST, "If half of all rows get one answer, the question does not tell them apart."),
)


@dataclass
class _Seen:
    """What one pass over the answers came to: a counter for each field of few values, and the answers themselves."""

    answers: int = 0
    values: dict[str, Counter[str]] = field(default_factory=dict)
    numbers: dict[str, list[float]] = field(default_factory=dict)
    whole: Counter[int] = field(default_factory=Counter)  # by hash
    shown: Choice[tuple[str, str]] = field(default_factory=lambda: Choice(SAMPLES, seed=SEED))

    def add(self, item_id: str, answer: str) -> None:
        """Count one answer."""
        self.answers += 1
        self.whole[hash(answer)] += 1
        self.shown.offer(item_id, (item_id, answer))
        for name, value in dict(json.loads(answer)).items():
            self._count(name, value)

    def _count(self, name: str, value: Any) -> None:
        """Count the value of a field: a choice or a number by itself, a list by its length."""
        if isinstance(value, list):
            value = len(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            total = self.numbers.setdefault(name, [0.0, 0.0])
            total[0], total[1] = total[0] + 1, total[1] + value
        if value is None or isinstance(value, str | int | bool):
            seen = self.values.setdefault(name, Counter())
            if len(seen) <= MOST_VALUES or str(value) in seen:
                seen[json.dumps(value, ensure_ascii=False).strip('"')] += 1


def measure_answers(tx: "Connection", task: "Task", extractor: str | None) -> Quality:
    """Return what the answers of an extractor are like: label/model, a label with all its models, or None for all."""
    seen = _Seen()
    for item_id, answer in statistics.answers_by(tx, task.name, extractor):
        if answer != FORGOTTEN:
            seen.add(item_id, answer)
    figures = {one.name: one for one in _figures(tx, task, extractor, seen)}
    return Quality(
        title=f"Quality of the answers of {task.name}",
        extractor=extractor or "all",
        items=seen.answers,
        figures=list(figures.values()),
        gates=gates_of(figures, BOUNDS),
        distributions=list(_bars(seen.values)),
        samples=list(_samples(task.names(tx, [item for item, _ in seen.shown]), seen)),
    )


def _figures(tx: "Connection", task: "Task", extractor: str | None, seen: _Seen) -> Iterator[Figure]:
    one, many = task.words.one, task.words.many
    replies = statistics.count_replies(tx, task.name, extractor)
    parked = statistics.count_parked(tx, task.name)
    cut = statistics.count_cut(tx, task.name, extractor)
    asked, most = seen.answers + parked, max(seen.whole.values(), default=0)
    failed = share(replies.refused + replies.invalid, replies.total)
    yield Figure("answered", share(seen.answers, asked), "share", f"{many} with an answer, of those or parked", asked)
    yield Figure("failed", failed, "share", "replies that were refused or invalid, of all replies", replies.total)
    yield Figure("cut", share(cut, replies.total), "share", "replies that the token limit cut", replies.total)
    yield Figure("same", share(most, seen.answers), "share", f"{many} with the most frequent answer", seen.answers)
    for name, (count, total) in seen.numbers.items():
        yield Figure(f"mean-{name}", share(total, count), "mean", f"{name} on the mean, or how many", int(count))
    yield Figure("answers", seen.answers, "count", f"{many} with an answer", seen.answers)
    yield from usage_figures(replies, one=one)


def _bars(values: Mapping[str, Counter[str]]) -> Iterator[Distribution]:
    """Yield the bars of each field that takes few values, and more than one."""
    for name, seen in values.items():
        if 1 < len(seen) <= MOST_VALUES:
            yield Distribution(name, "rows", sorted(seen.items(), key=lambda pair: (-pair[1], pair[0])))


def _samples(names: Mapping[str, str], seen: _Seen) -> Iterator[Sample]:
    """Yield the chosen answers beside the names of their rows."""
    for item_id, answer in seen.shown:
        if item_id in names:
            said = answer if len(answer) <= MOST_SHOWN else f"{answer[:MOST_SHOWN]} …"
            yield Sample(item_id, names[item_id], "", (), said)
