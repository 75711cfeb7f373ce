"""What the tags are like: the figures, their gates, and samples for a person to read."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pipeline.experts import table
from pipeline.experts.columns import tags_of, text_of
from pipeline.experts.schema import item_id
from pipeline.quality.figures import Distribution, Figure, Gate, Quality, Rows, Sample
from pipeline.quality.statistics import Choice, mean, percentile
from pipeline.store import statistics

if TYPE_CHECKING:
    from pipeline.store.database import Connection


SEED = 7
SAMPLES = 30  # for a person to read
EXAMPLES = 20  # rows of a table
LONGEST_BAR = 12  # tags of a person that have a bar of their own
MOST_BIO = 300  # characters of a biography shown in a sample
FEWEST = 50  # people: of fewer a figure may be anything by chance
FEWEST_TAGGED = 1000  # people: a vocabulary of fewer is mostly tags that stand once, however good they are

TAGS = (1.0, 12.0)
USED_ONCE = 0.98
LONGEST_TAG = 60.0
PARKED = 0.5
FAILED = 0.5


def measure_tags(tx: "Connection", extractor: str | None) -> Quality:
    """Return what the tags of an extractor are like: label/model, a label with all its models, or None for all tags.

    Memory grows with the number of different tags, and with nothing else.
    """
    condition = table.tagged()
    if extractor is not None:
        condition = condition & item_id.in_(statistics.applied_ids(table.TASK, extractor))
    numbers: Counter[int] = Counter()
    used: Counter[str] = Counter()
    shown: Choice[str] = Choice(SAMPLES, seed=SEED)
    for key, cell in table.cells(tx, ("id", "tags"), condition):
        tags = tags_of(cell) or []
        numbers[len(tags)] += 1
        used.update(tags)
        shown.offer(str(key), str(key))
    figures = {one.name: one for one in _figures(tx, extractor, numbers, used)}
    return Quality(
        title="Quality of the tags of people",
        extractor=extractor or "all",
        items=numbers.total(),
        figures=list(figures.values()),
        gates=list(_gates(figures)),
        distributions=list(_distributions(numbers)),
        tables=list(_tables(used)),
        samples=list(_samples(tx, list(shown))),
    )


def _figures(tx: "Connection", extractor: str | None, numbers: Counter[int], used: Counter[str]) -> Iterator[Figure]:
    people = numbers.total()
    once = sum(times == 1 for times in used.values())
    longest = max(map(len, used), default=None)
    parked = statistics.count_parked(tx, table.TASK)
    replies = statistics.count_replies(tx, table.TASK, extractor)
    failed = replies.refused + replies.invalid
    paid = replies.answered
    yield Figure("tags", mean(numbers), "mean", "tags of a person, mean", people)
    yield Figure("tags-p10", percentile(numbers, 0.1), "count", "of a person, P10", people)
    yield Figure("tags-p90", percentile(numbers, 0.9), "count", "of a person, P90", people)
    yield Figure("used-once", once / len(used) if used else None, "share", "tags that one person alone has", people)
    yield Figure("longest-tag", longest, "characters", "longest tag, characters", people)
    whole = people + parked
    yield Figure(
        "parked", parked / whole if whole else None, "share", "people parked, of those tagged or parked", whole
    )
    share = failed / replies.total if replies.total else None
    yield Figure("failed", share, "share", "replies refused or invalid", replies.total)
    yield Figure("people", people, "count", "people with tags", people)
    yield Figure("different-tags", len(used), "count", "different tags", people)
    yield Figure("cost", replies.cost if replies.total else None, "USD", "cost in all", paid)
    yield Figure("cost-each", replies.cost / paid if paid else None, "USD", "cost of a person", paid)
    yield Figure("tokens-in", replies.tokens_in / paid if paid else None, "mean", "tokens in, of a person", paid)
    yield Figure("tokens-out", replies.tokens_out / paid if paid else None, "mean", "tokens out, of a person", paid)


def _gates(figures: Mapping[str, Figure]) -> Iterator[Gate]:
    """Yield the gates with their bounds and why those are where they are."""
    for name, low, high, at_least, why in (
        ("tags", *TAGS, FEWEST, "The question asks for 3 to 8, and any list with a tag in it is accepted."),
        ("used-once", None, USED_ONCE, FEWEST_TAGGED, "A tag that nobody shares finds one person; more are no words."),
        ("longest-tag", None, LONGEST_TAG, FEWEST, "A phrase of three words has half as many."),
        ("parked", None, PARKED, FEWEST, "Half of them is no bad luck: look at the reasons."),
        ("failed", None, FAILED, FEWEST, "Half of them is no bad luck: each is paid for and asked again."),
    ):
        yield Gate(name, figures[name], low, high, why, at_least)


def _distributions(numbers: Counter[int]) -> Iterator[Distribution]:
    if numbers:
        bars = [(str(number), numbers[number]) for number in range(1, LONGEST_BAR)]
        more = sum(times for number, times in numbers.items() if number >= LONGEST_BAR)
        yield Distribution("Tags of a person", "people", [*bars, (f"{LONGEST_BAR} and more", more)])


def _tables(used: Counter[str]) -> Iterator[Rows]:
    often = sorted(used.items(), key=lambda pair: (-pair[1], pair[0]))[:EXAMPLES]
    long = sorted(used.items(), key=lambda pair: (-len(pair[0]), pair[0]))[: EXAMPLES // 4]
    yield Rows("Most used tags", ("tag", "people"), often)
    yield Rows("Longest tags", ("tag", "people"), long)


def _samples(tx: "Connection", ids: list[str]) -> Iterator[Sample]:
    """Yield the chosen people: the beginning of the biography, and the tags."""
    rows = table.by_ids(tx, ids)
    for key in ids:
        if key in rows:
            bio = text_of(rows[key]["bio"])
            shown = bio if len(bio) <= MOST_BIO else f"{bio[:MOST_BIO]} …"
            yield Sample(key, text_of(rows[key]["username"]), shown, (), ", ".join(tags_of(rows[key]["tags"]) or []))
