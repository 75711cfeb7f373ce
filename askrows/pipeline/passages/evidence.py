"""Find the quotations of an answer in its passage, and build the evidence that is stored.

`text[start:end] == quote` is true for every stored quotation. Offsets count code points of the
stored text. A quotation that is not in the passage is not stored; a note mentions it. A quotation
that was found only by likeness is stored with its likeness.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from pydantic import BaseModel, ConfigDict

from askrows.pipeline.core.locate import Location, SearchableText, cut_context_at_words
from askrows.pipeline.core.quotes import NO_QUOTE_REASON, Quote
from askrows.pipeline.core.text import replace_invisible_characters
from askrows.pipeline.passages.declaration import CONCEPT_TYPES, NamedConcept, PassageConcepts

MAX_CONTEXT = 300  # characters
# Characters of an unknown type in a note.
MAX_TYPE_CHARS = 40
MISSING_QUOTE_NOTE = "quote not in the passage"


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _QuoteQuality(_Stored):
    """Agreement of the quotations of a concept with the passage."""

    # Mean over the quotations: 1 for verbatim, the likeness for similar, 0 for missing.
    confidence: float
    # Differences from verbatim quotations, and other corrections.
    notes: list[str]


class Evidence(_Stored):
    """Proof of a concept in the text of its passage."""

    # The spelling of the concept in the passage.
    surface: str
    # Quotations in the order of their offsets.
    support: list[Quote]
    # The text around the first quotation.
    context: str
    quality: _QuoteQuality


class GroundedConcept(_Stored):
    """A concept as it is stored. It has no evidence if no quotation is in the passage."""

    name: str
    type: str
    aliases: list[str]
    confidence: float
    evidence: Evidence | None


class GroundedConcepts(_Stored):
    """An answer as it is stored, in the order of the reply."""

    concepts: list[GroundedConcept]

    def matches_text(self, text: str) -> bool:
        """Return whether every quotation equals the slice of `text` at its offsets."""
        quotes = chain.from_iterable(
            concept.evidence.support for concept in self.concepts if concept.evidence is not None
        )
        return all(text[quote.start : quote.end] == quote for quote in quotes)


def ground(answer: PassageConcepts, text: str) -> tuple[GroundedConcepts | None, str]:
    """Return an answer with evidence from `text`, or None if no quotation is found.

    Unknown concept types become "other". A concept without a quotation in the text stays, without
    evidence.

    Returns:
        The answer and "", or None and the reason.
    """
    passage = SearchableText(text)
    concepts = [_ground_concept(concept, passage) for concept in answer.concepts]
    if all(concept["evidence"] is None for concept in concepts):
        return None, _missing_evidence_reason(answer, passage)

    return GroundedConcepts.model_validate({"concepts": concepts}), ""


def _missing_evidence_reason(answer: PassageConcepts, passage: SearchableText) -> str:
    """Return the reason for an answer without evidence, with differences from similar text."""
    quotes = chain.from_iterable(concept.quotes for concept in answer.concepts)
    differences = dict.fromkeys(map(passage.find_difference, quotes))
    named_differences = [f"another {difference}" for difference in differences if difference]
    suffix = f"; a similar text has {' and '.join(named_differences)}" if named_differences else ""
    return f"{NO_QUOTE_REASON}passage{suffix}"


def _ground_concept(concept: NamedConcept, passage: SearchableText) -> dict[str, Any]:
    """Return the fields of a `GroundedConcept`.

    The caller validates all concepts of an answer at once, which takes a fifth of the time.
    """
    concept_type = concept.type.strip().casefold()
    if concept_type not in CONCEPT_TYPES:
        concept_type = "other"
    return {
        "name": concept.name,
        "type": concept_type,
        "aliases": concept.aliases,
        "confidence": concept.confidence,
        "evidence": _find_evidence(concept, passage),
    }


def _find_evidence(concept: NamedConcept, passage: SearchableText) -> dict[str, Any] | None:
    """Return the evidence of a concept by field, or None if no quotation is in the passage.

    The fields are `surface` (the text by which the passage names the concept), `support` (the
    quotations with their offsets), `context` and `quality`. The quotations are in the order of
    their offsets. The context is the text around the first one.
    """
    location_by_quote = {quote: passage.locate(quote) for quote in concept.quotes}
    # Several quotations can share a span. The location with the highest likeness wins.
    likeness_by_span: dict[tuple[int, int], float | None] = {}
    locations = [location for location in location_by_quote.values() if location]
    for location in sorted(locations, key=lambda location: location.likeness):
        likeness_by_span[location.start, location.end] = location.noted_likeness

    spans = sorted(likeness_by_span)
    if not spans:
        return None

    text = passage.text
    quotes = [
        Quote(text[start:end], start=start, end=end, likeness=likeness_by_span[start, end])
        for start, end in spans
    ]
    return {
        "surface": _find_surface_near_quotation([concept.name, *concept.aliases], spans, passage),
        "support": quotes,
        "context": cut_context_at_words(text, *spans[0], max_chars=MAX_CONTEXT),
        "quality": _compute_confidence_and_notes(concept, passage, location_by_quote),
    }


def _compute_confidence_and_notes(
    concept: NamedConcept,
    passage: SearchableText,
    location_by_quote: Mapping[str, Location | None],
) -> dict[str, Any]:
    """Return the fields of a `_QuoteQuality`: `confidence` (a mean likeness) and `notes`.

    There is a note for each way other than verbatim in which a quotation was found, for each
    missing quotation, and for an unknown type. Equal notes occur once. The mean is that of the
    distinct quotations. A missing quotation counts with 0.

    Args:
        concept: The concept of the reply, with at least one quotation.
        passage: The text of the passage.
        location_by_quote: The location of each distinct quotation, or None if it is missing.
    """
    locations = location_by_quote.values()
    notes = [f"found {location.method}" for location in locations if location and location.method]
    for quote, location in location_by_quote.items():
        if location is None:
            difference = passage.find_difference(quote)
            suffix = f"; a similar text has another {difference}" if difference else ""
            notes.append(f"{MISSING_QUOTE_NOTE}{suffix}")

    if concept.type.strip().casefold() not in CONCEPT_TYPES:
        printable_type = replace_invisible_characters(concept.type[:MAX_TYPE_CHARS])
        notes.append(f"unknown type {printable_type!r} stored as other")

    total_likeness = sum(location.likeness for location in locations if location)
    return {
        "confidence": round(total_likeness / len(location_by_quote), 3),
        "notes": list(dict.fromkeys(notes)),
    }


def _find_surface_near_quotation(
    names: Sequence[str],
    support: Sequence[tuple[int, int]],
    passage: SearchableText,
) -> str:
    """Return the text by which a passage names a concept, spelled as in the passage.

    It is the occurrence of a member of `names` that is nearest to a quotation. If none occurs in
    the passage, it is the first quotation. Of equally near occurrences, that of the earliest member
    of `names` is returned.

    Args:
        names: The name of the concept and its aliases.
        support: The spans of the quotations, ascending and not empty.
        passage: The text of the passage.
    """

    def distance_to_quote(span: tuple[int, int]) -> int:
        """Return the number of characters between a span and the nearest quotation."""
        start, end = span
        return min(
            max(start - quote_end, quote_start - end, 0) for quote_start, quote_end in support
        )

    spans = chain.from_iterable(map(passage.find_spans, names))
    start, end = min(spans, key=distance_to_quote, default=support[0])
    return passage.text[start:end]
