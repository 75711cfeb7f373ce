"""The sentence of a hit, and its marked words."""

import itertools
import re

from hypothesis import given
from hypothesis import strategies as st

from pipeline.index.hits import MAX_SNIPPET_CHARS, Snippet, find_best_snippet
from pipeline.index.tokenizer import find_term_spans


def test_the_sentence_with_the_heaviest_words_is_shown() -> None:
    """A word counts once, the first of equal sentences wins, and long sentences are cut."""
    texts = ["beekeeper", "Keeps bees, bees, bees. Teaches the law of water. Knows water and law!"]
    weights = {"law": 2.0, "water": 1.0, "bee": 2.5}
    assert find_best_snippet(texts, weights) == Snippet(
        "Teaches the law of water.", ((12, 15), (19, 24))
    )
    assert find_best_snippet(texts, {"tax": 1.0}) == Snippet("beekeeper")
    assert find_best_snippet(["我教水水法。你好。"], {"水水": 1.0, "水法": 1.0}) == Snippet(
        "我教水水法。", ((2, 5),)
    )
    assert (
        find_best_snippet(['"No." Said e.g. of law (etc.) Now.'], weights).text
        == "Said e.g. of law (etc.)"
    )
    assert find_best_snippet([], weights) == Snippet("")

    long_snippet = find_best_snippet([f"law {'and ' * 90}then bees with law {'or ' * 90}"], weights)
    assert long_snippet.text.startswith("…")
    assert long_snippet.text.endswith("…")
    assert [long_snippet.text[start:end] for start, end in long_snippet.marks] == ["bees", "law"]


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
