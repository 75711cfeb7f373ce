"""Measure the answers of a task that measures none itself: how many there are, what they hold, how alike they are.

Everything is read from the record of answers as it comes, at flat memory; a field of few values gets a bar for each.
What came after a pilot is compared with what the pilot's answers came to: every share, every choice and number.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.quality.answer_tally import COMPARED, Tally, texts_in
from pipeline.quality.figures import Distribution, Figure, Quality, Sample
from pipeline.quality.measures import Bound, gates_of, share, usage_figures
from pipeline.quality.since_pilot import ChangedShare, changed_shares, changes_table, moved_fields, worst_change
from pipeline.quality.statistics import Choice
from pipeline.store import pilots, statistics, tasks
from pipeline.store.answers import FORGOTTEN
from pipeline.store.statistics import ReplyCounts

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
    ("worse", None, 0.25, FEWEST_COMPARED, "One of the shares above is worse than the pilot let expect."),
    ("divergence", None, 0.2, FEWEST_COMPARED, "Half of all values of one field have moved since the pilot."),
    ("leak", None, 0.01, FEWEST, "What an example says is no answer to another row."),
)


class _Failures(NamedTuple):
    """The replies to some questions, and how many items failed for good or were cut by the limit."""

    replies: ReplyCounts
    parked: int
    cut: int

    def without(self, other: "_Failures") -> "_Failures":
        """Return those that are not among the others."""
        return _Failures(self.replies.without(other.replies), self.parked - other.parked, self.cut - other.cut)


@dataclass
class _Seen:
    """What one pass over the answers came to: all of them, the pilot's and those after it, and some to be shown."""

    all: Tally
    pilot: Tally
    later: Tally
    shown: Choice[tuple[str, str]] = field(default_factory=lambda: Choice(SAMPLES, seed=SEED))


def measure_answers(tx: "Connection", task: "Task", extractor: str | None) -> Quality:
    """Return what the answers of an extractor are like: label/model, a label with all its models, or None for all."""
    ended = pilots.pilot_ended(tx, task.name, extractor)
    seen = _look(tx, task, extractor, ended)
    failures = _failures(tx, task.name, extractor)
    shares = _shares(tx, task, seen.all, failures)
    figures = [*shares.values(), *_other_figures(task, seen.all, failures.replies)]
    changed: list[ChangedShare] = []
    if ended is not None:
        before = _failures(tx, task.name, extractor, until=ended)
        most = min(len(seen.pilot.compared), len(seen.later.compared))
        then = _shares(tx, task, seen.pilot, before, most=most)
        now = _shares(tx, task, seen.later, failures.without(before), most=most)
        changed = list(changed_shares(then, now, BOUNDS))
    figures += [worst_change(changed, at_least=FEWEST_COMPARED), *moved_fields(seen.pilot, seen.later)]
    return Quality(
        title=f"Quality of the answers of {task.name}",
        extractor=extractor or "all",
        items=seen.all.answers,
        figures=figures,
        gates=gates_of({one.name: one for one in figures}, BOUNDS),
        distributions=[
            Distribution(path, "rows", list(bars.items())) for path, bars in seen.all.choices() if len(bars) > 1
        ],
        tables=[changes_table(changed)],
        samples=list(_samples(tx, task, list(seen.shown))),
    )


def _look(tx: "Connection", task: "Task", extractor: str | None, ended: datetime | None) -> _Seen:
    """Go through the answers of an extractor; those until the pilot's end are the pilot's."""
    declared: Mapping[str, Any] = (task.fingerprint and tasks.fingerprint_document(tx, task.fingerprint)) or {}
    listed = frozenset(_listed(declared.get("schema")))
    examples = _example_texts(declared, listed)
    seen = _Seen(Tally(listed), Tally(listed), Tally(listed))
    for item_id, answer, at in statistics.answers_by(tx, task.name, extractor):
        if answer == FORGOTTEN:
            continue
        document = json.loads(answer)
        said = [text for _, text in texts_in(document) if text.casefold() in examples] if examples else []
        sides = [seen.all] if ended is None else [seen.all, seen.pilot if at <= ended else seen.later]
        for tally in sides:
            tally.add(item_id, document)
            if said and len(tally.leaks) < MOST_LEAKS:
                tally.leaks[item_id] = said
        seen.shown.offer(item_id, (item_id, answer))
    return seen


