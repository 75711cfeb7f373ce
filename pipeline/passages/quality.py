"""Measure what the concepts of an extractor are like: the figures, their gates, and samples for a person to read.

And check every row of concepts against its passage and against the answers. All at flat memory: what is measured is
added up by the database, or read as it comes.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Connection, Text, cast, false, func, select

from pipeline.core.fold import cut_part, marked_part
from pipeline.core.quotes import likeness_told
from pipeline.core.step import Hint, Step
from pipeline.engine.task import RowFault
from pipeline.gemini.models import load_models
from pipeline.passages import table
from pipeline.passages.declaration import CONCEPT_TYPES
from pipeline.passages.evidence import Evidence, Support
from pipeline.passages.table import PassagesShape
from pipeline.quality.figures import (
    Bound,
    Choice,
    Figure,
    ListTally,
    Quality,
    Rows,
    Sample,
    count_figures,
    divergence,
    histogram_bars,
    share,
    usage_figures,
)
from pipeline.store import answers
from pipeline.store.answers import Version
from pipeline.store.database import streamed
from pipeline.store.schema import answers as given
from pipeline.tables.cells import cell_words, loaded
from pipeline.tables.lists import values_in_pages

if TYPE_CHECKING:
    from pipeline.passages.task import ConceptsTask
    from pipeline.store.database import Connection

PAGE = 2000  # rows in one fetch


class _Answer(NamedTuple):
    """The names of all concepts that a version, (label, model), has of a passage, by its id as the table has it."""

    passage: Any
    version: tuple[str, str]
    names: Sequence[str]

    @property
    def key(self) -> str:
        """Return what no other answer has, as text."""
        return json.dumps([cell_words(self.passage), *self.version])


Types = dict[tuple[str, str], Counter[str]]  # how many concepts of each type each version has


def _tallied(tx: Connection, shape: PassagesShape) -> tuple[Types, Counter[tuple[str, str]]]:
    concepts = shape.concepts.c
    by = (concepts.extractor_version, concepts.extractor_model, concepts.concept_type)
    query = select(*by, func.count(), func.count(concepts.evidence)).group_by(*by)
    types, proven = Types(), Counter[tuple[str, str]]()
    for label, model, kind, count, with_evidence in tx.execute(query):
        version = cell_words(label), cell_words(model)
        types.setdefault(version, Counter())[" ".join(cell_words(kind).casefold().split())] += count
        proven[version] += with_evidence
    return types, proven


def _answers(tx: Connection, shape: PassagesShape, mine: Collection[tuple[str, str]]) -> Iterator[_Answer]:
    concepts = shape.concepts.c
    columns = (concepts.passage_id, concepts.extractor_version, concepts.extractor_model)
    query = select(*columns, concepts.concept_name).where(table.of_extractors(shape, mine)).order_by(*columns)
    rows: Iterator[Any] = (row for page in streamed(tx, query, page=PAGE).partitions() for row in page)
    for (passage, label, model), some in groupby(rows, key=itemgetter(0, 1, 2)):
        yield _Answer(passage, (cell_words(label), cell_words(model)), [cell_words(row[3]) for row in some])


def quotations_of(evidence: Any) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, quotation) of each support of a document, of which another program may have written it."""
    support = evidence.get("support") if isinstance(evidence, dict) else None
    for one in support if isinstance(support, list) else ():
        if isinstance(one, dict):
            start, end, quote = one.get("start"), one.get("end"), one.get("quote")
            if type(start) is int and type(end) is int and isinstance(quote, str) and 0 <= start <= end:
                yield start, end, quote


SEED = 7
SAMPLES = 30  # for a person to read
EXAMPLES = 20  # rows of a table
MAX_NAME = 60  # characters
LONGEST_BAR = 20  # concepts of a passage that have a bar of their own
AROUND = 140  # characters of a passage shown before and after a quotation
FEWEST = 1  # passages: a run of three is judged by three; one bad answer in a hundred fails what 99 % must pass
FEWEST_CONCEPTS = 150  # on each side: between two samples so large of one distribution chance makes 0.02 bits
FEWEST_LISTS = 20  # passages: a few long ones may well speak of many things
MOST = 14  # concepts of a passage that the question asks for at most

FULL = f"passages with {MOST} concepts, the most there may be"
INVALID = "replies that are no valid answer, of all replies"
LONG = f"names of more than {MAX_NAME} characters"
TWICE = "names that stand twice in one passage, in any case"

