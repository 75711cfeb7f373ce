"""Our own calls at half price: what is shed is asked again, and what served is what is paid."""

import json
import random
from typing import Any

import pytest

from tests.acceptance.product import BATCH_PRICE, TIERS, Workspace
from tests.acceptance.steps import Fate
from tests.outside.answers import user_text
from tests.outside.server import Outside

KILLS = 10
AT_ONCE = 4
KILLED = -9
PEOPLE = 60


def cost_of(one: dict[str, Any], tier: str) -> float:
    """Return what a request cost that was served by a tier, in USD."""
    tokens = (one["tokens_in"], one["tokens_out"])
    return float(
        TIERS[tier]
        * sum(count * price for count, price in zip(tokens, BATCH_PRICE, strict=True))
        / 1e6
    )


def check_paid(workspace: Workspace, outside: Outside) -> None:
    """Hold that each answer cost what the tier costs that served it, one of them where it was asked twice."""
    answered = [one for one in workspace.asked() if one["outcome"] == "answered"]
    assert len(answered) == PEOPLE + 1
    for one in answered:
        told = f"law number {int(one['item']) - 1}."  # whose ids count from 1
        tiers = {tier for request, tier in outside.tiers if told in user_text(request)}
        assert one["cost"] in [pytest.approx(cost_of(one, tier)) for tier in tiers], one


def test_what_is_shed_and_killed_is_asked_until_all_is_answered_and_paid_as_served(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """A third is shed, a tenth served as standard; who dies loses no more than the calls that were under way."""
    chance = random.Random(5)  # noqa: S311 - no secret
    outside_server.troubles.shed, outside_server.troubles.downgraded = 0.33, 0.1
    served_workspace.settings |= {"CONCURRENCY": "1"}
    served_workspace.people(PEOPLE)
    killed = 0
    for _ in range(KILLS):
        fate = Fate(chance.randrange(1, 60), chance.choice(("before", "after")))
        killed += served_workspace.run("tag", mode="flex", fate=fate).code == KILLED
    assert " answered before, not asked again ($0.0" in served_workspace.do("tag", mode="flex").err
    served_workspace.put(
        "new.json", json.dumps({"username": "eve", "bio": f"I teach water law number {PEOPLE}."})
    )
    served_workspace.do("add", "new.json", mode="priority")
    assert served_workspace.states() == {"tagged": PEOPLE + 1}
    assert {batch["way"] for batch in served_workspace.batches()} == {"flex", "priority"}
    asked = outside_server.kept.questions()
    assert (len(asked), killed > 1, sum(asked.values()) - len(asked) <= killed) == (
        PEOPLE + 1,
        True,
        True,
    )
    check_paid(served_workspace, outside_server)


def test_full_price_is_asked_first(served_workspace: Workspace) -> None:
    """Where nothing cheaper is in time, a person says so; MODE=live does."""
    served_workspace.people(2000)
    tag_run = served_workspace.do("tag", deadline="50s", code=2)
    assert "--mode live" in tag_run.err
    assert served_workspace.batches() == []


def test_a_model_that_flex_does_not_serve_is_refused(served_workspace: Workspace) -> None:
    """Before anything is asked."""
    served_workspace.put("models.toml", MODEL)
    served_workspace.people(1)
    tag_run = served_workspace.do(
        "tag", mode="flex", code=2, MODELS_FILE=served_workspace.home / "models.toml"
    )
    assert "is not served by flex" in tag_run.err
    assert served_workspace.batches() == []


MODEL = """[models."gemini-3.5-flash-lite"]
kind = "generate"
price_in = 0.30
price_out = 2.50
priced_on = 2026-10-07
source = "a test"
flex = false
"""
