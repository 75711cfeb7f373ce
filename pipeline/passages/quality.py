"""What the concepts of an extractor are like: the figures, their gates, and samples for a person to read.

Everything is read as it comes, so that half a million passages take no more memory than twenty. Near duplicates are
looked for in a sample of the answers, because every pair of names is compared.

What is wrong with the name of a concept, and which names of one passage are the same or nearly so.

For the quality report: nothing is refused here.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rapidfuzz import fuzz

from pipeline.passages.answer import CONCEPT_TYPES
from pipeline.passages.schema import PassagesShape
from pipeline.quality.figures import Distribution, Figure, Gate, Quality, Rows, Sample
from pipeline.quality.statistics import Choice, divergence, mean, percentile
from pipeline.store import statistics
from pipeline.tables.cells import cell_words

if TYPE_CHECKING:
    from pipeline.passages.measure import MeasuredAnswer, MeasuredConcept, MeasuredVersion, Tally
    from pipeline.store.database import Connection
    from pipeline.store.statistics import ReplyCounts


MAX_NAME = 60  # characters
MAX_WORDS = 8  # a noun phrase has fewer; "support vector machine with radial basis function" has seven
LIKE = 90.0  # percent of characters in common: a plural, a hyphen, a spelling
MOST_COMPARED = 100  # names of one passage; more are no answer of ours, and pairs grow with the square

_ENDS_AS_SENTENCE = re.compile(r"(?:[a-z]{3,}\.|[!?])$")
# a word between others that only a sentence has there; "is" and "can" at the ends may be names
_VERB = re.compile(
    r"\S\s(?:is|are|was|were|be|been|has|have|had|can|cannot|will|would|should|may|might|must|does|do|did)\s\S",
    re.IGNORECASE,
)
_BEGINS_AS_SENTENCE = re.compile(
    r"(?:we|they|you|it|there|this|these|those|our|their|however|therefore)\s\S+\s\S", re.IGNORECASE
)
_DIGITS = re.compile(r"\d+|\b[ivxIVX]+\b")


def garbage_names(name: str) -> str:
    """Return what makes a text no name of a concept; an empty text where nothing does."""
    if len(name) > MAX_NAME:
        return "too long"
    if not any(map(str.isalpha, name)):
        return "no letters"
    is_sentence = (
        name.count(" ") >= MAX_WORDS - 1
        or _ENDS_AS_SENTENCE.search(name)
        or _VERB.search(name)
        or _BEGINS_AS_SENTENCE.match(name)
    )
    return "like a sentence" if is_sentence else ""


def repeated_names(names: Sequence[str]) -> int:
    """Return how many of some names stand there before, in any case."""
    return len(names) - len({" ".join(name.casefold().split()) for name in names})


def nearly_repeated_names(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return (name, one before it that it is nearly) for each of some names that has one; those alike are told once.

    Names that differ in a number, Arabic or Roman, are different things: GPT-3 is not GPT-4.
    """
    found: list[tuple[str, str]] = []
    seen: list[tuple[str, list[str], str]] = []
    for name in names[:MOST_COMPARED]:
        folded = " ".join(name.casefold().split())
        numbers = _DIGITS.findall(folded)
        if any(folded == other for other, _, _ in seen):
            continue
        near = (
            first for other, others, first in seen if others == numbers and fuzz.ratio(folded, other, score_cutoff=LIKE)
        )
        other_name = next(near, None)
        if other_name is not None:
            found.append((name, other_name))
        seen.append((folded, numbers, name))
    return found


TASK = "passage-concepts"
SEED = 7
SAMPLES = 30  # for a person to read
COMPARED = 1_000  # answers in which near duplicates are looked for
EXAMPLES = 20  # rows of a table
LONGEST_BAR = 20  # concepts of a passage that have a bar of their own
AROUND = 140  # characters of a passage shown before and after a quotation
FEWEST = (
    1  # passages: whoever tries three wants to know of three; one bad answer in a hundred fails what 99 % must pass
)
FEWEST_CONCEPTS = 150  # on each side: between two samples so large of one distribution chance makes 0.02 bits

COVERAGE = 0.99
EVIDENCE = 0.99
CONCEPTS = (4.0, 14.0)
PARSE_FAILURE = 0.01
DIVERGENCE = 0.2
GARBAGE = 0.02
DUPLICATES = 0.01
NEAR_DUPLICATES = 0.05


