"""Answers to schemas of neither tags nor concepts: what they are made of, whom they tell apart, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from emulator.catalogue import MODELS
from emulator.errors import ApiError
from emulator.generate import answer

LABELLED = Path(__file__).parents[1] / "emulator_models" / "labelled.tsv"
MODEL = MODELS["gemini-2.5-flash"]
STRING = {"type": "STRING"}
QUOTE = STRING | {"description": "copied word for word"}
VERDICT = STRING | {"enum": ["praise", "blame", "mixed"]}


def _object(**members: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object."""
    return {"type": "OBJECT", "properties": members}


ASPECT = _object(aspect=STRING, verdict=VERDICT, quote=QUOTE)
REVIEW = _object(
    aspects={"type": "ARRAY", "items": ASPECT},
    stars={"type": "INTEGER", "nullable": True, "minimum": 1, "maximum": 5},
)
KETTLE = (
    "The kettle boils very fast and looks lovely, but the lid is flimsy. "
    "I bought it on 3 May 2024 for 39.90 euros and I give it four stars."
)


def _asked(said: str, schema: dict[str, Any], **config: object) -> dict[str, Any]:
    """Return the response to a question."""
    config |= {"responseSchema": schema}
    return answer({"contents": [{"parts": [{"text": said}]}], "generationConfig": config}, MODEL)


def _answered(said: str, schema: dict[str, Any]) -> Any:
    """Return the document that answers a question."""
    return json.loads(_asked(said, schema)["candidates"][0]["content"]["parts"][0]["text"])


def _labelled(table: str, half: int) -> list[tuple[str, str]]:
    """Return label and text of half of the rows of a table: 0 to develop with, 1 set aside."""
    rows = [line.split("\t") for line in LABELLED.read_text(encoding="utf-8").splitlines()]
    return [(label, text) for name, label, text in rows if name == table][half::2]


@pytest.mark.parametrize(
    ("table", "field", "choices"),
    [("tickets", "topic", ["billing", "delivery", "defect"]), ("reviews", "verdict", ["praise", "blame", "mixed"])],
)
def test_choices_are_made_by_meaning(table: str, field: str, choices: list[str]) -> None:
    """On the rows set aside the choices beat the majority class by .15 at least (docs/local-engine.md has more)."""
    rows = _labelled(table, 1)
    schema = _object(**{field: STRING | {"enum": choices}})
    right = sum(_answered(f"Text: <text>{text}</text>", schema)[field] == label for label, text in rows)
    labels = [label for label, _ in rows]
    majority = max(labels.count(choice) for choice in choices)
    assert (right - majority) / len(rows) >= 0.15


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The jacket is good and waterproof.", {"verdict": "praise", "is_waterproof": True}),
        ("The jacket is not good and not waterproof.", {"verdict": "blame", "is_waterproof": False}),
        ("The jacket is good, but the hood is useless.", {"verdict": "mixed", "is_waterproof": False}),
    ],
)
def test_choices_that_judge_hear_a_negation(text: str, expected: dict[str, Any]) -> None:
    """A negation turns a feeling and a yes; both feelings in one text are a mixed one."""
    schema = _object(verdict=VERDICT, is_waterproof={"type": "BOOLEAN"})
    assert _answered(text, schema) == expected


def test_an_answer_is_taken_from_the_text() -> None:
    """Clause by clause a phrase, a feeling and its own words; number, date and yes or no where the text has them."""
    bought = STRING | {"nullable": True, "description": "date of purchase"}
    more: dict[str, Any] = {
        "price": {"type": "NUMBER"},
        "bought": bought,
        "product": STRING,
        "is_positive": {"type": "BOOLEAN"},
    }
    schema = _object(**REVIEW["properties"], **more)
    said = f"Judge this.\n<product>Acme Kettle</product>\n<text>{KETTLE}</text>"
    found = _answered(said, schema)
    assert found == {
        "aspects": [
            {
                "aspect": "kettle boils (Acme Kettle)",
                "verdict": "praise",
                "quote": "The kettle boils very fast and looks lovely",
            },
            {"aspect": "lid", "verdict": "blame", "quote": "but the lid is flimsy."},
            {
                "aspect": "euros",
                "verdict": "blame",
                "quote": "I bought it on 3 May 2024 for 39.90 euros and I give it four stars.",
            },
        ],
        "stars": 4,
        "price": 39.9,
        "bought": "2024-05-03",
        "product": "Acme Kettle",
        "is_positive": True,
    }


def test_what_the_text_does_not_say_is_null_or_the_least() -> None:
    """Nothing is invented: null where it may be, else the least; nothing at all for a blank row."""
    number = {"type": "INTEGER", "minimum": 3}
    schema = _object(
        stars=number | {"nullable": True}, count=number, due_date=STRING, quotes={"type": "ARRAY", "items": QUOTE}
    )
    expected = {"stars": None, "count": 3, "due_date": "1970-01-01", "quotes": ["No figures here."]}
    assert _answered("<text>No figures here.</text>", schema) == expected
    assert _answered("<text> </text>", schema) == expected | {"quotes": []}


def test_two_rows_do_not_get_one_answer() -> None:
    """Rows of other texts, and rows of one text with another product, are told apart wherever a text is asked for."""
    texts = [text for table in ("tickets", "reviews") for half in (0, 1) for _, text in _labelled(table, half)]
    for schema in (
        REVIEW,
        _object(topic=STRING),
        _object(keywords={"type": "ARRAY", "items": STRING}, verdict=VERDICT),
    ):
        assert len({json.dumps(_answered(f"<text>{text}</text>", schema)) for text in texts}) == len(texts)
        products = [f"<product>kettle {number}</product><text>{KETTLE}</text>" for number in range(20)]
        assert len({json.dumps(_answered(said, schema)) for said in products}) == len(products)