BOUNDS = tuple(
    Bound(*row)
    for row in (
        ("coverage", "share", 0.99, None, FEWEST, "Every passage with text speaks of something."),
        ("evidence", "share", 0.99, None, FEWEST, "A concept without a quotation cannot be checked."),
        ("concepts", "mean", 4.0, 14.0, FEWEST, "The question asks for 4 to 14; outside it was read otherwise."),
        ("full", "share", None, 0.25, FEWEST_LISTS, "A full list is cut off or filled up."),
        ("other", "share", None, 0.5, FEWEST_CONCEPTS, "Where most are of no type, the types say nothing."),
        ("parse-failure", "share", None, 0.01, FEWEST, "The schema goes out with every request."),
        ("divergence", "bits", None, 0.2, FEWEST_CONCEPTS, "Half of all concepts would be of another type."),
        ("garbage", "share", None, 0.02, FEWEST, "Some long names are in any text; more are a habit."),
        ("duplicates", "share", None, 0.01, FEWEST, "Answers are merged by name before they are stored."),
    )
)


def measure(tx: "Connection", task: "ConceptsTask", extractor: str | None) -> Quality:
    """Return what the concepts of an extractor are like: label/model, a label with all its models, or None for all."""
    shape = task.shape
    by_version, proven = _tallied(tx, shape)
    mine = [one for one in sorted(by_version) if extractor in {None, one[0], "/".join(one)}]
    others = [one for one in sorted(by_version) if one not in mine]
    names = ListTally[_Answer](Choice(SAMPLES, seed=SEED + 1))
    long, repeated = Counter[str](), 0
    for answer in _answers(tx, shape, mine) if mine else ():
        names.add(answer.key, answer.names, answer)
        repeated += len(answer.names) - len({" ".join(name.casefold().split()) for name in answer.names})
        long.update(name for name in answer.names if len(name) > MAX_NAME)
    types, other_types = (sum((by_version[one] for one in some), Counter[str]()) for some in (mine, others))
    full = sum(times for length, times in names.lengths.items() if length >= MOST)
    evidence = share(sum(proven[one] for one in mine), types.total())
    replies = answers.count_replies(tx, table.TASK, extractor)
    told = sum(length * times for length, times in names.lengths.items())
    figures = [
        _coverage(tx, names.answers, extractor),
        Figure("evidence", evidence, "share", "concepts with a quotation found in the passage", names.answers),
        *count_figures("concepts", names.lengths, one="passage", many="passages"),
        Figure("full", share(full, names.answers), "share", FULL, names.answers),
        Figure("other", share(types["other"], types.total()), "share", "concepts of the type other", types.total()),
        Figure("parse-failure", share(replies.invalid, replies.total), "share", INVALID, replies.total),
        _divergence(types, other_types),
        Figure("garbage", share(long.total(), told), "share", LONG, names.answers),
        Figure("duplicates", share(repeated, told), "share", TWICE, names.answers),
        *usage_figures(replies, one="passage"),
        Figure("passages", names.answers, "count", "passages with concepts", names.answers),
        Figure("replies", replies.total, "count", "replies that came for passages", replies.total),
        Figure("invalid", replies.invalid, "count", "replies that are invalid", replies.total),
        Figure("refused", replies.refused, "count", "replies that are refused", replies.total),
    ]
    bars = histogram_bars("Concepts of a passage", "passages", names.lengths, most=LONGEST_BAR)
    return Quality(
        title="Quality of the concepts of passages",
        extractor=extractor or "all",
        items=names.answers,
        figures=figures,
        gates=BOUNDS,
        distributions=[*bars, *_type_bars(types, other_types)],
        tables=[Rows("Names that are too long, examples", ("name", "times"), long.most_common(EXAMPLES))],
        samples=list(_samples(tx, shape, names.shown)),
        notes=list(_notes(mine, other_types)),
    )


def _coverage(tx: "Connection", found: int, extractor: str | None) -> Figure:
    without = answers.count_unanswered(tx, table.TASK, extractor)
    without += max(0, answers.count_answered(tx, table.TASK, extractor) - found)
    asked = found + without
    return Figure(
        "coverage", share(found, asked), "share", "passages with a concept, of those a reply was charged to", asked
    )


def _divergence(types: Mapping[str, int], others: Mapping[str, int]) -> Figure:
    """Return how the types differ from those of all other versions together; measured on the smaller side's concepts.

    Types of another vocabulary than ours can be compared with nothing, and are left out.
    """
    ours, theirs = ({name: some[name] for name in CONCEPT_TYPES if some.get(name)} for some in (types, others))
    items = min(sum(ours.values()), sum(theirs.values()))
    told = "how otherwise types are spread than in other versions: 0 alike, 1 nothing alike (Jensen-Shannon)"
    return Figure("divergence", divergence(ours, theirs), "bits", told, items)