@dataclass
class _Seen:
    """What one pass over the names came to."""

    concepts: Counter[int] = field(default_factory=Counter)  # of a passage -> how many passages
    garbage: Counter[str] = field(default_factory=Counter)  # what is wrong -> how many names
    examples: dict[str, str] = field(default_factory=dict)  # a name that is none -> what is wrong
    repeated: int = 0
    compared: "Choice[MeasuredAnswer]" = field(default_factory=lambda: Choice(COMPARED, seed=SEED))
    shown: "Choice[MeasuredAnswer]" = field(default_factory=lambda: Choice(SAMPLES, seed=SEED + 1))

    @property
    def answers(self) -> int:
        """Return how many passages have concepts, each counted once for each version it has some of."""
        return sum(self.concepts.values())


def measure_concepts(tx: "Connection", shape: PassagesShape, extractor: str | None) -> Quality:
    """Return what the concepts of an extractor are like: label/model, a label with all its models, or None for all."""
    from pipeline.passages import measure

    tallies = measure.tallies(tx, shape)
    mine = sorted({one.version for one in tallies if one.version.is_of(extractor)})
    others = sorted({one.version for one in tallies} - {*mine})
    seen = _Seen()
    for answer in measure.measured_answers(tx, shape, mine) if mine else ():
        _look(seen, answer)
    replies = statistics.count_replies(tx, TASK, extractor)
    types = _types(tallies, mine)
    compared, near, pairs = _near(seen.compared)
    figures = {
        one.name: one
        for one in (
            _coverage(tx, seen, extractor),
            _evidence(tallies, mine, seen.answers),
            *_concepts(seen.concepts),
            _parse_failure(replies),
            _divergence(types, _types(tallies, others)),
            _share(
                "garbage", sum(seen.garbage.values()), seen, "names that are none: too long, no letters, a sentence"
            ),
            _share("duplicates", seen.repeated, seen, "names that stand twice in one passage, in any case"),
            Figure("near-duplicates", near / compared if compared else None, "share", _NEAR_TOLD, len(seen.compared)),
            *_used(replies, seen.answers),
        )
    }
    return Quality(
        title="Quality of the concepts of passages",
        extractor=extractor or "all",
        items=seen.answers,
        figures=list(figures.values()),
        gates=list(_gates(figures)),
        distributions=list(_distributions(seen, types, _types(tallies, others))),
        tables=list(_tables(seen, pairs, tallies, types, others)),
        samples=list(_samples(tx, shape, seen.shown)),
        notes=list(_notes(tallies, mine, others, seen)),
    )


_NEAR_TOLD = "names nearly like another of their passage, in a sample"


def _look(seen: _Seen, answer: "MeasuredAnswer") -> None:
    """Count one answer."""
    seen.concepts[len(answer.names)] += 1
    seen.repeated += repeated_names(answer.names)
    for name in answer.names:
        wrong = garbage_names(name)
        if wrong:
            seen.garbage[wrong] += 1
            if len(seen.examples) < EXAMPLES:
                seen.examples.setdefault(name, wrong)
    key = answer.key
    seen.compared.offer(key, answer)
    seen.shown.offer(key, answer)


def _near(compared: "Choice[MeasuredAnswer]") -> tuple[int, int, list[tuple[str, str]]]:
    """Return how many names were compared, how many are nearly like another of their passage, and the first pairs."""
    names, near = 0, 0
    pairs: list[tuple[str, str]] = []
    for answer in compared:
        found = nearly_repeated_names(answer.names)
        names += min(len(answer.names), MOST_COMPARED)
        near += len(found)
        pairs += found[: EXAMPLES - len(pairs)] if len(pairs) < EXAMPLES else []
    return names, near, pairs


def _coverage(tx: "Connection", seen: _Seen, extractor: str | None) -> Figure:
    """Return the share of passages with a concept, of all that were asked about and are settled."""
    without = statistics.count_unanswered(tx, TASK, extractor)
    without += max(0, statistics.count_answered(tx, TASK, extractor) - seen.answers)
    asked = seen.answers + without
    value = seen.answers / asked if asked else None
    return Figure("coverage", value, "share", "passages with a concept, of those a reply was charged to", asked)


def _evidence(tallies: "Sequence[Tally]", mine: "Sequence[MeasuredVersion]", answers: int) -> Figure:
    """Return the share of concepts with a quotation that was found in the passage."""
    ours = [one for one in tallies if one.version in mine]
    concepts = sum(one.concepts for one in ours)
    value = sum(one.with_evidence for one in ours) / concepts if concepts else None
    return Figure("evidence", value, "share", "concepts with a quotation found in the passage", answers)


