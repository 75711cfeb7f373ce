"""The sentence of a hit, and its marked words."""

import itertools
import re

from hypothesis import given
from hypothesis import strategies as st

from askrows.pipeline.core.tokenizer import find_term_spans
from askrows.pipeline.index.hits import MAX_SNIPPET_CHARS, find_best_snippet


@given(
    text=st.text(st.sampled_from("ab水法 .\n!。x"), max_size=700),
    word=st.sampled_from(["a", "b", "ab", "水法"]),
)
def test_marks_cover_exactly_the_words(text: str, word: str) -> None:
    """Marks are apart, ascending and parts of the word; the line is short enough."""
    snippet = find_best_snippet([text], {word: 1.0})
    assert "\n" not in snippet.text
    assert len(snippet.text) <= MAX_SNIPPET_CHARS + 2

    # Marks do not overlap.
    boundaries = [0, *itertools.chain.from_iterable(snippet.marks), len(snippet.text)]
    assert boundaries == sorted(boundaries)
    assert all(
        snippet.text[start:end] and snippet.text[start:end] in word for start, end in snippet.marks
    )

    contains_word = any(
        list(find_term_spans(line, {word})) for line in re.split(r"\s+|(?<=[.!。])", text)
    )
    assert bool(snippet.marks) == contains_word
