"""Answers about a passage are validated and cleaned."""

import json
from typing import Any

import pytest

from askrows.pipeline.core.states import Outcome
from askrows.pipeline.passages.declaration import NamedConcept, PassageConcepts
from askrows.pipeline.provider.responses import ParsedReply, parse_and_validate_answer


def make_concept(name: str = "CNN", **members: Any) -> dict[str, Any]:
    """Return a concept in the form of a model's answer."""
    return {
        "name": name,
        "type": "model",
        "aliases": [],
        "confidence": 0.9,
        "quotes": ["a CNN"],
    } | members


def parse_concepts(*concepts: dict[str, Any], text: str = "") -> tuple[list[NamedConcept], str]:
    """Return the concepts of an answer, and the reason if it is invalid."""
    reply = ParsedReply(Outcome.ANSWERED, "ok", text or json.dumps({"concepts": concepts}))
    answer, reason = parse_and_validate_answer(reply, PassageConcepts)
    return (answer.concepts if isinstance(answer, PassageConcepts) else []), reason


@pytest.mark.parametrize("number", [0, 1, 15])
def test_any_number_of_concepts_and_quotations_is_an_answer(number: int) -> None:
    """The limits of the schema do not limit answers; an answer needs at least a concept."""
    concepts, reason = parse_concepts(
        *(
            make_concept(f"concept {index}", quotes=["q"] * index, type="Zoo")
            for index in range(number)
        )
    )
    assert [(named.name, named.type) for named in concepts] == [
        (f"concept {index}", "Zoo") for index in range(number)
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
def test_name_keeps_its_case_and_loses_mark_up(name: str, clean: str) -> None:
    """White space is collapsed, mark-up and invisible characters are removed, letters stay."""
    concepts, _ = parse_concepts(make_concept(name, aliases=[name, "x"]))
    assert (concepts[0].name, concepts[0].aliases) == (clean, ["x"])


@pytest.mark.parametrize("name", ["", "\u200b", "**", "...", "x" * 301])
def test_concept_without_a_name_is_removed(name: str) -> None:
    """An answer without remaining concepts is invalid."""
    assert [
        named.name for named in parse_concepts(make_concept(name), make_concept("recall"))[0]
    ] == ["recall"]
    assert parse_concepts(make_concept(name)) == (
        [],
        "does-not-validate: concepts: Value error, no concept has a name",
    )


def test_concepts_of_equal_names_are_merged() -> None:
    """Names match in any case; the first gives type and confidence; quotations are stripped."""
    concepts, _ = parse_concepts(
        make_concept("Straße", aliases=["road"], quotes=["q1", "q2"]),
        make_concept("Other"),
        make_concept(
            "STRASSE",
            type="task",
            confidence=0.1,
            aliases=["ROAD", "street", "strasse"],
            quotes=[" q2 ", "", "q3"],
        ),
    )
    assert [named.name for named in concepts] == ["Straße", "Other"]
    assert (concepts[0].aliases, concepts[0].quotes) == (["road", "street"], ["q1", "q2", "q3"])
    assert (concepts[0].type, concepts[0].confidence) == ("model", 0.9)


@pytest.mark.parametrize(
    ("invalid_members", "path"),
    [
        ({"confidence": 1.01}, "concepts.0.confidence"),
        ({"confidence": "0.9"}, "concepts.0.confidence"),
        ({"quotes": "a CNN"}, "concepts.0.quotes"),
        ({"name": None}, "concepts.0.name"),
        ({"start": 3}, "concepts.0.start"),
    ],
)
def test_answer_with_invalid_members_is_refused(invalid_members: dict[str, Any], path: str) -> None:
    """Types are exact, a confidence is between 0 and 1, and extra members are refused."""
    concepts, reason = parse_concepts(make_concept(**invalid_members))
    assert (concepts, reason.split(": ")[:2]) == ([], ["does-not-validate", path])


@pytest.mark.parametrize("escape", ["\\u0000", "\\ud800"])
def test_text_that_no_database_accepts_is_refused(escape: str) -> None:
    """NUL, half surrogate pairs and a confidence of NaN make an answer invalid."""
    for member in ("name", "quotes", "aliases", "type"):
        value: Any = ["@"] if member in {"quotes", "aliases"} else "@"
        text = json.dumps({"concepts": [make_concept(**{member: value})]}).replace("@", escape)
        assert parse_concepts(text=text)[1].startswith("does-not-parse")
    text = json.dumps({"concepts": [make_concept(confidence=float("nan"))]})
    assert parse_concepts(text=text)[1].startswith("does-not-parse")