def test_quotations_are_slices_and_differ() -> None:
    """Each entry quotes other words of the running text, a whole clause, to the letter; so does a mere list."""
    text = " ".join(text for _, text in _labelled("reviews", 0))
    for schema in (_object(quotes={"type": "ARRAY", "items": STRING, "maxItems": 9}), REVIEW):
        found = _answered(f"<label>x</label><text>{text}</text>", schema)
        quotes = found.get("quotes") or [aspect["quote"] for aspect in found["aspects"]]
        assert len(set(quotes)) == len(quotes) == (9 if "quotes" in found else 3)
        assert all(quote in text and " " in quote for quote in quotes)


def test_only_what_is_asked_now_counts_and_only_its_beginning() -> None:
    """An example before it changes nothing, a megabyte is answered, and an answer over its limit is cut."""
    example = {
        "contents": [{"parts": [{"text": "<text>Dreadful.</text>"}]}, {"role": "model", "parts": [{"text": "{}"}]}]
    }
    asked = {"role": "user", "parts": [{"text": f"<text>{KETTLE}</text>"}]}
    request = {"contents": [*example["contents"], asked], "generationConfig": {"responseSchema": REVIEW}}
    alone = _asked(f"<text>{KETTLE}</text>", REVIEW)
    assert answer(request, MODEL)["candidates"] == alone["candidates"]
    assert len(_answered(f"<text>{KETTLE * 8000}</text>", REVIEW)["aspects"]) == 3
    cut = _asked(f"<text>{KETTLE}</text>", REVIEW, maxOutputTokens=9)["candidates"][0]
    assert (cut["finishReason"], len(cut["content"]["parts"][0]["text"])) == ("MAX_TOKENS", 36)


def _nested(depth: int) -> dict[str, Any]:
    """Return lists in lists, so many schemas deep."""
    return STRING if depth == 1 else {"type": "ARRAY", "items": _nested(depth - 1)}


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (_object(a={"type": "ARRAY"}, b=STRING), "properties[a].items: missing field"),
        (_object(a={"type": "OBJECT"}), "properties[a].properties: should be non-empty for OBJECT type"),
        (_object(a={}), "properties[a].type"),
        (_object(a={"anyOf": [STRING, {"type": "OBJECT"}]}), "any_of[1].properties: should be non-empty"),
        (_object(a=STRING, b=STRING) | {"required": ["c"]}, "required[0]: property is not defined"),
        (_object(a={"type": "NUMBER", "minimum": 2, "maximum": 1}), "minimum 2 is above maximum 1"),
        (_object(a={"type": "INTEGER", "minimum": 0.1, "maximum": 0.9}), "minimum 1 is above maximum 0"),
        (_object(a={"type": "INTEGER", "enum": ["1"]}), "enum: only allowed for STRING type"),
        (_nested(17), "maximum allowed nesting depth"),
        (_object(a={"type": "ARRAY", "items": ASPECT, "minItems": 9999}, b=STRING), "too many states"),
    ],
)
def test_what_the_live_service_refuses_is_refused(schema: dict[str, Any], said: str) -> None:
    """Loose lists, empty objects, contradictions, and what is too deep or too much: a 400 that names the place."""
    with pytest.raises(ApiError) as refusal:
        _asked("law", schema)
    assert refusal.value.code == 400
    assert said in refusal.value.message


def test_json_schema_is_read_alike() -> None:
    """References, lists of types, constants and null branches mean what they mean in the other dialect."""
    schema = {
        "$defs": {"Stars": {"anyOf": [{"type": "integer", "exclusiveMinimum": 0, "maximum": 5}, {"type": "null"}]}},
        "type": "object",
        "properties": {
            "stars": {"$ref": "#/$defs/Stars"},
            "kind": {"const": "review"},
            "price": {"type": ["number", "null"], "exclusiveMaximum": 39.9},
            "verdict": {"type": "string", "enum": ["praise", "blame", None]},
        },
    }
    config = {"responseJsonSchema": schema}
    response = answer({"contents": [{"parts": [{"text": KETTLE}]}], "generationConfig": config}, MODEL)
    document = json.loads(response["candidates"][0]["content"]["parts"][0]["text"])
    assert document == {"stars": 4, "kind": "review", "price": None, "verdict": "praise"}


def test_what_a_description_and_a_choice_say() -> None:
    """Bounds that a description tells are kept but for contradictions, and a number or a text is a number."""
    schema = _object(
        summary=STRING | {"description": "at least 5 characters; at most 12 characters"},
        total={"anyOf": [{"type": "NUMBER"}, STRING]},
        score={"type": "NUMBER", "description": "How sure (greater than 0; less than 1)"},
        floor={"type": "INTEGER", "description": "greater than 2"},
        odd={"type": "INTEGER", "maximum": 1, "description": "1 where it is greater than 5"},
    )
    answer = _answered("The old printer in hall 2 does nothing at all since Monday.", schema)
    assert 5 <= len(answer["summary"]) <= 12
    assert isinstance(answer["total"], int | float)
    assert (answer["score"], answer["floor"], answer["odd"]) == (0.01, 3, 0)
