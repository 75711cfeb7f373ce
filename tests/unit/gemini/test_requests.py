"""Request lines: what is built, what is refused before it is sent, and the schema dialect."""

import json
from datetime import datetime
from enum import Enum
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, create_model

from pipeline.core.errors import InputError
from pipeline.core.task import Prompt
from pipeline.gemini.requests import build_request, check_request, request_key, request_line
from pipeline.gemini.schema import response_schema

SCHEMA = {
    "type": "OBJECT",
    "properties": {"tags": {"type": "ARRAY", "items": {"type": "STRING"}, "minItems": 3, "maxItems": 8}},
    "propertyOrdering": ["tags"],
    "required": ["tags"],
}


class Tags(BaseModel):
    """Notes for us, which no model should read."""

    model_config = ConfigDict(extra="forbid")

    tags: list[str] = Field(min_length=3, max_length=8)


def golden() -> dict[str, Any]:
    """Return a request as `build` makes it."""
    prompt = Prompt(system="You tag people.", parts=[{"text": "A hydrologist."}], max_output_tokens=512)
    return build_request(prompt, schema=response_schema(Tags), thinking={"thinkingLevel": "MINIMAL"})


def test_golden_line() -> None:
    """A line is exactly this: camelCase, responseSchema, a cap, thinking; no model, tier or sampling."""
    written = request_line("expert-tags/7", golden())
    assert json.loads(written) == {
        "key": "expert-tags/7",
        "request": {
            "contents": [{"role": "user", "parts": [{"text": "A hydrologist."}]}],
            "systemInstruction": {"parts": [{"text": "You tag people."}]},
            "generationConfig": {
                "responseMimeType": "application/json",
                "responseSchema": SCHEMA,
                "maxOutputTokens": 512,
                "thinkingConfig": {"thinkingLevel": "MINIMAL"},
            },
        },
    }
    check_request(written)


def test_line_ends_of_other_alphabets_stay_inside_the_line() -> None:
    """U+2028, U+0085 and new lines in a text leave one line, split on the byte alone."""
    prompt = Prompt(system="s", parts=[{"text": "a\u2028b\u0085c\nd\re"}], max_output_tokens=9)
    written = request_line("t/1", build_request(prompt, schema=SCHEMA, thinking=None))
    assert b"\n" not in written
    check_request(written)
    assert json.loads(written)["request"]["contents"][0]["parts"][0]["text"] == "a\u2028b\u0085c\nd\re"


def changed(path: str, value: Any) -> bytes:
    """Return the golden line with one member replaced; `path` is dotted, a last `-` removes."""
    document: Any = json.loads(request_line("t/1", golden()))
    *steps, last = path.split(".")
    place = document
    for step in steps:
        place = place[int(step) if isinstance(place, list) else step]
    if value is ...:
        del place[last]
    elif isinstance(place, list):
        place[int(last)] = value
    else:
        place[last] = value
    return json.dumps(document).encode()


