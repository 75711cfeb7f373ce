"""Grounded concepts have supports with offsets, a surface and notes."""

from typing import Any

import pytest

from askrows.pipeline.passages.declaration import PassageConcepts
from askrows.pipeline.passages.evidence import Evidence, GroundedConcept, ground

TEXT = (
    "We train a convolutional neural network (CNN) on ImageNet.\n"
    "On ImageNet the CNN is accurate, and\tfast."
)


def make_answer(*concepts: dict[str, Any]) -> PassageConcepts:
    """Return an answer with these concepts, completed with defaults."""
    complete_concepts = [
        {"name": "CNN", "type": "model", "aliases": [], "confidence": 0.9, "quotes": []} | members
        for members in concepts
    ]
    return PassageConcepts.model_validate({"concepts": complete_concepts})


def ground_concept(text: str = TEXT, **members: Any) -> tuple[GroundedConcept, Evidence]:
    """Return the stored concept and its evidence, which must exist."""
    stored, reason = ground(make_answer(members), text)
    assert (stored is not None, reason) == (True, "")
    assert stored is not None
    evidence = stored.concepts[0].evidence
    assert evidence is not None
    assert all(text[part.start : part.end] == part for part in evidence.support)
    return stored.concepts[0], evidence


def test_supports_are_unique_and_ordered() -> None:
    """Quotations of the same place become a single support, in the order of the text."""
    _, evidence = ground_concept(
        quotes=["the CNN is accurate", "on ImageNet.", "The cnn is  accurate"]
    )
    assert [*evidence.support] == ["on ImageNet.", "the CNN is accurate"]
    assert evidence.quality.model_dump() == {
        "confidence": 1.0,
        "notes": ["found by white space and case"],
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
def test_surface_is_the_spelling_of_the_passage(
    name: str, aliases: list[str], surface: str
) -> None:
    """The surface is the name, an alias near the support, or the first quotation."""
    assert (
        ground_concept(name=name, aliases=aliases, quotes=["the CNN is accurate"])[1].surface
        == surface
    )
    other_concept = ground_concept(
        name="neural network", aliases=["CNN"], quotes=["a convolutional neural network (CNN)"]
    )
    assert other_concept[1].surface == "neural network"


@pytest.mark.parametrize(
    ("concept_type", "stored", "notes"),
    [
        (" Method ", "method", []),
        ("animal", "other", ["unknown type 'animal' stored as other"]),
        ("x\n" * 99, "other", [f"unknown type '{('x ' * 20)}' stored as other"]),
        ("", "other", ["unknown type '' stored as other"]),
    ],
)
def test_strange_type_is_other_and_noted(concept_type: str, stored: str, notes: list[str]) -> None:
    """The note contains the start of the type, on a single line."""
    concept, evidence = ground_concept(type=concept_type, quotes=["on ImageNet."])
    assert (concept.type, evidence.quality.notes) == (stored, notes)
