"""Refusals with any body are classified."""

from datetime import UTC, datetime
from typing import Any

import pytest

from askrows.pipeline.core.errors import (
    KeyRefusedError,
    RefusedError,
    ThrottledError,
    UnavailableError,
)
from askrows.pipeline.provider.gemini.api_errors import build_refusal
from askrows.pipeline.provider.providers import GEMINI

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "reset"),
    [
        (datetime(2026, 11, 20, 7, 59, tzinfo=UTC), datetime(2026, 11, 20, 8, 0, tzinfo=UTC)),
        (datetime(2026, 11, 20, 8, 0, tzinfo=UTC), datetime(2026, 11, 21, 8, 0, tzinfo=UTC)),
        (datetime(2026, 7, 1, 12, 0, tzinfo=UTC), datetime(2026, 7, 2, 7, 0, tzinfo=UTC)),
        (datetime(2026, 11, 1, 7, 30, tzinfo=UTC), datetime(2026, 11, 2, 8, 0, tzinfo=UTC)),
        (datetime(2026, 3, 8, 8, 30, tzinfo=UTC), datetime(2026, 3, 9, 7, 0, tzinfo=UTC)),
    ],
)
def test_next_midnight_pacific(now: datetime, reset: datetime) -> None:
    """Daily quotas reset at midnight Pacific, also on days of 25 and 23 hours."""
    assert GEMINI.next_reset(now) == reset


@pytest.mark.parametrize(
    "document", [None, [], [1], "text", 7, {"error": "x"}, {"error": {"message": 3, "details": 4}}]
)
def test_any_body_gives_an_error(document: Any) -> None:
    """A refusal with any body at all is classified by its code."""
    assert type(build_refusal(400, document, action="x", api_key="k", now=NOW)) is RefusedError
    assert type(build_refusal(429, document, action="x", api_key="k", now=NOW)) is ThrottledError
    assert type(build_refusal(503, document, action="x", api_key="k", now=NOW)) is UnavailableError
    assert type(build_refusal(401, document, action="x", api_key="k", now=NOW)) is KeyRefusedError


@pytest.mark.parametrize("message", ["Error (at line 2): no", "thinking budget is too large", ""])
@pytest.mark.parametrize("code", [400, 413])
def test_refusal_has_the_text_of_the_server_apart(code: int, message: str) -> None:
    """The text is also part of the message, which begins with the request and may have a hint."""
    error = build_refusal(
        code, {"error": {"message": message}}, action="ask m (live): x", api_key="secret", now=NOW
    )
    assert error.server_text == message
    assert message in error.message


def test_one_daily_quota_among_others_counts() -> None:
    """A daily quota among several quotas makes the refusal daily."""
    violations = [
        {"quotaId": "GenerateRequestsPerMinutePerProject"},
        {"quotaId": "GenerateRequestsPerDayPerProject"},
    ]
    details = [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}]
    error = build_refusal(429, {"error": {"details": details}}, action="x", api_key="k", now=NOW)
    assert isinstance(error, ThrottledError)
    assert error.resets_at == datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


def test_hints_of_refusals_name_what_is_meant() -> None:
    """A full quota does not presume running batches, and a refused file is not called the key."""
    full = build_refusal(429, {}, action="create batch b", api_key="k", now=NOW)
    assert full.hint.startswith("run the same command again later")
    forbidden = build_refusal(403, {}, action="read files/x", api_key="k", now=NOW)
    assert "the model, batch or file exists in its project" in forbidden.hint
    live_call = build_refusal(403, {}, action="ask m", api_key="k", now=NOW)
    assert "the model exists in its project" in live_call.hint
    lost_upload = build_refusal(403, {}, action="create batch b", api_key="k", now=NOW)
    assert lost_upload.hint.startswith("run the same command again")


@pytest.mark.parametrize(
    ("action", "option"),
    [
        ("ask m", "MODEL="),
        ("create batch b", "MODEL="),
        ("ask the decision model m", "DECISION_MODEL="),
        ("embed 1 texts with m", "EMBEDDING_MODEL="),
        ("describe the model m", "DECISION_MODEL= or MODEL= or EMBEDDING_MODEL="),
    ],
)
def test_hint_of_a_retired_model_names_its_setting(action: str, option: str) -> None:
    """The hint names only the setting of the model that the request used, if it is known."""
    document = {"error": {"message": "This model is no longer available to new users."}}
    error = build_refusal(404, document, action=action, api_key="k", now=NOW)
    setting_hint = f"this project cannot use the model; set {option} to another model"
    assert error.hint == f"{setting_hint}, then run the command again"
