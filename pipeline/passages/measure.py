"""What the quality report reads of the concepts: added up by the database, or as they come, at flat memory."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select

from pipeline.passages import table
from pipeline.passages.schema import PassagesShape
from pipeline.store.database import streamed
from pipeline.tables.cells import cell_words, loaded

PAGE = 2000  # rows in one fetch


class MeasuredVersion(NamedTuple):
    """Whose concepts some are: the label and the model of an extractor."""

    label: str
    model: str

    @property
    def extractor(self) -> str:
        """Return both as one name."""
        return f"{self.label}/{self.model}"


class Tally(NamedTuple):
    """How many concepts of one type a version has, and how many of those have evidence."""

    version: MeasuredVersion
    type: str
    concepts: int
    with_evidence: int


class MeasuredAnswer(NamedTuple):
    """The names of all concepts that one version has of one passage; `passage` as the table has it."""

    passage: Any
    version: MeasuredVersion
    names: Sequence[str]

    @property
    def key(self) -> str:
        """Return what no other answer has, as text."""
        return json.dumps([cell_words(self.passage), *self.version])


class MeasuredConcept(NamedTuple):
    """One stored concept: `evidence` as the document it is, None where there is none."""

    name: str
    type: str
    confidence: Any
    evidence: Mapping[str, Any] | None


def tallies(tx: Connection, shape: PassagesShape) -> list[Tally]:
    """Return how many concepts there are of each type of each version in sight."""
    concepts = shape.concepts.c
    by = (concepts.extractor_version, concepts.extractor_model, concepts.concept_type)
    query = select(*by, func.count(), func.count(concepts.evidence)).where(table.in_sight(shape)).group_by(*by)
    return [
        Tally(MeasuredVersion(cell_words(label), cell_words(model)), cell_words(kind), count, proven)
        for label, model, kind, count, proven in tx.execute(query)
    ]


def measured_answers(
    tx: Connection, shape: PassagesShape, versions: Collection[MeasuredVersion]
) -> Iterator[MeasuredAnswer]:
    """Yield the answers of some versions, those to one passage one after the other."""
    concepts = shape.concepts.c
    columns = (concepts.passage_id, concepts.extractor_version, concepts.extractor_model)
    mine = table.of_extractors(shape, versions)
    query = select(*columns, concepts.concept_name).where(mine).order_by(*columns)
    rows: Iterator[Any] = (row for page in streamed(tx, query, page=PAGE).partitions() for row in page)
    for (passage, label, model), some in groupby(rows, key=itemgetter(0, 1, 2)):
        version = MeasuredVersion(cell_words(label), cell_words(model))
        yield MeasuredAnswer(passage, version, [cell_words(row[3]) for row in some])


def measured_rows(tx: Connection, shape: PassagesShape, answer: MeasuredAnswer) -> list[MeasuredConcept]:
    """Return the concepts of one answer, in the order of their names."""
    concepts = shape.concepts.c
    columns = (concepts.concept_name, concepts.concept_type, concepts.confidence, concepts.evidence)
    mine = table.of_extractors(shape, [answer.version])
    found = []
    for name, kind, confidence, cell in tx.execute(select(*columns).where(concepts.passage_id == answer.passage, mine)):
        evidence = loaded(cell)
        evidence = evidence if isinstance(evidence, dict) else None
        found.append(MeasuredConcept(cell_words(name), cell_words(kind), confidence, evidence))
    return sorted(found, key=lambda row: (row.name, row.type))


def quotations_of(evidence: Any) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, quotation) of each support of a document, of which another program may have written it."""
    support = evidence.get("support") if isinstance(evidence, dict) else None
    for one in support if isinstance(support, list) else ():
        if isinstance(one, dict):
            start, end, quote = one.get("start"), one.get("end"), one.get("quote")
            if type(start) is int and type(end) is int and isinstance(quote, str) and 0 <= start <= end:
                yield start, end, quote
