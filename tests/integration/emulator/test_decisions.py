"""The engine's decisions over plain HTTP: probabilities, limits, and refusals in Google's form."""

from typing import Any

import pytest

from tests.integration.emulator.caller import Caller

DECISIONS = "/v1beta/decisions"
MODEL = "models/gemini-decision-1"
TEXT = "<text>My parcel never arrived. The courier lost it in the depot. 2 stars.</text>"
NOUL = {"type": "noul", "instructions": "Is it about a parcel?"}
TWO_OPTIONS = {"a": "", "b": ""}


def decision(question: object = NOUL, **members: Any) -> dict[str, Any]:
    """Return the body of a decision with one question."""
    return {"model": MODEL, "input": TEXT, "questions": {"q": question}, **members}


def test_every_type_of_question_gets_its_probabilities(caller: Caller) -> None:
    """Probabilities sum to 1, the confidence is that of the answer, and similar options win."""
    options = {"shipping": "parcels and couriers", "account access": "", "kitchen": "cooking"}
    questions = {
        "team": {"type": "choice", "instructions": "Which team?", "criteria": options},
        "stars": {"type": "score", "instructions": "stars", "criteria": ["1", "2", "3", "4", "5"]},
        "mood": {"type": "score", "instructions": "mood", "criteria": ["praise", "complaint"]},
        "is_lost": {"type": "noul", "instructions": 'topics: does "courier" (depots) apply?'},
        "is_recipe": {"type": "noul", "instructions": [{"type": "text", "text": "A recipe?"}]},
    }
    body = decision(questions=questions)
    reply = caller.post(DECISIONS, body)
    answers = reply["answers"]
    assert list(answers) == list(questions)
    assert answers["team"]["choice"] == "shipping"
    assert list(answers["team"]["probabilities"]) == list(options)
    for name in ("team", "stars", "mood"):
        probabilities = answers[name]["probabilities"].values()
        assert sum(probabilities) == pytest.approx(1)
        assert answers[name]["confidence"] == max(probabilities)
    assert answers["stars"]["probabilities"]["1"] == answers["stars"]["confidence"]
    assert answers["stars"]["legend"] == {"0": "1", "1": "2", "2": "3", "3": "4", "4": "5"}
    assert 0 < answers["stars"]["score"] < 4
    assert answers["is_lost"]["noul"] > 0.5 > answers["is_recipe"]["noul"]
    for name in ("is_lost", "is_recipe"):
        noul = answers[name]["noul"]
        assert 0.01 <= noul <= 0.99
        assert answers[name]["confidence"] == pytest.approx(max(noul, 1 - noul))

    assert reply["modelVersion"] == "askrows-local-1"
    assert reply["usage"]["total_input_tokens"] > len(TEXT) // 4
    assert reply["usage"]["total_output_tokens"] == 0
    assert caller.post("/v1/decisions", body) == reply


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (decision(NOUL, input=""), "input"),
        (decision(NOUL, input=[{"type": "audio"}]), "input"),
        (decision(NOUL, input=3), "input"),
        (decision(questions={}), "questions"),
        (decision(questions={str(number): NOUL for number in range(1_001)}), "questions"),
        (decision(questions=[NOUL]), "questions"),
        (decision({"type": "rank", "instructions": "i"}), "questions[q].type"),
        (decision({"type": "noul"}), "questions[q].instructions"),
        (decision({"type": "choice", "instructions": "i"}), "questions[q].criteria"),
        *(
            (
                decision({"type": kind, "instructions": "i", "criteria": criteria}),
                "questions[q].criteria",
            )
            for kind, criteria in (
                ("choice", {"a": ""}),
                ("choice", {str(number): "" for number in range(256)}),
                ("choice", TWO_OPTIONS | {" c": ""}),
                ("choice", TWO_OPTIONS | {"": ""}),
                ("choice", TWO_OPTIONS | {"c\td": ""}),
                ("choice", ["a", "b"]),
                ("choice", {"a": 1, "b": 2}),
                ("score", ["a"]),
                ("score", [1, 2]),
            )
        ),
        (decision() | {"temperature": 1}, "temperature"),
        ({"input": "t", "questions": {"q": NOUL}}, "model"),
    ],
)
def test_a_wrong_request_is_refused_with_the_path_of_its_fault(
    caller: Caller, body: dict[str, Any], path: str
) -> None:
    """Every fault is a 400 whose message has the path."""
    error = caller.expect_refusal(DECISIONS, body)
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    assert path in error["message"]


def test_other_models_and_long_inputs_are_refused(caller: Caller) -> None:
    """Only decision models decide, and they generate nothing."""
    assert caller.expect_refusal(DECISIONS, decision(model="gemini-3.5-flash"))["code"] == 404
    path = f"/v1beta/{MODEL}:generateContent"
    assert caller.expect_refusal(path, {"contents": []})["code"] == 404
    long_decision = decision(input="word " * 250_000)
    assert "exceeds the maximum" in caller.expect_refusal(DECISIONS, long_decision)["message"]
    assert caller.expect_refusal(DECISIONS, method="GET")["code"] == 404
    assert caller.get(f"/v1beta/{MODEL}")["inputTokenLimit"] == 262_144
