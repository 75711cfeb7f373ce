"""Result lines: every shape the API has been seen to send gets one outcome and one reason."""

import json
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from pipeline.core.states import Outcome
from pipeline.gemini.responses import (
    Response,
    excerpt_of,
    is_final,
    judge_document,
    judge_line,
    line_at_fault,
    parse_answer,
)
from pipeline.gemini.tokens import Usage
from pipeline.store.answers import CUT_SHORT


class Tags(BaseModel):
    """What is wanted."""

    model_config = ConfigDict(extra="forbid")

    tags: list[str] = Field(min_length=1)


def candidate(text: str | None = '{"tags":["a"]}', finish: str | None = "STOP", **more: Any) -> dict[str, Any]:
    """Return a result line's document with one candidate."""
    inner: dict[str, Any] = {} if text is None else {"content": {"role": "model", "parts": [{"text": text}]}}
    if finish is not None:
        inner["finishReason"] = finish
    return {"key": "t/1", "response": {"candidates": [{**inner, "index": 0}], **more}}


def response(**members: Any) -> dict[str, Any]:
    """Return a result line's document with this response."""
    return {"key": "t/1", "response": members}


THOUGHT = {"candidates": [{"content": {"parts": [{"text": "hm", "thought": True}, {"text": "a"}, {"text": "b"}]}}]}
CASES: dict[str, tuple[Any, Outcome, str]] = {
    "stop": (candidate(), Outcome.ANSWERED, "ok"),
    "no finish": (candidate(finish=None), Outcome.ANSWERED, "ok"),
    "cut": (candidate('{"tags":["a', "MAX_TOKENS"), Outcome.INVALID, "max-tokens"),
    "cut, no content": (candidate(None, "MAX_TOKENS"), Outcome.REFUSED, "max-tokens-empty"),
    "prompt block": (response(promptFeedback={"blockReason": "PROHIBITED_CONTENT"}), Outcome.REFUSED, "prompt-blocked"),
    "safety": (candidate(None, "SAFETY"), Outcome.REFUSED, "blocked"),
    "no candidates": (response(candidates=[]), Outcome.REFUSED, "no-candidates"),
    "unknown finish": (candidate(finish="BRAND_NEW"), Outcome.REFUSED, "bad-finish"),
    "stop, no content": (candidate(None), Outcome.REFUSED, "empty"),
    "stop, blank": (candidate(" \n"), Outcome.REFUSED, "empty"),
    "null response": ({"key": "t/1", "response": None}, Outcome.REFUSED, "no-response"),
    "no response": ({"key": "t/1"}, Outcome.REFUSED, "no-response"),
    "error": ({"key": "t/1", "error": {"code": 13, "message": "x"}}, Outcome.REFUSED, "error-line"),
    "error and response": ({**candidate(), "error": {"code": 13}}, Outcome.REFUSED, "error-line"),
    "empty error": ({**candidate(), "error": {}}, Outcome.ANSWERED, "ok"),
    "text error": ({"key": "t/1", "error": "boom"}, Outcome.REFUSED, "error-line"),
    "list": ([1], Outcome.INVALID, "unreadable"),
    "text": ("x", Outcome.INVALID, "unreadable"),
    "text response": ({"response": "x"}, Outcome.INVALID, "unreadable"),
    "text candidates": (response(candidates="no"), Outcome.REFUSED, "no-candidates"),
    "text candidate": (response(candidates=["no"]), Outcome.INVALID, "unreadable"),
    "number text": (response(candidates=[{"content": {"parts": [{"text": 1}, 2]}}]), Outcome.REFUSED, "empty"),
}


@pytest.mark.parametrize("name", CASES)
def test_outcome_and_reason(name: str) -> None:
    """Every shape has one outcome and a reason of its own."""
    document, outcome, reason = CASES[name]
    reply = judge_document(document)
    assert (reply.outcome, reply.reason) == (outcome, reason)
    assert (reply.text != "") is (outcome is Outcome.ANSWERED)
    assert judge_line(json.dumps(document).encode()) == reply