def _type_bars(types: Counter[str], others: Counter[str]) -> Iterator[Rows]:
    for title, some in (("Types of concepts", types), ("Types in other versions", others)):
        if some:
            yield Rows(title, ("", "concepts"), some.most_common(EXAMPLES))


def _notes(mine: Sequence[tuple[str, str]], others: Counter[str]) -> Iterator[str]:
    """Yield what a reader has to know of how it was measured; `others` are the types in other versions."""
    if len(mine) > 1:
        yield f"these are {len(mine)} versions together: a passage counts once for each"
    models = load_models()
    if any(model in models and models[model].local for _, model in mine):
        yield "the local engine cuts its quotations out of the passage: its evidence is true by construction"
    if not others:
        yield "no other version is here to compare the types with"
    if strange := sum(times for name, times in others.items() if name not in CONCEPT_TYPES):
        yield f"{strange:,} concepts of other versions have types of another vocabulary and are not compared"


def _samples(tx: "Connection", shape: PassagesShape, chosen: Choice[_Answer]) -> Iterator[Sample]:
    """Yield one concept of each chosen answer, drawn at random, with its quotation in the passage."""
    concepts = shape.concepts.c
    columns = (concepts.concept_name, concepts.concept_type, concepts.confidence, concepts.evidence)
    for answer in chosen:
        mine = (concepts.passage_id == answer.passage, table.of_extractors(shape, [answer.version]))
        rows, drawn = tx.execute(select(*columns).where(*mine)).all(), Choice[Any](1, seed=SEED)
        for number, row in enumerate(sorted(rows, key=lambda row: (cell_words(row[0]), cell_words(row[1])))):
            drawn.offer(f"{answer.key} {number}", row)
        key = cell_words(answer.passage)
        text = table.passage_texts(tx, shape, [key]).get(key)
        yield from (_sample(key, *row, text=text) for row in drawn)


def _sample(passage: str, name: Any, kind: Any, confidence: Any, evidence: Any, *, text: str | None) -> Sample:
    """Return a concept for a person to read: the part of the passage round its first quotation, all of them marked."""
    told, document = f"{cell_words(kind) or 'no type'}, {confidence}", loaded(evidence)
    spans = sorted(quotations_of(document))
    if text is None:
        return Sample(passage, cell_words(name), "", (), f"{told}; the passage is gone")
    if not spans or any(text[start:end] != quote for start, end, quote in spans):
        why = "ITS OFFSETS ARE WRONG" if spans else "without a quotation"
        return Sample(passage, cell_words(name), cut_part(text, 0, 2 * AROUND)[0], (), f"{told}; {why}")
    shown, marks = marked_part(text, (span[:2] for span in spans), around=AROUND)
    likeness = dict.fromkeys(likeness_told(one) for one in document["support"])
    return Sample(passage, cell_words(name), shown, marks, "".join((told, *likeness)))


# ---- check every row

BLOCK = 200  # passages whose texts and concepts are in memory at a time
NAMED = 3  # passages that a fault names
AGAIN = Hint("{} takes that version back, and asking again gives another", Step("rollback", extractor="…"))
FAULTS: Mapping[str, tuple[str, object]] = {  # what is wrong -> why it matters, and what mends it
    "quotations that are not what the text says at their place": ("what they prove cannot be checked", AGAIN),
    "concepts whose aliases or evidence are not as they were written": ("nothing that reads them can", AGAIN),
    "concepts that stand twice under one version": ("every count of them is too high", AGAIN),
    "concepts without an applied answer": ("where they came from, and what they cost, cannot be told", AGAIN),
    "applied answers without concepts": ("their passages count as answered, and nothing is there", AGAIN),
    "concepts of passages that are not there any more": (
        "another program deleted the passages, or changed their ids",
        "put the passages back, or take the version back",
    ),
}
MISQUOTED, MISSHAPEN, DOUBLED, NOT_ANSWERED, NOT_WRITTEN, GONE = FAULTS


class _Faults(Counter[str]):
    """How often each kind of fault was seen, and in which passages first."""

    def __init__(self) -> None:
        super().__init__()
        self.passages: dict[str, list[str]] = {kind: [] for kind in FAULTS}

    def add(self, kind: str, passage: str, *, count: int = 1) -> None:
        self[kind] += count
        known = self.passages[kind]
        if len(known) <= NAMED and passage not in known:
            known.append(passage)

    def told(self, kind: str) -> RowFault:
        named = ", ".join(self.passages[kind][:NAMED]) + (", …" if len(self.passages[kind]) > NAMED else "")
        return RowFault(f"{self[kind]:,} {kind}, of {named}", *FAULTS[kind], contradiction=kind != GONE)


