"""Decisions of the client on a server that shares no code with the local engine."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from pipeline.core.errors import MissingError, RefusedError, ThrottledError, UnavailableError
from pipeline.core.states import Outcome
from pipeline.gemini.client import Client
from pipeline.gemini.decisions import (
    build_decision_request,
    build_questions,
    list_closed_fields,
    parse_decisions,
)
from pipeline.gemini.responses import ParsedReply, parse_answer
from tests.integration.gemini.scripted import KEY, decided
from tests.lab import Api
from tests.outside.server import Outside

TEXT = "The lamp arrived broken, and nobody answered my letters."


class Review(BaseModel):
    """An answer with every type of question."""

    verdict: Literal["praise", "blame"] = Field(description="Praise or blame?")
    is_broken: bool | None
    stars: Annotated[int, Field(ge=1, le=5)]
    parts: list[Literal["lamp", "cable", "manual"]]
    is_late: bool


FIELDS = list_closed_fields(Review)


@pytest.fixture(name="outside_client")
def _outside_client(outside_server: Outside) -> Iterator[Client]:
    """Create a client of the outside server."""
    client = Client(api_key=KEY, base_url=outside_server.url, trust_env=False)
    yield client
    client.close()


def _request(text: str = TEXT) -> dict[str, Any]:
    return build_decision_request(
        model="gemini-decision-1", prompt_text=text, questions=build_questions(Review, FIELDS)
    )


def _parse(response: dict[str, Any]) -> ParsedReply:
    return parse_decisions(response, Review, FIELDS)


def test_answers_in_another_order_are_read(outside_server: Outside, outside_client: Client) -> None:
    """The reply's answers are reversed, its usage has other names, and members are added."""
    reply = _parse(decided(outside_client, _request()))
    answer, reason = parse_answer(reply, Review)
    assert (reason, list(reply.confidences)) == ("ok", list(FIELDS))
    assert answer is not None
    assert reply.usage.prompt > len(TEXT) // 4
    assert all(0 <= probability <= 1 for probability in reply.confidences.values())
    assert outside_server.decisions == [_request()]
    assert outside_server.calls == ["POST /v1beta/decisions"]
    outside_server.check_once()

    decided(outside_client, _request("Another text."))
    outside_server.check_once()
    decided(outside_client, _request())
    with pytest.raises(AssertionError, match="answered twice"):
        outside_server.check_once()


def test_scripted_faults_of_the_server_reach_the_client(
    outside_server: Outside, outside_client: Client
) -> None:
    """Each fault hits one decision; a lost reply and an unknown answer count as answered."""
    errors = {
        "503": UnavailableError,
        "429": ThrottledError,
        "400": RefusedError,
        "drop": UnavailableError,
        "lost": UnavailableError,
    }
    outside_server.troubles.decision_faults = [*errors, "blocked", "unknown", "", "429"]
    for error in errors.values():
        with pytest.raises(error):
            decided(outside_client, _request())
    assert len(outside_server.decisions) == 1

    blocked_reply = _parse(decided(outside_client, _request()))
    assert (blocked_reply.outcome, blocked_reply.reason) == (Outcome.REFUSED, "prompt-blocked")
    assert blocked_reply.finish_reason == "prohibited_content"
    unknown_reply = _parse(decided(outside_client, _request()))
    assert unknown_reply.outcome is Outcome.INVALID
    assert "not rank" in unknown_reply.reason
    assert _parse(decided(outside_client, _request())).outcome is Outcome.ANSWERED
    with pytest.raises(ThrottledError):
        decided(outside_client, _request())
    assert len(outside_server.decisions) == 3


def test_one_refused_question_refuses_the_request(
    outside_server: Outside, outside_client: Client
) -> None:
    """The message names the question, and another project has no decision model."""
    outside_server.refused_question = "Praise or blame"
    with pytest.raises(RefusedError, match=r"questions\.verdict"):
        decided(outside_client, _request())
    outside_server.hidden_models = frozenset({"gemini-decision-1"})
    with pytest.raises(MissingError) as caught:
        decided(outside_client, _request())
    assert "DECISION_MODEL" in caught.value.hint


def test_the_reply_to_a_decision_can_be_replaced(
    outside_server: Outside, outside_client: Client
) -> None:
    """A test sees any reply that it thinks of."""
    outside_server.decision_replies = lambda reply: {**reply, "answers": {}}
    reply = _parse(decided(outside_client, _request()))
    assert reply.reason == "does-not-validate: verdict: no answer"


def test_the_scripted_engine_breaks_decisions(api: Api) -> None:
    """Faults of the local engine hit decisions, and `decision_members` changes a reply."""
    client = Client(api_key=KEY, base_url=api.url, trust_env=False)
    for fault, error in (
        ("status", UnavailableError),
        ("quota_minute", ThrottledError),
        ("drop", UnavailableError),
    ):
        api.script_fault(fault, path="/decisions")
        with pytest.raises(error):
            decided(client, _request())
    api.script_fault("decision_members", args={"answers": {"verdict": {"type": "rank"}}})
    assert _parse(decided(client, _request())).outcome is Outcome.INVALID
    reply = _parse(decided(client, _request()))
    client.close()
    assert (reply.outcome, reply.model_version) == (Outcome.ANSWERED, "findable-local-stand-in-1")
    assert len(api.seen("POST", "/decisions")) == 5
