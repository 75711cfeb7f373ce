"""Measure the answers of a task that measures none itself, as they come, at flat memory.

A list counts by its length, as `path-count`, and by its members under its own path; a quotation is one value. A field
of few different values gets a bar for each, a number its mean.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.core.quotes import LIKENESS, is_stored_quotation
from pipeline.engine.task import Task
from pipeline.quality.figures import (
    Figure,
    QualityFigures,
    ReportTable,
    ReservoirSample,
    Sample,
    Value,
    listed,
    reply_values,
    share,
)
from pipeline.store import answers, claims
from pipeline.store.database import Connection

NULL_WORD = "null"  # what models write as a text where they mean that there is nothing
SEED = 7
SAMPLES = 20  # for a person to read
MOST_SHOWN = 300  # characters of an answer in a sample
MOST_VALUES = 24  # different values of a field that has bars
FIGURES = listed(Path(__file__).with_name("figures.tsv"))


def measure(tx: Connection, task: Task, extractor: str | None) -> QualityFigures:
    """Return what the answers of an extractor are like: label/model, a label with all its models, or None for all."""
    tally = _Tally()
    for item_id, answer in answers.answers_by(tx, task.name, extractor):
        tally.add(item_id, answer)
    replies = answers.count_replies(tx, task.name, extractor)
    cut = answers.count_cut(tx, task.name, extractor)
    parked = len(claims.parked_rows(tx, task.name, own=task.own))
    count = tally.count
    asked = count + parked
    places = tally.quoted.total() + sum(tally.missing[path] for path in tally.quoted)
    values: dict[str, Value] = {
        "answered": (share(count, asked), asked),
        "parked": (share(parked, asked), asked),
        "cut": (share(cut, replies.total), replies.total),
        "same": (share(max(tally.whole.values(), default=0), count), count),
        "evidence": (share(tally.quoted.total(), places), places),
        "null-texts": (share(tally.null_answers, count), count),
        "answers": (count, count),
        **{
            f"mean-{path}": (total / times, times) for path, (times, total) in tally.numbers.items()
        },
        **reply_values(replies),
    }
    means = [
        Figure(f"mean-{path}", "mean", f"{path} on the mean, or how many") for path in tally.numbers
    ]
    return QualityFigures(
        title=f"Quality of the answers of {task.name}",
        extractor=extractor or "all",
        items=count,
        figures=(*FIGURES, *means),
        values=values,
        distributions=list(tally.bars()),
        samples=list(_samples(tx, task, list(tally.shown))),
        notes=[
            f'{path}: the text "null" in {times:,} answers'
            for path, times in tally.null_texts.items()
        ],
    )


class _Tally:
    """What one pass over some answers came to, by the paths of fields; `whole` are the answers by their hash."""

    def __init__(self) -> None:
        self.count = 0
        self.whole = Counter[int]()
        self.shown = ReservoirSample[tuple[str, str]](SAMPLES, seed=SEED)
        self.values = dict[str, Counter[str]]()
        self.numbers = dict[str, tuple[int, float]]()
        # Answers with a text that is the word "null", and how often it is there by field.
        self.null_answers = 0
        self.null_texts = Counter[str]()
        self.quoted = Counter[str]()  # missing: where another answer may quote
        self.missing = Counter[str]()

    def add(self, item_id: str, said: str) -> None:
        """Count one answer, as JSON."""
        answer = json.loads(said)
        self.count += 1
        self.whole[hash(json.dumps(answer, sort_keys=True))] += 1
        self.shown.offer(item_id, (item_id, said), first=f'"{LIKENESS}":' in said)
        null_paths = set[str]()
        for path, value in _leaves(answer):
            self._count(path, value)
            if isinstance(value, str) and value.strip().lower() == NULL_WORD:
                null_paths.add(path)
        self.null_texts.update(null_paths)
        self.null_answers += bool(null_paths)

    def _count(self, path: str, value: Any) -> None:
        if isinstance(value, dict):
            self.quoted[path] += 1
            return
        self.missing[path] += value is None
        if isinstance(value, int | float) and not isinstance(value, bool):
            times, total = self.numbers.get(path, (0, 0.0))
            self.numbers[path] = times + 1, total + value
        seen = self.values.setdefault(path, Counter())
        told = value if isinstance(value, str) else json.dumps(value)
        if len(seen) <= MOST_VALUES or told in seen:
            seen[told] += 1

    def bars(self) -> Iterator[ReportTable]:
        """Yield how often each value is there, of the fields that have a few."""
        for path, seen in self.values.items():
            if 1 < len(seen) <= MOST_VALUES and path not in self.quoted:
                yield ReportTable(path, ("", "rows"), seen.most_common())


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


def _samples(tx: Connection, task: Task, shown: Sequence[tuple[str, str]]) -> Iterator[Sample]:
    """Yield the chosen answers beside the names and texts of their rows."""
    ids = [item_id for item_id, _ in shown]
    names = task.table(tx).names(tx, ids)
    texts = task.asked_texts(tx, ids)
    for item_id, answer in shown:
        if item_id in names:
            yield Sample(
                item_id, names[item_id], cut_text(texts.get(item_id, "")), (), cut_text(answer)
            )


def cut_text(text: str) -> str:
    """Return the beginning of a text, as a sample shows it."""
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]} …"