def _concepts(histogram: Mapping[int, int]) -> Iterator[Figure]:
    answers = sum(histogram.values())
    yield Figure("concepts", mean(histogram), "mean", "concepts of a passage, mean", answers)
    yield Figure("concepts-p10", percentile(histogram, 0.1), "count", "of a passage, P10", answers)
    yield Figure("concepts-p90", percentile(histogram, 0.9), "count", "of a passage, P90", answers)


def _parse_failure(replies: "ReplyCounts") -> Figure:
    value = replies.invalid / replies.total if replies.total else None
    return Figure("parse-failure", value, "share", "replies that are no valid answer", replies.total)


def _divergence(types: Mapping[str, int], others: Mapping[str, int]) -> Figure:
    """Return how the types differ from those of all other versions together; measured on the smaller side's concepts.

    Types of another vocabulary than ours can be compared with nothing, and are left out.
    """
    ours, theirs = ({name: some[name] for name in CONCEPT_TYPES if some.get(name)} for some in (types, others))
    value = divergence(ours, theirs)
    items = min(sum(ours.values()), sum(theirs.values()))
    return Figure("divergence", value, "bits", "types against other versions (Jensen-Shannon)", items)


def _share(name: str, count: int, seen: _Seen, told: str) -> Figure:
    """Return a share of all names."""
    whole = sum(number * times for number, times in seen.concepts.items())
    return Figure(name, count / whole if whole else None, "share", told, seen.answers)


def _used(replies: "ReplyCounts", answers: int) -> Iterator[Figure]:
    """Return what an answer cost, with what was paid for replies that were none."""
    paid = replies.answered
    yield Figure("cost", replies.cost if replies.total else None, "USD", "cost in all", paid)
    yield Figure("cost-each", replies.cost / paid if paid else None, "USD", "cost of a passage", paid)
    yield Figure("tokens-in", replies.tokens_in / paid if paid else None, "mean", "tokens in, of a passage", paid)
    yield Figure("tokens-out", replies.tokens_out / paid if paid else None, "mean", "tokens out, of a passage", paid)
    yield Figure("passages", answers, "count", "passages with concepts", answers)
    yield Figure("replies", replies.total, "count", "replies", replies.total)
    yield Figure("invalid", replies.invalid, "count", "replies that are invalid", replies.total)
    yield Figure("refused", replies.refused, "count", "replies that are refused", replies.total)


def _gates(figures: Mapping[str, Figure]) -> Iterator[Gate]:
    """Yield the gates with their bounds and why those are where they are."""
    for name, low, high, at_least, why in (
        ("coverage", COVERAGE, None, FEWEST, "Every passage with text speaks of something."),
        ("evidence", EVIDENCE, None, FEWEST, "A concept without a quotation cannot be checked by anybody."),
        ("concepts", *CONCEPTS, FEWEST, "The question asks for 4 to 14; outside it was read otherwise."),
        (
            "parse-failure",
            None,
            PARSE_FAILURE,
            FEWEST,
            "The schema goes out with every request; more is a fault of it.",
        ),
        (
            "divergence",
            None,
            DIVERGENCE,
            FEWEST_CONCEPTS,
            "It takes half of all concepts to have moved to another type.",
        ),
        ("garbage", None, GARBAGE, FEWEST, "Some odd names are in any text; more are a habit of the model."),
        ("duplicates", None, DUPLICATES, FEWEST, "Answers are merged by name before they are stored."),
        ("near-duplicates", None, NEAR_DUPLICATES, FEWEST, "A plural beside its singular is one concept told twice."),
    ):
        yield Gate(name, figures[name], low, high, why, at_least)


def _types(tallies: "Sequence[Tally]", versions: "Sequence[MeasuredVersion]") -> Counter[str]:
    """Return how many concepts of some versions have each type, in lower case."""
    found: Counter[str] = Counter()
    for one in tallies:
        if one.version in versions:
            found[" ".join(one.type.casefold().split())] += one.concepts
    return found


def _distributions(seen: _Seen, types: Counter[str], others: Counter[str]) -> Iterator[Distribution]:
    if seen.answers:
        bars = [(str(number), seen.concepts[number]) for number in range(1, LONGEST_BAR)]
        more = sum(times for number, times in seen.concepts.items() if number >= LONGEST_BAR)
        yield Distribution("Concepts of a passage", "passages", [*bars, (f"{LONGEST_BAR} and more", more)])
    for title, some in (("Types of concepts", types), ("Types in other versions", others)):
        if some:
            yield Distribution(title, "concepts", some.most_common(EXAMPLES))


