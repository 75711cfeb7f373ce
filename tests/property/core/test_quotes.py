"""For every text and answer: a stored quotation is a slice of the text."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from askrows import Quote
from askrows.pipeline.core.quotes import locate_quotes
from tests.property.core.odd_texts import LETTERS, slices

# Words that no drawn text contains.
INVENTED = (
    "banana violin harbour",
    "puppet thunder cabbage mosque",
    "velvet zebra jungle fiddle quartz",
)


class Part(BaseModel):
    """A quotation inside a part of the answer."""

    quote: Quote
    other: Quote | None = None


class Answer(BaseModel):
    """Quotations at every place of an answer."""

    perhaps: list[Annotated[str, Quote(optional=True)]]
    parts: list[Part] = []
    quotes_by_name: dict[str, tuple[Quote, int]] = {}


@st.composite
def answers(draw: st.DrawFn) -> tuple[str, Answer]:
    """Draw a text, and an answer of true slices, changed slices, invented words and random text."""
    text, part = draw(slices())
    similar_texts = [
        part,
        part.upper(),
        part.replace(" ", "\n"),
        part[1:] + "z",
        f"{part[: len(part) // 2]} ... {part}",
        text,
    ]
    quotes = st.one_of(
        st.sampled_from(similar_texts), st.sampled_from(INVENTED), st.text(LETTERS, max_size=30)
    )
    perhaps = draw(st.lists(quotes, max_size=6))
    located_quotes = st.sampled_from([part, part.upper(), text]) if draw(st.booleans()) else quotes
    parts = draw(
        st.lists(
            st.fixed_dictionaries({"quote": located_quotes, "other": st.none() | located_quotes}),
            max_size=3,
        )
    )
    quotes_by_name = draw(
        st.dictionaries(
            st.text(max_size=3), st.tuples(located_quotes, st.integers(0, 9)), max_size=2
        )
    )
    return text, Answer.model_validate(
        {"perhaps": perhaps, "parts": parts, "quotes_by_name": quotes_by_name}
    )


def quotes_in(node: Any) -> Iterator[dict[str, Any]]:
    """Yield the stored quotations of a JSON document, and fail on a plain text."""
    assert not isinstance(node, str)
    if isinstance(node, dict) and node.keys() == {"quote", "start", "end"}:
        yield node
    elif isinstance(node, dict | list):
        members = node.values() if isinstance(node, dict) else node
        for member in members:
            yield from quotes_in(member)


@given(answers())
def test_every_stored_quotation_is_a_slice_of_the_text(text_and_answer: tuple[str, Answer]) -> None:
    """Offsets are exact, a second reading keeps them, and an invented quotation is rejected."""
    text, answer = text_and_answer
    # An invalid required quotation makes the whole answer invalid.
    required = [quote for quote, _ in answer.quotes_by_name.values()]
    for part in answer.parts:
        required.append(part.quote)
        if part.other is not None:
            required.append(part.other)

    located_answer, reason = locate_quotes(answer, text)
    assert (located_answer is None) == bool(reason)

    if located_answer is None:
        assert required
        return
    assert isinstance(located_answer, Answer)
    assert not set(required) & set(INVENTED)
    assert all(
        quote_after is None
        for quote_before, quote_after in zip(answer.perhaps, located_answer.perhaps, strict=True)
        if quote_before in INVENTED
    )

    stored = located_answer.model_dump_json()
    quotes = list(quotes_in(json.loads(stored)))
    assert len(quotes) == len(required) + sum(quote is not None for quote in located_answer.perhaps)
    assert all(text[quote["start"] : quote["end"]] == quote["quote"] != "" for quote in quotes)
    assert Answer.model_validate_json(stored).model_dump_json() == stored
