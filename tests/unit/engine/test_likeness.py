"""Words that answers share with rows show a mixed-up batch, and hold no batch without faults."""

import itertools
import random
from collections.abc import Sequence

import pytest

from pipeline.engine.likeness import (
    MAX_PAIRS,
    WordPair,
    is_mixed_up,
    list_texts,
    measure_likeness,
    split_words,
)

TRIALS = 1_000
TEXT_WORDS = 40
VOCABULARY = [f"word{number}" for number in range(5_000)]
# The frequency of words in natural texts falls with their rank (Zipf).
WEIGHTS = list(itertools.accumulate(1 / rank for rank in range(1, len(VOCABULARY) + 1)))


def draw_words(randomness: random.Random, count: int) -> list[str]:
    """Return random words with the frequencies of natural texts."""
    return randomness.choices(VOCABULARY, cum_weights=WEIGHTS, k=count)


def make_answer(kind: str, text: Sequence[str], randomness: random.Random) -> list[str]:
    """Return the words of an answer of a kind to a text."""
    if kind == "quotation":
        start = randomness.randrange(len(text) - 10)
        return list(text[start : start + 10])
    if kind == "summary":
        return [*randomness.sample(text, 12), *draw_words(randomness, 12)]
    if kind == "tags":
        return randomness.sample(text, 6)
    if kind == "paraphrase":
        return [*randomness.sample(text, 1), *draw_words(randomness, 9)]
    if kind == "label":
        return [randomness.choice(["praise", "blame", "mixed"])]
    # An answer that repeats no word of its text on purpose.
    return draw_words(randomness, 30)


def make_pairs(kind: str, count: int, seed: object) -> list[WordPair]:
    """Return answers of a kind with the texts of their rows."""
    randomness = random.Random(str(seed))  # noqa: S311 - a repeatable trial
    pairs = []
    for _ in range(count):
        text = draw_words(randomness, TEXT_WORDS)
        answer = make_answer(kind, text, randomness)
        pairs.append(WordPair(frozenset(answer), frozenset(text)))
    return pairs


def rotate(pairs: Sequence[WordPair], distance: int = 1) -> list[WordPair]:
    """Return pairs whose answers moved by some rows."""
    moved = [*pairs[distance:], *pairs[:distance]]
    return [
        WordPair(other.answer_words, pair.text_words)
        for pair, other in zip(pairs, moved, strict=True)
    ]


@pytest.mark.parametrize(
    "kind",
    ["quotation", "summary", "tags", "paraphrase", "label", "unrelated"],
)
def test_no_batch_without_faults_is_held(kind: str) -> None:
    """In a thousand batches of all kinds none is mixed up, with and without earlier answers."""
    earlier_pairs = make_pairs(kind, 200, "earlier")
    for trial in range(TRIALS // 4):
        pairs = make_pairs(kind, 50 + trial % 60, trial)
        assert not is_mixed_up(pairs, list, seed=str(trial)), trial
        assert not is_mixed_up(pairs, lambda: earlier_pairs, seed=str(trial)), trial


@pytest.mark.parametrize("kind", ["quotation", "summary", "tags"])
def test_rotated_batch_is_held(kind: str) -> None:
    """Rotated batches of 60 rows are held, with and without earlier answers."""
    earlier_pairs = make_pairs(kind, 200, "earlier")
    for trial in range(60):
        pairs = rotate(make_pairs(kind, 60, trial), 1 + trial % 59)
        assert is_mixed_up(pairs, list, seed=str(trial)), trial
        assert is_mixed_up(pairs, lambda: earlier_pairs, seed=str(trial)), trial


@pytest.mark.parametrize("kind", ["quotation", "summary", "tags", "unrelated"])
def test_largest_sample(kind: str) -> None:
    """The largest sample is held if it is rotated, unless its answers repeat no words."""
    pairs = make_pairs(kind, MAX_PAIRS, "large")
    assert not is_mixed_up(pairs, list, seed="x")
    assert is_mixed_up(rotate(pairs), list, seed="x") == (kind != "unrelated")


def test_few_answers_and_weak_tasks_are_not_tested() -> None:
    """Fewer than 50 answers, and versions with earlier answers like chance, are not tested."""
    pairs = rotate(make_pairs("quotation", 60, 1))
    assert not is_mixed_up(pairs[:49], list, seed="x")
    weak_pairs = make_pairs("unrelated", 100, 2)
    assert not is_mixed_up(pairs, lambda: weak_pairs, seed="x")


def test_words_of_answers_and_texts() -> None:
    """Texts are found in nested answers; words are case-folded and have three characters."""
    answer = {"a": "Red LAMP", "b": [{"c": "hums"}, 7, None], "d": {"e": "a ok"}}
    words = split_words("\n".join(list_texts(answer)))
    assert words == {"red", "lamp", "hums"}
    pairs = [WordPair(words, split_words("the lamp")), WordPair(frozenset(), split_words("hums"))]
    assert measure_likeness(pairs).alike_texts == [{0, 1}, set()]
