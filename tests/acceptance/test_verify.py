"""What `verify-gemini` finds, and that nothing is left of it."""

import random

from tests.acceptance.engine import Engine
from tests.acceptance.product import Workspace
from tests.acceptance.steps import Fate
from tests.outside.server import Outside

KILLED = -9
KILLS = 4
VERIFY = "verify-gemini"


def check_nothing_left(workspace: Workspace) -> None:
    """Hold that the workspace has none of its rows, and no folder of it."""
    assert workspace.batches() == []
    assert not (workspace.data / "verify_gemini").exists()


def test_it_passes_on_the_engine_and_leaves_nothing(workspace: Workspace, api: Engine) -> None:
    """In a new folder, once it was confirmed; nothing is in the way of what is asked later, nor of doctor."""
    workspace.do(VERIFY, code=2)
    assert api.batches() == []
    found = workspace.read(VERIFY, yes=True)
    assert found["facts"]["a new batch in the list"] == "at once"
    assert 0 < found["cost"] < 0.01
    assert len(api.creates()) == 1
    check_nothing_left(workspace)
    workspace.people(2)
    workspace.each("submit", "poll", "ingest", "doctor")
    assert workspace.states() == {"tagged": 2}


def test_a_list_that_lags_is_told_and_waited_for_from_then_on(
    elsewhere: Workspace, outside: Outside
) -> None:
    """A server that lists late is told, and what a batch that fails leaves unanswered is no success."""
    outside.troubles.unlisted = 3
    found = elsewhere.read(VERIFY, yes=True, LIST_LAG="")
    assert found["facts"]["a new batch in the list"].startswith("after ")
    assert found["list_lag"] > 0
    check_nothing_left(elsewhere)
    outside.troubles.failed_batches = 1
    assert "failed at the API" in elsewhere.do(VERIFY, yes=True, code=4).err
    elsewhere.do(VERIFY, yes=True)
    check_nothing_left(elsewhere)


def test_killed_the_next_run_goes_on(elsewhere: Workspace, outside: Outside) -> None:
    """Again and again, at any step: one batch in all, and of live calls at most those under way are made again."""
    chance = random.Random(3)  # noqa: S311 - no secret
    elsewhere.people(1)
    steps = elsewhere.run(VERIFY, yes=True, fate=Fate()).trail
    for _ in range(KILLS):
        done = elsewhere.run(
            VERIFY, yes=True, fate=Fate(chance.randrange(3, len(steps) // 2), "after")
        )
        assert done.code == KILLED
        elsewhere.each("doctor", "poll")
    elsewhere.do(VERIFY, yes=True)
    check_nothing_left(elsewhere)
    assert max(outside.kept.questions().values()) <= 2 + KILLS