CONFIG = "request.generationConfig"
BAD: dict[str, tuple[bytes, str]] = {
    "no JSON": (b'{"key": "a"', "must be JSON"),
    "list": (b"[]", "JSON object"),
    "two lines": (b'{"key": "a",\n"request": {}}', "one line"),
    "no key": (changed("key", ...), "'key'"),
    "empty key": (changed("key", " "), "'key'"),
    "third member": (changed("metadata", {}), "'metadata'"),
    "no request": (changed("request", ...), "'request'"),
    "no contents": (changed("request.contents", ...), "'contents'"),
    "text in contents": (changed("request.contents.0", "hi"), "'contents'"),
    "strange role": (changed("request.contents.0.role", "system"), "'role'"),
    "no parts": (changed("request.contents.0.parts", ...), "'parts'"),
    "empty part": (changed("request.contents.0.parts.0", {}), "a part"),
    "empty text": (changed("request.contents.0.parts.0.text", ""), "'text'"),
    "media without type": (changed("request.contents.0.parts.0", {"inlineData": {"data": "x"}}), "'mimeType'"),
    "unknown part": (changed("request.contents.0.parts.0", {"image": "x"}), "'image'"),
    "text instruction": (changed("request.systemInstruction", "You tag"), "'systemInstruction'"),
    "snake instruction": (changed("request.system_instruction", {}), "'system_instruction'"),
    "thinking outside": (changed("request.thinkingConfig", {}), "'thinkingConfig'"),
    "model": (changed("request.model", "models/m"), "URL"),
    "tier": (changed("request.serviceTier", "x"), "no service tier"),
    "cache": (changed("request.cachedContent", "x"), "whole file"),
    "json schema": (changed(f"{CONFIG}.responseJsonSchema", {}), "responseSchema"),
    "temperature": (changed(f"{CONFIG}.temperature", "hot"), "'temperature'"),
    "no settings": (changed(CONFIG, ...), "'generationConfig'"),
    "no cap": (changed(f"{CONFIG}.maxOutputTokens", ...), "'maxOutputTokens'"),
    "true cap": (changed(f"{CONFIG}.maxOutputTokens", True), "'maxOutputTokens'"),  # noqa: FBT003 - the value under test
    "both thinkings": (changed(f"{CONFIG}.thinkingConfig.thinkingBudget", 0), "exclude"),
    "snake thinking": (changed(f"{CONFIG}.thinkingConfig.thinking_budget", 0), "'thinking_budget'"),
    "no JSON asked": (changed(f"{CONFIG}.responseMimeType", "text/plain"), "application/json"),
    "lower type": (changed(f"{CONFIG}.responseSchema.type", "object"), "'object'"),
    "no items": (changed(f"{CONFIG}.responseSchema.properties.tags.items", ...), "items"),
    "reference": (changed(f"{CONFIG}.responseSchema.properties.tags.items", {"$ref": "#/x"}), "$ref"),
    "additional": (changed(f"{CONFIG}.responseSchema.additionalProperties", False), "additionalProperties"),  # noqa: FBT003
    "no properties": (changed(f"{CONFIG}.responseSchema.properties", {}), "without properties"),
    "unknown required": (changed(f"{CONFIG}.responseSchema.required", ["x"]), "'x'"),
    "number enum": (changed(f"{CONFIG}.responseSchema.properties.tags.items.enum", [1]), "enum"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_line_never_reaches_the_wire(name: str) -> None:
    """Each line that would make the API refuse the whole file is refused here, and the message names the place."""
    bad, says = BAD[name]
    with pytest.raises(InputError) as caught:
        check_request(bad)
    assert says in caught.value.message


class Level(Enum):
    """Notes for us."""

    LOW = "low"
    HIGH = "high"


class Quote(BaseModel):
    """Notes for us."""

    text: str = Field(pattern="^a", max_length=9, description="the words")
    page: int | None = None


class Rich(BaseModel):
    """A model with all that the dialect can say."""

    title: str
    kind: Literal["a", "b"] = "a"
    level: Level
    quote: Quote = Field(description="where it stands")
    quotes: list[Quote] | None = None
    either: int | str
    when: datetime
    share: float = Field(ge=0, le=1)
    fixed: Literal["x"]
    sure: bool


def test_schema_of_a_rich_model() -> None:
    """References are inlined, types are capitals, null is nullable, order is kept; what only narrows is left out."""
    quote = {
        "type": "OBJECT",
        "properties": {
            "text": {"type": "STRING", "description": "the words"},
            "page": {"type": "INTEGER", "nullable": True},
        },
        "propertyOrdering": ["text", "page"],
        "required": ["text"],
    }
    schema = response_schema(Rich)
    assert schema["properties"] == {
        "title": {"type": "STRING"},
        "kind": {"type": "STRING", "enum": ["a", "b"]},
        "level": {"type": "STRING", "enum": ["low", "high"]},
        "quote": {**quote, "description": "where it stands"},
        "quotes": {"type": "ARRAY", "items": quote, "nullable": True},
        "either": {"anyOf": [{"type": "INTEGER"}, {"type": "STRING"}]},
        "when": {"type": "STRING", "format": "date-time"},
        "share": {"type": "NUMBER", "minimum": 0.0, "maximum": 1.0},
        "fixed": {"type": "STRING", "enum": ["x"]},
        "sure": {"type": "BOOLEAN"},
    }
    assert schema["propertyOrdering"] == list(Rich.model_fields)
    assert schema["required"] == ["title", "level", "quote", "either", "when", "share", "fixed", "sure"]
    check_request(changed(f"{CONFIG}.responseSchema", schema))
    assert "Notes for us" not in json.dumps(schema)


def test_models_the_dialect_cannot_say() -> None:
    """What responseSchema cannot say is an error that names the model, not a schema that is refused later."""
    kinds: tuple[Any, ...] = (dict[str, int], tuple[int, str], Any, list[Any], Literal[1, 2])
    for kind in kinds:
        with pytest.raises(TypeError, match="Odd"):
            response_schema(create_model("Odd", value=(kind, ...)))
    with pytest.raises(TypeError, match="Odd"):
        response_schema(create_model("Odd"))
    schema: dict[str, Any] = {"type": "STRING"}
    for _ in range(12):
        schema = {"type": "ARRAY", "items": schema}
    with pytest.raises(InputError, match="nested deeper"):
        check_request(changed(f"{CONFIG}.responseSchema.properties.tags", schema))


def test_what_makes_no_line_is_refused() -> None:
    """A text that is no UTF-8, a task with a slash, and empty halves of a key; no thinking leaves the model its own."""
    request = build_request(
        Prompt(system="", parts=[{"text": "\ud800"}], max_output_tokens=9), schema={}, thinking=None
    )
    assert request.keys() == {"contents", "generationConfig"}
    assert "thinkingConfig" not in request["generationConfig"]
    with pytest.raises(InputError, match="t/1"):
        request_line("t/1", request)
    for task, item in (("", "1"), ("a/b", "1"), ("a", "")):
        with pytest.raises(ValueError, match="no key"):
            request_key(task, item)
