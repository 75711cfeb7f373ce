"""Turn what a model says of a passage into what the passage proves: quotations found, with true offsets, or none.

`text[start:end] == quote` holds for everything stored, in code points of the text as it is kept. A quotation that is
not in the passage is never stored; a note says that there was one. One that was found by likeness alone is marked.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline.core.locate import Location, SearchableText, context_of
from pipeline.core.quotes import NONE_THERE, Quote
from pipeline.core.text import escape_invisible
from pipeline.passages.declaration import CONCEPT_TYPES, NamedConcept, PassageConcepts

MAX_CONTEXT = 300  # characters
MAX_TOLD = 40  # characters of a strange type in a note
NOT_FOUND = "quote not in the passage"


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _QuoteQuality(_Stored):
    """How well the quotations agree with the passage; `notes` say what was not verbatim, and what was otherwise.

    `confidence` is the mean over them: 1 for one that is there, the likeness of one that is nearly, 0 for one that is
    not.
    """

    confidence: float
    notes: list[str]


class Evidence(_Stored):
    """What proves a concept: how the passage names it, the quotations in order, and what stands round the first."""

    surface: str
    support: list[Quote]
    context: str
    quality: _QuoteQuality


class GroundedConcept(_Stored):
    """A concept as it is stored; without evidence where none of its quotations is in the passage."""

    name: str
    type: str
    aliases: list[str]
    confidence: float
    evidence: Evidence | None


class GroundedConcepts(_Stored):
    """An answer as it is stored, in the order the model gave."""

    concepts: list[GroundedConcept]

    def stands_in(self, text: str) -> bool:
        """Return whether every quotation is the slice of a text that it says."""
        found = (
            one
            for concept in self.concepts
            if concept.evidence is not None
            for one in concept.evidence.support
        )
        return all(text[one.start : one.end] == one for one in found)


def ground(answer: PassageConcepts, text: str) -> tuple[GroundedConcepts | None, str]:
    """Return an answer with its evidence, or None and the reason where no quotation is in the passage."""
    passage = SearchableText(text)
    concepts = [_grounded(concept, passage) for concept in answer.concepts]
    if all(concept["evidence"] is None for concept in concepts):
        others = {
            passage.why_not(quote): None for concept in answer.concepts for quote in concept.quotes
        }
        told = " and ".join(f"another {one}" for one in others if one)
        return None, f"{NONE_THERE}passage{f', which has {told}' if told else ''}"
    return GroundedConcepts.model_validate({"concepts": concepts}), ""


def _grounded(concept: NamedConcept, passage: SearchableText) -> dict[str, Any]:
    """Return the fields of a `GroundedConcept`: all of an answer are validated at once, in a fifth of the time."""
    kind = concept.type.strip().casefold()
    return {
        "name": concept.name,
        "type": kind if kind in CONCEPT_TYPES else "other",
        "aliases": concept.aliases,
        "confidence": concept.confidence,
        "evidence": _evidence(concept, passage),
    }


def _evidence(concept: NamedConcept, passage: SearchableText) -> dict[str, Any] | None:
    names = [concept.name, *concept.aliases]
    each = [passage.locate(quote) for quote in dict.fromkeys(concept.quotes)]
    marks: dict[tuple[int, int], float | None] = {}
    for one in sorted(chain.from_iterable(each), key=lambda one: one.likeness):
        marks[one.start, one.end] = one.mark  # the surest of those that are found there
    spans = sorted(marks)
    if not spans:
        return None
    text = passage.text
    return {
        "surface": _surface(names, spans, passage),
        "support": [
            Quote(text[one[0] : one[1]], start=one[0], end=one[1], likeness=marks[one])
            for one in spans
        ],
        "context": context_of(text, *spans[0], most=MAX_CONTEXT),
        "quality": _quality(concept, passage, each),
    }


def _quality(
    concept: NamedConcept, passage: SearchableText, each: Sequence[Sequence[Location]]
) -> dict[str, Any]:
    """Return how well quotations were found, with a note for each that is not there as it was given."""
    notes = [f"found {one.how}" for found in each for one in found if one.how]
    missing = [
        quote for quote, found in zip(dict.fromkeys(concept.quotes), each, strict=True) if not found
    ]
    notes += [
        f"{NOT_FOUND}, which has another {why}" if why else NOT_FOUND
        for why in map(passage.why_not, missing)
    ]
    if concept.type.strip().casefold() not in CONCEPT_TYPES:
        shown = escape_invisible(concept.type[:MAX_TOLD])
        notes.append(f"type {shown!r} taken as other")
    likeness = [min((one.likeness for one in found), default=0.0) for found in each]
    return {
        "confidence": round(sum(likeness) / len(likeness), 3),
        "notes": list(dict.fromkeys(notes)),
    }


def _surface(
    names: Sequence[str], support: Sequence[tuple[int, int]], passage: SearchableText
) -> str:
    """Return how the passage writes the concept nearest to its support, the first quotation where it does not."""
    found = support[0]
    nearest = len(passage.text)
    for start, end in (span for name in names for span in passage.spans(name)):
        distance = min(max(start - after, before - end, 0) for before, after in support)
        if distance < nearest:
            found = (start, end)
            nearest = distance
        if not distance:
            break
    return passage.text[slice(*found)]
