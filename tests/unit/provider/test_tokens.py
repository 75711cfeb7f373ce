"""Calculate and estimate the cost of requests."""

from datetime import date
from typing import Any

import pytest

from askrows.pipeline.provider import models
from askrows.pipeline.provider.usage import (
    DEFAULT_THOUGHT_TOKENS,
    Usage,
    calculate_cost,
    estimate_request_usage,
    estimate_tokens,
)

TODAY = date(2026, 11, 20)


def test_cost_of_the_sample_of_google() -> None:
    """8 tokens in, 11 out and 829 of thought cost 8 x in + 840 x out, at half price in a batch."""
    model = models.load_models()["gemini-2.5-flash"]
    usage = Usage(prompt=8, answer=11, thoughts=829)
    assert calculate_cost(model, usage, "batch", day=TODAY) == pytest.approx(
        (8 * 0.15 + 840 * 1.25) / 1e6
    )
    assert calculate_cost(model, usage, "standard", day=TODAY) == pytest.approx(
        (8 * 0.30 + 840 * 2.50) / 1e6
    )


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("a", 1),
        ("abcd", 1),
        ("abcde", 2),
        ("a" * 4000, 1000),
        ("東京都", 3),
        ("日" * 300, 225),
        ("я" * 100, 50),
        ("é", 1),
        ("😀", 1),
        ("\ud800", 1),
    ],
)
def test_tokens_of_a_text(text: str, tokens: int) -> None:
    """A token has four bytes."""
    assert estimate_tokens(text) == tokens


@pytest.mark.parametrize(
    ("settings", "thoughts"),
    [
        ({"thinkingConfig": {"thinkingLevel": "MINIMAL"}}, 0),
        ({"thinkingConfig": {"thinkingBudget": 0}}, 0),
        ({"thinkingConfig": {"thinkingBudget": 128}}, 128),
        ({"thinkingConfig": {"thinkingBudget": -1}}, DEFAULT_THOUGHT_TOKENS),
        ({"thinkingConfig": {"thinkingLevel": "HIGH"}}, DEFAULT_THOUGHT_TOKENS),
        ({}, DEFAULT_THOUGHT_TOKENS),
    ],
)
def test_estimate_expects_thoughts(settings: dict[str, Any], thoughts: int) -> None:
    """Disabled thinking costs nothing, a budget counts fully, else the default applies."""
    assert (
        estimate_request_usage("", [], {"maxOutputTokens": 8192, **settings}).thoughts == thoughts
    )