def _tables(
    seen: _Seen,
    pairs: Sequence[tuple[str, str]],
    tallies: "Sequence[Tally]",
    types: Counter[str],
    others: "Sequence[MeasuredVersion]",
) -> Iterator[Rows]:
    yield Rows("Names that are none, examples", ("name", "why"), list(seen.examples.items()))
    yield Rows("Nearly the same in one passage, examples", ("name", "beside"), pairs)
    yield Rows(
        "Other versions here",
        ("extractor", "concepts", "bits"),
        [
            (one.extractor, theirs.total(), round(_divergence(types, theirs).value or 0.0, 3))
            for one in others[:EXAMPLES]
            for theirs in (_types(tallies, [one]),)
        ],
    )


def _notes(
    tallies: "Sequence[Tally]", mine: "Sequence[MeasuredVersion]", others: "Sequence[MeasuredVersion]", seen: _Seen
) -> Iterator[str]:
    """Yield what a reader has to know of how it was measured."""
    if seen.answers > COMPARED:
        yield f"near duplicates were looked for in {COMPARED:,} passages, drawn at random (seed {SEED})"
    if len(mine) > 1:
        yield f"these are {len(mine)} versions together: a passage counts once for each"
    if not others:
        yield "no other version is here to compare the types with"
    strange = sum(times for name, times in _types(tallies, others).items() if name not in CONCEPT_TYPES)
    if strange:
        yield f"{strange:,} concepts of other versions have types of another vocabulary and are not compared"


def _samples(tx: "Connection", shape: PassagesShape, chosen: "Choice[MeasuredAnswer]") -> Iterator[Sample]:
    """Yield one concept of each chosen answer, drawn at random, with its quotation in the passage."""
    from pipeline.passages import measure, table

    for answer in chosen:
        rows: Choice[MeasuredConcept] = Choice(1, seed=SEED)
        for number, row in enumerate(measure.measured_rows(tx, shape, answer)):
            rows.offer(f"{answer.key} {number}", row)
        key = cell_words(answer.passage)
        text = table.passage_texts(tx, shape, [key]).get(key)
        yield from (_sample(key, row, text) for row in rows)


def _sample(passage: str, row: "MeasuredConcept", text: str | None) -> Sample:
    """Return a concept for a person to read: the part of the passage round its first quotation, all of them marked."""
    said = f"{row.type or 'no type'}, {row.confidence}"
    spans = _spans(row.evidence)
    if text is None:
        return Sample(passage, row.name, "", (), f"{said}; the passage is gone")
    if not spans:
        return Sample(passage, row.name, _cut(text, 0, 2 * AROUND)[0], (), f"{said}; without a quotation")
    if any(text[start:end] != quote for start, end, quote in spans):
        return Sample(passage, row.name, _cut(text, 0, 2 * AROUND)[0], (), f"{said}; ITS OFFSETS ARE WRONG")
    first = min(spans)
    shown, moved = _cut(text, first[0] - AROUND, first[1] + AROUND)
    marks: list[tuple[int, int]] = []
    for start, end, _ in sorted(spans):
        here = (start + moved, end + moved)
        if here[0] >= (marks[-1][1] if marks else 0) and end <= first[1] + AROUND:
            marks.append(here)
    return Sample(passage, row.name, shown, marks, said)


def _cut(text: str, start: int, end: int) -> tuple[str, int]:
    """Return a part of a text with signs where it was cut, and by how much its offsets moved."""
    start, end = max(0, start), min(len(text), end)
    front, back = "… " if start else "", " …" if end < len(text) else ""
    return f"{front}{text[start:end]}{back}", len(front) - start


def _spans(evidence: Mapping[str, Any] | None) -> list[tuple[int, int, str]]:
    """Return (start, end, quotation) of each support of a document, of which another program may have written it."""
    support = (evidence or {}).get("support")
    found = []
    for one in support if isinstance(support, list) else ():
        if isinstance(one, dict):
            start, end, quote = one.get("start"), one.get("end"), one.get("quote")
            if isinstance(start, int) and isinstance(end, int) and isinstance(quote, str) and 0 <= start <= end:
                found.append((start, end, quote))
    return found
