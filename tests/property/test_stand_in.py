"""What holds for the answer to any schema of the dialect, whatever the text."""

import datetime as dt
import json
import re
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.catalogue import MODELS, STAND_IN_VERSION
from emulator.generate import answer

MODEL = MODELS["gemini-2.5-flash"]
WORDS = ["not good", "12", "-3.5", "2024-02-30", "3 May 2024", "kettle", "<b>", "</b>", "broke.", "but;", "水", "four"]
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    st.lists(st.sampled_from(WORDS)).map(" ".join).filter(bool),
)
DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
NAMES = st.sampled_from(
    ["quote", "evidence", "date", "due_date", "stars", "price", "isGood", "aspect", "summary", "b", "verdict", "数"]
)
SAID = st.fixed_dictionaries(
    {},
    optional={"nullable": st.booleans(), "description": st.sampled_from(["copied word for word", "YYYY-MM-DD", "x"])},
)
CHOICES = st.lists(
    st.sampled_from(["praise", "blame", "mixed", "billing", "the kettle", "?", "1"]),
    min_size=1,
    max_size=4,
    unique=True,
)


@st.composite
def _bounded(draw: st.DrawFn, low: str, high: str, values: st.SearchStrategy[Any]) -> dict[str, Any]:
    """Return two bounds, either of which may be missing."""
    least, most = sorted((draw(values), draw(values)))
    wanted = draw(st.sets(st.sampled_from([low, high])))
    return {name: value for name, value in ((low, least), (high, most)) if name in wanted}


def _kind(name: str, *more: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Return schemas of one type, with what more they may say."""

    def merged(parts: tuple[dict[str, Any], ...]) -> dict[str, Any]:
        whole: dict[str, Any] = {"type": name}
        for part in parts:
            whole |= part
        return whole

    return st.tuples(SAID, *more).map(merged)


NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)
LEAVES = st.one_of(
    _kind("STRING"),
    _kind("STRING", CHOICES.map(lambda one: {"enum": one})),
    _kind("STRING", st.just({"format": "date-time"})),
    _kind("STRING", _bounded("minLength", "maxLength", st.integers(0, 80))),
    _kind("INTEGER", _bounded("minimum", "maximum", st.integers(-9, 9))),
    _kind("NUMBER", _bounded("minimum", "maximum", NUMBERS)),
    _kind("BOOLEAN"),
)


def _objects(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Return objects of such members, in an order of their own."""
    members = st.dictionaries(NAMES, inner, min_size=1, max_size=4).flatmap(
        lambda found: st.permutations(list(found)).map(
            lambda order: {"properties": found, "propertyOrdering": order, "required": order[:1]}
        )
    )
    return _kind("OBJECT", members)


SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        _objects(inner),
        _kind("ARRAY", inner.map(lambda one: {"items": one}), _bounded("minItems", "maxItems", st.integers(0, 5))),
        st.lists(inner, min_size=1, max_size=2).map(lambda some: {"anyOf": some}),
    ),
    max_leaves=6,
)


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Return whether a value is one that a schema allows; written apart from the engine."""
    if value is None and schema.get("nullable"):
        return True
    if "anyOf" in schema:
        return any(fits(value, one) for one in schema["anyOf"])
    held = {"OBJECT": dict, "ARRAY": list, "STRING": str, "BOOLEAN": bool, "INTEGER": int, "NUMBER": int | float}
    kind = schema["type"]
    is_right = isinstance(value, held[kind]) and isinstance(value, bool) == (kind == "BOOLEAN")
    return is_right and (kind == "BOOLEAN" or _WITHIN[kind](value, schema))


def _is_object(value: dict[str, Any], schema: dict[str, Any]) -> bool:
    """Return whether an object has its members, in their order, and each fits."""
    known = schema["properties"]
    return list(value) == schema["propertyOrdering"] and all(fits(one, known[name]) for name, one in value.items())


def _is_list(value: list[Any], schema: dict[str, Any]) -> bool:
    """Return whether a list is not too short or too long, and each entry fits."""
    most = schema.get("maxItems", max(3, schema.get("minItems", 0)))
    return schema.get("minItems", 0) <= len(value) <= most and all(fits(one, schema["items"]) for one in value)


def _is_number(value: float, schema: dict[str, Any]) -> bool:
    """Return whether a number is within its bounds."""
    return bool(schema.get("minimum", -1e300) <= value <= schema.get("maximum", 1e300))


def _is_text(value: str, schema: dict[str, Any]) -> bool:
    """Return whether a text is one of the choices, of the form and of the length that are asked for."""
    if schema.get("format") == "date-time":
        return DATE_TIME.fullmatch(value) is not None and bool(dt.datetime.fromisoformat(value))
    within = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 200)
    return value in schema["enum"] if "enum" in schema else within


_WITHIN: dict[str, Callable[..., bool]] = {
    "OBJECT": _is_object,
    "ARRAY": _is_list,
    "STRING": _is_text,
    "INTEGER": _is_number,
    "NUMBER": _is_number,
}


@settings(max_examples=50)
@given(schemas=st.tuples(SCHEMAS, SCHEMAS), text=TEXTS)
def test_an_answer_is_what_the_schema_allows(schemas: tuple[dict[str, Any], dict[str, Any]], text: str) -> None:
    """Every type, nested in any way, bounded or not, for any text: valid, in the order wanted, twice the same."""
    properties = dict(zip(("first", "second"), schemas, strict=True))
    schema = {"type": "OBJECT", "properties": properties, "propertyOrdering": ["second", "first"]}
    said = f"Read this: <text>{text}</text>\n<title>{text[:9]}</title>"
    request = {"contents": [{"parts": [{"text": said}]}], "generationConfig": {"responseSchema": schema}}
    response = answer(request, MODEL)
    assert fits(json.loads(response["candidates"][0]["content"]["parts"][0]["text"]), schema)
    assert response["modelVersion"] == STAND_IN_VERSION
    assert answer(request, MODEL) == response
