"""What holds for every text and every answer: a quotation in it is a slice of the text, and an invented one is not."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from findable import Quote
from pipeline.core.quotes import locate_quotes
from tests.property.core.odd_texts import LETTERS, slices

INVENTED = (
    "banana violin harbour",
    "puppet thunder cabbage mosque",
    "velvet zebra jungle fiddle quartz",
)


class Part(BaseModel):
    """A quotation below the answer."""

    quote: Quote
    other: Quote | None = None


class Answer(BaseModel):
    """Quotations wherever they can stand."""

    perhaps: list[Annotated[str, Quote(optional=True)]]
    parts: list[Part] = []
    named: dict[str, tuple[Quote, int]] = {}


@st.composite
def answers(draw: st.DrawFn) -> tuple[str, Answer]:
    """Draw a text and an answer of true slices, mangled slices, invented words and anything."""
    text, part = draw(slices())
    near = [
        part,
        part.upper(),
        part.replace(" ", "\n"),
        part[1:] + "z",
        f"{part[: len(part) // 2]} ... {part}",
        text,
    ]
    quotes = st.one_of(
        st.sampled_from(near), st.sampled_from(INVENTED), st.text(LETTERS, max_size=30)
    )
    perhaps = draw(st.lists(quotes, max_size=6))
    there = st.sampled_from([part, part.upper(), text]) if draw(st.booleans()) else quotes
    parts = draw(
        st.lists(st.fixed_dictionaries({"quote": there, "other": st.none() | there}), max_size=3)
    )
    named = draw(
        st.dictionaries(st.text(max_size=3), st.tuples(there, st.integers(0, 9)), max_size=2)
    )
    return text, Answer.model_validate({"perhaps": perhaps, "parts": parts, "named": named})


def quotes_in(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the stored quotations in a parsed JSON document; a plain text in the place of one is an error."""
    assert not isinstance(value, str)
    if isinstance(value, dict) and value.keys() == {"quote", "start", "end"}:
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from quotes_in(one)


@given(answers())
def test_all_that_gets_in_is_a_slice_of_the_text(drawn: tuple[str, Answer]) -> None:
    """With true offsets, which reading the answer again leaves as they are; an invented one never gets in."""
    text, answer = drawn
    required = [one for part in answer.parts for one in (part.quote, part.other) if one is not None]
    required += [one for one, _ in answer.named.values()]
    found, reason = locate_quotes(answer, text)
    assert (found is None) == bool(reason)
    if found is None:
        assert required
        return
    assert isinstance(found, Answer)
    assert not set(required) & set(INVENTED)
    assert all(
        now is None
        for before, now in zip(answer.perhaps, found.perhaps, strict=True)
        if before in INVENTED
    )
    stored = found.model_dump_json()
    quotes = list(quotes_in(json.loads(stored)))
    assert len(quotes) == len(required) + sum(one is not None for one in found.perhaps)
    assert all(text[one["start"] : one["end"]] == one["quote"] != "" for one in quotes)
    assert Answer.model_validate_json(stored).model_dump_json() == stored
