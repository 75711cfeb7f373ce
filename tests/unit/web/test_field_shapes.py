"""The texts of a form become a value, which the validation of the answer judges."""

import pytest

from askrows.pipeline.core.answer_fields import AnswerField
from askrows.web.field_shapes import parse_texts

DEEP_BRACKETS = "[" * 100_000


@pytest.mark.parametrize(
    ("field", "texts", "value"),
    [
        (AnswerField(), DEEP_BRACKETS, DEEP_BRACKETS),
        (
            AnswerField(kind="list", parts=(AnswerField(),)),
            {"0": DEEP_BRACKETS},
            [DEEP_BRACKETS],
        ),
    ],
)
def test_brackets_that_are_nested_too_deeply_are_a_text(
    field: AnswerField, texts: str | dict[str, str], value: object
) -> None:
    """A text that is not JSON stays as it is."""
    assert parse_texts(field, texts) == value
