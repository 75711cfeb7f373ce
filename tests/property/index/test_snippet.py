"""The sentence that is shown of a hit, and its marks."""

import re
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from pipeline.index.fusion import LONGEST, Place, Snippet, best_snippet


def places(text: str) -> Iterator[Place]:
    """Yield the words of a text; of Chinese, pairs of characters that overlap."""
    for found in re.finditer(r"[a-z]+|(?=(水\S))", text):
        yield (
            Place(found.start(), found.end() or found.end(1), found[0] or found[1])
            if found[0]
            else Place(found.start(1), found.end(1), found[1])
        )


def test_the_sentence_with_the_heaviest_words_is_shown() -> None:
    """A word counts once; the first of equal ones, the first of all where no word stands; long ones are cut."""
    texts = ["beekeeper", "Keeps bees, bees, bees. Teaches the law of water. Knows water and law!"]
    weights = {"law": 2.0, "water": 1.0, "bees": 2.5}
    assert best_snippet(texts, weights, places) == Snippet("Teaches the law of water.", ((12, 15), (19, 24)))
    assert best_snippet(texts, {"tax": 1.0}, places) == Snippet("beekeeper")
    assert best_snippet(["我教水水法。你好。"], {"水水": 1.0, "水法": 1.0}, places) == Snippet(
        "我教水水法。", ((2, 5),)
    )
    assert best_snippet(['"No." Said e.g. of law (etc.) Now.'], weights, places).text == "Said e.g. of law (etc.)"
    assert best_snippet([], weights, places) == Snippet("")
    long = best_snippet([f"law {'and ' * 90}then bees with law {'or ' * 90}"], weights, places)
    assert long.text.startswith("…")
    assert long.text.endswith("…")
    assert [long.text[start:end] for start, end in long.marks] == ["bees", "law"]


@given(text=st.text(st.sampled_from("ab水法 .\n!。x"), max_size=700), word=st.sampled_from(["a", "b", "ab", "水法"]))
def test_marks_are_where_the_words_are(text: str, word: str) -> None:
    """They are apart and ascending, each is the word or a part of it, and the line is no longer than it may be."""
    found = best_snippet([text], {word: 1.0}, places)
    assert "\n" not in found.text
    assert len(found.text) <= LONGEST + 2
    ends = [0, *(at for mark in found.marks for at in mark), len(found.text)]
    assert ends == sorted(ends)
    assert all(found.text[start:end] and found.text[start:end] in word for start, end in found.marks)
    is_there = any(place.word == word for line in re.split(r"\s+|(?<=[.!。])", text) for place in places(line))
    assert bool(found.marks) == is_there
