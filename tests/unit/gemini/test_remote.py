"""Operations read raw, and by reflection: every word and every failure the libraries know has a place here."""

from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from google.genai import types

from pipeline.core.errors import NotSentError, UnavailableError
from pipeline.core.states import REMOTE_STATES, Outcome, is_known_state
from pipeline.gemini.api_errors import UnreadableReplyError, convert_exception
from pipeline.gemini.remote import read_batch_page, read_operation
from pipeline.gemini.responses import BLOCKING_FINISH_REASONS, parse_response


def test_every_state_of_the_sdk_is_known() -> None:
    """Each JobState of the SDK has one entry in our table, and the table has no other."""
    words = {state.value.removeprefix("JOB_STATE_") for state in types.JobState}
    assert words == set(REMOTE_STATES)
    assert all(is_known_state(f"BATCH_STATE_{word}") for word in words)


def test_only_stop_is_an_answer() -> None:
    """Of all finish reasons the SDK knows, STOP alone makes an answer; those we call blocked exist there."""
    answered = set()
    for finish in types.FinishReason:
        response = {
            "candidates": [{"content": {"parts": [{"text": "{}"}]}, "finishReason": finish.value}]
        }
        if parse_response(response).outcome is Outcome.ANSWERED:
            answered.add(finish.value)
    assert answered == {"STOP"}
    assert {finish.value for finish in types.FinishReason} >= BLOCKING_FINISH_REASONS


def kinds(kind: type[Exception]) -> list[type[Exception]]:
    """Return all subclasses of an error class, and the class."""
    return [kind, *(inner for child in kind.__subclasses__() for inner in kinds(child))]


@pytest.mark.parametrize("kind", kinds(httpx2.RequestError), ids=lambda kind: kind.__name__)
def test_every_transport_error_is_ours(kind: type[httpx2.RequestError]) -> None:
    """Each error of the HTTP library becomes one of ours; nothing was sent only where no connection was made."""
    ours = convert_exception(
        kind("it broke"),
        action="try",
        key="k",
        now=datetime.now(UTC),
        address="http://a",
        timeout_s=1,
    )
    unsent = {httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError}
    wanted = NotSentError if kind in unsent else UnavailableError
    assert isinstance(ours, wanted)


def test_what_is_no_operation_or_page_is_refused() -> None:
    """Without a batch's name there is no batch; only what is empty on the wire passes for an empty page."""
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
            read_operation(document)
    wrong: list[Any] = [
        None,
        [],
        {"operations": {}},
        {"operations": [], "nextPageToken": 3},
        {"models": []},
    ]
    for page in (
        *wrong,
        {"brandNew": 1, "nextPageToken": "2"},
        {"operations": [], "unreachable": ["x"]},
    ):
        with pytest.raises(UnreadableReplyError):
            read_batch_page(page)
    empty: list[Any] = [{}, {"nextPageToken": ""}, {"operations": [], "x": 1}, {"unreachable": []}]
    assert [read_batch_page(page) for page in empty] == [([], "")] * 4


def test_nonsense_inside_is_nothing() -> None:
    """Members of a wrong type or form count as missing; a result's name holds no path; a missing count is 0."""
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
        batch = read_operation({"name": "batches/b", "metadata": metadata, "error": []})
        assert (batch.state.is_final, batch.result_file, batch.created_at, batch.error) == (
            False,
            None,
            None,
            "",
        )
        assert batch.ended_request_count == 0
    stats = {"requestCount": 3, "successfulRequestCount": "3"}
    batch = read_operation({"name": "batches/b", "metadata": {"batchStats": stats}})
    assert batch.ended_request_count == 3
