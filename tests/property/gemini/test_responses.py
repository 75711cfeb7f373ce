"""What holds for any reply whatever: it is judged, and judging it never raises."""

import json
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from pipeline.core.states import Outcome
from pipeline.gemini.responses import BLOCKED, Response, judge_document, judge_response, parse_answer

_REASONS = """ok unreadable error-line no-response no-candidates prompt-blocked blocked bad-finish max-tokens
max-tokens-empty empty"""
REASONS = set(_REASONS.split())
_NAMES = """key response error candidates content parts text thought finishReason promptFeedback blockReason
usageMetadata promptTokenCount code message status modelVersion"""
NAMES = st.sampled_from(_NAMES.split())
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
WORDS = st.sampled_from(["STOP", "MAX_TOKENS", "SAFETY", "NEW", "INTERNAL", *sorted(BLOCKED)])
JSON = st.recursive(
    LEAVES | WORDS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(), inner, max_size=5)
)


class Tags(BaseModel):
    """What is wanted."""

    tags: list[str]


def hold(reply: Response) -> None:
    """Check what is true of every reply."""
    assert reply.reason in REASONS
    assert (reply.outcome is Outcome.ANSWERED) == (reply.reason == "ok") == (reply.text != "")
    assert len(reply.excerpt) <= 200
    assert reply.excerpt.isprintable()
    assert min(reply.usage.prompt, reply.usage.answer, reply.usage.thoughts, reply.usage.cached) >= 0
    assert reply.code is None or 1 <= reply.code <= 16
    reply.model_version.encode()
    parsed, reason = parse_answer(reply, Tags)
    assert (parsed is not None) == (reason == "ok")
    assert len(reason) <= 200


@settings(max_examples=50)
@given(JSON)
def test_judge_never_raises(document: Any) -> None:
    """Any JSON value, in the shape of a reply or not, gives one outcome with a known reason."""
    hold(judge_document(document))
    hold(judge_response(document))
    hold(judge_document({"key": "t/1", "response": document}))
    hold(judge_document({"key": "t/1", "response": {"candidates": [document]}}))
    hold(judge_document({"key": "t/1", "error": document}))


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_good_answers_come_through(tags: list[str]) -> None:
    """Whatever tags an answer holds, they arrive as they are."""
    parsed, reason = parse_answer(Response(Outcome.ANSWERED, "ok", text=json.dumps({"tags": tags})), Tags)
    assert (parsed, reason) == (Tags(tags=tags), "ok")


PIECES = ('{"tags":', '["a"', ',"b"', "]}", "NaN", '"x":1', "\n", " ", "\\u0000", '"', "{", "}", "]", ":", "\x01", "é")


@settings(max_examples=60)
@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
def test_the_quick_way_to_read_an_answer_says_what_the_careful_way_says(text: str) -> None:
    """Answers that are seen to be plain, and so are not parsed twice, come out as if they were, reasons included."""
    reply = Response(Outcome.ANSWERED, "ok", text=text)
    found = parse_answer(reply, Tags)
    with patch("pipeline.gemini.responses._is_plain", return_value=False):
        assert found == parse_answer(reply, Tags)
