"""What a model may answer about a passage, and what becomes of it before anything is looked up."""

import json
from typing import Any

import pytest

from pipeline.core.states import Outcome
from pipeline.gemini.answer_schema import make_response_schema
from pipeline.gemini.responses import ParsedReply, parse_answer
from pipeline.passages.declaration import CONCEPT_TYPES, NamedConcept, PassageConcepts


def concept(name: str = "CNN", **members: Any) -> dict[str, Any]:
    """Return a concept as a model writes it."""
    return {
        "name": name,
        "type": "model",
        "aliases": [],
        "confidence": 0.9,
        "quotes": ["a CNN"],
    } | members


def parsed(*concepts: dict[str, Any], text: str = "") -> tuple[list[NamedConcept], str]:
    """Return the concepts of an answer, and the reason where it is none."""
    reply = ParsedReply(Outcome.ANSWERED, "ok", text or json.dumps({"concepts": concepts}))
    answer, reason = parse_answer(reply, PassageConcepts)
    return (answer.concepts if isinstance(answer, PassageConcepts) else []), reason


def test_the_schema_asks_for_4_to_14_concepts_with_1_to_3_quotations() -> None:
    """The API's dialect can say all of it: objects within a list, an enum, a number between bounds."""
    schema = make_response_schema(PassageConcepts)
    concepts = schema["properties"]["concepts"]
    inner = concepts["items"]["properties"]
    assert (concepts["minItems"], concepts["maxItems"]) == (4, 14)
    assert (
        list(inner)
        == concepts["items"]["required"]
        == ["name", "type", "aliases", "confidence", "quotes"]
    )
    assert inner["type"]["enum"] == list(CONCEPT_TYPES)
    assert {name: inner["confidence"][name] for name in ("type", "minimum", "maximum")} == {
        "type": "NUMBER",
        "minimum": 0,
        "maximum": 1,
    }
    assert (inner["quotes"]["minItems"], inner["quotes"]["maxItems"]) == (1, 3)


@pytest.mark.parametrize("number", [0, 1, 15])
def test_any_number_of_concepts_and_quotations_is_an_answer(number: int) -> None:
    """What was asked for bounds the question, not the answer; one needs a concept, which may be without a quotation."""
    concepts, reason = parsed(
        *(concept(f"concept {at}", quotes=["q"] * at, type="Zoo") for at in range(number))
    )
    assert [(one.name, one.type) for one in concepts] == [
        (f"concept {at}", "Zoo") for at in range(number)
    ]
    assert reason.partition(":")[0] == ("ok" if number else "does-not-validate")


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("  convolutional \n neural\tnetwork ", "convolutional neural network"),
        ("**CNN**", "CNN"),
        ("<b>BERT</b>", "BERT"),
        ("R&amp;D", "R&D"),
        ("[BERT](https://example.org)", "BERT"),
        ("soft\u00adhyphen\u200b", "softhyphen"),
        ("- recall", "recall"),
        ("\u0627\u0644\u0630\u0643\u0627\u0621", "\u0627\u0644\u0630\u0643\u0627\u0621"),
        ("机器学习", "机器学习"),
    ],
)
def test_a_name_keeps_its_case_and_loses_what_is_no_name(name: str, clean: str) -> None:
    """White space is collapsed, mark-up and invisible characters go; letters stay as they are."""
    concepts, _ = parsed(concept(name, aliases=[name, "x"]))
    assert (concepts[0].name, concepts[0].aliases) == (clean, ["x"])


@pytest.mark.parametrize("name", ["", "\u200b", "**", "...", "x" * 301])
def test_a_concept_without_a_name_goes_and_leaves_the_others(name: str) -> None:
    """An answer is none where that leaves nothing."""
    assert [one.name for one in parsed(concept(name), concept("recall"))[0]] == ["recall"]
    assert parsed(concept(name)) == (
        [],
        "does-not-validate: concepts: Value error, no concept is left: none has a name",
    )


def test_concepts_of_one_name_become_the_first_with_the_quotations_of_all() -> None:
    """Names are told alike in any case; type and confidence are those of the first, nothing stands twice."""
    concepts, _ = parsed(
        concept("Straße", aliases=["road"], quotes=["q1", "q2"]),
        concept("Other"),
        concept(
            "STRASSE",
            type="task",
            confidence=0.1,
            aliases=["ROAD", "street", "strasse"],
            quotes=["q2", "q3"],
        ),
    )
    assert [one.name for one in concepts] == ["Straße", "Other"]
    assert (concepts[0].aliases, concepts[0].quotes) == (["road", "street"], ["q1", "q2", "q3"])
    assert (concepts[0].type, concepts[0].confidence) == ("model", 0.9)


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"confidence": 1.01}, "concepts.0.confidence"),
        ({"confidence": "0.9"}, "concepts.0.confidence"),
        ({"quotes": "a CNN"}, "concepts.0.quotes"),
        ({"name": None}, "concepts.0.name"),
        ({"start": 3}, "concepts.0.start"),
    ],
)
def test_what_was_not_asked_for_is_no_answer(wrong: dict[str, Any], where: str) -> None:
    """Types are exact, a confidence lies between 0 and 1, and no member is added."""
    concepts, reason = parsed(concept(**wrong))
    assert (concepts, reason.split(": ")[:2]) == ([], ["does-not-validate", where])


@pytest.mark.parametrize("escape", ["\\u0000", "\\ud800"])
def test_what_no_database_holds_is_refused(escape: str) -> None:
    """NUL and half surrogate pairs make an answer invalid, wherever they stand; so does a confidence that is NaN."""
    for member in ("name", "quotes", "aliases", "type"):
        value: Any = ["@"] if member in {"quotes", "aliases"} else "@"
        text = json.dumps({"concepts": [concept(**{member: value})]}).replace("@", escape)
        assert parsed(text=text)[1].startswith("does-not-parse")
    text = json.dumps({"concepts": [concept(confidence=float("nan"))]})
    assert parsed(text=text)[1].startswith("does-not-parse")