def _failures(tx: "Connection", task: str, extractor: str | None, *, until: datetime | None = None) -> _Failures:
    """Return how many failed until a moment, or of all."""
    replies = statistics.count_replies(tx, task, extractor, until=until)
    parked = statistics.count_parked(tx, task, until=until)
    return _Failures(replies, parked, statistics.count_cut(tx, task, extractor, until=until))


def _shares(
    tx: "Connection", task: "Task", tally: Tally, failures: _Failures, *, most: int = COMPARED
) -> dict[str, Figure]:
    """Return the shares that are measured of some answers, by name; of `most` of them texts are compared."""
    many, replies, answers = task.words.many, failures.replies, tally.answers
    asked = answers + failures.parked
    near, compared = tally.near(most)
    quoted, places = tally.evidence()
    rows: Sequence[tuple[str, int, int, str]] = (
        ("answered", answers, asked, f"{many} with an answer, of those or parked"),
        ("parked", failures.parked, asked, f"{many} that are parked, of those or answered"),
        ("failed", replies.failed, replies.total, "replies that were refused or invalid, of all replies"),
        ("cut", failures.cut, replies.total, "replies that the token limit cut"),
        ("same", max(tally.whole.values(), default=0), answers, f"{many} with the most frequent answer"),
        ("near-duplicates", near, compared, "answers whose texts are nearly those of another, of a sample"),
        ("evidence", quoted, places, "quotations, of the places where one may stand"),
        ("leak", _leaks(tx, task, tally), answers, "answers that say what an example says, and the row does not"),
    )
    return {name: Figure(name, share(part, whole), "share", told, whole) for name, part, whole, told in rows}


def _other_figures(task: "Task", tally: Tally, replies: ReplyCounts) -> Iterator[Figure]:
    """Yield the figures that are no shares: means, counts, tokens and cost."""
    for path, numbers in tally.numbers.items():
        count, total = numbers.total(), tally.sums[path]
        yield Figure(f"mean-{path}", share(total, count), "mean", f"{path} on the mean, or how many", count)
    yield Figure("answers", tally.answers, "count", f"{task.words.many} with an answer", tally.answers)
    yield from usage_figures(replies, one=task.words.one)


def _listed(schema: Any) -> Iterator[str]:
    """Yield every text that a field of a JSON schema chooses among."""
    if isinstance(schema, list):
        for one in schema:
            yield from _listed(one)
    elif isinstance(schema, dict):
        for value in (*schema.get("enum", ()), schema.get("const")):
            if isinstance(value, str):
                yield value
        yield from _listed([one for name, one in schema.items() if name not in {"enum", "const"}])


def _example_texts(declared: Mapping[str, Any], listed: Collection[str]) -> frozenset[str]:
    """Return the texts that the answers of a task's examples hold, but for those that a field chooses among."""
    texts = (text for _, answer in declared.get("examples", ()) for _, text in texts_in(answer))
    return frozenset(text.casefold() for text in texts if len(text) >= FEWEST_LETTERS and text not in listed)


def _leaks(tx: "Connection", task: "Task", tally: Tally) -> int:
    """Return how many answers say what an example says and the row does not."""
    rows = task.hooks.texts(tx, list(tally.leaks))
    return sum(
        any(text.casefold() not in rows[item_id].casefold() for text in texts)
        for item_id, texts in tally.leaks.items()
        if item_id in rows
    )


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
