"""A schema that lets an answer hold more is never estimated smaller, and one that asks for nothing is small."""

from typing import Annotated, Any, Literal

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, create_model

from findable import Quote
from pipeline.gemini.models import answer_size


def model(*kinds: Any) -> type[BaseModel]:
    """Return a model with a field of each kind."""
    fields: dict[str, Any] = {f"field{number}": (kind, ...) for number, kind in enumerate(kinds)}
    return create_model("Answer", **fields)


def listed(kind: Any, **limits: Any) -> type[BaseModel]:
    """Return a model with a list of a kind."""
    return model(Annotated[list[kind], Field(**limits)])


SCALARS = st.sampled_from(
    [str, int, float, bool, Quote, Literal["praise", "blame"], Annotated[str, Field(max_length=9)]]
)
KINDS: st.SearchStrategy[Any] = st.recursive(SCALARS, lambda inner: inner.map(listed) | inner.map(model), max_leaves=4)


@given(kind=KINDS, other=KINDS, few=st.integers(0, 9), more=st.integers(0, 9))
def test_more_is_never_estimated_smaller(kind: Any, other: Any, few: int, more: int) -> None:
    """A field, a choice, a longer list, a longer text and an object round it."""
    size = answer_size(model(kind))
    assert size < answer_size(model(kind, other))
    assert size <= answer_size(model(kind | None)) <= answer_size(model(kind | other | None))
    assert size < answer_size(model(model(kind)))
    small, large = sorted((few, few + more))
    assert answer_size(listed(kind, max_length=small)) <= answer_size(listed(kind, max_length=large))
    assert answer_size(listed(kind, max_length=large)) <= answer_size(listed(kind, max_length=large, min_length=small))
    assert answer_size(listed(kind, min_length=small)) <= answer_size(listed(kind, min_length=large))
    assert answer_size(model(Annotated[str, Field(max_length=small)])) <= answer_size(model(str))
