"""Measure the answers of a task that measures none itself: how many there are, and what they hold.

Everything is read from the record of answers as it comes, at flat memory. A list counts by its length, as `path-count`,
and by its members under its own path; a quotation is one value. A field of few different values gets a bar for each.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.core.answer_paths import is_stored_quotation
from pipeline.quality.figures import (
    Bound,
    Choice,
    Figure,
    Quality,
    Rows,
    Sample,
    share,
    usage_figures,
)
from pipeline.store import answers as statistics
from pipeline.store import asks
from pipeline.store.answers import FORGOTTEN

if TYPE_CHECKING:
    from pipeline.engine.task import Task
    from pipeline.store.database import Connection

SEED = 7
SAMPLES = 20  # for a person to read
MOST_SHOWN = 300  # characters of an answer in a sample
MOST_VALUES = 24  # different values of a field that has bars
FEWEST = 20  # answers: of fewer a figure may be anything by chance
BOUNDS = tuple(
    Bound(*row)
    for row in (
        ("answered", "share", 0.9, None, FEWEST, "A row that was asked about should have an answer."),
        ("parked", "share", None, 0.1, FEWEST, "A row that failed twice is not asked again by itself."),
        ("failed", "share", None, 0.5, FEWEST, "If half fail, each is paid for and asked again."),
        ("cut", "share", None, 0.05, FEWEST, "A cut answer is paid for twice: raise max_output_tokens."),
        ("same", "share", None, 0.5, FEWEST, "If half of all rows get one answer, it does not tell them apart."),
        ("evidence", "share", 0.5, None, FEWEST, "Without half of the quotations nothing can be checked."),
    )
)


@dataclass
class Tally:
    """What one pass over some answers came to, by the paths of fields; `whole` are the answers by their hash."""

    answers: int = 0
    values: dict[str, Counter[str]] = field(default_factory=dict)
    numbers: dict[str, Counter[float]] = field(default_factory=dict)  # rounded to one digit
    sums: dict[str, float] = field(default_factory=dict)
    quoted: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)  # nothing stands where another answer may quote
    whole: Counter[int] = field(default_factory=Counter)
    shown: Choice[tuple[str, str]] = field(default_factory=lambda: Choice(SAMPLES, seed=SEED))

    def add(self, item_id: str, said: str) -> None:
        """Count one answer, as JSON."""
        answer = json.loads(said)
        self.answers += 1
        self.whole[hash(json.dumps(answer, sort_keys=True))] += 1
        self.shown.offer(item_id, (item_id, said))
        for path, value in _leaves(answer):
            self._count(path, value)

    def _count(self, path: str, value: Any) -> None:
        if isinstance(value, dict):
            self.quoted[path] += 1
            return
        self.missing[path] += value is None
        if isinstance(value, int | float) and not isinstance(value, bool):
            self.numbers.setdefault(path, Counter())[float(f"{value:.1g}")] += 1
            self.sums[path] = self.sums.get(path, 0) + value
        seen = self.values.setdefault(path, Counter())
        told = value if isinstance(value, str) else json.dumps(value)
        if len(seen) <= MOST_VALUES or told in seen:
            seen[told] += 1

    def choices(self) -> Iterator[tuple[str, Mapping[str, int]]]:
        """Yield (path, how often each value) of the fields that are choices or numbers."""
        for path, seen in self.values.items():
            if len(seen) <= MOST_VALUES:
                found: Mapping[str, int] = dict(sorted(seen.items(), key=lambda pair: (-pair[1], pair[0])))
            else:
                found = {f"{number:g}": times for number, times in sorted(self.numbers.get(path, Counter()).items())}
            if found and path not in self.quoted:
                yield path, found


def measure_answers(tx: "Connection", task: "Task", extractor: str | None) -> Quality:
    """Return what the answers of an extractor are like: label/model, a label with all its models, or None for all."""
    tally = Tally()
    for item_id, answer in statistics.answers_by(tx, task.name, extractor):
        if answer != FORGOTTEN:
            tally.add(item_id, answer)
    figures = list(_figures(tx, task, extractor, tally))
    return Quality(
        title=f"Quality of the answers of {task.name}",
        extractor=extractor or "all",
        items=tally.answers,
        figures=figures,
        gates=BOUNDS,
        distributions=[Rows(path, ("", "rows"), list(bars.items())) for path, bars in tally.choices() if len(bars) > 1],
        samples=list(_samples(tx, task, list(tally.shown))),
    )


def _figures(tx: "Connection", task: "Task", extractor: str | None, tally: Tally) -> Iterator[Figure]:
    many, replies, answers = task.words.many, statistics.count_replies(tx, task.name, extractor), tally.answers
    parked, cut = asks.count_parked(tx, task.name, own=task.own), statistics.count_cut(tx, task.name, extractor)
    quoted = tally.quoted.total()
    places = quoted + sum(tally.missing[path] for path in tally.quoted)
    rows: Sequence[tuple[str, int, int, str]] = (
        ("answered", answers, answers + parked, f"{many} with an answer, of those or parked"),
        ("parked", parked, answers + parked, f"{many} that are parked, of those or answered"),
        ("failed", replies.failed, replies.total, "replies that were refused or invalid, of all replies"),
        ("cut", cut, replies.total, "replies that the token limit cut"),
        ("same", max(tally.whole.values(), default=0), answers, f"{many} with the most frequent answer"),
        ("evidence", quoted, places, "quotations, of the places where one may stand"),
    )
    yield from (Figure(name, share(part, whole), "share", told, whole) for name, part, whole, told in rows)
    for path, numbers in tally.numbers.items():
        count = numbers.total()
        yield Figure(f"mean-{path}", share(tally.sums[path], count), "mean", f"{path} on the mean, or how many", count)
    yield Figure("answers", answers, "count", f"{many} with an answer", answers)
    yield from usage_figures(replies, one=task.words.one)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value in an answer with the path of its field; quotations whole, and a list as its length, too."""
    if isinstance(value, list):
        yield f"{path}-count", len(value)
        for one in value:
            yield from _leaves(one, path)
    elif isinstance(value, dict) and not is_stored_quotation(value):
        for name, one in value.items():
            yield from _leaves(one, f"{path}.{name}" if path else name)
    else:
        yield path, value


def _samples(tx: "Connection", task: "Task", shown: Sequence[tuple[str, str]]) -> Iterator[Sample]:
    """Yield the chosen answers beside the names and texts of their rows."""
    ids = [item_id for item_id, _ in shown]
    names, texts = task.table(tx).names(tx, ids), task.asked_texts(tx, ids)
    for item_id, answer in shown:
        if item_id in names:
            yield Sample(item_id, names[item_id], _cut(texts.get(item_id, "")), (), _cut(answer))


def _cut(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]} …"
