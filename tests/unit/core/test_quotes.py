"""Quotations in answers of user tasks: declarations, stored offsets and refused answers."""

import dataclasses
import json
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, create_model, field_validator

from askrows import Quote
from askrows.pipeline.core.quotes import (
    check_quotes_are_unchanged,
    has_quotes,
    locate_quotes,
    requires_quote,
)

TEXT = "The cat sat on the mat, and the DOG  ran after it. The cat slept."
STRING = {"type": "STRING"}


class Aspect(BaseModel):
    """A frozen and strict part of an answer."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    quote: Quote


@dataclasses.dataclass(frozen=True)
class QuoteRecord:
    """A part of an answer that is not a model."""

    quote: Quote


@pytest.mark.parametrize(
    ("kind", "member_value", "path"),
    [
        (list[Aspect], [{"quote": "the mat"}, {"quote": "a zebra in a pyjama"}], "value[1].quote"),
        (dict[str, Quote], {"x": "a zebra in a pyjama"}, "value['x']"),
        (tuple[int, Quote], (1, "a zebra in a pyjama"), "value[1]"),
        (set[Quote], {"a zebra in a pyjama"}, "value[0]"),
        (QuoteRecord, {"quote": "a zebra in a pyjama"}, "value.quote"),
        (RootModel[list[Quote]], ["a zebra in a pyjama"], "value.root[0]"),
        (Quote | int, "a zebra in a pyjama", "value"),
        (
            dict[str, list[Aspect]],
            {"\x1b]\n": [{"quote": "a zebra in a pyjama"}]},
            r"value['\x1b]\n'][0].quote",
        ),
    ],
)
def test_missing_quotation_makes_the_answer_invalid(
    kind: Any, member_value: Any, path: str
) -> None:
    """The reason names the path of the quotation in the answer."""
    model = create_model("Answer", value=(kind, ...), other=(Quote, "The cat"))
    assert has_quotes(model)
    assert locate_quotes(model(value=member_value), TEXT) == (
        None,
        f'{path} is not in the text: "a zebra in a pyjama"',
    )
    located_answer, _ = locate_quotes(
        model(value=member_value), "I saw A  ZEBRA in a pyjama. The cat! The mat!"
    )
    assert located_answer is not None
    assert '{"quote":"A  ZEBRA in a pyjama","start":6,"end":26}' in located_answer.model_dump_json()


class StrippedAnswer(BaseModel):
    """An answer whose validators turn quotations into plain texts."""

    quote: Quote
    quotes: list[Quote] | None
    perhaps: Annotated[str, Quote(optional=True)] = "a zebra in a pyjama"
    title: str = "a zebra in a pyjama"

    @field_validator("quote")
    @classmethod
    def _strip(cls, quote: str) -> str:
        return quote.strip()

    @field_validator("quotes")
    @classmethod
    def _strip_all(cls, quotes: list[str]) -> list[str]:
        return [quote.strip() for quote in quotes]


def test_validator_that_returns_a_plain_text_does_not_bypass_the_check() -> None:
    """Quotations of validators and defaults are checked; fields of texts are not."""
    answer = StrippedAnswer.model_validate({"quote": " the mat", "quotes": ["slept "]})
    located_answer, _ = locate_quotes(answer, TEXT)
    assert located_answer is not None
    assert json.loads(located_answer.model_dump_json()) == {
        "quote": {"quote": "the mat", "start": 15, "end": 22},
        "quotes": [{"quote": "slept", "start": 59, "end": 64}],
        "perhaps": None,
        "title": "a zebra in a pyjama",
    }
    for member in ({"quote": "a zebra"}, {"quotes": ["a zebra"]}):
        members = {"quote": "the mat", "quotes": []} | member
        assert locate_quotes(StrippedAnswer.model_validate(members), TEXT)[0] is None


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (
            lambda: check_quotes_are_unchanged(
                create_model("Odd", quote=(Quote, Field(pattern="^T")))
            ),
            "Odd: a Quote is part of the row's text",
        ),
        (
            lambda: create_model("Odd", quotes=(Annotated[list[str], Quote(optional=True)], ...)),
            "use list",
        ),
        (
            lambda: create_model("Odd", quote=(Annotated[int, Quote], ...)),
            "a Quote must be a text, not int",
        ),
    ],
)
def test_invalid_quote_declaration_is_refused(declare: Callable[[], Any], message: str) -> None:
    """The declaration is refused before any request."""
    with pytest.raises(TypeError, match=message):
        declare()


@pytest.mark.parametrize(
    ("kind", "is_required"),
    [
        (Quote, True),
        (Annotated[Quote, Field(max_length=9)], True),
        (Aspect, False),
        (Quote | None, False),
        (Quote | str, False),
        (Annotated[str, Quote(optional=True)] | None, False),
        (list[Aspect], False),
        (str, False),
    ],
)
def test_answer_must_quote_if_no_valid_answer_lacks_a_quotation(
    kind: Any, *, is_required: bool
) -> None:
    """A required Quote field needs a quotation; optional and mixed fields do not."""
    assert requires_quote(create_model("Answer", one=(str, ...), other=(kind, ...))) is is_required
    assert not requires_quote(create_model("Answer", other=(kind, None)))
