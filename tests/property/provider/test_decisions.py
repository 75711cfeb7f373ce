"""For any closed answer: it survives the way through questions and probabilities."""

import enum
import json
from typing import Annotated, Any, Literal

from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, create_model

from askrows.pipeline.core.answer_fields import list_answer_fields
from askrows.pipeline.core.states import Outcome
from askrows.pipeline.provider.decisions import (
    build_questions,
    check_question_count,
    find_closed_fields,
    parse_decisions,
)
from askrows.pipeline.provider.responses import parse_and_validate_answer

# Texts of options, also such that the API does not accept as ids.
OPTION_TEXTS = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
    .map(str.strip)
    .filter(bool)
    | st.sampled_from(["no value", "option 1", "(no value)", "true", "null", "3"]),
    min_size=2,
    max_size=8,
    unique=True,
)
# The type checker does not know drawn members.
LITERAL: Any = Literal
MAKE_ENUM: Any = enum.Enum
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


class Example(BaseModel):
    """An answer with every kind of closed field."""

    tone: Literal["praise", "blame"]
    stars: Annotated[int, Field(ge=1, le=5)]
    is_urgent: bool
    teams: list[Literal["a", "b", "c"]]


FIELDS = ("tone", "stars", "is_urgent", "teams")
QUESTION_IDS = ("tone", "stars", "is_urgent", "teams[0]", "teams[1]", "teams[2]", "other")
MEMBERS = ("type", "noul", "choice", "score", "probabilities", "confidence", "legend")
MEMBER_VALUES = (
    JSON
    | st.sampled_from([*MEMBERS, "praise", 0.5, 1, "1", float("nan"), -0.1, 2])
    | st.dictionaries(st.sampled_from(["praise", "blame", "0", "4", "5", "true"]), JSON)
)
ANSWERS = st.dictionaries(
    st.sampled_from(QUESTION_IDS) | st.text(max_size=9),
    st.dictionaries(st.sampled_from(MEMBERS), MEMBER_VALUES) | JSON,
)


@st.composite
def closed_types(draw: st.DrawFn) -> Any:
    """Draw the type of a closed field."""
    texts = draw(OPTION_TEXTS)
    first = draw(st.integers(-300, 300))
    size = draw(st.integers(2, 255))
    number: Any = Annotated[int, Field(ge=first, le=first + size - 1)]
    enum_type = MAKE_ENUM("E", {f"M{index}": text for index, text in enumerate(texts)})
    numbers = LITERAL[tuple(range(first, first + min(size, 9)))]
    kind = draw(st.sampled_from([LITERAL[tuple(texts)], number, enum_type, numbers, bool]))
    if kind is not bool and draw(st.booleans()):
        make_list: Any = list if draw(st.booleans()) else set
        kind = make_list[kind]
    # A full range and no value are more options than a question may have.
    if draw(st.booleans()) and size < 255:
        return kind | None
    return kind


def _answer(draw: Any, question: dict[str, Any]) -> dict[str, Any]:
    """Return a valid answer to a question with drawn probabilities."""
    shares = st.floats(0, 1)
    if question["type"] == "noul":
        noul = draw(shares)
        return {"type": "noul", "noul": noul, "confidence": max(noul, 1 - noul)}
    criteria = question["criteria"]
    options = list(criteria)
    if question["type"] == "score":
        options = [str(index) for index in range(len(criteria))]
    chosen = draw(st.sampled_from(options))
    probabilities = dict.fromkeys(options, 0.0) | {chosen: draw(st.floats(0.001, 1))}
    if question["type"] == "score":
        return {"type": "score", "score": 0.5, "probabilities": probabilities}
    return {"type": "choice", "choice": chosen, "probabilities": probabilities}


@given(st.data(), closed_types())
def test_every_closed_answer_round_trips(data: st.DataObject, kind: Any) -> None:
    """The questions are within the API's limits, and any valid reply becomes a valid answer."""
    model: type[BaseModel] = create_model("Answer", field=(kind, ...))
    closed_fields = find_closed_fields(list_answer_fields(model))
    assert tuple(closed_fields) == ("field",)
    questions = build_questions(closed_fields.values())
    check_question_count(questions)
    assert json.loads(json.dumps(questions)) == questions
    for question in questions.values():
        criteria = question.get("criteria", ["x", "y"])
        assert 2 <= len(criteria) <= 255
        assert all(option and option == option.strip() for option in criteria)
        assert all(option.isprintable() for option in criteria)

    answers = {}
    for question_id, question in questions.items():
        answers[question_id] = _answer(data.draw, question)
    reply = parse_decisions({"answers": answers}, closed_fields.values())
    assert reply.outcome is Outcome.ANSWERED
    assert 0 <= reply.confidences["field"] <= 1
    answer, reason = parse_and_validate_answer(reply, model)
    assert reason == "ok"
    assert answer is not None
    assert model.model_validate_json(answer.model_dump_json()) == answer


@given(
    JSON
    | st.fixed_dictionaries({"answers": ANSWERS | JSON})
    | st.fixed_dictionaries(
        {},
        optional={"answers": ANSWERS, "prompt_feedback": JSON, "usage": JSON, "modelVersion": JSON},
    )
)
@example({"answers": {f"q{number}": {"type": "noul", "noul": 1} for number in range(1_000)}})
@example({"answers": {"tone": {"type": "choice", "choice": "praise", "probabilities": {"": 1}}}})
def test_any_reply_has_an_outcome(response: Any) -> None:
    """No form of a reply raises an error; an ANSWERED reply is a valid answer with confidences."""
    reply = parse_decisions(response, find_closed_fields(list_answer_fields(Example)).values())
    assert reply.reason.isprintable()
    answer, reason = parse_and_validate_answer(reply, Example)
    if reply.outcome is Outcome.ANSWERED:
        assert (answer is not None, reason) == (True, "ok")
        assert set(reply.confidences) == set(FIELDS)
    else:
        assert (answer, reply.text, reply.confidences) == (None, "", {})
