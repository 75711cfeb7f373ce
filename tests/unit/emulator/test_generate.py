"""What is tagged or read for concepts, what is counted, and which shapes are served."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.catalogue import MODELS
from emulator.dialect import Ask
from emulator.errors import ApiError
from emulator.generate import TO_READ, TO_TAG, count_tokens, said_in, tokens_in
from emulator.schema import ConceptShape, Shape, shape_of

TEXTS = st.text(max_size=60)
STRINGS = {"type": "ARRAY", "items": {"type": "STRING"}}
CONCEPT: dict[str, Any] = {"type": "OBJECT", "properties": {"name": {"type": "STRING"}, "quotes": STRINGS}}
WEIGHTED = CONCEPT | {"properties": {"name": {"type": "STRING"}, "quotes": STRINGS, "weight": {"type": "STRING"}}}
CONCEPTS = {"type": "ARRAY", "items": CONCEPT}


def asked(*parts: str, role: str = "user") -> dict[str, Any]:
    """Return a request with these parts."""
    return {"contents": [{"role": role, "parts": [{"text": part} for part in parts]}]}


@given(TEXTS, TEXTS, TEXTS)
def test_only_the_inside_of_the_delimiters_is_tagged(before: str, inside: str, after: str) -> None:
    """Whatever stands around the delimiters, the text between them is all that is tagged, to the last character."""
    if "biography>" in before + after or "job_title>" in before + inside + after:
        return
    assert said_in(TO_TAG, asked(f"{before}<biography>{inside}</biography>{after}")) == inside


def test_title_and_biography_are_joined() -> None:
    """Both sections are tagged, the title first, wherever they stand."""
    request = asked("<biography>water</biography>", "<job_title>lawyer</job_title>")
    assert said_in(TO_TAG, request) == "lawyer\nwater"


@given(TEXTS, TEXTS)
def test_a_passage_is_read_to_its_last_character(before: str, inside: str) -> None:
    """Concepts come from between the delimiters of the passage, whatever it holds, and from nothing around it."""
    if "passage>" in before:
        return
    assert said_in(TO_READ, asked(f"{before}<passage>{inside} </passage> {inside}</passage>")) == (
        f"{inside} </passage> {inside}"
    )


def test_delimiters_are_case_sensitive_and_only_the_user_counts() -> None:
    """Another case is no delimiter, and what the model said is not tagged."""
    assert said_in(TO_TAG, asked("<Biography>a</Biography>")) == "<Biography>a</Biography>"
    assert said_in(TO_TAG, asked("said before", role="model")) == ""


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        ({"responseSchema": STRINGS}, Shape(None, None, 3, 8)),
        ({"responseSchema": {"type": "OBJECT", "properties": {"t": STRINGS}}}, Shape("t", None, 3, 8)),
        ({"responseSchema": STRINGS | {"minItems": 10}}, Shape(None, None, 10, 10)),
        ({"responseSchema": STRINGS | {"maxItems": 2}}, Shape(None, None, 2, 2)),
        ({"responseSchema": STRINGS | {"minItems": 1, "maxItems": 5}}, Shape(None, None, 1, 5)),
        ({"responseJsonSchema": {"type": "array", "items": {"type": "string"}}}, Shape(None, None, 3, 8)),
        (
            {"responseSchema": {"type": "ARRAY", "items": {"type": "STRING", "enum": ["a", "b"]}}},
            Shape(None, ("a", "b"), 3, 8),
        ),
        ({"responseSchema": CONCEPTS}, ConceptShape(None, ("name", "quotes"), None, 4, 14)),
        ({"responseSchema": CONCEPTS | {"minItems": 1}}, ConceptShape(None, ("name", "quotes"), None, 4, 14)),
        ({"responseSchema": CONCEPTS | {"maxItems": 3}}, ConceptShape(None, ("name", "quotes"), None, 3, 3)),
        ({"responseSchema": CONCEPTS | {"minItems": 20}}, ConceptShape(None, ("name", "quotes"), None, 20, 20)),
        (
            {"responseSchema": {"type": "OBJECT", "properties": {"c": CONCEPTS}}},
            ConceptShape("c", ("name", "quotes"), None, 4, 14),
        ),
        (
            {"responseJsonSchema": {"$defs": {"C": CONCEPT}, "type": "array", "items": {"$ref": "#/$defs/C"}}},
            ConceptShape(None, ("name", "quotes"), None, 4, 14),
        ),
    ],
)
def test_a_shape_is_read_from_its_schema(config: dict[str, Any], shape: Shape | ConceptShape) -> None:
    """Name, words and bounds come from the schema, the rest from the defaults."""
    assert shape_of(config) == shape


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"responseSchema": STRINGS, "responseJsonSchema": {}},
        {"responseSchema": STRINGS | {"minItems": 3, "maxItems": 2}},
        {"responseJsonSchema": {"$ref": "#/$defs/Nothing"}},
        {"responseJsonSchema": {"$defs": {"A": {"$ref": "#/$defs/A"}}, "$ref": "#/$defs/A"}},
        {"responseJsonSchema": "text"},
        {
            "responseJsonSchema": {
                "$defs": {"A": {"type": "array", "items": {"$ref": "#/$defs/A"}}},
                "$ref": "#/$defs/A",
            }
        },
    ],
)
def test_a_shape_that_cannot_be_served_is_a_400(config: dict[str, Any]) -> None:
    """No schema, two, contradictory bounds, loose or endless references: all are refused."""
    with pytest.raises(ApiError) as refusal:
        shape_of(config)
    assert refusal.value.code == 400


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "OBJECT", "properties": {"a": STRINGS, "b": STRINGS}},
        {"type": "OBJECT", "properties": {"quotes": STRINGS}},
        STRINGS | {"description": "the stretches that show it, copied word for word"},
        {"type": "OBJECT", "properties": {"due_dates": STRINGS}},
        {"type": "ARRAY", "items": WEIGHTED},
    ],
)
def test_what_asks_for_neither_tags_nor_concepts_is_read_as_it_stands(schema: dict[str, Any]) -> None:
    """Two lists, quotations, dates and concepts with a further member are no tags and no concepts of ours."""
    assert isinstance(shape_of({"responseSchema": schema}), Ask)


def test_tokens_of_all_parts_are_counted() -> None:
    """Contents, system instruction and media count together, four bytes to a token, rounded up."""
    assert [tokens_in(text) for text in ("", "a", "abcd", "abcde", "äöü")] == [0, 1, 1, 2, 2]
    request = asked("abcd") | {"systemInstruction": {"parts": [{"text": "abcd"}, {"inlineData": {}}]}}
    assert count_tokens(request, MODELS["gemini-2.5-flash"]).total == 1 + 1 + 258
