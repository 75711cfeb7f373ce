"""Codes of rows show every reply that is on the wrong row."""

import dataclasses
import json
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, create_model

from pipeline.core.declaration import Declaration, DeclarationError
from pipeline.core.settings import Settings
from pipeline.core.states import Outcome
from pipeline.engine import echo
from pipeline.engine.fingerprint import hash_document, to_fingerprint_document
from pipeline.engine.request_builder import RequestBuilder
from pipeline.engine.request_outcomes import validate_lines, validate_reply
from pipeline.engine.task_parts import TaskRow
from pipeline.engine.unregistered_task import UnregisteredTask
from pipeline.gemini.models import load_models
from pipeline.gemini.responses import ParsedReply
from pipeline.store.claims import RowClaim

NOW = datetime(2026, 11, 27, tzinfo=UTC)
MODEL = load_models(None)["gemini-3.5-flash-lite"]
TRIALS = 100
MISSING = object()


class Answer(BaseModel):
    """A strict answer: it accepts no further member."""

    model_config = ConfigDict(extra="forbid")

    row: str
    price: Decimal | None = None


def declare(**members: Any) -> Declaration[Any]:
    """Return a declaration with echo unless `members` says otherwise."""
    defaults = {"answer": Answer, "items": "rows.csv", "prompt": "{text}", "echo": True}
    return Declaration(**{**defaults, **members})


def make_task(**members: Any) -> UnregisteredTask:
    """Return the task of a declaration about rows with the columns id and text."""
    columns = {"id": "text", "text": "text"}
    return UnregisteredTask(declare(**members), Path("rows.py"), columns, Settings(), now=NOW)


def make_rows(task: UnregisteredTask, count: int, *, prefix: str = "") -> list[TaskRow]:
    """Return rows that are ready to be asked."""
    rows = {
        f"{prefix}{number}": {"id": f"{prefix}{number}", "text": f"text {prefix}{number}"}
        for number in range(count)
    }
    for row_id, row in rows.items():
        row |= {"findable_key": row_id, "findable_hash": f"hash of {row_id}"}
    return list(task.prompt.make_rows(rows))


def find_code(row: TaskRow) -> str:
    """Return the code that the prompt of a row names."""
    return str(row.prompt.parts[-1]["text"]).rpartition("row_code: ")[2]


def make_reply(row: TaskRow, **members: Any) -> ParsedReply:
    """Return the reply of a model that repeats the code of a row; MISSING leaves a member out."""
    document = {"row_code": find_code(row), "row": row.id, **members}
    present = {name: value for name, value in document.items() if value is not MISSING}
    return ParsedReply(Outcome.ANSWERED, "ok", json.dumps(present))


def make_line(reply: ParsedReply) -> bytes:
    """Return the result line of a reply."""
    content = {"parts": [{"text": reply.text}], "role": "model"}
    response = {"candidates": [{"content": content, "finishReason": "STOP"}]}
    return json.dumps({"key": "any", "response": response}).encode()


def rotate(replies: Sequence[ParsedReply], randomness: random.Random) -> list[ParsedReply]:
    """Move all replies by the same random distance."""
    distance = randomness.randrange(1, len(replies))
    return [*replies[distance:], *replies[:distance]]


def swap_two(replies: Sequence[ParsedReply], randomness: random.Random) -> list[ParsedReply]:
    """Swap two random replies."""
    first, second = randomness.sample(range(len(replies)), 2)
    swapped = list(replies)
    swapped[first] = replies[second]
    swapped[second] = replies[first]
    return swapped


def shift_second_half(
    replies: Sequence[ParsedReply],
    _randomness: random.Random,
) -> list[ParsedReply]:
    """Give each row of the second half the reply of the row before."""
    middle = len(replies) // 2
    return [*replies[:middle], *replies[middle - 1 : -1]]


@pytest.mark.parametrize("mix_up", [rotate, swap_two, shift_second_half])
def test_no_answer_of_another_row_is_accepted(
    mix_up: Callable[[Sequence[ParsedReply], random.Random], list[ParsedReply]],
) -> None:
    """In a hundred mixed-up batches of 60 rows, each accepted answer is about its row."""
    task = make_task()
    for trial in range(TRIALS):
        rows = make_rows(task, 60, prefix=f"{trial}-")
        replies = [make_reply(row) for row in rows]
        mixed_replies = mix_up(replies, random.Random(trial))  # noqa: S311 - a repeatable trial

        for row, reply, right_reply in zip(rows, mixed_replies, replies, strict=True):
            claim = RowClaim(row.id, row.input_hash)
            request_outcome = validate_lines(
                task,
                claim,
                [make_line(reply)],
                default=validate_reply(task, claim, reply),
                model=MODEL,
            )
            if reply is right_reply:
                assert request_outcome.answer == Answer(row=row.id)
            else:
                assert request_outcome.outcome is Outcome.INVALID
                assert request_outcome.answer is None
                assert request_outcome.reason.startswith(echo.WRONG_CODE_REASON)


