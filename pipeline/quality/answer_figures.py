"""Measure the answers of a task that measures none itself: how many there are, what they hold, how alike they are.

Everything is read from the record of answers as it comes, at flat memory; a field of few values gets a bar for each.
What came after a pilot is compared with what the pilot's answers hold.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.quality.answer_tally import Tally, texts_in
from pipeline.quality.figures import Distribution, Figure, Quality, Sample
from pipeline.quality.measures import Bound, gates_of, share, usage_figures
from pipeline.quality.statistics import Choice
from pipeline.store import pilots, statistics, tasks
from pipeline.store.answers import FORGOTTEN

if TYPE_CHECKING:
    from pipeline.core.task import Task
    from pipeline.store.database import Connection

SEED = 7
SAMPLES = 20  # for a person to read
MOST_SHOWN = 300  # characters of an answer in a sample
FEWEST = 20  # answers: of fewer a figure may be anything by chance
FEWEST_COMPARED = 50  # on each side: between two samples so large of one distribution chance makes 0.05 bits
FEWEST_LETTERS = 8  # of a text of an example that is looked for; a shorter one may be anywhere
MOST_LEAKS = 1_000  # answers whose rows are looked at
BOUNDS: tuple[Bound, ...] = (
    ("answered", 0.9, None, FEWEST, "A row that was asked about should have an answer."),
    ("parked", None, 0.1, FEWEST, "A row that failed twice is not asked again by itself."),
    ("failed", None, 0.5, FEWEST, "If half fail, something is wrong: each is paid for and asked again."),
    ("cut", None, 0.05, FEWEST, "An answer that the limit cut is paid for twice: raise max_output_tokens."),
    ("same", None, 0.5, FEWEST, "If half of all rows get one answer, the question does not tell them apart."),
    ("near-duplicates", None, 0.3, FEWEST, "Texts that are nearly one text say little of their rows."),
    ("evidence", 0.5, None, FEWEST, "If half of the quotations are missing, the answers cannot be checked."),
    ("divergence", None, 0.2, FEWEST_COMPARED, "Half of all values of one field have moved since the pilot."),
    ("leak", None, 0.01, FEWEST, "What an example says is no answer to another row."),
)


@dataclass
class _Seen:
    """What one pass over the answers came to: all of them, the pilot's and those after it, and some to be shown."""

    all: Tally = field(default_factory=Tally)
    pilot: Tally = field(default_factory=Tally)
    later: Tally = field(default_factory=Tally)
    shown: Choice[tuple[str, str]] = field(default_factory=lambda: Choice(SAMPLES, seed=SEED))
    leaks: dict[str, list[str]] = field(default_factory=dict)  # texts of examples in the answer about an item


def measure_answers(tx: "Connection", task: "Task", extractor: str | None) -> Quality:
    """Return what the answers of an extractor are like: label/model, a label with all its models, or None for all."""
    examples = _example_texts(tx, task)
    seen, ended = _Seen(), pilots.pilot_ended(tx, task.name, extractor)
    for item_id, answer, at in statistics.answers_by(tx, task.name, extractor):
        if answer == FORGOTTEN:
            continue
        document = json.loads(answer)
        seen.all.add(item_id, document)
        if ended is not None:
            (seen.pilot if at <= ended else seen.later).add(item_id, document)
        seen.shown.offer(item_id, (item_id, answer))
        if examples and len(seen.leaks) < MOST_LEAKS:
            found = [text for _, text in texts_in(document) if text.casefold() in examples]
            seen.leaks |= {item_id: found} if found else {}
    figures = {one.name: one for one in _figures(tx, task, extractor, seen)}
    figures["leak"] = _leak(tx, task, seen) if examples else _leak(tx, task, _Seen())
    return Quality(
        title=f"Quality of the answers of {task.name}",
        extractor=extractor or "all",
        items=seen.all.answers,
        figures=list(figures.values()),
        gates=gates_of(figures, BOUNDS),
        distributions=[Distribution(path, "rows", list(bars.items())) for path, bars in seen.all.choices()],
        samples=list(_samples(tx, task, list(seen.shown))),
    )


