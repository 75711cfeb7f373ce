"""Stored reasons of failures are printed in words."""

import pytest

from askrows.pipeline.core.states import describe_reason, describe_remote_state


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("does-not-validate: tone: no", "invalid answer: tone: no"),
        ("max-tokens", "answer cut at the token limit"),
        ("max-tokens-empty (MAX_TOKENS)", "no answer within the token limit (MAX_TOKENS)"),
        (
            "it failed 2 times; last: bad-finish (LANGUAGE)",
            "it failed 2 times; last: answer not finished by the provider (LANGUAGE)",
        ),
        (
            "does-not-parse: Expecting value: line 1 column 1 (char 0)",
            "unreadable answer",
        ),
        ("blocked (SAFETY)", "blocked (SAFETY)"),
        # The text of a row or of a model is not changed.
        ("error 3: max-tokens is too large", "error 3: max-tokens is too large"),
        ("max-tokens-other", "max-tokens-other"),
    ],
)
def test_codes_become_words(reason: str, words: str) -> None:
    """Only a code at the start of a reason, or of the last failure, is replaced."""
    assert describe_reason(reason) == words


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("JOB_STATE_PARTIALLY_SUCCEEDED", "partially succeeded"),
        ("BATCH_STATE_PENDING", "pending"),
        ("submitted", "submitted"),
    ],
)
def test_state_of_a_batch_at_the_api_becomes_words(word: str, text: str) -> None:
    """The prefix of the API is removed."""
    assert describe_remote_state(word) == text
