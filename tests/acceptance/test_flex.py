"""Flex calls at half price: rejected calls are repeated, and the serving tier sets the price."""

import json
import random
from typing import Any

import pytest

from tests.acceptance.product import BATCH_PRICE, TIERS, Workspace
from tests.acceptance.steps import Fate
from tests.outside.answers import user_text
from tests.outside.server import Outside

KILLS = 10
KILLED = -9
PEOPLE = 60


def cost_of(request: dict[str, Any], tier: str) -> float:
    """Return the cost of a request that a tier served, in USD."""
    price_in, price_out = BATCH_PRICE
    batch_cost = (request["tokens_in"] * price_in + request["tokens_out"] * price_out) / 1e6
    return float(TIERS[tier] * batch_cost)


def check_paid(workspace: Workspace, server: Outside) -> None:
    """Assert that each answer has the price of its tier, or of a tier of its calls if repeated."""
    requests = [
        request for request in workspace.logged_requests() if request["outcome"] == "answered"
    ]
    assert len(requests) == PEOPLE + 1
    for request in requests:
        # Ids of people count from 1, and texts from 0.
        text = f"law number {int(request['row']) - 1}."
        tiers = {tier for body, tier in server.tiers if text in user_text(body)}
        # Other calls ask for no tier.
        tiers = tiers or {"standard"}
        assert request["cost"] in [pytest.approx(cost_of(request, tier)) for tier in tiers], request


def test_rejected_and_killed_calls_are_repeated_and_paid_as_served(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Flex rejects a third of the calls and serves a tenth as standard.

    A killed process loses no more than its running calls.
    """
    chance = random.Random(5)  # noqa: S311 - no secret
    outside_server.troubles.shed = 0.33
    outside_server.troubles.downgraded = 0.1
    served_workspace.settings |= {"CONCURRENCY": "1"}
    served_workspace.import_people(PEOPLE)

    killed_count = 0
    for _ in range(KILLS):
        fate = Fate(chance.randrange(1, 60), chance.choice(("before", "after")))
        killed_count += served_workspace.try_command("tag", mode="flex", fate=fate).code == KILLED
    assert (
        " answered before, not asked again ($0.0"
        in served_workspace.run_command("tag", mode="flex").stderr
    )

    person = {"username": "eve", "bio": f"I teach water law number {PEOPLE}."}
    served_workspace.write_file("new.json", json.dumps(person))
    served_workspace.run_command("add", "new.json")
    assert served_workspace.state_counts() == {"tagged": PEOPLE + 1}
    assert {batch["mode"] for batch in served_workspace.batches()} == {"flex", "live"}
    question_counts = outside_server.kept.questions()
    repeated_count = sum(question_counts.values()) - len(question_counts)
    assert len(question_counts) == PEOPLE + 1
    assert killed_count > 1
    assert repeated_count <= killed_count
    check_paid(served_workspace, outside_server)


def test_full_price_needs_a_confirmation(served_workspace: Workspace) -> None:
    """If only live calls meet the deadline, the command refuses and names MODE=live."""
    served_workspace.import_people(2000)
    tag_run = served_workspace.run_command("tag", deadline="50s", code=2)
    assert "--mode live" in tag_run.stderr
    assert served_workspace.batches() == []


def test_model_that_flex_does_not_serve_is_refused(served_workspace: Workspace) -> None:
    """The refusal comes before any call."""
    served_workspace.write_file("models.toml", MODEL)
    served_workspace.import_people(1)
    tag_run = served_workspace.run_command(
        "tag", mode="flex", code=2, MODELS_FILE=served_workspace.home / "models.toml"
    )
    assert "is not available in flex" in tag_run.stderr
    assert served_workspace.batches() == []


MODEL = """[models."gemini-3.5-flash-lite"]
kind = "generate"
price_in = 0.30
price_out = 2.50
priced_on = 2026-10-07
source = "a test"
flex = false
"""
