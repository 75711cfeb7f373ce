"""Tags as they are kept, for any answer; and tags cells, for anything a database can hold."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.experts.answer import ExpertTags
from pipeline.experts.cells import number_of, tags_of, text_of

WORDS = st.text(max_size=12) | st.sampled_from(
    ["Water  Law", " water law", "WATER\tLAW\n", "İstanbul", "ẞ", "\u00a0", "ﬁ"]
)


@given(st.lists(WORDS, max_size=12))
@example(["Water  Law", "water law", "Bees"])
def test_tags_are_lower_case_trimmed_and_each_there_once(words: list[str]) -> None:
    """What is kept is normal, in the order of first mention, and stays so; where nothing is left it is refused."""
    if not any(word.split() for word in words):
        with pytest.raises(ValidationError):
            ExpertTags(tags=words)
        return
    kept = ExpertTags(tags=words).tags
    assert kept == list(dict.fromkeys(kept))
    assert all(tag == tag.lower() == " ".join(tag.split()) != "" for tag in kept)
    assert kept == list(dict.fromkeys(" ".join(word.lower().split()) for word in words if word.split()))
    assert ExpertTags(tags=kept).tags == kept


@pytest.mark.parametrize(
    "document",
    [
        "{}",
        '{"tags": []}',
        '{"tags": ["", " "]}',
        '{"tags": "law"}',
        '{"tags": [1]}',
        '{"tags": [["law"]]}',
        '{"tags": [null]}',
        '{"tags": ["law"], "id": 7}',
        '["law"]',
        "null",
    ],
)
def test_what_is_no_answer_is_refused(document: str) -> None:
    """The answer is `{"tags": [string, …]}` with at least one tag, and nothing else."""
    with pytest.raises(ValidationError):
        ExpertTags.model_validate_json(document)


@pytest.mark.parametrize("count", [1, 2, 9, 50])
def test_any_number_of_tags_is_accepted(count: int) -> None:
    """Three to eight are asked for; one or fifty are taken."""
    assert len(ExpertTags(tags=[f"tag {number}" for number in range(count)]).tags) == count


@given(st.lists(st.text(max_size=8), max_size=6), st.sampled_from(["", " ", "\n\t"]))
def test_a_json_list_is_read_as_it_was_written(tags: list[str], space: str) -> None:
    """Whatever stands around it, and as text or as bytes."""
    text = f"{space}{json.dumps(tags)}{space}"
    assert tags_of(text) == tags
    assert tags_of(text.encode()) == tags


@given(st.none() | st.text() | st.binary() | st.integers() | st.floats())
def test_any_cell_can_be_read(cell: Any) -> None:
    """No cell that a database can hold stops a command: it is text, a number or none, tags or none."""
    assert text_of(cell) == text_of(cell).strip()
    assert (number := number_of(cell)) is None or number - number == 0
    found = tags_of(cell)
    assert found is None or all(isinstance(tag, str) for tag in found)


@pytest.mark.parametrize(
    ("cell", "tags"),
    [
        (None, []),
        ("", []),
        (" \t\r\n", []),
        ("[]", []),
        (" [ ] ", []),
        ("null", []),
        (b"[]", []),
        ('["a", 1, null, {"b": [2]}]', ["a", "1", "null", '{"b":[2]}']),
        ('{"a": 1}', None),
        ("foo, bar", None),
        ("[foo]", None),
        ('["a"', None),
        ("7", None),
        (7, None),
        ("nul l", []),
        ("\u00a0", None),
        ("\u00a0[]", None),
        ("[" * 5000 + "]" * 5000, None),
        ('["\\ud800"]', None),
    ],
)
def test_examples_of_tags_cells(cell: object, tags: list[str] | None) -> None:
    """A JSON list is tags, the four kinds of nothing are untagged, all else is somebody else's text."""
    assert tags_of(cell) == tags
