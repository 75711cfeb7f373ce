"""Check every row of concepts against its passage and against the answers, at flat memory.

Rows of other programs' versions have shapes of their own and are only counted. Versions that are being rolled back are
left out.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Connection, Select, Text, cast, false, func, literal, select

from pipeline.engine.task import RowFault
from pipeline.passages import table
from pipeline.passages.evidence import Evidence, Support
from pipeline.passages.schema import PassagesShape
from pipeline.store import answers as versions
from pipeline.store.answers import Version
from pipeline.store.schema import answers
from pipeline.tables.cells import cell_words, loaded
from pipeline.tables.rows import values_in_pages

BLOCK = 200  # passages whose texts and concepts are in memory at a time
EXAMPLES = 3

AGAIN = "make rollback EXTRACTOR=… takes that version back, and asking again gives another"
FAULTS: Mapping[str, tuple[str, str]] = {  # what is wrong -> why it matters, and what mends it
    "quotations that are not what the text says at their place": ("what they prove cannot be checked", AGAIN),
    "concepts whose aliases or evidence are not as they were written": ("nothing that reads them can", AGAIN),
    "concepts that stand twice under one version": ("every count of them is too high", AGAIN),
    "concepts without an applied answer": ("where they came from, and what they cost, cannot be told", AGAIN),
    "applied answers without concepts": ("their passages count as answered, and nothing is there", AGAIN),
}
MISQUOTED, MISSHAPEN, TWICE, NOT_ANSWERED, NOT_WRITTEN = FAULTS
GONE = "concepts of passages that are not there any more"


class _Faults:
    """What is wrong with rows, by kind: how often, and in which passages it was seen first."""

    def __init__(self) -> None:
        self.counts = Counter[str]()
        self.passages: dict[str, dict[str, None]] = {}

    def add(self, kind: str, passage: str, *, count: int = 1) -> None:
        self.counts[kind] += count
        known = self.passages.setdefault(kind, {})
        if len(known) <= EXAMPLES:
            known[passage] = None

    def told(self, kind: str) -> RowFault:
        some = list(self.passages[kind])
        named = ", ".join(some[:EXAMPLES]) + (", …" if len(some) > EXAMPLES else "")
        said = f"{self.counts[kind]:,} {kind}, of {named}"
        if kind == GONE:
            why = "another program deleted the passages, or changed their ids"
            return RowFault(said, why, "put the passages back, or take the version back", contradiction=False)
        return RowFault(said, *FAULTS[kind])


def verify_quotes(tx: Connection, shape: PassagesShape) -> tuple[str, Mapping[str, int], Sequence[RowFault]]:
    """Look at all rows of concepts once; see the module."""
    ours, found, sums = versions.list_versions(tx, table.TASK), _Faults(), Counter[str]()
    concepts = shape.concepts.c
    columns = [concepts[name] for name in ("passage_id", "extractor_version", "concept_name", "aliases", "evidence")]
    labels = concepts.extractor_version.in_([one.label for one in ours])
    for ids in values_in_pages(tx, concepts.passage_id, labels, size=BLOCK):
        texts = table.passage_texts(tx, shape, [cell_words(one) for one in ids])
        rows = tx.execute(select(*columns).where(concepts.passage_id.in_(ids), _of(shape, ours))).all()
        sums += _judge([(cell_words(row[0]), *row[1:]) for row in rows], texts, found)
    if nowhere := _count(tx, select(literal(1)).where(_of(shape, ours), concepts.passage_id.is_(None))):
        found.add(GONE, "unknown passages", count=nowhere)
    others = _count(tx, select(literal(1)).select_from(shape.concepts).where(~_of(shape, ours)))
    for one in ours:
        _compare(tx, shape, one, found)
    wrong = sum(count for kind, count in found.counts.items() if kind != GONE)
    figures = {"quotations": sums["quotations"], "concepts": sums["concepts"], "others": others, "faults": wrong}
    said = f"{sums['quotations']:,} quotations in {sums['concepts']:,} concepts, {wrong:,} faults"
    said += f"; {others:,} concepts of other programs are not judged" if others else ""
    return said, figures, [found.told(kind) for kind in (*FAULTS, GONE) if found.counts[kind]]


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
            found.add(TWICE, passage)
        names.add(named)
        quotations += len(supports or ())
        if (text := texts.get(passage)) is None:
            found.add(GONE, passage)
        elif wrong := sum(
            not (0 <= one.start < one.end and text[one.start : one.end] == one.quote) for one in supports or ()
        ):
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
    mine = (answers.c.task == version.task) & (answers.c.extractor == version.extractor) & answers.c.applied
    applied = select(answers.c.item_id).where(mine)
    for kind, some, others in ((NOT_ANSWERED, stored, applied), (NOT_WRITTEN, applied, stored)):
        lacking = some.except_(others).subquery()
        if count := tx.execute(select(func.count()).select_from(lacking)).scalar_one():
            query = select(lacking.c.item_id).order_by(lacking.c.item_id).limit(EXAMPLES + 1)
            first, *more = map(cell_words, tx.execute(query).scalars())
            found.add(kind, first, count=count - len(more))
            for one in more:
                found.add(kind, one)


def _of(shape: PassagesShape, some: Sequence[Version]) -> ColumnElement[bool]:
    """Return the condition that a concept is of one of some versions; true or false, never unknown."""
    return func.coalesce(table.of_extractors(shape, [(one.label, one.model) for one in some]), false())


def _count(tx: Connection, query: Select[Any]) -> int:
    return tx.execute(query.with_only_columns(func.count())).scalar_one()
