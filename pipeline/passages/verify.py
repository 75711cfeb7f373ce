"""Check every row of concepts against its passage and against the answers, at flat memory.

Rows of other programs' versions have shapes of their own and are only counted. Versions that are being rolled back are
left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Connection, Select, Subquery, Text, cast, false, func, literal, select

from pipeline.core.hooks import CheckResult, RowFault
from pipeline.passages import table
from pipeline.passages.evidence import Evidence
from pipeline.passages.schema import PassagesShape
from pipeline.store import versions
from pipeline.store.tables import answers
from pipeline.store.versions import Version
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


@dataclass
class _Seen:
    """What one pass over the concepts came to; `faults` has of each kind how many, and the first passages."""

    concepts: int = 0
    quotations: int = 0
    others: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    passages: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, passages: Sequence[str], *, count: int = 1) -> None:
        """Count something that is wrong, with the passages that it concerns."""
        self.counts[kind] = self.counts.get(kind, 0) + count
        known = self.passages.setdefault(kind, [])
        known += [one for one in passages if one not in known][: EXAMPLES + 1 - len(known)]


class _Row(NamedTuple):
    passage: Any
    label: str
    name: str
    aliases: Any
    evidence: Any


def verify_quotes(tx: Connection, shape: PassagesShape) -> CheckResult:
    """Look at all rows of concepts once; see the module."""
    known = versions.list_versions(tx, table.TASK)
    ours = [one for one in known if one.withdrawn_at is None]
    seen = _Seen()
    for block in _blocks(tx, shape, ours):
        _judge(tx, shape, block, seen)
    nowhere = _count(tx, select(literal(1)).where(_of(shape, ours), shape.concepts.c.passage_id.is_(None)))
    if nowhere:
        seen.add(GONE, ["unknown passages"], count=nowhere)
    seen.others = _count(tx, select(literal(1)).select_from(shape.concepts).where(~_of(shape, known)))
    for one in ours:
        _compare(tx, shape, one, seen)
    faults = [_fault(kind, seen) for kind in (*FAULTS, GONE) if seen.counts.get(kind)]
    wrong = sum(count for kind, count in seen.counts.items() if kind != GONE)
    figures = {"quotations": seen.quotations, "concepts": seen.concepts, "others": seen.others, "faults": wrong}
    said = f"{seen.quotations:,} quotations in {seen.concepts:,} concepts, {wrong:,} faults"
    said += f"; {seen.others:,} concepts of other programs are not judged" if seen.others else ""
    return CheckResult(said, figures, faults)


def _fault(kind: str, seen: _Seen) -> RowFault:
    some = seen.passages[kind]
    more = ", …" if len(some) > EXAMPLES else ""
    said = f"{seen.counts[kind]:,} {kind}, of {', '.join(some[:EXAMPLES])}{more}"
    if kind == GONE:
        why = "another program deleted the passages, or changed their ids"
        return RowFault(said, why, "put the passages back, or take the version back", contradiction=False)
    why, mends = FAULTS[kind]
    return RowFault(said, why, mends)


def _blocks(tx: Connection, shape: PassagesShape, ours: Sequence[Version]) -> Iterator[list[_Row]]:
    concepts = shape.concepts.c
    columns = [concepts[name] for name in ("passage_id", "extractor_version", "concept_name", "aliases", "evidence")]
    labels = concepts.extractor_version.in_([one.label for one in ours])
    for ids in values_in_pages(tx, concepts.passage_id, labels, size=BLOCK) if ours else ():
        query = select(*columns).where(concepts.passage_id.in_(ids), _of(shape, ours))
        yield [_Row(row[0], cell_words(row[1]), cell_words(row[2]), *row[3:]) for row in tx.execute(query)]


def _judge(tx: Connection, shape: PassagesShape, block: list[_Row], seen: _Seen) -> None:
    key = {row.passage: cell_words(row.passage) for row in block}
    texts = table.passage_texts(tx, shape, list(key.values()))
    seen.concepts += len(block)
    block.sort(key=lambda row: (key[row.passage], row.label))
    for (passage, _), rows in groupby(block, key=lambda row: (key[row.passage], row.label)):
        here = list(rows)
        text = texts.get(passage)
        if text is None:
            seen.add(GONE, [passage], count=len(here))
        for row in here:
            _judge_row(row, passage, text, seen)
        again = len(here) - len({row.name.casefold() for row in here})
        if again:
            seen.add(TWICE, [passage], count=again)


def _judge_row(row: _Row, passage: str, text: str | None, seen: _Seen) -> None:
    """Hold one concept against its text; where that is gone, only its shape is judged."""
    aliases, evidence = loaded(row.aliases), _evidence(row.evidence)
    if evidence is None or not isinstance(aliases, list) or not all(isinstance(one, str) for one in aliases):
        seen.add(MISSHAPEN, [passage])
    supports = evidence.support if isinstance(evidence, Evidence) else []
    seen.quotations += len(supports)
    if text is None:
        return
    wrong = sum(not (0 <= one.start < one.end and text[one.start : one.end] == one.quote) for one in supports)
    if wrong:
        seen.add(MISQUOTED, [passage], count=wrong)


def _evidence(cell: Any) -> Evidence | bool | None:
    """Return the evidence of a cell, True where it rightly has none, and None where it is not as it was written."""
    if cell is None:
        return True
    try:
        found = Evidence.model_validate(loaded(cell))
    except ValidationError:
        return None
    return found if found.support else None


def _compare(tx: Connection, shape: PassagesShape, version: Version, seen: _Seen) -> None:
    """Hold the concepts of one version against the answers that were applied, both by passage, in the database."""
    concepts = shape.concepts.c
    stored = select(cast(concepts.passage_id, Text).label("item_id")).where(_of(shape, [version]))
    mine = (answers.c.task == version.task) & (answers.c.extractor == version.extractor) & answers.c.applied
    applied = select(answers.c.item_id).where(mine)
    for kind, some, others in ((NOT_ANSWERED, stored, applied), (NOT_WRITTEN, applied, stored)):
        lacking = some.except_(others).subquery()
        count = tx.execute(select(func.count()).select_from(lacking)).scalar_one()
        if count:
            seen.add(kind, _first(tx, lacking), count=count)


def _first(tx: Connection, lacking: Subquery) -> list[str]:
    query = select(lacking.c.item_id).order_by(lacking.c.item_id).limit(EXAMPLES + 1)
    return [cell_words(one) for one in tx.execute(query).scalars()]


def _of(shape: PassagesShape, some: Sequence[Version]) -> ColumnElement[bool]:
    """Return the condition that a concept is of one of some versions; true or false, never unknown."""
    return func.coalesce(table.of_extractors(shape, [(one.label, one.model) for one in some]), false())


def _count(tx: Connection, query: Select[Any]) -> int:
    return tx.execute(query.with_only_columns(func.count())).scalar_one()
