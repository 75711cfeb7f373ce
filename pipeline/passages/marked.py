"""Cut passages into the parts that are quoted and those that are not, each with the concepts that quote it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby, islice, pairwise
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection

from pipeline.core.answer_paths import LIKENESS
from pipeline.passages import table
from pipeline.passages.schema import PassagesShape
from pipeline.passages.table import ConceptRow
from pipeline.tables.cells import cell_words

PAGE = 200  # passages whose texts are read at once
VERSIONS = 2  # that stand side by side: those that wrote last


class Quotation(NamedTuple):
    """A slice text[start:end] of a passage, in code points, with the concept that it proves and its type.

    `likeness` where it was found by likeness alone.
    """

    concept: str
    type: str
    start: int
    end: int
    likeness: float | None = None


class Segment(NamedTuple):
    """A part of a text, with all quotations in which it stands, the shortest first."""

    text: str
    quotations: tuple[Quotation, ...]


class MarkedVersion(NamedTuple):
    """A passage as one version quotes it; `others` are concepts, by name and type, that prove nothing in the text."""

    extractor: str
    segments: Sequence[Segment]
    others: Sequence[tuple[str, str]]


class MarkedPassage(NamedTuple):
    """A passage with what its versions quote, those that wrote last at the end; `left_out` are extractors before."""

    id: str
    source: str
    text: str
    versions: Sequence[MarkedVersion]
    left_out: Sequence[str] = ()


def segments(text: str, quotations: Iterable[Quotation]) -> list[Segment]:
    """Return a text in parts that make it up, cut wherever a quotation begins or ends; each is a slice of the text."""
    spans = sorted(set(quotations), key=lambda one: (one.start, one.end))
    cuts = sorted({0, len(text), *(place for one in spans for place in (one.start, one.end))})
    found, open_, waiting = list[Segment](), list[Quotation](), iter([*spans, None])
    following = next(waiting)
    for start, end in pairwise(cuts):
        open_ = [one for one in open_ if one.end > start]
        while following is not None and following.start <= start:
            open_.append(following)
            following = next(waiting)
        inner = sorted(open_, key=lambda one: (one.end - one.start, one.concept))
        found.append(Segment(text[start:end], tuple(inner)))
    return found


def marked_passages(tx: Connection, shape: PassagesShape, concepts: Iterable[ConceptRow]) -> Iterator[MarkedPassage]:
    """Yield each passage of some concepts, which come passage by passage, at flat memory."""
    groups = ((key, list(some)) for key, some in groupby(concepts, key=attrgetter("passage_id")))
    while page := list(islice(groups, PAGE)):
        rows = table.passage_rows(tx, shape, [key for key, _ in page])
        for key, some in page:
            row = rows.get(key, {})
            text, source = cell_words(row.get("text")), cell_words(row.get("source"))
            yield _marked(key, source, text, some)


def _marked(key: str, source: str, text: str, concepts: Sequence[ConceptRow]) -> MarkedPassage:
    by_version: dict[str, list[ConceptRow]] = {}
    for one in sorted(concepts, key=lambda one: str(one.created_at or "")):
        name = "/".join(filter(None, (cell_words(one.extractor_version), cell_words(one.extractor_model))))
        by_version.setdefault(name, []).append(one)
    names = list(by_version)
    shown = [_version(name, text, by_version[name]) for name in names[-VERSIONS:]]
    return MarkedPassage(key, source, text, shown, names[:-VERSIONS])


def _version(extractor: str, text: str, concepts: Sequence[ConceptRow]) -> MarkedVersion:
    quoted = [(one, list(_quotations(one, text))) for one in concepts]
    others = [(cell_words(one.concept_name), cell_words(one.concept_type)) for one, found in quoted if not found]
    found = chain.from_iterable(found for _, found in quoted)
    return MarkedVersion(extractor, segments(text, found), list(dict.fromkeys(others)))


def _quotations(concept: ConceptRow, text: str) -> Iterator[Quotation]:
    """Yield the quotations of a concept that are the slices of the text that they say, whichever program wrote them."""
    support = concept.evidence.get("support") if isinstance(concept.evidence, Mapping) else None
    for one in support if isinstance(support, list) else ():
        start, end = _place(one)
        if 0 <= start < end <= len(text) and text[start:end] == one.get("quote"):
            name, kind, likeness = cell_words(concept.concept_name), cell_words(concept.concept_type), one.get(LIKENESS)
            yield Quotation(name, kind, start, end, likeness if isinstance(likeness, float) else None)


def _place(quotation: Any) -> tuple[int, int]:
    """Return where a quotation says that it stands; nowhere where it says nothing."""
    told = quotation if isinstance(quotation, Mapping) else {}
    start, end = told.get("start"), told.get("end")
    return (start, end) if type(start) is int and type(end) is int else (0, 0)
