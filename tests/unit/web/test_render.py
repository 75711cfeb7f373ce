"""How a page shows values: a state in plain words, a long text cut behind a word."""

import pytest

from web.render import CUT, as_cell, as_stated


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        ("tagged", "tagged"),
        ("with_concepts", "with concepts"),
        ("no_bio", "without a bio"),
        ("BATCH_STATE_PARTIALLY_SUCCEEDED", "partially succeeded"),
        (None, ""),
    ],
)
def test_a_state_is_shown_in_plain_words(state: str | None, shown: str) -> None:
    """That of an item and that of a batch at the API; none is an empty text."""
    assert as_stated(state) == shown


def test_a_long_text_is_cut_behind_a_word() -> None:
    """Where a word ends nearby; one long word, and a text of the very length, lose no more than they must."""
    words = "words and more " * 20
    assert as_cell(words).removesuffix(" …") in {words[:end] for end in range(CUT - 10, CUT) if words[end] == " "}
    assert as_cell("x" * 2 * CUT) == "x" * CUT + " …"
    assert as_cell("x" * CUT) == "x" * CUT
