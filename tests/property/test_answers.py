"""The local engine's answers, for any text and schema."""

import json
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from askrows.emulator.catalogue import MODEL_VERSION, MODELS
from askrows.emulator.generate import answer_request

MODEL = MODELS["gemini-2.5-flash"]
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
COMMON_MEMBERS: dict[str, Any] = {
    "nullable": st.booleans(),
    "description": st.sampled_from(["YYYY-MM-DD", "x"]),
}


def _bounds(
    low: str, high: str, values: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    """Return two bounds; each may be missing."""
    sorted_bounds = (
        st.tuples(values, values)
        .map(sorted)
        .map(lambda pair: dict(zip((low, high), pair, strict=True)))
    )

    def select_bounds(choice: tuple[dict[str, Any], set[str]]) -> dict[str, Any]:
        bounds, names = choice
        return {name: bound for name, bound in bounds.items() if name in names}

    return st.tuples(sorted_bounds, st.sets(st.sampled_from([low, high]))).map(select_bounds)


def _schemas_of_type(
    type_name: str, *members: st.SearchStrategy[dict[str, Any]]
) -> st.SearchStrategy[dict[str, Any]]:
    """Return schemas of a type, with the given members."""
    parts = st.tuples(st.fixed_dictionaries({}, optional=COMMON_MEMBERS), *members)

    def merge_parts(drawn_parts: tuple[dict[str, Any], ...]) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": type_name}
        for part in drawn_parts:
            schema |= part
        return schema

    return parts.map(merge_parts)


LEAVES = st.one_of(
    _schemas_of_type("STRING"),
    _schemas_of_type("STRING", CHOICES.map(lambda choices: {"enum": choices})),
    _schemas_of_type("STRING", st.just({"format": "date-time"})),
    _schemas_of_type("STRING", _bounds("minLength", "maxLength", st.integers(0, 80))),
    _schemas_of_type("INTEGER", _bounds("minimum", "maximum", st.integers(-9, 9))),
    _schemas_of_type(
        "NUMBER", _bounds("minimum", "maximum", st.floats(-1e6, 1e6, allow_nan=False))
    ),
    _schemas_of_type("BOOLEAN"),
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        _schemas_of_type(
            "OBJECT",
            st.dictionaries(NAMES, inner, min_size=1, max_size=4).map(
                lambda properties: {"properties": properties}
            ),
        ),
        st.tuples(inner, _bounds("minItems", "maxItems", st.integers(0, 5))).flatmap(
            lambda drawn: _schemas_of_type("ARRAY", st.just({"items": drawn[0]} | drawn[1]))
        ),
        st.lists(inner, min_size=1, max_size=2).map(lambda schemas: {"anyOf": schemas}),
    ),
    max_leaves=6,
)


def is_valid(answer: Any, schema: dict[str, Any]) -> bool:
    """Return whether a schema permits an answer, independently of the engine."""
    if answer is None or "anyOf" in schema:
        is_null = answer is None and bool(schema.get("nullable"))
        return is_null or any(is_valid(answer, member) for member in schema.get("anyOf", []))
    python_types = {
        "OBJECT": dict,
        "ARRAY": list,
        "STRING": str,
        "BOOLEAN": bool,
        "INTEGER": int,
        "NUMBER": int | float,
    }

    # A bool is an int in Python, but no number in JSON.
    is_boolean = schema["type"] == "BOOLEAN"
    has_type = isinstance(answer, python_types[schema["type"]])
    if not has_type or isinstance(answer, bool) != is_boolean:
        return False

    if isinstance(answer, dict):
        return list(answer) == list(schema["properties"]) and all(
            is_valid(member, schema["properties"][name]) for name, member in answer.items()
        )
    if isinstance(answer, list):
        max_items = schema.get("maxItems", max(3, schema.get("minItems", 0)))
        return schema.get("minItems", 0) <= len(answer) <= max_items and all(
            is_valid(member, schema["items"]) for member in answer
        )
    if not isinstance(answer, str):
        return bool(schema.get("minimum", -1e300) <= answer <= schema.get("maximum", 1e300))
    is_date = schema.get("format") != "date-time" or DATE_TIME.fullmatch(answer) is not None
    has_valid_length = schema.get("minLength", 0) <= len(answer) <= schema.get("maxLength", 500)
    return is_date and has_valid_length and answer in schema.get("enum", [answer])


@settings(max_examples=60)
@given(schemas=st.tuples(SCHEMAS, SCHEMAS), text=TEXTS)
def test_an_answer_is_valid_under_its_schema(
    schemas: tuple[dict[str, Any], dict[str, Any]], text: str
) -> None:
    """Answers of any nested schema and text are valid, and repeat exactly."""
    schema = {"type": "OBJECT", "properties": dict(zip(("first", "second"), schemas, strict=True))}
    prompt = f"Read this: <text>{text}</text>\n<title>{text[:9]}</title>"
    request = {
        "contents": [{"parts": [{"text": prompt}]}],
        "generationConfig": {"responseSchema": schema},
    }

    response = answer_request(request, MODEL)
    assert is_valid(json.loads(response["candidates"][0]["content"]["parts"][0]["text"]), schema)
    assert response["modelVersion"] == MODEL_VERSION
    assert answer_request(request, MODEL) == response
