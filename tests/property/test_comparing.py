"""The verdict of a probe: what holds whatever the replies of the two ways are."""

import json

from hypothesis import given
from hypothesis import strategies as st

from pipeline.comparing import Seen, compare, differences
from pipeline.states import Outcome
from pipeline.store.probes import Verdict

SEEN = st.builds(
    Seen,
    outcome=st.sampled_from([one.value for one in Outcome]),
    reason=st.sampled_from(["ok", "does-not-validate: tags: too short", "no-candidates"]),
    finish=st.sampled_from(["STOP", "MAX_TOKENS", "SAFETY", ""]),
    prompt=st.integers(0, 5000),
    answer=st.integers(0, 200),
    thoughts=st.sampled_from([0, 0, 400]),
    model=st.sampled_from(["one", "other"]),
)
LINES = st.dictionaries(st.integers(1, 5), SEEN)


@given(batch=LINES, live=LINES)
def test_a_batch_that_is_worse_than_live_fails(batch: dict[int, Seen], live: dict[int, Seen]) -> None:
    """It failed where a live answer validates and the batch's does not, or none of these does; void without any."""
    verdict, report = compare(batch, live)
    both = batch.keys() & live.keys()
    if not both:
        assert verdict is Verdict.VOID
    else:
        worse = any(live[line].validates and not batch[line].validates for line in both)
        none = not any(batch[line].validates for line in both)
        assert verdict is (Verdict.FAILED if worse or none else Verdict.PASSED)
    assert report["compared"] == len(both)
    assert [line["line"] for line in report["lines"]] == sorted(both)
    assert json.loads(json.dumps(report)) == report


@given(SEEN)
def test_the_same_reply_differs_in_nothing(one: Seen) -> None:
    """No difference is seen where there is none."""
    assert differences(one, one) == []


@given(one=SEEN, other=SEEN)
def test_whatever_differs_is_said_once_for_each_kind(one: Seen, other: Seen) -> None:
    """Shape, finish word, model and thoughts are told exactly where they differ, from either side alike."""
    said = differences(one, other)
    assert len(said) == len(differences(other, one))
    kinds = {
        "live one": one.validates != other.validates,
        "ended with": one.finish != other.finish,
        "by ": one.model != other.model,
        "tokens of thought": bool(one.thoughts) != bool(other.thoughts),
    }
    for words, is_there in kinds.items():
        assert any(words in line for line in said) == is_there
