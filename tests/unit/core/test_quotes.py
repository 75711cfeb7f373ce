"""A quotation in the answer of a task of one's own: every way to declare it, what is stored of it, what is refused."""

import dataclasses
import json
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, create_model, field_validator

from findable import Quote
from pipeline.core.quotes import has_quotes, locate_quotes, requires_quote

TEXT = "The cat sat on the mat, and the DOG  ran after it. The cat slept."
STRING = {"type": "STRING"}


class Aspect(BaseModel):
    """A part of an answer, frozen and strict as some are."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    quote: Quote


@dataclasses.dataclass(frozen=True)
class Plain:
    """A part of an answer that is no model."""

    quote: Quote


@pytest.mark.parametrize(
    ("kind", "given", "path"),
    [
        (list[Aspect], [{"quote": "the mat"}, {"quote": "a zebra in a pyjama"}], "value[1].quote"),
        (dict[str, Quote], {"x": "a zebra in a pyjama"}, "value['x']"),
        (tuple[int, Quote], (1, "a zebra in a pyjama"), "value[1]"),
        (set[Quote], {"a zebra in a pyjama"}, "value[0]"),
        (Plain, {"quote": "a zebra in a pyjama"}, "value.quote"),
        (RootModel[list[Quote]], ["a zebra in a pyjama"], "value.root[0]"),
        (Quote | int, "a zebra in a pyjama", "value"),
        (
            dict[str, list[Aspect]],
            {"\x1b]\n": [{"quote": "a zebra in a pyjama"}]},
            r"value['\x1b]\n'][0].quote",
        ),
    ],
)
def test_one_that_is_not_there_makes_the_answer_invalid(kind: Any, given: Any, path: str) -> None:
    """Wherever it stands; the reason names its place."""
    model = create_model("Answer", value=(kind, ...), other=(Quote, "The cat"))
    assert has_quotes(model)
    assert locate_quotes(model(value=given), TEXT) == (
        None,
        f'{path} is not in the text: "a zebra in a pyjama"',
    )
    found, _ = locate_quotes(model(value=given), "I saw A  ZEBRA in a pyjama. The cat! The mat!")
    assert found is not None
    assert '{"quote":"A  ZEBRA in a pyjama","start":6,"end":26}' in found.model_dump_json()


class Changed(BaseModel):
    """An answer whose validators make plain texts of quotations."""

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
        return [one.strip() for one in quotes]


def test_a_validator_that_makes_a_plain_text_of_it_does_not_get_it_past() -> None:
    """Nor does a default, which pydantic does not validate; a field of texts is left alone."""
    answer = Changed.model_validate({"quote": " the mat", "quotes": ["slept "]})
    found, _ = locate_quotes(answer, TEXT)
    assert found is not None
    assert json.loads(found.model_dump_json()) == {
        "quote": {"quote": "the mat", "start": 15, "end": 22},
        "quotes": [{"quote": "slept", "start": 59, "end": 64}],
        "perhaps": None,
        "title": "a zebra in a pyjama",
    }
    for member in ({"quote": "a zebra"}, {"quotes": ["a zebra"]}):
        changed = {"quote": "the mat", "quotes": []} | member
        assert locate_quotes(Changed.model_validate(changed), TEXT)[0] is None


@pytest.mark.parametrize(
    ("declare", "why"),
    [
        (
            lambda: has_quotes(create_model("Odd", quote=(Quote, Field(pattern="^T")))),
            "Odd: a Quote is a slice",
        ),
        (
            lambda: create_model("Odd", quotes=(Annotated[list[str], Quote(optional=True)], ...)),
            "write list",
        ),
        (
            lambda: create_model("Odd", quote=(Annotated[int, Quote], ...)),
            "a Quote is a text, and no int",
        ),
    ],
)
def test_what_a_quotation_cannot_be_is_refused(declare: Callable[[], Any], why: str) -> None:
    """Of what is declared, before anything is asked."""
    with pytest.raises(TypeError, match=why):
        declare()


@pytest.mark.parametrize(
    ("kind", "wanted"),
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
def test_an_answer_must_quote_where_none_is_valid_without_a_quotation(
    kind: Any, *, wanted: bool
) -> None:
    """As a field of its own, not where it may be null, another text, missing from the text, or left out."""
    assert requires_quote(create_model("Answer", one=(str, ...), other=(kind, ...))) is wanted
    assert not requires_quote(create_model("Answer", other=(kind, None)))
