"""Replies of a batch and of a live call: what holds of their differences whatever they are."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.states import Outcome
from pipeline.workflows.differences import ReplyFacts, differences

FACTS = st.builds(
    ReplyFacts,
    outcome=st.sampled_from([one.value for one in Outcome]),
    reason=st.sampled_from(["ok", "does-not-validate", "no-candidates"]),
    finish=st.sampled_from(["STOP", "MAX_TOKENS", "SAFETY", ""]),
    prompt=st.integers(0, 5000),
    answer=st.integers(0, 200),
    thoughts=st.sampled_from([0, 0, 400]),
)


@given(FACTS)
def test_the_same_reply_differs_in_nothing(one: ReplyFacts) -> None:
    """No difference is seen where there is none."""
    assert differences(one, one) == []


@given(one=FACTS, other=FACTS)
def test_what_differs_is_said_once_for_each_kind(one: ReplyFacts, other: ReplyFacts) -> None:
    """Validity, finish reason and thoughts are told exactly where they differ, from either side alike."""
    said = differences(one, other)
    assert len(said) == len(differences(other, one))
    kinds = {
        "live one": one.is_valid != other.is_valid,
        "ended with": one.finish != other.finish,
        "tokens of thought": bool(one.thoughts) != bool(other.thoughts),
    }
    for words, is_there in kinds.items():
        assert any(words in line for line in said) == is_there
