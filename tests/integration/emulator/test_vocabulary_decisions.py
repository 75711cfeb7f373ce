"""Test that the local engine decides on terms of a vocabulary with two levels."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, create_model

from emulator.decide import answer_decision, parse_decision
from pipeline.core.vocabulary import Vocabulary
from pipeline.gemini.decisions import build_decision_request, build_questions, parse_decisions
from pipeline.gemini.responses import parse_answer


def test_engine_decides_on_a_heading_and_on_a_term_below(tmp_path: Path) -> None:
    """One decision about 300 terms answers with the term that the text names."""
    animals = ["heron", "otter", "badger", "lynx", "newt", "kite", "wren", "carp", "perch", "ibex"]
    events = ["feeding", "nesting", "injury", "rescue", "photo", "noise", "hunting", "water"]
    events += [f"{number} times" for number in range(22)]
    lines = ["term,parent", *(f"{animal}," for animal in animals)]
    for animal in animals:
        lines += [f"{animal} {event},{animal}" for event in events]
    (tmp_path / "topics.csv").write_text("\n".join(lines))
    topic: Any = Annotated[str, Vocabulary(str(tmp_path / "topics.csv"))]
    model: type[BaseModel] = create_model("Answer", topic=(topic, ...))

    request = build_decision_request(
        model="gemini-decision-1",
        prompt_text="<text>the otter has an injury</text>",
        questions=build_questions(model, ["topic"]),
    )
    reply = parse_decisions(answer_decision(parse_decision(request)), model, ["topic"])
    assert parse_answer(reply, model) == (model(topic="otter injury"), "ok")
    assert 0.5 < reply.confidences["topic"] < 1
