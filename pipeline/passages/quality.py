"""Measure what the concepts of an extractor are like: the figures, their gates, and samples for a person to read.

And check every row of concepts against its passage and against the answers. All at flat memory: what is measured is
added up by the database, or read as it comes.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Text, and_, case, cast, false, func, select

from pipeline.core.command_hint import CommandHint, HintTemplate
from pipeline.core.locate import cut_part
from pipeline.core.quotes import LIKENESS, likeness_told
from pipeline.engine.task import NAMED, RowFault, RowFaults
from pipeline.passages import table
from pipeline.passages.declaration import CONCEPT_TYPES
from pipeline.passages.table import ConceptRow, PassagesShape
from pipeline.passages.task import ConceptsTask
from pipeline.quality.figures import (
    QualityFigures,
    ReportTable,
    ReservoirSample,
    Sample,
    Value,
    divergence,
    histogram_bars,
    list_values,
    listed,
    reply_values,
    share,
)
from pipeline.store import answers
from pipeline.store.answers import VersionCounts
from pipeline.store.database import streamed
from pipeline.store.schema import answers as given
from pipeline.tables.cells import cell_words, loaded
from pipeline.tables.lists import values_in_pages

PAGE = 2000  # rows in one fetch
BETWEEN = "\x1f"  # names; Unicode's unit separator, which no name has


_Answer = tuple[
    str, tuple[str, str]
]  # the id of a passage, and whose concepts of it: label and model
Types = dict[tuple[str, str], Counter[str]]  # how many concepts of each type each version has


def _tallied(tx: Connection, shape: PassagesShape) -> tuple[Types, Counter[tuple[str, str]]]:
    concepts = shape.concepts.c
    by = (concepts.extractor_version, concepts.extractor_model, concepts.concept_type)
    query = select(*by, func.count(), func.count(concepts.evidence)).group_by(*by)
    types = Types()
    proven = Counter[tuple[str, str]]()
    for label, model, kind, count, with_evidence in tx.execute(query):
        version = cell_words(label), cell_words(model)
        types.setdefault(version, Counter())[" ".join(cell_words(kind).casefold().split())] += count
        proven[version] += with_evidence
    return types, proven


def _answers(
    tx: Connection, shape: PassagesShape, mine: Collection[tuple[str, str]]
) -> Iterator[Any]:
    """Yield of each answer the passage, label and model, how many concepts, their names, and if one is by likeness."""
    concepts = shape.concepts.c
    by = (concepts.passage_id, concepts.extractor_version, concepts.extractor_model)
    is_like = case((cast(concepts.evidence, Text).contains(f'"{LIKENESS}":'), 1), else_=0)
    names = func.aggregate_strings(cast(concepts.concept_name, Text), BETWEEN)
    query = select(*by, func.count(), names, func.max(is_like)).group_by(*by).order_by(*by)
    for page in streamed(tx, query.where(table.of_extractors(shape, mine)), page=PAGE).partitions():
        yield from page


def quotations_of(evidence: Any) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, quotation) of each support of a document, of which another program may have written it."""
    support = evidence.get("support") if isinstance(evidence, dict) else None
    for one in support if isinstance(support, list) else ():
        if isinstance(one, dict):
            start = one.get("start")
            end = one.get("end")
            quote = one.get("quote")
            if (
                type(start) is int
                and type(end) is int
                and isinstance(quote, str)
                and 0 <= start <= end
            ):
                yield start, end, quote


SEED = 7
SAMPLES = 30  # for a person to read
READ = 500  # answers whose quotations are looked for in their passages
EXAMPLES = 20  # rows of a table
MAX_NAME = 60  # characters
LONGEST_BAR = 20  # concepts of a passage that have a bar of their own
AROUND = 140  # characters of a passage shown before and after a quotation
MOST = 14  # concepts of a passage that the question asks for at most
FIGURES = listed(Path(__file__).with_name("figures.tsv"))


