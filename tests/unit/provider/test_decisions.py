"""Closed questions: which fields they cover, the questions, and the answers of replies."""

import enum
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from askrows.pipeline.core.answer_fields import NO_VALUE_MEANING, list_answer_fields
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.states import Outcome
from askrows.pipeline.provider.decisions import (
    ClosedField,
    build_questions,
    check_question_count,
    find_closed_fields,
    parse_decisions,
)
from askrows.pipeline.provider.responses import ParsedReply
from askrows.pipeline.provider.usage import Usage

TONE_FIELDS = ("tone",)


class Team(enum.Enum):
    """A team of a help desk."""

    BILLING = "billing"
    DELIVERY = "delivery"


class Ticket(BaseModel):
    """An answer with every kind of closed field, and with open fields."""

    tone: Literal["praise", "blame"] = Field(description="The tone of the ticket.")
    is_urgent: bool
    stars: Annotated[int, Field(ge=1, le=5)]
    teams: list[Team] = Field(min_length=1, max_length=2)
    place: Literal["shop", "", "no value"] | None
    is_repeated: bool | None
    summary: str
    age: Annotated[int, Field(ge=0)]
    price: Annotated[float, Field(ge=0, le=5)]
    flags: list[bool]
    only: Literal["same"]
    room: Annotated[int, Field(gt=0, lt=4)] | None
    letter: Literal["a"] | Annotated[Literal["z"], Field(description="the last letter")]
    mark: Literal["x", "y"] = Field(alias="the mark")
    years: set[Annotated[int, Field(ge=2024, le=2026)]] | None


CLOSED_FIELDS = (
    "tone",
    "is_urgent",
    "stars",
    "teams",
    "place",
    "is_repeated",
    "room",
    "letter",
    "mark",
    "years",
)


class Tone(BaseModel):
    """An answer with a single choice."""

    tone: Literal["praise", "blame"]


def _noul(probability: Any) -> dict[str, Any]:
    return {"type": "noul", "noul": probability, "confidence": 1}


def _choice(choice: Any, probabilities: Any) -> dict[str, Any]:
    return {"type": "choice", "choice": choice, "probabilities": probabilities}


def _score(probabilities: Any) -> dict[str, Any]:
    return {"type": "score", "score": 1.5, "probabilities": probabilities}


TICKET_ANSWERS = {
    "tone": _choice("blame", {"praise": 0.3, "blame": 0.7}),
    "is_urgent": _noul(0.2),
    "stars": _score({"0": 0.1, "1": 0.6, "2": 0.3}),
    "teams[0]": _noul(0.6),
    "teams[1]": _noul(0.9),
    "place": _choice("(no value)", {"(no value)": 0.5}),
    "is_repeated": _choice("true", {"true": 1, "false": 0}),
    "room": _choice("2", {"2": 0.4}),
    "letter": _choice("z", {"z": 0.8}),
    "mark": _choice("x", {"x": 0.75}),
    "years[0]": _noul(0.5),
    "years[1]": _noul(0.01),
    "years[2]": _noul(0.02),
}


def read_closed(model: type[BaseModel], names: Sequence[str]) -> list[ClosedField]:
    """Return some closed fields of a model."""
    fields = find_closed_fields(list_answer_fields(model))
    return [fields[name] for name in names]


def _parse_tone(answers: Any, **members: Any) -> ParsedReply:
    return parse_decisions({"answers": answers, **members}, read_closed(Tone, TONE_FIELDS))


def test_closed_fields_are_choices_booleans_and_bounded_numbers() -> None:
    """Free texts, open bounds, fractions, lists of booleans and constants are not closed."""
    assert tuple(find_closed_fields(list_answer_fields(Ticket))) == CLOSED_FIELDS


