"""A schema that lets an answer hold more is never estimated smaller, and one that asks for nothing is small."""

from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, create_model

from findable import Quote
from pipeline.gemini.models import answer_size


def model(*kinds: Any) -> type[BaseModel]:
    """Return a model with a field of each kind."""
    fields: dict[str, Any] = {f"field{number}": (kind, ...) for number, kind in enumerate(kinds)}
    return create_model("Answer", **fields)


def listed(kind: Any) -> type[BaseModel]:
    """Return a model with a list of a kind."""
    return model(list[kind])


SCALARS = st.sampled_from([str, int, float, bool, Quote, Literal["praise", "blame"]])
KINDS: st.SearchStrategy[Any] = st.recursive(SCALARS, lambda inner: inner.map(listed) | inner.map(model), max_leaves=4)


@given(kind=KINDS, other=KINDS)
def test_more_is_never_estimated_smaller(kind: Any, other: Any) -> None:
    """A field, a choice, and an object round it."""
    size = answer_size(model(kind))
    assert size < answer_size(model(kind, other))
    assert size <= answer_size(model(kind | None)) <= answer_size(model(kind | other | None))
    assert size < answer_size(model(model(kind)))