def measure(tx: Connection, task: ConceptsTask, extractor: str | None) -> QualityFigures:
    """Return what the concepts of an extractor are like: label/model, a label with all its models, or None for all."""
    shape = task.shape
    by_version, proven = _tallied(tx, shape)
    mine = [one for one in sorted(by_version) if extractor in {None, one[0], "/".join(one)}]
    others = [one for one in sorted(by_version) if one not in mine]
    lengths = Counter[int]()
    chosen = ReservoirSample[_Answer](READ, seed=SEED + 1)
    repeated = 0
    name = shape.concepts.c.concept_name
    for passage, label, model, size, names, is_like in _answers(tx, shape, mine):
        lengths[size] += 1
        repeated += size - len({" ".join(one.casefold().split()) for one in names.split(BETWEEN)})
        one = cell_words(passage), (cell_words(label), cell_words(model))
        chosen.offer(json.dumps(one), one, first=bool(is_like))
    is_long = table.of_extractors(shape, mine) & (func.length(cast(name, Text)) > MAX_NAME)
    long = Counter(
        dict(map(tuple, tx.execute(select(name, func.count()).where(is_long).group_by(name))))
    )
    types, other_types = (
        sum((by_version[one] for one in some), Counter[str]()) for some in (mine, others)
    )
    read = _read(tx, shape, list(chosen))
    are_there = [is_there for one in read for is_there in one.quotations()]
    count = lengths.total()
    told = sum(length * times for length, times in lengths.items())
    full = sum(times for length, times in lengths.items() if length >= MOST)
    replies = answers.count_replies(tx, table.TASK, extractor)
    without = answers.count_unanswered(tx, table.TASK, extractor)
    without += max(0, answers.count_answered(tx, table.TASK, extractor) - count)
    ours, theirs = (
        {name: some[name] for name in CONCEPT_TYPES if some[name]} for some in (types, other_types)
    )
    values: dict[str, Value] = {
        "coverage": (share(count, count + without), count + without),
        "evidence": (share(sum(proven[one] for one in mine), types.total()), count),
        **list_values("concepts", lengths),
        "full": (share(full, count), count),
        "other": (share(types["other"], types.total()), types.total()),
        "parse-failure": (share(replies.invalid, replies.total), replies.total),
        # types of another vocabulary can be compared with nothing
        "divergence": (divergence(ours, theirs), min(sum(ours.values()), sum(theirs.values()))),
        "garbage": (share(long.total(), told), count),
        "duplicates": (share(repeated, told), count),
        "unlike-text": (share(are_there.count(False), len(are_there)), len(are_there)),
        **reply_values(replies),
        "passages": (count, count),
    }
    by_title = {"Types of concepts": types, "Types in other versions": other_types}
    return QualityFigures(
        title="Quality of the concepts of passages",
        extractor=extractor or "all",
        items=count,
        figures=FIGURES,
        values=values,
        distributions=[
            *histogram_bars("Concepts of a passage", "passages", lengths, most=LONGEST_BAR),
            *(
                ReportTable(title, ("", "concepts"), some.most_common(EXAMPLES))
                for title, some in by_title.items()
                if some
            ),
        ],
        tables=[
            ReportTable(
                "Names that are too long, examples", ("name", "times"), long.most_common(EXAMPLES)
            )
        ],
        samples=[one.sample() for one in read[:SAMPLES]],
        notes=list(_notes(mine, other_types)),
    )


def _notes(mine: Sequence[tuple[str, str]], others: Counter[str]) -> Iterator[str]:
    """Yield what a reader has to know of how it was measured; `others` are the types in other versions."""
    if len(mine) > 1:
        yield f"these are {len(mine)} versions together: a passage counts once for each"
    if not others:
        yield "no other version is here to compare the types with"
    if strange := sum(times for name, times in others.items() if name not in CONCEPT_TYPES):
        yield f"{strange:,} concepts of other versions have types of another vocabulary and are not compared"


class _Read(NamedTuple):
    """An answer that is read whole: the passage's id, its concepts, and the passage's text where it is there."""

    key: str
    concepts: Sequence[ConceptRow]
    text: str | None

    def quotations(self) -> list[bool]:
        """Return of each quotation whether it is what the text says at its place; none where the passage is gone."""
        quoted = (one for concept in self.concepts for one in quotations_of(concept.evidence))
        return (
            []
            if self.text is None
            else [self.text[start:end] == quote for start, end, quote in quoted]
        )

    def sample(self) -> Sample:
        """Return one concept: the part of the passage round its first quotation, which is marked.

        It is drawn at random, of those with a quotation that was found by likeness where there are.
        """
        drawn = ReservoirSample[ConceptRow](1, seed=SEED)
        for number, concept in enumerate(self.concepts):
            is_like = f'"{LIKENESS}":' in json.dumps(concept.evidence)
            drawn.offer(f"{self.key} {number}", concept, first=is_like)
        (one,), text = drawn, self.text
        told = f"{one.concept_type or 'no type'}, {one.confidence}"
        spans = sorted(quotations_of(one.evidence))
        if text is None:
            return Sample(self.key, one.concept_name, "", (), f"{told}; the passage is gone")
        if not spans or any(text[start:end] != quote for start, end, quote in spans):
            why = "ITS OFFSETS ARE WRONG" if spans else "without a quotation"
            return Sample(
                self.key, one.concept_name, cut_part(text, 0, 2 * AROUND)[0], (), f"{told}; {why}"
            )
        start, end, _ = spans[0]
        shown, moved = cut_part(text, start - AROUND, end + AROUND)
        likeness = dict.fromkeys(map(likeness_told, one.evidence["support"]))
        return Sample(
            self.key,
            one.concept_name,
            shown,
            [(start + moved, end + moved)],
            "".join((told, *likeness)),
        )


