"""Limits that the schema dialect lacks are described to the model in words."""

from typing import Annotated, Any

import pytest
from pydantic import Field, create_model

from askrows.pipeline.provider.answer_schema import make_response_schema


@pytest.mark.parametrize(
    ("kind", "description"),
    [
        (
            Annotated[str, Field(min_length=2, max_length=9)],
            "at least 2 characters; at most 9 characters",
        ),
        (Annotated[float, Field(gt=0, lt=1)], "greater than 0; less than 1"),
        (Annotated[int, Field(gt=-3, lt=0)], "greater than -3; less than 0"),
        (Annotated[int, Field(multiple_of=5)], "a multiple of 5"),
        (Annotated[str, Field(pattern="^a$", min_length=0)], "matching the regular expression ^a$"),
        (Annotated[int, Field(ge=0, le=5)], None),
    ],
)
def test_limits_outside_of_the_dialect_are_described(kind: Any, description: str | None) -> None:
    """Limits of the dialect are not repeated, and built-in tasks have no descriptions."""
    answer = create_model("Answer", one=(kind, ...))
    schema = make_response_schema(answer, describe_limits=True)
    assert schema["properties"]["one"].get("description") == description

    assert "description" not in make_response_schema(answer)["properties"]["one"]
