"""`verify` measures facts about the API and leaves nothing in the workspace."""

import random

from tests.acceptance.product import Workspace
from tests.acceptance.steps import Fate
from tests.outside.server import Outside

KILLED = -9
KILLS = 4
VERIFY = "verify"


def check_nothing_left(workspace: Workspace) -> None:
    """Assert that the workspace has no batch and no folder of `verify`."""
    assert workspace.batches() == []
    assert not (workspace.data / "verify_provider").exists()


def test_lag_of_the_list_is_measured(served_workspace: Workspace, outside_server: Outside) -> None:
    """The report contains the lag of the list, and a failed batch fails the command."""
    # The newest batch is missing in the next three lists.
    outside_server.troubles.unlisted = 3
    report = served_workspace.read_json(VERIFY, yes=True, LIST_LAG="")
    assert report["facts"]["a new batch in the list"].startswith("after ")
    assert report["list_lag"] > 0
    check_nothing_left(served_workspace)

    outside_server.troubles.failed_batches = 1
    assert "failed at the API" in served_workspace.run_command(VERIFY, yes=True, code=4).stderr
    served_workspace.run_command(VERIFY, yes=True)
    check_nothing_left(served_workspace)


def test_killed_run_is_continued(served_workspace: Workspace, outside_server: Outside) -> None:
    """Runs killed at any step create a single batch and repeat only their running live calls."""
    chance = random.Random(3)  # noqa: S311 - no secret
    served_workspace.import_people(1)
    steps = served_workspace.try_command(VERIFY, yes=True, fate=Fate()).trail
    # Each run is killed at a random step of its first half.
    for _ in range(KILLS):
        fate = Fate(chance.randrange(3, len(steps) // 2), "after")
        process = served_workspace.try_command(VERIFY, yes=True, fate=fate)
        assert process.code == KILLED
        served_workspace.run_commands("doctor", "poll")
    served_workspace.run_command(VERIFY, yes=True)
    check_nothing_left(served_workspace)
    assert max(outside_server.kept.questions().values()) <= 2 + KILLS
