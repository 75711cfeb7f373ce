"""Names of concepts: what is none, what stands twice, and what is nearly another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.quality import names as concept_names


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("reinforcement learning", ""),
        ("support vector machine with radial basis function", ""),
        ("C++", ""),
        ("U.S. patents", ""),
        ("强化学习", ""),
        ("CAN bus", ""),
        ("a" * 60, ""),
        ("a" * 61, "too long"),
        ("42", "no letters"),
        ("", "no letters"),
        ("the model is trained", "like a sentence"),
        ("we propose a method", "like a sentence"),
        ("Results follow.", "like a sentence"),
        ("what is law?", "like a sentence"),
        ("one two three four five six seven eight", "like a sentence"),
    ],
)
def test_names_are_told_from_what_is_none(name: str, why: str) -> None:
    """Phrases of any script pass; what is too long, has no letters, or is a sentence does not."""
    assert concept_names.why_no_name(name) == why


@given(st.lists(st.sampled_from(["Law", "law", "LAW ", "tax  law", "tax law", "bees"])))
def test_what_stands_twice_is_counted_in_any_case(names: list[str]) -> None:
    """As many are counted as would have to go for each to stand once."""
    assert concept_names.count_repeated(names) == len(names) - len({" ".join(name.lower().split()) for name in names})


@pytest.mark.parametrize(
    ("names", "near"),
    [
        (["neural network", "neural networks"], [("neural networks", "neural network")]),
        (["fine-tuning", "fine tuning"], [("fine tuning", "fine-tuning")]),
        (["GPT-3 model series", "GPT-4 model series"], []),
        (["Law", "law"], []),
        (["graph networks", "graph network", "graph-network"], [("graph network", "graph networks")]),
    ],
)
def test_what_is_nearly_another_is_found(names: list[str], near: list[tuple[str, str]]) -> None:
    """A plural or a hyphen makes no other concept; a number does; what is the same is a duplicate, not nearly one."""
    found = concept_names.nearly_repeated_names(names)
    assert found[: len(near)] == near
    assert bool(found) == bool(near)
