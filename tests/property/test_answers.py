"""What holds for the local engine's answers whatever the text, and whatever schema of the dialect is asked."""

import json
import re
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.answers.concepts import MAX_NAME_CHARS, TYPES, extract_concepts
from emulator.answers.encoder import encode
from emulator.answers.tags import tag_text
from emulator.catalogue import MODELS, STAND_IN_VERSION
from emulator.generate import answer_request
from pipeline.experts.declaration import MAX_TAG

MODEL = MODELS["gemini-2.5-flash"]
ANY_TEXT = st.text(st.characters(codec=None), max_size=300)  # lone surrogates included
WORDS = [
    "not good",
    "12",
    "-3.5",
    "2024-02-30",
    "3 May 2024",
    "kettle",
    "<b>",
    "</b>",
    "broke.",
    "but;",
    "水",
    "four",
]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200) | st.lists(
    st.sampled_from(WORDS)
).map(" ".join)
NAMES = st.sampled_from(
    ["quote", "evidence", "due_date", "stars", "price", "isGood", "aspect", "summary", "数"]
)
DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT00:00:00Z")
CHOICES = st.lists(
    st.sampled_from(["praise", "blame", "the kettle", "?", "1"]), min_size=1, unique=True
)
SAID: dict[str, Any] = {
    "nullable": st.booleans(),
    "description": st.sampled_from(["YYYY-MM-DD", "x"]),
}