def test_thoughts_are_dropped_and_texts_joined() -> None:
    """Only what is no thought is the answer, its parts in order."""
    assert judge_document({"response": THOUGHT}).text == "ab"


def test_provenance_and_usage_are_kept() -> None:
    """Model version, response id and all token counts are there, those of a blocked prompt too."""
    counts = {"promptTokenCount": 8, "candidatesTokenCount": 11, "thoughtsTokenCount": 829, "totalTokenCount": 848}
    reply = judge_document(candidate(usageMetadata=counts, modelVersion="m-1", responseId="r-1"))
    assert (reply.usage, reply.model_version, reply.response_id) == (Usage(8, 11, 829, 0), "m-1", "r-1")
    blocked = judge_document(
        response(promptFeedback={"blockReason": "OTHER"}, usageMetadata={"promptTokenCount": "31"})
    )
    assert (blocked.usage.prompt, blocked.finish) == (31, "OTHER")


@pytest.mark.parametrize(
    ("code", "rpc", "final"),
    [
        (3, 3, True),
        (8, 8, False),
        (9, 9, True),
        (13, 13, False),
        (400, 3, True),
        (429, 8, False),
        (500, 13, False),
        (503, 14, False),
        (599, 14, False),
        (418, 2, False),
        ("13", 13, False),
        (True, None, False),
        (None, None, False),
        ("x", None, False),
    ],
)
def test_code_of_either_family(code: Any, rpc: int | None, *, final: bool) -> None:
    """An error line's code is google.rpc's first, HTTP's second; 3, 5, 7 and 9 cannot get better."""
    reply = judge_document({"key": "t/1", "error": {"code": code, "message": "x"}})
    assert reply.code == rpc
    assert is_final(reply.code) is final


def answer(text: str) -> tuple[BaseModel | None, str]:
    """Parse a text as the answer of a good reply."""
    return parse_answer(Response(Outcome.ANSWERED, "ok", text=text), Tags)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('```json\n{"tags":["a"]}\n```', "does-not-parse: "),
        ('{"tags":["a"', "does-not-parse: "),
        ('{"tags":["a"],"tags":["b"]}', "does-not-parse: a member stands twice"),
        ('{"tags":[NaN]}', "does-not-parse: NaN"),
        ('{"tags":["a\\u0000"]}', "does-not-parse: a text holds NUL"),
        ('{"tags":["\\ud800"]}', "does-not-parse: a text holds half"),
        ("[" * 100_000, "does-not-parse: "),
        ('{"tags":[]}', "does-not-validate: tags: "),
        ('{"tags":[1]}', "does-not-validate: tags.0: "),
        ('{"tags":["a"],"more":1}', "does-not-validate: more: "),
        ("[]", "does-not-validate: the answer: "),
    ],
)
def test_bad_answer_has_a_reason(text: str, reason: str) -> None:
    """A text that is not what the model wants is never repaired; the reason names what is wrong, shortly."""
    parsed, said = answer(text)
    assert parsed is None
    assert said.startswith(reason)
    assert len(said) <= 200


def test_what_else_a_reply_says() -> None:
    """Good answers are parsed, others keep their reason; counts that are none are 0; excerpts are safe to print."""
    assert answer(' {"tags": ["a", "é"]}\n') == (Tags(tags=["a", "é"]), "ok")
    assert parse_answer(judge_document(CASES["safety"][0]), Tags) == (None, "blocked")
    assert judge_document({"error": {"status": "RESOURCE_EXHAUSTED"}}).code == 8
    counts: list[Any] = [-1, True, "x", None, [], 1.5, 2**30, 2**70, "9" * 30]
    for count in counts:
        assert judge_document(candidate(usageMetadata={"promptTokenCount": count})).usage.prompt == 0
    wants = {name for name, (document, _, _) in CASES.items() if judge_document(document).reason in CUT_SHORT}
    assert wants == {"cut", "cut, no content"}
    assert excerpt_of("a\x1b[31m\nb\u202ec") == "a [31m b c"
    assert line_at_fault("Gemini refused (400): Error on line 12: invalid JSON, near column 3") == 12
    assert line_at_fault("Request contains an invalid argument.") is None
