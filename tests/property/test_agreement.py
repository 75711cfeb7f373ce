"""Agreement of two answers: whole with itself, the same both ways round, from 0 to 1."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.quality.agreement import field_values

SCALARS = st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["a", "b"])
QUOTES = st.fixed_dictionaries({"quote": st.sampled_from(["x", "y"]), "start": st.integers(0, 9), "end": st.just(9)})
VALUES = st.recursive(
    SCALARS | QUOTES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("pqr"), inner, max_size=3),
    max_leaves=8,
)
ANSWERS = st.dictionaries(st.sampled_from("fgh"), VALUES, max_size=3)


@given(ANSWERS, ANSWERS)
def test_agreement_is_a_measure(one: dict[str, Any], other: dict[str, Any]) -> None:
    """No field differs from itself, neither side counts more, and lists agree whatever their order."""
    assert all(found.agreement == 1 for found in field_values(one, one))
    there = {found.field: found.agreement for found in field_values(one, other)}
    assert there == {found.field: found.agreement for found in field_values(other, one)}
    assert all(0 <= share <= 1 for share in there.values())
    turned = {name: value[::-1] if isinstance(value, list) else value for name, value in one.items()}
    assert all(found.agreement == 1 for found in field_values(one, turned))


def test_lists_are_compared_by_overlap_and_quotations_by_their_text() -> None:
    """Of lists of objects each field is a list of its own; an empty one has nothing in common."""
    quote = {"quote": "q", "start": 0, "end": 1}
    one = {"aspects": [{"name": "lid", "quote": quote}, {"name": "hum", "quote": quote}], "tags": ["a"], "stars": 1}
    other = {"aspects": [{"name": "lid", "quote": {**quote, "start": 7}}], "tags": [], "stars": 1}
    found = {values.field: values.agreement for values in field_values(one, other)}
    assert found == {"aspects[].name": 0.5, "aspects[].quote": 0.5, "tags[]": 0.0, "stars": 1.0}
    assert {values.field: values.agreement for values in field_values(one, {**one, "aspects": []})} == {
        "aspects[].name": 0.0,
        "aspects[].quote": 0.0,
        "tags[]": 1.0,
        "stars": 1.0,
    }