def _bounds(
    low: str, high: str, values: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    """Return two bounds, either of which may be missing."""
    both = (
        st.tuples(values, values)
        .map(sorted)
        .map(lambda two: dict(zip((low, high), two, strict=True)))
    )
    return st.tuples(both, st.sets(st.sampled_from([low, high]))).map(
        lambda found: {name: value for name, value in found[0].items() if name in found[1]}
    )


def _kind(name: str, *more: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Return schemas of one type, with what more they may say."""
    parts = st.tuples(st.fixed_dictionaries({}, optional=SAID), *more)
    return parts.map(
        lambda found: {
            "type": name,
            **{key: value for part in found for key, value in part.items()},
        }
    )


LEAVES = st.one_of(
    _kind("STRING"),
    _kind("STRING", CHOICES.map(lambda one: {"enum": one})),
    _kind("STRING", st.just({"format": "date-time"})),
    _kind("STRING", _bounds("minLength", "maxLength", st.integers(0, 80))),
    _kind("INTEGER", _bounds("minimum", "maximum", st.integers(-9, 9))),
    _kind("NUMBER", _bounds("minimum", "maximum", st.floats(-1e6, 1e6, allow_nan=False))),
    _kind("BOOLEAN"),
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        _kind(
            "OBJECT",
            st.dictionaries(NAMES, inner, min_size=1, max_size=4).map(
                lambda one: {"properties": one}
            ),
        ),
        st.tuples(inner, _bounds("minItems", "maxItems", st.integers(0, 5))).flatmap(
            lambda found: _kind("ARRAY", st.just({"items": found[0]} | found[1]))
        ),
        st.lists(inner, min_size=1, max_size=2).map(lambda some: {"anyOf": some}),
    ),
    max_leaves=6,
)


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Return whether a value is one that a schema allows; written apart from the engine."""
    if value is None or "anyOf" in schema:
        is_null = value is None and bool(schema.get("nullable"))
        return is_null or any(fits(value, one) for one in schema.get("anyOf", []))
    held = {
        "OBJECT": dict,
        "ARRAY": list,
        "STRING": str,
        "BOOLEAN": bool,
        "INTEGER": int,
        "NUMBER": int | float,
    }
    if not isinstance(value, held[schema["type"]]) or isinstance(value, bool) != (
        schema["type"] == "BOOLEAN"
    ):
        return False
    if isinstance(value, dict):
        return list(value) == list(schema["properties"]) and all(
            fits(one, schema["properties"][name]) for name, one in value.items()
        )
    if isinstance(value, list):
        most = schema.get("maxItems", max(3, schema.get("minItems", 0)))
        return schema.get("minItems", 0) <= len(value) <= most and all(
            fits(one, schema["items"]) for one in value
        )
    if not isinstance(value, str):
        return bool(schema.get("minimum", -1e300) <= value <= schema.get("maximum", 1e300))
    is_date = schema.get("format") != "date-time" or DATE_TIME.fullmatch(value) is not None
    within = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 500)
    return is_date and within and value in schema.get("enum", [value])


@settings(max_examples=60)
@given(schemas=st.tuples(SCHEMAS, SCHEMAS), text=TEXTS)
def test_an_answer_is_what_the_schema_allows(
    schemas: tuple[dict[str, Any], dict[str, Any]], text: str
) -> None:
    """Every type, nested in any way, bounded or not, for any text: valid, and twice the same."""
    schema = {"type": "OBJECT", "properties": dict(zip(("first", "second"), schemas, strict=True))}
    said = f"Read this: <text>{text}</text>\n<title>{text[:9]}</title>"
    request = {
        "contents": [{"parts": [{"text": said}]}],
        "generationConfig": {"responseSchema": schema},
    }
    response = answer_request(request, MODEL)
    assert fits(json.loads(response["candidates"][0]["content"]["parts"][0]["text"]), schema)
    assert response["modelVersion"] == STAND_IN_VERSION
    assert answer_request(request, MODEL) == response


@settings(max_examples=60)
@given(
    text=TEXTS.filter(lambda text: "<" not in text and any(map(str.isalnum, text))),
    most=st.integers(1, 9),
)
def test_quotations_are_slices_of_the_text(text: str, most: int) -> None:
    """To the letter, beside other columns, alone and in lists, of members or of mere texts."""
    string = {"type": "STRING"}
    entry = {"type": "OBJECT", "properties": {"aspect": string, "quote": string}}
    properties = {
        "aspects": {"type": "ARRAY", "items": entry, "maxItems": most},
        "quotes": {"type": "ARRAY", "items": string, "maxItems": most},
        "evidence": string,
    }
    schema = {"type": "OBJECT", "properties": properties}
    said = f"<label>kettle</label><text>{text}</text>"
    request = {
        "contents": [{"parts": [{"text": said}]}],
        "generationConfig": {"responseSchema": schema},
    }
    document = json.loads(
        answer_request(request, MODEL)["candidates"][0]["content"]["parts"][0]["text"]
    )
    quotes = [
        document["evidence"],
        *document["quotes"],
        *(aspect["quote"] for aspect in document["aspects"]),
    ]
    assert all(quote and quote in text for quote in quotes)
    assert len(document["quotes"]) == len(set(document["quotes"]))


@settings(max_examples=50)
@given(text=ANY_TEXT)
def test_tags_are_short_words_and_as_many_as_asked_for(text: str) -> None:
    """Never an error or a duplicate, none too long, never too few or too many; a vector has length one."""
    found = tag_text(text)
    assert len(found) == len(set(found)) <= 8
    assert all(0 < len(tag) <= MAX_TAG and tag == tag.lower() for tag in found)
    assert 3 <= len(tag_text(text, min_count=3)) <= 8 if text.strip() else found == []
    for kind in ("semantic", "lexical") if text.strip() else ():
        assert abs(float(np.linalg.norm(encode([text], encoder=kind)[0])) - 1) < 1e-5


@settings(max_examples=50)
@given(text=ANY_TEXT, at_least=st.integers(0, 20), at_most=st.integers(0, 20))
def test_concepts_are_words_of_the_text_with_quotes_from_it(
    text: str, at_least: int, at_most: int
) -> None:
    """Never an error, never a stranger, every quote a slice, at least one where there is a letter."""
    found = extract_concepts(text, min_count=at_least, max_count=at_most)
    assert len(found) <= at_most
    for concept in found:
        assert 0 < len(concept["name"]) <= MAX_NAME_CHARS
        assert concept["type"] in TYPES
        assert 0.5 <= concept["confidence"] <= 0.95
        assert all(quote in text and len(quote) <= 320 for quote in concept["quotes"])
        assert (
            " ".join(concept["name"].split()).lower()
            in " ".join(concept["quotes"][0].split()).lower()
        )
    assert bool(found) == any(map(str.isalpha, text)) or not min(at_least, at_most)