def test_each_kind_of_field_has_its_question() -> None:
    """Descriptions become instructions, and options have ids that the API accepts."""
    assert build_questions(read_closed(Ticket, CLOSED_FIELDS)) == {
        "tone": {
            "type": "choice",
            "instructions": "The tone of the ticket.",
            "criteria": {"praise": "praise", "blame": "blame"},
        },
        "is_urgent": {"type": "noul", "instructions": "is urgent"},
        "stars": {
            "type": "score",
            "instructions": "stars",
            "criteria": ["1", "2", "3", "4", "5"],
        },
        "teams[0]": {"type": "noul", "instructions": 'teams: does "billing" apply?'},
        "teams[1]": {"type": "noul", "instructions": 'teams: does "delivery" apply?'},
        "place": {
            "type": "choice",
            "instructions": "place",
            "criteria": {
                "shop": "shop",
                "option 2": "an empty text",
                "no value": "no value",
                "(no value)": NO_VALUE_MEANING,
            },
        },
        "is_repeated": {
            "type": "choice",
            "instructions": "is repeated",
            "criteria": {"true": "yes", "false": "no", "no value": NO_VALUE_MEANING},
        },
        "room": {
            "type": "choice",
            "instructions": "room",
            "criteria": {"1": "1", "2": "2", "3": "3", "no value": NO_VALUE_MEANING},
        },
        "letter": {
            "type": "choice",
            "instructions": "letter",
            "criteria": {"a": "a", "z": "the last letter"},
        },
        "mark": {"type": "choice", "instructions": "mark", "criteria": {"x": "x", "y": "y"}},
        "years[0]": {"type": "noul", "instructions": 'years: does "2024" apply?'},
        "years[1]": {"type": "noul", "instructions": 'years: does "2025" apply?'},
        "years[2]": {"type": "noul", "instructions": 'years: does "2026" apply?'},
    }


def test_a_reply_becomes_an_answer_with_a_confidence_for_each_field() -> None:
    """The text is JSON that validates, and each probability is that of the answer."""
    usage = {"total_input_tokens": 31, "total_output_tokens": 0}
    response = {"answers": TICKET_ANSWERS, "usage": usage, "modelVersion": "m-1"}
    reply = parse_decisions(response, read_closed(Ticket, CLOSED_FIELDS))
    assert (reply.outcome, reply.reason) == (Outcome.ANSWERED, "ok")
    assert (reply.usage, reply.model_version) == (Usage(prompt=31), "m-1")
    assert reply.confidences == pytest.approx(
        {
            "tone": 0.7,
            "is_urgent": 0.8,
            "stars": 0.6,
            "teams": 0.6,
            "place": 0.5,
            "is_repeated": 1.0,
            "room": 0.4,
            "letter": 0.8,
            "mark": 0.75,
            "years": 0.5,
        }
    )
    assert reply.text == (
        '{"tone": "blame", "is_urgent": false, "stars": 2, "teams": ["delivery", "billing"], '
        '"place": null, "is_repeated": true, "room": 2, "letter": "z", "the mark": "x", '
        '"years": [2024]}'
    )


def test_bounds_of_a_list_come_before_probabilities() -> None:
    """A list gets its minimum of members and at most its maximum; a forced member is doubtful."""

    class Tags(BaseModel):
        """An answer with bounded lists."""

        first: list[Literal["a", "b", "c"]] = Field(min_length=1)
        last: list[Literal["a", "b", "c"]] = Field(max_length=1)

    answers = {f"first[{index}]": _noul(share) for index, share in enumerate((0.1, 0.4, 0.2))}
    answers |= {f"last[{index}]": _noul(share) for index, share in enumerate((0.9, 0.7, 0.2))}
    reply = parse_decisions({"answers": answers}, read_closed(Tags, ("first", "last")))
    assert reply.text == '{"first": ["b"], "last": ["a"]}'
    assert reply.confidences == pytest.approx({"first": 0.4, "last": 0.3})


