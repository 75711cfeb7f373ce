"""Ids that came before, kept beside the memory."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.passages.seen import Seen


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=2)), max_size=5))
def test_it_tells_what_a_dictionary_would(blocks: list[list[str]]) -> None:
    """In whatever blocks ids come: of each that came before, the line where it did first."""
    lines: dict[str, int] = {}
    number = 0
    with Seen() as seen:
        for block in blocks:
            rows = [(key, number + place) for place, key in enumerate(block, start=1)]
            number += len(block)
            expected = {line: lines[key] for key, line in rows if lines.setdefault(key, line) != line}
            assert seen.add(rows) == expected


def test_any_number_of_ids_is_taken_at_once() -> None:
    """More than a statement takes."""
    rows = [(f"id {number}", number) for number in range(40_000)]
    with Seen() as seen:
        assert seen.add(rows) == {}
        assert seen.add([("id 7", 50_000), ("new", 50_001)]) == {50_000: 7}
