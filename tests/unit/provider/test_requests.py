"""Build request lines, and convert models to the schema dialect."""

import json
from datetime import datetime
from enum import Enum
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, create_model

from askrows.pipeline.provider.answer_schema import make_response_schema


class Level(Enum):
    """Notes for us."""

    LOW = "low"
    HIGH = "high"


class Quote(BaseModel):
    """Notes for us."""

    text: str = Field(pattern="^a", max_length=9, description="the words")
    page: int | None = None


class Rich(BaseModel):
    """A model with all types of the dialect."""

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
    """References are inlined, null becomes nullable, and patterns are left out."""
    quote = {
        "type": "OBJECT",
        "properties": {
            "text": {"type": "STRING", "description": "the words"},
            "page": {"type": "INTEGER", "nullable": True},
        },
        "propertyOrdering": ["text", "page"],
        "required": ["text"],
    }
    schema = make_response_schema(Rich)
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
    assert schema["required"] == [
        "title",
        "level",
        "quote",
        "either",
        "when",
        "share",
        "fixed",
        "sure",
    ]
    assert "Notes for us" not in json.dumps(schema)


def test_models_outside_of_the_dialect_are_refused() -> None:
    """A model that responseSchema cannot describe is refused, and the error names it."""
    kinds: tuple[Any, ...] = (
        dict[str, Any],
        dict[str, int],
        tuple[int, str],
        Any,
        list[Any],
        Literal[1, "1"],
    )
    for kind in kinds:
        with pytest.raises(TypeError, match="Odd"):
            make_response_schema(create_model("Odd", value=(kind, ...)))
    with pytest.raises(TypeError, match="Odd"):
        make_response_schema(create_model("Odd"))
    nested_type: Any = str
    for _ in range(12):
        nested_type = list[nested_type]
    with pytest.raises(TypeError, match="nested deeper"):
        make_response_schema(create_model("Deep", value=(nested_type, ...)))