@pytest.mark.parametrize(
    "answers",
    [
        None,
        [],
        {},
        {"tone": None},
        {"tone": 3},
        {"tone": {"type": "rank", "order": [1]}},
        {"tone": {"choice": "blame", "probabilities": {"blame": 1}}},
        {"tone": _noul(0.7)},
        {"tone": _choice("rage", {"rage": 1})},
        {"tone": _choice("blame", {"blame": 1, "rage": 0})},
        {"tone": _choice(["blame"], {"blame": 1})},
        {"tone": _choice("blame", {"praise": 1})},
        {"tone": _choice("blame", None)},
        {"tone": _choice("blame", {"blame": "0.7"})},
        {"tone": _choice("blame", {"blame": True})},
        {"tone": _choice("blame", {"blame": math.nan})},
        {"tone": _choice("blame", {"blame": 1.01})},
        {"tone": _choice("blame", {"blame": 1.0001})},
        {"tone": _choice("blame", {"blame": math.inf})},
        {"tone": _choice("blame", {"blame": 1, "praise": -0.01})},
        {"tone": _choice("blame", {"blame": 10**400})},
    ],
)
def test_an_unusable_answer_names_its_field(answers: Any) -> None:
    """Missing answers, unknown types and options, and invalid probabilities are INVALID."""
    reply = _parse_tone(answers)
    assert reply.outcome is Outcome.INVALID
    assert reply.reason.startswith("does-not-validate: tone: ")
    assert (reply.text, reply.confidences) == ("", {})


def test_an_answer_that_was_not_asked_is_invalid() -> None:
    """A reply to other questions may belong to another row."""
    reply = _parse_tone({"tone": _choice("blame", {"blame": 1}), "colour": _noul(1)})
    assert reply.reason == "does-not-validate: colour: was not asked"


@pytest.mark.parametrize(
    ("praise", "blame", "confidence"),
    [
        (1, 1, 0.5),
        (0.99, 0.8, 0.4469),
        (0.3, 0.7, 0.7),
        (0.1, 0.2, 0.2),
        (0.3001, 0.7, 0.6999),
        # Rounding errors.
        (0, 1.0000001, 1),
        (-1e-12, 1, 1),
        (1, -1e-12, 0),
    ],
)
def test_probabilities_above_one_in_all_are_divided_by_their_sum(
    praise: float, blame: float, confidence: float
) -> None:
    """A contradictory reply makes no confidence that is higher than the reply supports.

    A probability that is outside of 0 to 1 only by a rounding error is 0 or 1.
    """
    answers = {"tone": _choice("blame", {"praise": praise, "blame": blame})}
    assert _parse_tone(answers).confidences == {"tone": confidence}


@pytest.mark.parametrize("probabilities", [{}, {"5": 0.2}, {"-1": 0.2}, {"1": None}, [0.5, 0.5]])
def test_levels_that_were_not_asked_are_invalid(probabilities: Any) -> None:
    """The levels of a score are the indexes of its criteria."""
    answers = {"stars": _score(probabilities)}
    reply = parse_decisions({"answers": answers}, read_closed(Ticket, ("stars",)))
    assert (reply.outcome, reply.reason[:25]) == (Outcome.INVALID, "does-not-validate: stars:")


@pytest.mark.parametrize(
    "feedback",
    [
        {"prompt_feedback": {"block_reason": "prohibited_content"}},
        {"promptFeedback": {"blockReason": "prohibited_content"}},
    ],
)
def test_a_blocked_prompt_is_refused(feedback: dict[str, Any]) -> None:
    """The reason of the block is the finish reason; feedback without a reason blocks, too."""
    reply = _parse_tone(None, **feedback)
    assert (reply.outcome, reply.reason) == (Outcome.REFUSED, "prompt-blocked")
    assert reply.finish_reason == "PROHIBITED_CONTENT"
    assert _parse_tone({}, prompt_feedback={"note": "x"}).reason == "prompt-blocked"


def test_requests_beyond_the_limits_are_refused() -> None:
    """Too many questions, and no question, are errors of the input."""
    question = {"type": "noul", "instructions": "i"}
    questions = {str(number): question for number in range(1_001)}
    for invalid_questions in ({}, questions):
        with pytest.raises(InputError, match="asks 1 to 1,000 questions"):
            check_question_count(invalid_questions)
