"""Stored tags of any answer, and tags cells with any content."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from askrows.pipeline.rows.cells import parse_finite_number, parse_json_text_list, to_stripped_text
from askrows.pipeline.tasks.shipped.experts import Tags

PLAIN_TEXT = st.text(
    st.characters(categories=["L", "N"], exclude_characters="\u115f\u1160\u3164\uffa0"), max_size=12
)
WORDS = st.lists(PLAIN_TEXT, max_size=3).map(" \t".join) | st.sampled_from(
    [
        "Water  Law",
        " water law",
        "WATER\tLAW\n",
        "İstanbul",
        "ẞ",
        "\u00a0",
        "ﬁ",
        "C#",
        "C++",
        "R&D",
        "at&t",
        "3D",
    ]
)
# Mark-up, entities, signs and invisible characters.
MARKS = st.sampled_from(
    [
        "<b>",
        "</b>",
        "&lt;",
        "&amp;",
        "&#0;",
        "**",
        "`",
        "[",
        "](x)",
        "{",
        "\x1b[31m",
        "\u202e",
        "\u200b",
    ]
)
# Mixed texts, and texts around the maximal length.
ANY_TAG = st.lists(WORDS | MARKS | st.text(max_size=5), max_size=8).map("".join) | st.text(
    min_size=55, max_size=70
)


@given(st.lists(ANY_TAG, min_size=1, max_size=6))
@example(["<b>Water&nbsp;Law</b>", "x" * 61, "&amp;lt;b&amp;gt;", "- bees"])
def test_stored_tags_are_well_formed(words: list[str]) -> None:
    """Tags are visible, on a line, lower case, short, unique, without mark-up, and stable."""
    try:
        stored_tags = Tags(tags=words).tags
    except ValidationError as error:
        assert "no tag is valid: the first tag " in str(error)  # noqa: PT017 - or tags are stored
        return

    assert stored_tags
    for tag in stored_tags:
        assert tag.isprintable()
        assert tag == tag.lower() == " ".join(tag.split()) != ""
        assert len(tag) <= 60
        assert not set(tag) & set("<>{}[]\uff1c\uff1e")
    assert stored_tags == list(dict.fromkeys(stored_tags)) == Tags(tags=stored_tags).tags


@pytest.mark.parametrize(
    ("word", "tag"),
    [
        ("<b>Water&nbsp;Law</b>", "water law"),
        ("&amp;lt;i&amp;gt;bees", "bees"),
        ("[law](https://x.example)", "law"),
        ("- bees", "bees"),
        ("wa\u200bter\u00ad law\ufeff", "water law"),
        ("water\x00law\x9b", "water law"),
    ],
)
def test_a_tag_is_cleaned(word: str, tag: str) -> None:
    """Mark-up, entities, control and invisible characters are removed; the words stay."""
    assert Tags(tags=[word]).tags == [tag]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("x" * 61, "longer than 60 characters"),
        ("\u200b\u3164 \x07", "blank"),
        ("<script", "mark-up"),
        ("visit https://x.example", "://"),
    ],
)
@pytest.mark.promise("answers")
def test_an_invalid_tag_is_removed_with_a_reason(word: str, reason: str) -> None:
    """An answer with only an invalid tag is invalid; good tags are stored without it."""
    message = f"no tag is valid: the first tag (is|contains) {reason}"
    with pytest.raises(ValidationError, match=message):
        Tags(tags=[word])
    assert Tags(tags=["bees", word, "water law"]).tags == ["bees", "water law"]


@given(st.none() | st.text() | st.binary() | st.integers() | st.floats())
def test_any_cell_can_be_read(cell: Any) -> None:
    """Any cell is read as text, as a number or None, and as tags or None."""
    assert to_stripped_text(cell) == to_stripped_text(cell).strip()
    number = parse_finite_number(cell)
    assert number is None or number - number == 0
    tags = parse_json_text_list(cell)
    assert tags is None or all(isinstance(tag, str) for tag in tags)
