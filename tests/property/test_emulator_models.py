"""What holds for the local engine's models whatever the text."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.models.concept_types import TYPES
from emulator.models.concepts import concepts, quick_concepts
from emulator.models.encoder import encode
from emulator.models.phrases import LONGEST
from emulator.models.quotations import QUOTE
from emulator.models.tagger import tags
from pipeline.experts.answer import MAX_TAG

ANY_TEXT = st.text(st.characters(codec=None), max_size=300)
"""Any characters at all, lone surrogates included."""


@settings(max_examples=50)
@given(text=ANY_TEXT)
def test_tags_are_short_words_and_as_many_as_asked_for(text: str) -> None:
    """Never an error, never a duplicate, none too long for a tag, never too few or too many."""
    found = tags(text)
    assert len(found) == len(set(found)) <= 8
    assert all(0 < len(tag) <= MAX_TAG and tag == tag.lower() for tag in found)
    assert 3 <= len(tags(text, at_least=3)) <= 8 if text.strip() else found == []


@settings(max_examples=30)
@given(text=ANY_TEXT.filter(lambda text: bool(text.strip())))
def test_vectors_are_finite_and_of_length_one(text: str) -> None:
    """Both encoders serve every text that is not blank."""
    for kind in ("semantic", "lexical"):
        vector = encode([text], encoder=kind)[0]
        assert np.isfinite(vector).all()
        assert abs(float(np.linalg.norm(vector)) - 1) < 1e-5


@settings(max_examples=30)
@given(text=ANY_TEXT, allowed=st.lists(st.text(max_size=12), max_size=5))
def test_an_enumeration_is_never_left(text: str, allowed: list[str]) -> None:
    """Whatever names are allowed, only those come out."""
    assert set(tags(text, allowed=allowed)) <= set(allowed)


@settings(max_examples=50)
@given(text=ANY_TEXT, at_least=st.integers(0, 20), at_most=st.integers(0, 20))
def test_concepts_are_words_of_the_text_with_quotes_from_it(text: str, at_least: int, at_most: int) -> None:
    """Never an error, never a stranger or a duplicate, every quote a slice, as many as promised."""
    for find in (concepts, quick_concepts):
        found = find(text, at_least=at_least, at_most=at_most)
        assert len(found) <= at_most
        assert len({concept["name"] for concept in found}) == len(found)
        for concept in found:
            assert 0 < len(concept["name"]) <= LONGEST
            assert any(sign.isalpha() for sign in concept["name"])
            assert concept["type"] in TYPES
            assert 0.5 <= concept["confidence"] <= 0.95
            assert concept["quotes"]
            assert all(quote in text and 0 < len(quote) <= QUOTE for quote in concept["quotes"])
        if at_most > 0 and any(sign.isalpha() for sign in text):
            assert find(text)
