"""Refusals of the API are reported with reason and next step, and cost nothing.

A command does not wait if waiting cannot change a refusal.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.product import Workspace, write_declaration
from tests.outside.answers import Json
from tests.outside.server import Outside, Whole

ASKS = (":batchGenerateContent", ":generateContent")
METRIC = "generativelanguage.googleapis.com/generate_content_free_tier_requests"
NO_QUOTA = {
    "message": "You exceeded your current quota, please check your plan and billing details. "
    + "For more information on this error, head to the page on rate limits. " * 5
    + f"* Quota exceeded for metric: {METRIC}, limit: 0, model: gemini-3.5-flash-lite\n"
    "Please retry in 45.5s.",
    "details": [
        {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}],
        },
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "45s"},
    ],
}
NO_CREDIT = {
    "message": "Your prepayment credits are depleted. "
    "Please go to AI Studio to manage your billing."
}
NO_ROOM = {"message": "No capacity available for model gemini-3.5-flash-lite on the server"}
STATES = {
    "message": "The specified schema produces a constraint that has too many states for serving."
}
# HTTP code, error, exit code, texts in the message, and texts that must not be in it.
REFUSALS: dict[str, tuple[int, Json, int, list[str], list[str]]] = {
    "no quota": (
        429,
        NO_QUOTA,
        3,
        ["the free tier has no quota for gemini-3.5-flash-lite", "set up billing"],
        ["run the same command after"],
    ),
    "no credit": (429, NO_CREDIT, 3, ["credits are depleted", "add credit"], ["batches are over"]),
    "no capacity": (
        429,
        NO_ROOM,
        4,
        ["No capacity available", "the model is full"],
        ["batches are over"],
    ),
    "schema": (
        400,
        STATES,
        3,
        ["too many states", "fewer or shorter choices"],
        [],
    ),
}


def refuse_calls(code: int, error: Json, *, times: int = 10_000) -> Callable[[str], Whole | None]:
    """Return a hook of the server that refuses a number of calls that ask something."""
    remaining_refusals = [times]
    status = "RESOURCE_EXHAUSTED" if code == 429 else "INVALID_ARGUMENT"

    def refuse_call(call: str) -> Whole | None:
        """Return the refusal of a call, or None if the server serves it."""
        if not call.endswith(ASKS) or not remaining_refusals[0]:
            return None
        remaining_refusals[0] -= 1
        body = {"error": {"code": code, "status": status, **error}}
        return code, {"content-type": "application/json"}, json.dumps(body).encode()

    return refuse_call


@pytest.mark.parametrize("kind", REFUSALS)
def test_refusal_names_reason_and_next_step_in_both_modes(
    served_workspace: Workspace, outside_server: Outside, kind: str
) -> None:
    """A refused batch is sent once, no row is charged, and the rows are answered later."""
    code, error, exit_code, expected_texts, unexpected_texts = REFUSALS[kind]
    choices = ", ".join(repr(f"choice number {number} of a long list") for number in range(40))
    fields = {"short": "str", "kind": f"Literal[{choices}]"}
    served_workspace.write_file(
        "tasks/own.py", write_declaration(fields, prompt="What kind? {text}", items="own.csv")
    )
    served_workspace.write_file("tasks/own.csv", "id,text\n0,text 0\n1,text 1\n2,text 2\n")
    served_workspace.task = "own"
    outside_server.instead = refuse_calls(code, error)
    options: dict[str, Any] = {"POLL_PATIENCE": 0.05, "code": exit_code, "CONCURRENCY": 1}

    # Live calls are repeated only if waiting may help.
    live_run = served_workspace.run_command("tag_live", yes=True, **options)
    assert sum(call.endswith(ASKS) for call in outside_server.calls) <= (9 if exit_code == 4 else 1)

    outside_server.calls.clear()
    submit_run = served_workspace.run_command("submit", yes=True, **options)
    assert sum(call.endswith(ASKS) for call in outside_server.calls) == 1

    for process in (live_run, submit_run):
        assert all(words in process.stderr for words in expected_texts), process.stderr
        assert not any(words in process.stderr for words in unexpected_texts), process.stderr
    costs = served_workspace.spending()
    assert (costs["actual"], costs["lost"]) == (0, 0)

    outside_server.instead = None
    served_workspace.run_command("tag", mode="batch", wait=True, yes=True)
    assert served_workspace.state_counts() == {"answered": 3}


@pytest.mark.promise("refusals")
def test_error_in_a_reply_with_status_200_is_retried(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Such live calls are repeated; no row is charged or parked, and only replies cost money."""
    faults: list[Json] = [
        {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}},
        {"error": {"code": 14, "message": "The model is overloaded."}},
        {"error": {"status": "UNAVAILABLE"}},
        {"error": {"code": 429, "message": "Resource has been exhausted (e.g. check quota)."}},
    ]
    reply_numbers: list[int] = []

    def reply(good: Json) -> Json:
        """Return a good reply, all faults, and then good replies with an empty error."""
        reply_numbers.append(len(reply_numbers))
        number = reply_numbers[-1]
        if 0 < number <= len(faults):
            return faults[number - 1]
        return good | {"error": {"code": 0, "message": ""}}

    outside_server.replies = reply
    served_workspace.import_people(4)

    report = served_workspace.read_json("tag_live", CONCURRENCY=1, RETRY_FOR=30)
    assert report["live"]["answered"] == 4
    assert served_workspace.state_counts() == {"tagged": 4}
    assert {request["outcome"] for request in served_workspace.logged_requests()} == {"answered"}
    assert served_workspace.spending()["lost"] == 0


@pytest.mark.promise("refusals")
def test_refused_call_costs_nothing(served_workspace: Workspace, outside_server: Outside) -> None:
    """Refusals and calls that flex rejects cost nothing; an internal error may have been paid."""
    served_workspace.import_people(4)
    outside_server.instead = refuse_calls(400, {"message": "Request contains an invalid argument."})
    assert served_workspace.run_command("tag_live", code=4, CONCURRENCY=1).stderr
    assert served_workspace.spending()["lost"] == 0

    outside_server.instead = refuse_calls(503, {"message": "The service is overloaded."}, times=5)
    served_workspace.run_command("tag", mode="flex", limit=3, CONCURRENCY=1)
    assert served_workspace.state_counts() == {"tagged": 3, "open": 1}
    assert served_workspace.spending()["lost"] == 0

    outside_server.instead = refuse_calls(
        500, {"message": "An internal error has occurred."}, times=1
    )
    served_workspace.run_command("tag_live", CONCURRENCY=1)
    assert served_workspace.state_counts() == {"tagged": 4}
    assert served_workspace.spending()["lost"] > 0


@pytest.mark.alike
def test_person_hears_of_a_missing_connection_at_once(served_workspace: Workspace) -> None:
    """`try` and `add-expert` do not repeat their call for RETRY_FOR if nothing listens."""
    served_workspace.import_people(1)
    served_workspace.url = "http://127.0.0.1:9"
    # A repeated call would exceed the time limit of the test.
    try_run = served_workspace.run_command("try", n=1, RETRY_FOR=3600, code=4)
    assert "cannot connect to" in try_run.stderr
    assert "nothing was sent" in try_run.stderr
    person = {"username": "zed", "full_name": "Zed Moor", "bio": "Keeps bees in the north."}
    path = served_workspace.write_file("zed.json", json.dumps(person))
    add_run = served_workspace.run_command("add", path, RETRY_FOR=3600, code="any")
    assert "is stored without an answer" in add_run.output