def _read(tx: Connection, shape: PassagesShape, chosen: Sequence[_Answer]) -> list[_Read]:
    texts = table.passage_texts(tx, shape, [key for key, _ in chosen])
    return [
        _Read(key, list(table.all_concepts(tx, shape, of=version, passage=key)), texts.get(key))
        for key, version in chosen
    ]


# ---- check every row

BLOCK = 200  # passages whose texts and concepts are in memory at a time
AGAIN = HintTemplate(
    "{} takes that version back, and asking again gives another",
    CommandHint("rollback", extractor="…"),
)
FAULTS: Mapping[str, tuple[str, object, bool]] = {
    "quotations that are not what the text says at their place": (
        "what they prove cannot be checked",
        AGAIN,
        True,
    ),
    "concepts without an applied answer": (
        "where they came from, and what they cost, cannot be told",
        AGAIN,
        True,
    ),
    "applied answers without concepts": (
        "their passages count as answered, and nothing is there",
        AGAIN,
        True,
    ),
    "concepts of passages that are not there any more": (
        "another program deleted the passages, or changed their ids",
        "put the passages back, or take the version back",
        False,
    ),
}
MISQUOTED, NOT_ANSWERED, NOT_WRITTEN, GONE = FAULTS


def verify_quotes(
    tx: Connection, shape: PassagesShape
) -> tuple[str, Mapping[str, int], Sequence[RowFault]]:
    """Hold every row of concepts against its passage and the answers; those of other programs are only counted.

    Versions that are being rolled back are left out.
    """
    ours = answers.list_versions(tx, table.TASK)
    found = RowFaults(FAULTS)
    concepts = 0
    quotations = 0
    ours.append(VersionCounts(answers.PERSON))
    passage_id = shape.concepts.c.passage_id
    mine = _of(shape, ours)
    labels = shape.concepts.c.extractor_version.in_([one.label for one in ours])
    for ids in values_in_pages(tx, passage_id, labels, size=BLOCK):
        texts = table.passage_texts(tx, shape, [cell_words(one) for one in ids])
        for row in tx.execute(
            select(passage_id, shape.concepts.c.evidence).where(passage_id.in_(ids), mine)
        ):
            key = cell_words(row[0])
            quoted = list(quotations_of(loaded(row[1])))
            concepts = concepts + 1
            quotations = quotations + len(quoted)
            text = texts.get(key)
            wrong = sum(
                start >= end or (text or "")[start:end] != quote for start, end, quote in quoted
            )
            wrong += row[1] is not None and not quoted
            found.add(GONE if text is None else MISQUOTED, [key], 1 if text is None else wrong)
    counted = (
        select(func.count()).where(which) for which in (and_(mine, passage_id.is_(None)), ~mine)
    )
    nowhere, others = (tx.execute(query).scalar_one() for query in counted)
    found.add(GONE, ["unknown passages"], nowhere)
    for one in ours:
        _compare(tx, shape, one, found)
    wrong = found.total() - found[GONE]
    said = f"{quotations:,} quotations in {concepts:,} concepts, {wrong:,} faults"
    said += f"; {others:,} concepts of other programs are not judged" if others else ""
    figures = {"quotations": quotations, "concepts": concepts, "others": others, "faults": wrong}
    return said, figures, found.found()


def _compare(
    tx: Connection, shape: PassagesShape, version: VersionCounts, found: RowFaults
) -> None:
    """Hold the concepts of one version against the answers that were applied, both by passage, in the database."""
    stored = select(cast(shape.concepts.c.passage_id, Text).label("item_id")).where(
        _of(shape, [version])
    )
    mine = (given.c.task == table.TASK) & (given.c.extractor == version.extractor) & given.c.applied
    applied = select(given.c.item_id).where(mine)
    for kind, some, others in ((NOT_ANSWERED, stored, applied), (NOT_WRITTEN, applied, stored)):
        lacking = some.except_(others).subquery()
        first = tx.execute(
            select(lacking.c.item_id).order_by(lacking.c.item_id).limit(NAMED + 1)
        ).scalars()
        count = tx.execute(select(func.count()).select_from(lacking)).scalar_one()
        found.add(kind, list(map(cell_words, first)), count)


def _of(
    shape: PassagesShape, some: Sequence[VersionCounts]
) -> ColumnElement[bool]:  # true or false, never unknown
    return func.coalesce(
        table.of_extractors(shape, [(one.label, one.model) for one in some]), false()
    )
