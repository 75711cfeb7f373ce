"""The texts of a form become a value, or an error beside the field."""

import pytest

from pipeline.core.answer_fields import AnswerField
from pipeline.core.errors import InputError
from web.field_shapes import ROOT_NAME, parse_texts

DEEP_BRACKETS = "[" * 100_000


@pytest.mark.parametrize(
    ("field", "texts", "path"),
    [
        (AnswerField(), DEEP_BRACKETS, ROOT_NAME),
        (AnswerField(kind="list", parts=(AnswerField(),)), {"0": DEEP_BRACKETS}, f"{ROOT_NAME}.0"),
    ],
)
def test_brackets_that_are_nested_too_deeply_are_refused(
    field: AnswerField, texts: str | dict[str, str], path: str
) -> None:
    """The error names the text, as for any other text that is not JSON."""
    with pytest.raises(InputError, match=r"^this is not valid JSON") as refusal:
        parse_texts(field, texts, ROOT_NAME)
    assert refusal.value.field == path
