"""What the tags are like: the figures, their gates, and samples for a person to read."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.experts import table
from pipeline.experts.schema import item_id
from pipeline.quality.figures import Figure, Quality, Rows, Sample
from pipeline.quality.measures import Bound, ListTally, count_figures, gates_of, histogram_bars, share, usage_figures
from pipeline.quality.statistics import Choice
from pipeline.store import statistics
from pipeline.tables.cells import list_of, text_of

if TYPE_CHECKING:
    from pipeline.store.database import Connection


SEED = 7
SAMPLES = 30  # for a person to read
EXAMPLES = 20  # rows of a table
LONGEST_BAR = 12  # tags of a person that have a bar of their own
MOST_BIO = 300  # characters of a biography shown in a sample
FEWEST = 50  # people: of fewer a figure may be anything by chance
FEWEST_TAGGED = 1000  # people: a vocabulary of fewer is mostly tags that stand once, however good they are

BOUNDS: tuple[Bound, ...] = (
    ("tags", 1.0, 12.0, FEWEST, "The question asks for 3 to 8, and any list with a tag in it is accepted."),
    ("used-once", None, 0.98, FEWEST_TAGGED, "A tag of one person finds only that person; more are no vocabulary."),
    ("longest-tag", None, 60.0, FEWEST, "A phrase of three words has half as many."),
    ("parked", None, 0.5, FEWEST, "If half are parked, something is wrong: read the reasons."),
    ("failed", None, 0.5, FEWEST, "If half fail, something is wrong: each is paid for and asked again."),
)


def measure_tags(tx: "Connection", extractor: str | None) -> Quality:
    """Return what the tags of an extractor are like: label/model, a label with all its models, or None for all tags."""
    condition = table.tagged()
    if extractor is not None:
        condition = condition & item_id.in_(statistics.applied_ids(table.TASK, extractor))
    tally = ListTally[str](Choice(SAMPLES, seed=SEED))
    used: Counter[str] = Counter()
    for key, cell in table.people(tx).cells(tx, ("id", "tags"), condition):
        tags = list_of(cell) or []
        tally.add(str(key), tags, str(key))
        used.update(tags)
    figures = {one.name: one for one in _figures(tx, extractor, tally.lengths, used)}
    return Quality(
        title="Quality of the tags of people",
        extractor=extractor or "all",
        items=tally.answers,
        figures=list(figures.values()),
        gates=gates_of(figures, BOUNDS),
        distributions=list(histogram_bars("Tags of a person", "people", tally.lengths, most=LONGEST_BAR)),
        tables=list(_tables(used)),
        samples=list(_samples(tx, list(tally.shown))),
    )


def _figures(tx: "Connection", extractor: str | None, numbers: Counter[int], used: Counter[str]) -> Iterator[Figure]:
    people = numbers.total()
    once = sum(times == 1 for times in used.values())
    longest = max(map(len, used), default=None)
    parked = statistics.count_parked(tx, table.TASK)
    replies = statistics.count_replies(tx, table.TASK, extractor)
    failed = share(replies.refused + replies.invalid, replies.total)
    whole = people + parked
    yield from count_figures("tags", numbers, one="person", many="people")
    yield Figure(
        "used-once", share(once, len(used)), "share", "tags that one person alone has, of all different tags", people
    )
    yield Figure("longest-tag", longest, "characters", "characters of the longest tag", people)
    yield Figure(
        "parked", share(parked, whole), "share", "people who failed for good (parked), of those tagged or parked", whole
    )
    yield Figure("failed", failed, "share", "replies that were refused or invalid, of all replies", replies.total)
    yield Figure("people", people, "count", "people with tags", people)
    yield Figure("different-tags", len(used), "count", "different tags in use", people)
    yield from usage_figures(replies, one="person")


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
            yield Sample(key, text_of(rows[key]["username"]), shown, (), ", ".join(list_of(rows[key]["tags"]) or []))
