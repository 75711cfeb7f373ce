"""Keys that came before, kept beside the memory."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.tables.duplicates import SeenIds


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=2)))
def test_it_tells_what_a_dictionary_would(keys: list[str]) -> None:
    """Of each key that came before, the line where it did first and what was kept with it."""
    lines: dict[str, int] = {}
    with SeenIds() as seen:
        for line, key in enumerate(keys, start=1):
            first = lines.setdefault(key, line)
            assert seen.first(key, line, f"with {line}") == (None if first == line else (first, f"with {first}"))
