"""Parse replies: values, cut answers, invalid counts, error lines and printable excerpts."""

import json
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, create_model

from askrows.pipeline.core.quotes import Quote
from askrows.pipeline.core.states import Outcome
from askrows.pipeline.provider.responses import (
    ParsedReply,
    make_excerpt,
    parse_and_validate_answer,
    parse_bad_line_number,
    parse_result_line,
)
from askrows.pipeline.store.claims import CUT_SHORT_REASONS
from askrows.pipeline.tasks.shipped.experts import Tags


def candidate(text: str | None, finish_reason: str, **options: Any) -> bytes:
    """Return a result line with a single candidate."""
    content: dict[str, Any] = (
        {} if text is None else {"content": {"role": "model", "parts": [{"text": text}]}}
    )
    response = {"candidates": [{**content, "finishReason": finish_reason, "index": 0}], **options}
    return json.dumps({"key": "t/1", "response": response}).encode()


@pytest.mark.parametrize(
    ("text", "outcome", "reason"),
    [('{"tags":["a', Outcome.INVALID, "max-tokens"), (None, Outcome.REFUSED, "max-tokens-empty")],
)
def test_cut_answer_needs_more_tokens(text: str | None, outcome: Outcome, reason: str) -> None:
    """This includes an answer that is empty at the limit."""
    reply = parse_result_line(candidate(text, "MAX_TOKENS"))
    assert (reply.outcome, reply.reason, reply.reason in CUT_SHORT_REASONS) == (
        outcome,
        reason,
        True,
    )


@pytest.mark.parametrize(
    ("code", "message", "is_account_failure"),
    [
        (7, "Your project has been denied access. Please contact support.", True),
        (7, "error 7", False),
        (16, "Request had invalid authentication credentials.", True),
        (401, "", False),
        (7, "You do not have permission to access the File abc or it may not exist.", False),
        (7, "Access to the provided URL is denied.", False),
        (8, "Resource has been exhausted.", False),
        (8, "Your prepayment credits are depleted.", True),
        (3, "Request contains an invalid argument; check billing.", False),
    ],
)
def test_denials_concern_the_account_if_they_name_no_file(
    code: int, message: str, *, is_account_failure: bool
) -> None:
    """Denials of the project charge no row; those of a file, an address or without words do."""
    line = json.dumps({"error": {"code": code, "message": message}}).encode()
    assert parse_result_line(line).is_account_failure is is_account_failure


def test_counts_codes_and_line_numbers_are_parsed() -> None:
    """Invalid counts are 0, a status gives its code, and excerpts are printable."""
    assert parse_result_line(b'{"error": {"status": "resource_exhausted"}}').rpc_code == 8
    counts: list[Any] = [-1, True, "x", None, [], 1.5, 2**30, 2**70, "9" * 30]
    for count in counts:
        line = candidate("{}", "STOP", usageMetadata={"promptTokenCount": count})
        assert parse_result_line(line).usage.prompt == 0

    assert make_excerpt("a\x1b[31m\nb\u202ec") == "a [31m b c"
    assert (
        parse_bad_line_number("Gemini refused (400): Error on line 12: invalid JSON, near column 3")
        == 12
    )
    assert parse_bad_line_number("Request contains an invalid argument.") is None


@pytest.mark.parametrize(
    ("metadata", "prompt", "output"),
    [
        ({"promptTokenCount": 60, "candidatesTokenCount": 6, "totalTokenCount": 66}, 60, 6),
        ({"promptTokenCount": 1000, "totalTokenCount": 51_000}, 1000, 50_000),
        ({"prompt_token_count": 1000.0, "total_token_count": "51000"}, 1000, 50_000),
        ({"promptTokenCount": 60, "toolUsePromptTokenCount": 30, "totalTokenCount": 96}, 60, 6),
        (
            {
                "promptTokenCount": 60,
                "candidatesTokenCount": 6,
                "thoughtsTokenCount": 40,
                "totalTokenCount": 110,
            },
            60,
            50,
        ),
        ({"promptTokenCount": 60, "candidatesTokenCount": 6, "totalTokenCount": 60}, 60, 6),
        ({"totalTokenCount": 900}, 0, 900),
        ({"total_input_tokens": 31, "totalTokens": 33}, 31, 2),
        ({"promptTokenCount": 60, "totalTokenCount": -1.0}, 0, 0),
        ({"promptTokenCount": 60, "candidatesTokenCount": "-6"}, 0, 0),
    ],
)
def test_tokens_of_the_total_that_are_no_input_are_output(
    metadata: dict[str, Any], prompt: int, output: int
) -> None:
    """The output is never less than the total leaves; with a negative count all are unknown."""
    usage = parse_result_line(candidate("{}", "STOP", usageMetadata=metadata)).usage
    assert (usage.prompt, usage.answer + usage.thoughts) == (prompt, output)


@pytest.mark.parametrize(
    ("kind", "replied", "stored"),
    [
        (list[str], ["good", "", " bad"], ["good", "", " bad"]),
        (Annotated[list[str], Field(min_length=3)], ["x", "", "z"], ["x", "", "z"]),
        (list[Quote | str], [" a lamp", ""], [" a lamp", ""]),
        (Literal["good", 2], " 2 ", 2),
        (Literal["good", "bad"], "", None),
        (list[Literal["good", "bad"]], [" bad\n"], ["bad"]),
        (list[Literal["good", "bad"]], ["good", ""], None),
        (list[Quote], [" a lamp ", "", "  "], ["a lamp"]),
        (list[Annotated[str, Quote(optional=True)]], ["", "a lamp "], ["a lamp"]),
        (Tags, [" Water  Law ", ""], ["water law"]),
        (Tags, ["  ", ""], None),
        (Tags, [], []),
    ],
)
def test_blanks_count_in_free_texts_only(kind: Any, replied: Any, stored: Any) -> None:
    """Choices and quotations are read without blanks around them, and texts as they came."""
    answer_model = kind if kind is Tags else create_model("Answer", tags=(kind, ...))
    reply = ParsedReply(Outcome.ANSWERED, "ok", json.dumps({"tags": replied}))
    answer, reason = parse_and_validate_answer(reply, answer_model)
    assert (answer.model_dump()["tags"] if answer else None) == stored, reason


class _Room(BaseModel):
    kind: Literal["room"]
    seats: int = 4


class _Hall(BaseModel):
    kind: Literal["hall"]
    seats: int | None


@pytest.mark.parametrize(
    ("kind", "replied", "stored"),
    [
        (_Room, {"kind": "room", "seats": None}, {"kind": "room", "seats": 4}),
        (list[_Room], [{"kind": "room", "seats": None}], [{"kind": "room", "seats": 4}]),
        (_Room | _Hall, {"kind": "hall", "seats": None}, {"kind": "hall", "seats": None}),
        (_Room | None, {"kind": "room", "seats": None}, {"kind": "room", "seats": 4}),
        (_Room, {"kind": None, "seats": None}, None),
    ],
)
def test_null_stands_for_an_absent_optional_member(kind: Any, replied: Any, stored: Any) -> None:
    """A strict reply has null for it, at any depth; a null that the field accepts is a value."""
    answer_model = create_model("Answer", places=(kind, ...), note=(str, "none"))
    text = json.dumps({"places": replied, "note": None})
    answer, reason = parse_and_validate_answer(
        ParsedReply(Outcome.ANSWERED, "ok", text), answer_model
    )
    expected = None if stored is None else {"places": stored, "note": "none"}
    assert (answer.model_dump() if answer else None) == expected, reason
