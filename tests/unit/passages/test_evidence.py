"""From an answer to what is stored: supports with true offsets, how the passage names it, its context, notes."""

from typing import Any

import pytest

from pipeline.passages.declaration import PassageConcepts
from pipeline.passages.evidence import Evidence, GroundedConcept, ground

TEXT = "We train a convolutional neural network (CNN) on ImageNet.\nOn ImageNet the CNN is accurate, and\tfast."


def answer(*concepts: dict[str, Any]) -> PassageConcepts:
    """Return an answer with these concepts; what they do not say is filled in."""
    whole = [
        {"name": "CNN", "type": "model", "aliases": [], "confidence": 0.9, "quotes": []} | one
        for one in concepts
    ]
    return PassageConcepts.model_validate({"concepts": whole})


def one(text: str = TEXT, **members: Any) -> tuple[GroundedConcept, Evidence]:
    """Return a concept as it is stored, and its evidence, which must be there."""
    stored, reason = ground(answer(members), text)
    assert (stored is not None, reason) == (True, "")
    assert stored is not None
    evidence = stored.concepts[0].evidence
    assert evidence is not None
    assert all(text[part.start : part.end] == part for part in evidence.support)
    return stored.concepts[0], evidence


def test_supports_stand_in_order_and_once() -> None:
    """Two quotations of one place are one support; their order is that of the text."""
    _, evidence = one(quotes=["the CNN is accurate", "on ImageNet.", "The cnn is  accurate"])
    assert [*evidence.support] == ["on ImageNet.", "the CNN is accurate"]
    assert evidence.quality.model_dump() == {
        "confidence": 1.0,
        "notes": ["found by white space and case"],
    }


def test_how_like_a_quotation_is_goes_into_the_quality() -> None:
    """The likeness is rounded down, so that only what is there counts as 1."""
    _, evidence = one(quotes=["We train a convolutional neural netwrk"])
    assert evidence.support[0] == "We train a convolutional neural network"
    assert evidence.quality.model_dump() == {
        "confidence": 0.98,
        "notes": ["found by likeness 0.98"],
    }


@pytest.mark.parametrize(
    ("name", "aliases", "surface"),
    [
        ("IMAGENET", [], "ImageNet"),
        ("image net", ["cnn"], "CNN"),
        ("Convolutional  Neural Network", ["CNN"], "CNN"),
        ("vision", [], "the CNN is accurate"),
    ],
)
def test_the_surface_is_how_the_passage_writes_it(
    name: str, aliases: list[str], surface: str
) -> None:
    """The slice of the name or an alias nearest to the support, the name before an alias, or the first quotation."""
    assert one(name=name, aliases=aliases, quotes=["the CNN is accurate"])[1].surface == surface
    both = one(
        name="neural network", aliases=["CNN"], quotes=["a convolutional neural network (CNN)"]
    )
    assert both[1].surface == "neural network"


@pytest.mark.parametrize(
    ("given", "stored", "notes"),
    [
        (" Method ", "method", []),
        ("animal", "other", ["type 'animal' taken as other"]),
        ("x\n" * 99, "other", [f"type '{('x ' * 20)}' taken as other"]),
        ("", "other", ["type '' taken as other"]),
    ],
)
def test_a_strange_type_is_other_and_noted(given: str, stored: str, notes: list[str]) -> None:
    """The note shows a little of it, on one line."""
    concept, evidence = one(type=given, quotes=["on ImageNet."])
    assert (concept.type, evidence.quality.notes) == (stored, notes)