def verify_quotes(tx: Connection, shape: PassagesShape) -> tuple[str, Mapping[str, int], Sequence[RowFault]]:
    """Hold every row of concepts against its passage and the answers; those of other programs are only counted.

    Versions that are being rolled back are left out.
    """
    ours, found, seen = answers.list_versions(tx, table.TASK), _Faults(), Counter[str]()
    ours.append(Version(table.TASK, answers.PERSON, "", datetime.now(UTC)))
    concepts, mine = shape.concepts.c, _of(shape, ours)
    columns = [concepts[name] for name in ("passage_id", "extractor_version", "concept_name", "aliases", "evidence")]
    labels = concepts.extractor_version.in_([one.label for one in ours])
    for ids in values_in_pages(tx, concepts.passage_id, labels, size=BLOCK):
        texts = table.passage_texts(tx, shape, [cell_words(one) for one in ids])
        rows = tx.execute(select(*columns).where(concepts.passage_id.in_(ids), mine)).all()
        seen += _judge([(cell_words(row[0]), *row[1:]) for row in rows], texts, found)
    if nowhere := _count(tx, mine, concepts.passage_id.is_(None)):
        found.add(GONE, "unknown passages", count=nowhere)
    others = _count(tx, ~mine)
    for one in ours:
        _compare(tx, shape, one, found)
    wrong = found.total() - found[GONE]
    figures = {"quotations": seen["quotations"], "concepts": seen["concepts"], "others": others, "faults": wrong}
    said = f"{seen['quotations']:,} quotations in {seen['concepts']:,} concepts, {wrong:,} faults"
    said += f"; {others:,} concepts of other programs are not judged" if others else ""
    return said, figures, [found.told(kind) for kind in FAULTS if found[kind]]


def _judge(rows: Sequence[tuple[Any, ...]], texts: Mapping[str, str], found: _Faults) -> Counter[str]:
    """Hold concepts against their texts; where one is gone, the shape alone is judged; return how many there are."""
    names, quotations = set[tuple[str, str, str]](), 0
    for passage, label, name, aliases, evidence in rows:
        supports, named = (
            _supports(loaded(aliases), evidence),
            (passage, cell_words(label), cell_words(name).casefold()),
        )
        if supports is None:
            found.add(MISSHAPEN, passage)
        if named in names:
            found.add(DOUBLED, passage)
        names.add(named)
        quotations += len(supports or ())
        text = texts.get(passage)
        if text is None:
            found.add(GONE, passage)
            continue
        there = (0 <= one.start < one.end and text[one.start : one.end] == one.quote for one in supports or ())
        if wrong := sum(not is_true for is_true in there):
            found.add(MISQUOTED, passage, count=wrong)
    return Counter(concepts=len(rows), quotations=quotations)


def _supports(aliases: Any, evidence: Any) -> Sequence[Support] | None:
    """Return the quotations of a concept, none where it rightly has none; None where it is not as it was written."""
    if not isinstance(aliases, list) or not all(isinstance(one, str) for one in aliases):
        return None
    try:
        return () if evidence is None else Evidence.model_validate(loaded(evidence)).support or None
    except ValidationError:
        return None


def _compare(tx: Connection, shape: PassagesShape, version: Version, found: _Faults) -> None:
    """Hold the concepts of one version against the answers that were applied, both by passage, in the database."""
    stored = select(cast(shape.concepts.c.passage_id, Text).label("item_id")).where(_of(shape, [version]))
    mine = (given.c.task == version.task) & (given.c.extractor == version.extractor) & given.c.applied
    applied = select(given.c.item_id).where(mine)
    for kind, some, others in ((NOT_ANSWERED, stored, applied), (NOT_WRITTEN, applied, stored)):
        lacking = some.except_(others).subquery()
        if count := tx.execute(select(func.count()).select_from(lacking)).scalar_one():
            query = select(lacking.c.item_id).order_by(lacking.c.item_id).limit(NAMED + 1)
            first, *more = map(cell_words, tx.execute(query).scalars())
            found.add(kind, first, count=count - len(more))
            for one in more:
                found.add(kind, one)


def _of(shape: PassagesShape, some: Sequence[Version]) -> ColumnElement[bool]:  # true or false, never unknown
    return func.coalesce(table.of_extractors(shape, [(one.label, one.model) for one in some]), false())


def _count(tx: Connection, *conditions: ColumnElement[bool]) -> int:
    return tx.execute(select(func.count()).where(*conditions)).scalar_one()