def test_code_is_removed_and_the_rest_of_a_reply_is_unchanged() -> None:
    """A strict model accepts the answer, and a decimal keeps its digits."""
    task = make_task()
    [row] = make_rows(task, 1)
    text = f' {{ "row": "0" , "row_code":"{find_code(row)}",\n"price" : 0.1234567890123456 }} '
    plain_text = '{"row": "0", "price": 0.1234567890123456}'
    claim = RowClaim(row.id, row.input_hash)
    request_outcome = validate_reply(task, claim, ParsedReply(Outcome.ANSWERED, "ok", text))
    plain_reply = ParsedReply(Outcome.ANSWERED, "ok", plain_text)
    assert (
        request_outcome.answer == validate_reply(make_task(echo=False), claim, plain_reply).answer
    )
    assert request_outcome.answer is not None


@pytest.mark.parametrize(
    "code",
    [MISSING, None, "", 7, ["abcd"], "bbbb", "bbbb bbbb"],
)
def test_other_codes_are_invalid(code: object) -> None:
    """A missing code and a code of another form are invalid with a reason."""
    task = make_task()
    [row] = make_rows(task, 1)
    request_outcome = validate_reply(
        task,
        RowClaim(row.id, row.input_hash),
        make_reply(row, row_code=code),
    )
    assert request_outcome.answer is None
    assert request_outcome.reason.startswith(echo.WRONG_CODE_REASON)
    assert request_outcome.is_charged


def test_unreadable_replies_keep_their_reason() -> None:
    """A reply that is no object, is cut, or has its code twice is invalid."""
    task = make_task()
    [row] = make_rows(task, 1)
    claim = RowClaim(row.id, row.input_hash)
    code = find_code(row)
    twice = f'{{"row_code": "{code}", "row": "0", "row_code": "{code}"}}'
    texts = ["[]", '{"row": "0"', "", "null", "{}", '{"row": "0",}', '{"row": "0"} x', twice]
    for text in texts:
        request_outcome = validate_reply(task, claim, ParsedReply(Outcome.ANSWERED, "ok", text))
        assert request_outcome.outcome is Outcome.INVALID, text


def test_copied_reply_needs_no_code_of_its_own() -> None:
    """An equal row gets the answer without the code of the row that was asked."""
    task = make_task()
    row, other_row = make_rows(task, 2)
    claim = RowClaim(other_row.id, row.input_hash, is_copy=True)
    assert validate_reply(task, claim, make_reply(row)).answer == Answer(row="0")


def test_requests_of_another_declaration_need_no_code() -> None:
    """If a changed task is accepted, old replies without a code stay valid, others are checked."""
    task = make_task()
    row, other_row = make_rows(task, 2)
    claim = RowClaim(row.id, row.input_hash)
    old_reply = make_reply(row, row_code=MISSING)
    assert validate_reply(task, claim, old_reply, is_changed=True).answer == Answer(row="0")
    assert validate_reply(task, claim, make_reply(other_row), is_changed=True).answer is None

    former_task = make_task(echo=False)
    assert validate_reply(former_task, claim, make_reply(row), is_changed=True).answer is not None


def test_codes_are_derived_from_task_row_and_input() -> None:
    """A retry has the same code; another task, row or input has another."""
    codes = {
        echo.make_row_code(*names)
        for names in [("a", "1", "x"), ("b", "1", "x"), ("a", "2", "x"), ("a", "1", "y")]
    }
    assert len(codes) == 4
    assert echo.make_row_code("a", "1", "x") == echo.make_row_code("a", "1", "x")
    assert len(set(echo.CODE_ALPHABET)) == len(echo.CODE_ALPHABET) == 41
    for code in codes:
        assert len(code) == 4
        assert set(code) <= set(echo.CODE_ALPHABET)
    assert echo.make_row_code("a", "\ud800", "x")


def test_schema_prompt_and_examples_name_the_code() -> None:
    """With echo the code is the first required member; without echo nothing is added."""
    example = ({"text": "an example"}, {"row": "7"})
    task = make_task(examples=[example])
    schema = RequestBuilder(task, MODEL).schema
    assert schema["propertyOrdering"] == ["row_code", "row", "price"]
    assert schema["required"] == ["row_code", "row"]
    [row] = make_rows(task, 1)
    assert find_code(row) == echo.make_row_code(task.name, row.id, row.input_hash)
    assert 'Answer:\n{"row_code":"' in row.prompt.system

    plain_task = make_task(examples=[example], echo=False)
    [plain_row] = make_rows(plain_task, 1)
    assert "row_code" not in json.dumps(
        [plain_row.prompt, RequestBuilder(plain_task, MODEL).schema]
    )
    assert plain_row.input_hash == row.input_hash


def test_echo_is_in_the_fingerprint_only_if_it_is_on() -> None:
    """Switching echo on needs a new version, and no old fingerprint changes."""
    plain_document = to_fingerprint_document(declare(echo=False))
    document = to_fingerprint_document(declare())
    assert document == {**plain_document, "echo": True}
    assert "echo" not in plain_document
    assert hash_document(document) != hash_document(plain_document)


def test_answer_with_the_field_of_the_code_is_refused() -> None:
    """An answer cannot have a field `row_code` if the task has echo."""
    taken = create_model("Taken", row_code=(str, ...))
    with pytest.raises(DeclarationError, match="echo= adds the field 'row_code'"):
        declare(answer=taken)
    assert dataclasses.asdict(declare(answer=taken, echo=False))["echo"] is False
