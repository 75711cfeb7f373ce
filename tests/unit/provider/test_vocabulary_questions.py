"""Test how vocabularies are asked: in schemas and system instructions, and as decisions."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, create_model

from askrows.pipeline.core.answer_fields import list_answer_fields
from askrows.pipeline.core.vocabulary import Vocabulary
from askrows.pipeline.provider.answer_schema import describe_vocabularies, make_response_schema
from askrows.pipeline.provider.decisions import build_questions, find_closed_fields

TERMS = "term,description,aliases\ndesk lamp,on a desk,reading lamp\nsun,,\n"


def make_model(tmp_path: Path, text: str) -> type[BaseModel]:
    """Return a model whose field `topic` has the vocabulary of a text."""
    (tmp_path / "topics.csv").write_text(text)
    topic: Any = Annotated[str, Vocabulary(str(tmp_path / "topics.csv"))]
    return create_model("Answer", topic=(topic | None, Field(default=None, description="Which")))


def test_terms_are_in_the_enum_and_their_meanings_in_the_system(tmp_path: Path) -> None:
    """The schema has the terms, and the system instruction descriptions and aliases."""
    model = make_model(tmp_path, TERMS)
    (topic,) = make_response_schema(model, describe_limits=True)["properties"].values()
    assert topic["enum"] == ["desk lamp", "sun"]
    assert topic["description"] == "Which (a term of topics.csv)"
    assert describe_vocabularies(model) == (
        "Terms of topics.csv, each to be copied as it is:\n"
        "- desk lamp: on a desk; also: reading lamp\n- sun"
    )


def test_question_about_a_member_of_a_list_has_single_brackets(tmp_path: Path) -> None:
    """Description and aliases are between one pair of brackets, also without a description."""
    text = TERMS.replace("sun,,", "sun,,daylight;rays")
    (tmp_path / "topics.csv").write_text(text)
    topic: Any = Annotated[str, Vocabulary(str(tmp_path / "topics.csv"))]
    model = create_model("Answer", topics=(list[topic], ...))
    questions = build_questions(find_closed_fields(list_answer_fields(model)).values())
    instructions = [question["instructions"] for question in questions.values()]
    assert instructions == [
        'topics: does "desk lamp" (on a desk; also: reading lamp) apply?',
        'topics: does "sun" (also: daylight, rays) apply?',
    ]
