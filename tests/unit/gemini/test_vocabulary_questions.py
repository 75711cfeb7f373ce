"""Test how vocabularies are asked: in schemas and system instructions, and as decisions."""

from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, create_model

from pipeline.core.states import Outcome
from pipeline.core.vocabulary import Vocabulary
from pipeline.gemini.answer_schema import describe_vocabularies, make_response_schema
from pipeline.gemini.decisions import build_questions, list_closed_fields, parse_decisions

SMALL = (
    "term,description,aliases,parent\nLamps,,,\ndesk lamp,on a desk,reading lamp,Lamps\nsun,,,\n"
)


def make_model(tmp_path: Path, text: str) -> type[BaseModel]:
    """Return a model whose field `topic` has the vocabulary of a text."""
    (tmp_path / "topics.csv").write_text(text)
    topic: Any = Annotated[str, Vocabulary(str(tmp_path / "topics.csv"))]
    return create_model("Answer", topic=(topic | None, Field(default=None, description="Which")))


@pytest.fixture(name="large_model")
def _large_model(tmp_path: Path) -> type[BaseModel]:
    """Return a model with 400 terms below 20 headings, a heading of one term and a single term."""
    lines = ["term,description,parent"]
    for heading in range(20):
        lines.append(f"heading {heading},all of {heading},")
        lines += [f"term {heading}-{number},,heading {heading}" for number in range(20)]
    lines += ["short,,", "only term,,short", "single,alone,"]
    return make_model(tmp_path, "\n".join(lines))


def test_terms_are_in_the_enum_and_their_meanings_in_the_system(tmp_path: Path) -> None:
    """The schema has the terms, and the system instruction descriptions, aliases and headings."""
    model = make_model(tmp_path, SMALL)
    (topic,) = make_response_schema(model, describe_limits=True)["properties"].values()
    assert topic["enum"] == ["desk lamp", "sun"]
    assert topic["description"] == "Which (a term of topics.csv)"
    assert describe_vocabularies(model, {"topic": topic}) == (
        "Terms of topics.csv, each to be copied as it is:\n"
        "Lamps\n- desk lamp: on a desk (also: reading lamp)\n- sun"
    )
    # A request about other fields does not list the terms.
    assert describe_vocabularies(model, {"other": {"type": "STRING"}}) == ""


def test_large_vocabulary_is_no_enum(large_model: type[BaseModel]) -> None:
    """The schema stays small, and the system instruction has all terms."""
    (topic,) = make_response_schema(large_model)["properties"].values()
    assert "enum" not in topic
    assert "heading 3: all of 3\n- term 3-0\n" in describe_vocabularies(
        large_model, {"topic": topic}
    )


def test_small_vocabulary_is_a_single_choice(tmp_path: Path) -> None:
    """A decision gets the terms with their meanings, and an option for a missing value."""
    questions = build_questions(make_model(tmp_path, SMALL), ["topic"])
    assert questions["topic"]["criteria"]["desk lamp"] == "on a desk; also: reading lamp"
    assert len(questions["topic"]["criteria"]) == 3


def test_question_about_a_member_of_a_list_has_single_brackets(tmp_path: Path) -> None:
    """Description and aliases are between one pair of brackets, also without a description."""
    text = SMALL.replace("sun,,,", "sun,,daylight;rays,")
    (tmp_path / "topics.csv").write_text(text)
    topic: Any = Annotated[str, Vocabulary(str(tmp_path / "topics.csv"))]
    model = create_model("Answer", topics=(list[topic], ...))
    instructions = [
        question["instructions"] for question in build_questions(model, ["topics"]).values()
    ]
    assert instructions == [
        'topics: does "desk lamp" (on a desk; also: reading lamp) apply?',
        'topics: does "sun" (also: daylight, rays) apply?',
    ]


def test_large_vocabulary_is_a_choice_of_headings_and_a_choice_below_each(
    large_model: type[BaseModel],
) -> None:
    """One request asks for the heading and for a term below each; the answer joins both."""
    assert list_closed_fields(large_model) == ("topic",)
    questions = build_questions(large_model, ["topic"])
    assert len(questions) == 1 + 20
    headings = questions["topic"]["criteria"]
    # A heading of one term is replaced by it.
    assert [*headings][-3:] == ["only term", "single", "no value"]
    assert headings["heading 3"] == "all of 3"
    assert [*questions["topic[3]"]["criteria"]] == [f"term 3-{number}" for number in range(20)]

    answers = {
        question_id: make_choice(question_id, next(iter(question["criteria"])), 0.5)
        for question_id, question in questions.items()
    }
    answers["topic"] = make_choice("topic", "heading 3", 0.8)
    reply = parse_decisions({"answers": answers}, large_model, ["topic"])
    assert (reply.outcome, reply.text) == (Outcome.ANSWERED, '{"topic": "term 3-0"}')
    assert reply.confidences == {"topic": pytest.approx(0.4)}

    answers["topic"] = make_choice("topic", "no value", 0.7)
    reply = parse_decisions({"answers": answers}, large_model, ["topic"])
    assert (reply.text, reply.confidences) == ('{"topic": null}', {"topic": 0.7})

    answers["topic"] = make_choice("topic", "heading 3", 0.8)
    del answers["topic[3]"]
    reply = parse_decisions({"answers": answers}, large_model, ["topic"])
    assert reply.reason == "does-not-validate: topic[3]: no answer"


def make_choice(_question_id: str, option: str, probability: float) -> dict[str, Any]:
    """Return the answer to a choice."""
    return {
        "type": "choice",
        "choice": option,
        "probabilities": {option: probability},
        "confidence": probability,
    }
