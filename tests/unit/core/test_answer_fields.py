"""The fields of an answer are described once, and the description is stored."""

import json
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from enum import IntEnum
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from askrows.pipeline.core.answer_fields import AnswerField, list_answer_fields
from askrows.pipeline.core.quotes import Quote

Grade = IntEnum("Grade", {"low": 1, "high": 2})


class Aspect(BaseModel):
    """A part of an answer."""

    verdict: Literal["praise", "blame"]
    quote: Quote


class Answer(BaseModel):
    """An answer with fields of many kinds."""

    tone: Literal["praise", "blame"] | None = Field(description="Praise or blame?")
    grade: Grade
    stars: int = Field(gt=0, le=3)
    share: float = Field(ge=0, lt=1)
    price: Decimal
    is_urgent: bool | None
    why: Annotated[str, Quote(optional=True)] | None
    topics: list[str] = Field(min_length=1, max_length=4)
    aspects: list[Aspect]
    counts: dict[str, int]
    mixed: Literal["a"] | bool
    code: Literal["a", 1]
    is_sure: Literal[True]
    day: date | None
    at: datetime
    words: str = Field(alias="theWords", pattern="x")


FIELDS = {field.name: field for field in list_answer_fields(Answer)}


@pytest.mark.parametrize(
    ("name", "kind", "column_kind", "values"),
    [
        ("tone", "choice", "text", ["praise", "blame", None]),
        ("grade", "choice", "integer", ["1", "2"]),
        ("stars", "number", "integer", [1, 2, 3]),
        ("share", "number", "real", None),
        ("price", "union", "decimal", None),
        ("is_urgent", "boolean", "boolean", [True, False, None]),
        ("why", "quotation", "json", None),
        ("topics", "list", "json", None),
        ("aspects", "list", "json", None),
        ("counts", "json", "json", None),
        ("mixed", "union", "json", ["a", True, False]),
        ("code", "choice", "json", ["a", "1"]),
        ("is_sure", "choice", "boolean", ["true"]),
        ("day", "text", "date", None),
        ("at", "text", "time", None),
        ("words", "text", "text", None),
    ],
)
def test_field_has_its_kind_and_values(
    name: str, kind: str, column_kind: str, values: list[object] | None
) -> None:
    """A field says how it is edited and stored, and which values it allows."""
    field = FIELDS[name]
    assert (field.kind, field.column_kind) == (kind, column_kind)
    options = field.list_options()
    assert (options and [option.value for option in options]) == values


def test_field_is_stored_with_all_its_parts() -> None:
    """A field that was written as JSON and read again is the same."""
    for field in FIELDS.values():
        document = json.loads(json.dumps(asdict(field)))
        assert AnswerField.from_document(document) == field


def test_parts_and_limits_are_described() -> None:
    """Members of lists and objects are fields, and bounds of whole numbers are inclusive."""
    element = FIELDS["aspects"].parts[0]
    assert [(part.name, part.kind) for part in element.parts] == [
        ("verdict", "choice"),
        ("quote", "quotation"),
    ]
    assert (FIELDS["stars"].minimum, FIELDS["stars"].maximum) == (1, 3)
    assert (FIELDS["share"].minimum, FIELDS["share"].maximum) == (0, None)
    assert (FIELDS["topics"].min_members, FIELDS["topics"].max_members) == (1, 4)
    assert (FIELDS["words"].member, FIELDS["words"].limits) == ("theWords", ["pattern"])
