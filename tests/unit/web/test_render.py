"""Values of rows and answers on the page are the texts that the commands print."""

from typing import Any

import pytest

from askrows.pipeline.core.quotes import format_value_for_people
from askrows.web.render import join_value_texts, to_text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (7.0, "7"), (2.5, "2.5"), (1e308, "1e+308"), (3, "3")],
)
def test_numbers_are_short(value: Any, text: str) -> None:
    """A whole float has no decimals, and a huge one has an exponent."""
    assert (to_text(value), format_value_for_people(value)) == (text, text)


@pytest.mark.parametrize("value", [None, "", [], {}, {"note": ""}])
def test_empty_values_are_nothing(value: Any) -> None:
    """An empty list or object is not a blank."""
    assert join_value_texts(value) == "nothing"
