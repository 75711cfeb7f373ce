"""What holds for every text and every answer: all that is stored as evidence is a slice of the passage."""

from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.passages.declaration import CONCEPT_TYPES, PassageConcepts
from pipeline.passages.evidence import MAX_CONTEXT, ground
from tests.property.core.odd_texts import LETTERS, WORDS, slices

ONE = {"name": "x", "type": "task", "aliases": [], "confidence": 1.0}


@st.composite
def answers(draw: st.DrawFn) -> tuple[str, PassageConcepts]:
    """Draw a text and an answer whose quotations are slices of it, changed slices, or anything."""
    text, part = draw(slices())
    quote = st.sampled_from(
        [
            part,
            part.upper(),
            part.replace(" ", "\n"),
            part[1:] + "z",
            part[: len(part) // 2] + " ... " + part,
            text,
        ]
    )
    concept = st.fixed_dictionaries(
        {
            "name": st.one_of(st.sampled_from(WORDS), st.text(LETTERS, max_size=9), st.just(part)),
            "type": st.one_of(st.sampled_from(CONCEPT_TYPES), st.text(LETTERS, max_size=9)),
            "aliases": st.lists(st.sampled_from(WORDS), max_size=2),
            "confidence": st.floats(0, 1),
            "quotes": st.lists(st.one_of(quote, st.text(LETTERS, max_size=30)), max_size=4),
        }
    )
    drawn = draw(st.lists(concept, max_size=3))
    first = ONE | {"quotes": [part]}
    return text, PassageConcepts.model_validate({"concepts": [first, *drawn]})


@given(answers())
@example(("\u0130", PassageConcepts.model_validate({"concepts": [ONE | {"quotes": ["i"]}]})))
def test_all_that_is_stored_as_evidence_is_a_slice_of_the_text(
    drawn: tuple[str, PassageConcepts],
) -> None:
    """Offsets are exact, in order, and once; surface and context stand in the text; figures lie between 0 and 1."""
    text, answer = drawn
    stored, reason = ground(answer, text)
    assert (stored is None) == bool(reason)
    concepts = stored.concepts if stored else []
    assert [each.name for each in concepts] == [each.name for each in answer.concepts if stored]
    for each in concepts:
        assert each.type in CONCEPT_TYPES
        if each.evidence is None:
            continue
        spans = [(one.start, one.end) for one in each.evidence.support]
        assert all(text[one.start : one.end] == one != "" for one in each.evidence.support)
        assert spans == sorted(set(spans))
        assert each.evidence.surface in text
        assert each.evidence.context in text
        assert len(each.evidence.context) <= MAX_CONTEXT
        assert each.evidence.support[0][: MAX_CONTEXT // 2].strip() in each.evidence.context
        assert 0 < each.evidence.quality.confidence <= 1
