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
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """A server that lists late is told, and what a batch that fails leaves unanswered is no success."""
    outside_server.troubles.unlisted = 3
    found = served_workspace.read(VERIFY, yes=True, LIST_LAG="")
    assert found["facts"]["a new batch in the list"].startswith("after ")
    assert found["list_lag"] > 0
    check_nothing_left(served_workspace)
    outside_server.troubles.failed_batches = 1
    assert "failed at the API" in served_workspace.do(VERIFY, yes=True, code=4).err
    served_workspace.do(VERIFY, yes=True)
    check_nothing_left(served_workspace)


def test_killed_the_next_run_goes_on(served_workspace: Workspace, outside_server: Outside) -> None:
    """Again and again, at any step: one batch in all, and of live calls at most those under way are made again."""
    chance = random.Random(3)  # noqa: S311 - no secret
    served_workspace.people(1)
    steps = served_workspace.run(VERIFY, yes=True, fate=Fate()).trail
    for _ in range(KILLS):
        process = served_workspace.run(
            VERIFY, yes=True, fate=Fate(chance.randrange(3, len(steps) // 2), "after")
        )
        assert process.code == KILLED
        served_workspace.each("doctor", "poll")
    served_workspace.do(VERIFY, yes=True)
    check_nothing_left(served_workspace)
    assert max(outside_server.kept.questions().values()) <= 2 + KILLS
