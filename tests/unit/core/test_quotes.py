"""A quotation in the answer of a task of one's own: every way to declare it, what is stored of it, what is refused."""

import dataclasses
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, create_model, field_validator

from findable import Quote
from pipeline.core.quotes import has_quotes, located, must_quote

TEXT = "The cat sat on the mat, and the DOG  ran after it. The cat slept."
STRING = {"type": "STRING"}
FILE = """\
from typing import Annotated
from pydantic import BaseModel, Field
from findable import Quote

class Aspect(BaseModel):
    verdict: str
    quote: Quote

class Answer(BaseModel):
    quote: Quote
    perhaps: Quote(optional=True)
    annotated: Annotated[str, Quote(optional=True)] = None
    nullable: Quote | None = None
    both: Quote(optional=True) | None = None
    text_or_none: Annotated[str | None, Quote(optional=True)] = None
    short: Quote = Field(description="a few words", max_length=9)
    short_perhaps: Quote(optional=True) = Field(default=None, description="or none", max_length=9)
    quotes: list[Quote]
    aspects: list[Aspect] = []
"""


@pytest.fixture(params=["", "from __future__ import annotations\n"], ids=["now", "later"])
def answer_model(request: pytest.FixtureRequest, tmp_path: Path) -> type[BaseModel]:
    """Return the model of a user's file, which writes quotations in every way."""
    (tmp_path / "task.py").write_text(request.param + FILE)
    found: type[BaseModel] = runpy.run_path(str(tmp_path / "task.py"))["Answer"]
    return found


def test_every_form_is_stored_with_its_place(answer_model: type[BaseModel]) -> None:
    """What is written differently becomes the slice; what is not there and optional is null; both are read again."""
    given = {
        "quote": "the dog ran",
        "perhaps": "a zebra in a pyjama",
        "annotated": "slept",
        "nullable": None,
        "both": "on the  mat",
        "text_or_none": "a zebra in a pyjama",
        "short": "cat sat",
        "short_perhaps": "pyjama",
        "quotes": ["the mat", "ran after"],
        "aspects": [{"verdict": "a zebra", "quote": "The cat slept"}],
    }
    answer = answer_model.model_validate_json(json.dumps(given))
    assert json.loads(answer.model_dump_json()) == given
    found, reason = located(answer, TEXT)
    assert found is not None
    assert reason == ""
    stored = json.loads(found.model_dump_json())
    assert stored == found.model_dump(mode="json")
    assert stored == {
        "quote": {"quote": "the DOG  ran", "start": 28, "end": 40},
        "perhaps": None,
        "annotated": {"quote": "slept", "start": 59, "end": 64},
        "nullable": None,
        "both": {"quote": "on the mat", "start": 12, "end": 22},
        "text_or_none": None,
        "short": {"quote": "cat sat", "start": 4, "end": 11},
        "short_perhaps": None,
        "quotes": [{"quote": "the mat", "start": 15, "end": 22}, {"quote": "ran after", "start": 37, "end": 46}],
        "aspects": [{"verdict": "a zebra", "quote": {"quote": "The cat slept", "start": 51, "end": 64}}],
    }
    again = answer_model.model_validate_json(found.model_dump_json())
    assert again.model_dump_json() == found.model_dump_json()
    assert located(again, TEXT) == (found, "")
    assert json.loads(answer.model_dump_json()) == given  # the answer itself is not changed


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
        (dict[str, list[Aspect]], {"\x1b]\n": [{"quote": "a zebra in a pyjama"}]}, r"value['\x1b]\n'][0].quote"),
    ],
)
def test_one_that_is_not_there_makes_the_answer_invalid(kind: Any, given: Any, path: str) -> None:
    """Wherever it stands; the reason names its place."""
    model = create_model("Answer", value=(kind, ...), other=(Quote, "The cat"))
    assert has_quotes(model)
    assert located(model(value=given), TEXT) == (None, f'{path} is not in the text: "a zebra in a pyjama"')
    found, _ = located(model(value=given), "I saw A  ZEBRA in a pyjama. The cat! The mat!")
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
    found, _ = located(answer, TEXT)
    assert found is not None
    assert json.loads(found.model_dump_json()) == {
        "quote": {"quote": "the mat", "start": 15, "end": 22},
        "quotes": [{"quote": "slept", "start": 59, "end": 64}],
        "perhaps": None,
        "title": "a zebra in a pyjama",
    }
    for member in ({"quote": "a zebra"}, {"quotes": ["a zebra"]}):
        changed = {"quote": "the mat", "quotes": []} | member
        assert located(Changed.model_validate(changed), TEXT)[0] is None


class Node(BaseModel):
    """A model that contains itself, with fields that are named as members of pydantic's schemas are."""

    metadata: int = 0
    default: "list[Node]" = []
    type: str = ""


class Tree(BaseModel):
    """A model in which a quotation stands below."""

    trees: "list[Tree]"
    default: dict[str, list[Aspect]]


def test_whether_there_are_quotes_is_told_by_the_model_alone() -> None:
    """Models that contain themselves have an end."""
    assert not has_quotes(Node)
    assert has_quotes(Tree)


@pytest.mark.parametrize(
    ("declare", "why"),
    [
        (lambda: has_quotes(create_model("Odd", quote=(Quote, Field(pattern="^T")))), "Odd.quote: a Quote is a slice"),
        (lambda: create_model("Odd", quotes=(Annotated[list[str], Quote(optional=True)], ...)), "write list"),
        (lambda: create_model("Odd", quote=(Annotated[int, Quote], ...)), "a Quote is a text, and no int"),
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
        (Aspect, True),
        (Quote | Aspect, True),
        (Annotated[list[Aspect], Field(min_length=1)], True),
        (Quote | None, False),
        (Quote | str, False),
        (Annotated[str, Quote(optional=True)] | None, False),
        (list[Aspect], False),
        (str, False),
    ],
)
def test_an_answer_must_quote_where_none_is_valid_without_a_quotation(kind: Any, *, wanted: bool) -> None:
    """Not where it may be null, another text, missing from the text, in an empty list, or left out."""
    assert must_quote(create_model("Answer", one=(str, ...), other=(kind, ...))) is wanted
    assert not must_quote(create_model("Answer", other=(kind, None)))
