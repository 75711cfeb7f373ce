"""Remote operations are read, and all states and errors of the libraries are known."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from google.genai import types

from askrows.pipeline.core.errors import NotSentError, UnavailableError
from askrows.pipeline.core.states import (
    REMOTE_STATES,
    Outcome,
    is_known_remote_state,
    parse_remote_state,
)
from askrows.pipeline.provider.call_errors import UnreadableReplyError
from askrows.pipeline.provider.gemini.api_errors import convert_call_error_or_reraise
from askrows.pipeline.provider.gemini.remote import parse_batch_page, parse_remote_batch
from askrows.pipeline.provider.responses import BLOCKING_FINISH_REASONS, parse_generated_response

# Spellings of a value of an enumeration.
SPELLINGS: tuple[Callable[[str, str], str], ...] = (
    lambda _, value: value,
    lambda _, value: value.lower(),
    lambda enum, value: f"{enum}_{value}",
    lambda enum, value: f"{enum}_{value}".lower().replace("_", "-"),
)


def test_every_state_of_the_sdk_is_known() -> None:
    """Our table has exactly the JobStates of the SDK."""
    words = {state.value.removeprefix("JOB_STATE_") for state in types.JobState}
    assert words == set(REMOTE_STATES)


@pytest.mark.parametrize("spell", SPELLINGS)
def test_only_stop_is_an_answer(spell: Callable[[str, str], str]) -> None:
    """Only STOP makes an answer, and values of the SDK are known, in any spelling."""
    answer_reasons = set()
    for finish_reason in types.FinishReason:
        spelled_reason = spell("FINISH_REASON", finish_reason.value)
        response = {
            "candidates": [{"content": {"parts": [{"text": "{}"}]}, "finishReason": spelled_reason}]
        }
        reply = parse_generated_response(response)
        assert reply.finish_reason in finish_reason.value
        assert (reply.reason == "blocked") == (finish_reason.value in BLOCKING_FINISH_REASONS)
        if reply.outcome is Outcome.ANSWERED:
            answer_reasons.add(finish_reason.value)
    assert answer_reasons == {"STOP"}
    assert {finish_reason.value for finish_reason in types.FinishReason} >= BLOCKING_FINISH_REASONS
    for state_name, state in REMOTE_STATES.items():
        assert parse_remote_state(spell("JOB_STATE", state_name)) is state
        assert is_known_remote_state(spell("BATCH_STATE", state_name))


def list_subclasses(kind: type[Exception]) -> list[type[Exception]]:
    """Return all subclasses of an error class, and the class."""
    subclasses = [list_subclasses(child) for child in kind.__subclasses__()]
    return [kind, *itertools.chain.from_iterable(subclasses)]


@pytest.mark.parametrize(
    "kind", list_subclasses(httpx2.RequestError), ids=lambda kind: kind.__name__
)
def test_every_transport_error_is_converted(kind: type[httpx2.RequestError]) -> None:
    """Errors of the HTTP library are converted; errors without a connection are unsent."""
    converted_error = convert_call_error_or_reraise(
        kind("it broke"),
        action="try",
        api_key="k",
        now=datetime.now(UTC),
        address="http://a",
        timeout_s=1,
    )
    unsent = {httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError}
    expected_type = NotSentError if kind in unsent else UnavailableError
    assert isinstance(converted_error, expected_type)


def test_invalid_operation_or_page_is_refused() -> None:
    """A batch needs a name; only an empty document is an empty page."""
    documents: list[Any] = [
        None,
        [],
        "x",
        {},
        {"name": 3},
        {"name": "files/x"},
        {"name": "batches/"},
    ]
    for document in documents:
        with pytest.raises(UnreadableReplyError):
            parse_remote_batch(document)
    invalid_pages: list[Any] = [
        None,
        [],
        {"operations": {}},
        {"operations": [], "nextPageToken": 3},
        {"models": []},
    ]
    for page in (
        *invalid_pages,
        {"brandNew": 1, "nextPageToken": "2"},
        {"operations": [], "unreachable": ["x"]},
    ):
        with pytest.raises(UnreadableReplyError):
            parse_batch_page(page)
    empty_pages: list[Any] = [
        {},
        {"nextPageToken": ""},
        {"operations": [], "x": 1},
        {"unreachable": []},
    ]
    assert [parse_batch_page(page) for page in empty_pages] == [([], "")] * 4


def test_unnamed_batches_of_other_programs_are_skipped() -> None:
    """A batch without a name may be one of askrows, unless its display name is another's."""
    named = {"name": "batches/b1", "metadata": {"displayName": "askrows-w-t-1-a-t1"}}
    other = {"metadata": {"displayName": "nightly report"}}
    page = {"operations": [other, named, {**other, "name": "operations/2"}]}
    batches, page_token = parse_batch_page(page)
    assert ([batch.name for batch in batches], page_token) == (["batches/b1"], "")

    possibly_ours: list[Any] = [
        {"metadata": {"displayName": "askrows-w-t-1-a-t1"}},
        {"metadata": {"displayName": ""}},
        {"metadata": {"displayName": 3}},
        {"metadata": []},
        {},
        None,
    ]
    for operation in possibly_ours:
        with pytest.raises(UnreadableReplyError):
            parse_batch_page({"operations": [named, operation]})


def test_invalid_members_count_as_missing() -> None:
    """Members of a wrong type or form count as missing, and a missing count is 0."""
    for metadata in (
        {
            "batchStats": "x",
            "createTime": 3,
            "output": [],
            "inputConfig": "x",
            "state": 7,
            "displayName": [],
        },
        {
            "batchStats": {"requestCount": -1},
            "createTime": "yesterday",
            "output": {"responsesFile": "../../etc"},
        },
        {"batchStats": {}, "createTime": "2026-01-01T00:00:00", "output": {"responsesFile": 3}},
    ):
        batch = parse_remote_batch({"name": "batches/b", "metadata": metadata, "error": []})
        assert (batch.state.is_final, batch.result_file, batch.created_at, batch.error) == (
            False,
            None,
            None,
            "",
        )
        assert batch.ended_request_count == 0
    stats = {"requestCount": 3, "successfulRequestCount": "3"}
    batch = parse_remote_batch({"name": "batches/b", "metadata": {"batchStats": stats}})
    assert batch.ended_request_count == 3