def _figures(tx: "Connection", task: "Task", extractor: str | None, seen: _Seen) -> Iterator[Figure]:
    one, many = task.words.one, task.words.many
    replies, all_ = statistics.count_replies(tx, task.name, extractor), seen.all
    parked, cut = statistics.count_parked(tx, task.name), statistics.count_cut(tx, task.name, extractor)
    asked, most = all_.answers + parked, max(all_.whole.values(), default=0)
    failed = share(replies.refused + replies.invalid, replies.total)
    yield Figure("answered", share(all_.answers, asked), "share", f"{many} with an answer, of those or parked", asked)
    yield Figure("parked", share(parked, asked), "share", f"{many} that are parked, of those or answered", asked)
    yield Figure("failed", failed, "share", "replies that were refused or invalid, of all replies", replies.total)
    yield Figure("cut", share(cut, replies.total), "share", "replies that the token limit cut", replies.total)
    yield Figure("same", share(most, all_.answers), "share", f"{many} with the most frequent answer", all_.answers)
    near, compared = all_.near()
    told = "answers whose texts are nearly those of another, of a sample"
    yield Figure("near-duplicates", share(near, compared), "share", told, compared)
    quoted, places = all_.evidence()
    yield Figure("evidence", share(quoted, places), "share", "quotations, of the places where one may stand", places)
    yield from _divergence(seen)
    for path, numbers in all_.numbers.items():
        count = numbers.total()
        yield Figure(f"mean-{path}", share(all_.sums[path], count), "mean", f"{path} on the mean, or how many", count)
    yield Figure("answers", all_.answers, "count", f"{many} with an answer", all_.answers)
    yield from usage_figures(replies, one=one)


def _divergence(seen: _Seen) -> Iterator[Figure]:
    """Yield how far the choices and numbers have moved since the pilot: the field that moved most, and each."""
    found = dict(seen.later.divergences(seen.pilot))
    fewest = min(seen.pilot.answers, seen.later.answers)
    worst = max(found, key=lambda path: found[path], default=None)
    told = "how else values are distributed than in the pilot" + (f", most in {worst}" if worst else "")
    yield Figure("divergence", found[worst] if worst else None, "bits", told, fewest)
    for path, bits in found.items():
        yield Figure(f"divergence-{path}", bits, "bits", f"how else {path} is distributed than in the pilot", fewest)


def _example_texts(tx: "Connection", task: "Task") -> frozenset[str]:
    """Return the texts that the answers of the task's examples hold, but for those that a field chooses among."""
    document: Mapping[str, Any] = (task.fingerprint and tasks.fingerprint_document(tx, task.fingerprint)) or {}
    chosen = json.dumps(document.get("schema"), ensure_ascii=False)
    texts = (text for _, answer in document.get("examples", ()) for _, text in texts_in(answer))
    said = (text for text in texts if json.dumps(text, ensure_ascii=False) not in chosen)
    return frozenset(text.casefold() for text in said if len(text) >= FEWEST_LETTERS)


def _leak(tx: "Connection", task: "Task", seen: _Seen) -> Figure:
    """Return the share of answers that say what an example says and the row does not."""
    rows = task.hooks.texts(tx, list(seen.leaks))
    leaks = sum(
        any(text.casefold() not in rows[item_id].casefold() for text in texts)
        for item_id, texts in seen.leaks.items()
        if item_id in rows
    )
    answers = seen.all.answers
    told = "answers that say what an example says, and the row does not"
    return Figure("leak", share(leaks, answers), "share", told, answers)


def _samples(tx: "Connection", task: "Task", shown: Sequence[tuple[str, str]]) -> Iterator[Sample]:
    """Yield the chosen answers beside the names and texts of their rows."""
    ids = [item_id for item_id, _ in shown]
    names, texts = task.names(tx, ids), task.hooks.texts(tx, ids)
    for item_id, answer in shown:
        if item_id in names:
            text = _cut(texts.get(item_id, ""))
            yield Sample(item_id, names[item_id], text, (), _cut(answer))


def _cut(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]} …"
