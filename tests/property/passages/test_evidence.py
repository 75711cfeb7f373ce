"""For every text and answer: stored evidence is a slice of the passage."""

from hypothesis import example, given
from hypothesis import strategies as st

from askrows.pipeline.passages.declaration import CONCEPT_TYPES, PassageConcepts
from askrows.pipeline.passages.evidence import MAX_CONTEXT, ground
from tests.property.core.odd_texts import LETTERS, WORDS, slices

CONCEPT = {"name": "x", "type": "task", "aliases": [], "confidence": 1.0}


@st.composite
def answers(draw: st.DrawFn) -> tuple[str, PassageConcepts]:
    """Draw a text, and an answer whose quotations are slices, changed slices, or random text."""
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
    concepts = draw(st.lists(concept, max_size=3))
    # At least this concept has a true quotation.
    first = CONCEPT | {"quotes": [part]}
    return text, PassageConcepts.model_validate({"concepts": [first, *concepts]})


@given(answers())
@example(("\u0130", PassageConcepts.model_validate({"concepts": [CONCEPT | {"quotes": ["i"]}]})))
def test_stored_evidence_is_a_slice_of_the_text(
    text_and_answer: tuple[str, PassageConcepts],
) -> None:
    """Offsets are exact, sorted and unique, context is a slice, and figures are in range."""
    text, answer = text_and_answer
    stored, reason = ground(answer, text)
    assert (stored is None) == bool(reason)

    concepts = stored.concepts if stored else []
    assert [concept.name for concept in concepts] == [
        concept.name for concept in answer.concepts if stored
    ]

    for concept in concepts:
        assert concept.type in CONCEPT_TYPES
        if concept.evidence is None:
            continue
        spans = [(quote.start, quote.end) for quote in concept.evidence.support]
        assert all(
            text[quote.start : quote.end] == quote != "" for quote in concept.evidence.support
        )
        assert spans == sorted(set(spans))
        assert concept.evidence.surface in text
        assert concept.evidence.context in text
        assert len(concept.evidence.context) <= MAX_CONTEXT
        assert concept.evidence.support[0][: MAX_CONTEXT // 2].strip() in concept.evidence.context
        assert 0 < concept.evidence.quality.confidence <= 1
