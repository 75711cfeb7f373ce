"""`make passages-pilot`: drawn by a seed, gone on with after a kill, judged, and what its verdict opens and closes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration import many_passages as passages
from tests.integration.many_passages import asked, check, counts, pilot, put
from tests.lab import Api, Workspace

POLL = "/batches/"
STRICT = "concepts=12..14"  # which no answer of the engine keeps


def verdicts(workspace: Workspace) -> list[tuple[int, str | None]]:
    """Return (seed, verdict) of every pilot, oldest first."""
    return [
        (seed, verdict)
        for seed, verdict in workspace.query("SELECT seed, verdict FROM findable_pilots ORDER BY number")
    ]


@pytest.mark.full
def test_a_pilot_larger_than_the_window_goes_out_in_turns(workspace: Workspace, api: Api, tmp_path: Path) -> None:
    """More turns than an item may be asked: each that was drawn is asked, once, before any is judged."""
    put(workspace, 12)
    window = passages.models(tmp_path / "models.toml", enqueued_tokens=1000)
    api.configure(enqueued_tokens={"*": 1500})
    done = pilot(workspace, N="12", MODELS_FILE=str(window), RETRY_FOR="0.1", RPM="6000")
    assert (done["drawn"], done["passed"], sum(done["ingested"].values())) == (12, True, 12)
    assert len(done["ingested"]) > 4
    assert set(asked(workspace).values()) == {1}


@pytest.mark.full
def test_a_window_full_of_other_work_keeps_a_pilot_waiting(
    workspace: Workspace, api: Api, people: Callable[..., list[str]], tmp_path: Path
) -> None:
    """What waits for another task of the same model leaves no room: exit code 4, and it goes on later."""
    people(8)
    put(workspace, 5)
    window = passages.models(tmp_path / "models.toml", enqueued_tokens=100)
    api.configure(paused=True)
    assert workspace.run("batch-submit", MODELS_FILE=str(window)).exit_code == 0
    stopped = workspace.run("passages-pilot", "--yes", N="5", MODELS_FILE=str(window))
    assert (stopped.exit_code, "no room" in stopped.stderr) == (4, True), stopped.output
    assert verdicts(workspace) == [(1, None)]
    api.configure(paused=False)
    assert workspace.run("batch-poll", MODELS_FILE=str(window)).exit_code == 0
    assert pilot(workspace, MODELS_FILE=str(window), RPM="6000")["drawn"] == 5


@pytest.mark.full
def test_a_pilot_that_failed_batches_parked_asks_the_same_ones_again(workspace: Workspace, api: Api) -> None:
    """Each time it stops at the first that fails, exit code 4; without a reply it is not judged.

    Once the service is well again, to run it again is enough. No item was charged for it; who was parked for a fault of
    their own stays so.
    """
    put(workspace, 20)
    api.fault("batch_fails", times=3)
    for number in (1, 2):
        stopped = workspace.run("passages-pilot", "--yes", N="8", SEED="5")
        assert (stopped.exit_code, f"batch {number} failed at the API" in stopped.stderr) == (4, True), stopped.output
    stopped = workspace.run("passages-pilot", "--yes", N="8", SEED="5")
    assert (stopped.exit_code, "nothing to judge" in stopped.stderr) == (4, True), stopped.output
    assert "3 batches in a row gave nothing" in stopped.stderr
    assert verdicts(workspace) == [(5, None)]
    assert counts(workspace)["parked"] == 8
    before = asked(workspace)
    odd = min(before)
    workspace.change("UPDATE findable_attempts SET charged = :yes WHERE item_id = :odd", yes=True, odd=odd)
    done = pilot(workspace, N="8", code=6)  # coverage is short of the one
    assert (done["pilot"], done["drawn"], done["seed"], done["ingested"]) == (1, 8, 5, {"4": 7})
    assert asked(workspace) == {one: count + (one != odd) for one, count in before.items()}
    assert workspace.query("SELECT item_id FROM findable_asks WHERE state = 'parked'") == [(odd,)]
    assert check(workspace)


@pytest.mark.full
def test_a_pilot_whose_items_are_all_parked_for_their_own_faults_says_what_helps(workspace: Workspace) -> None:
    """Parked under another version they are not asked under this one either: exit 6, and what lets them go is named."""
    put(workspace, 3)
    for number in range(3):
        workspace.change(
            "INSERT INTO findable_asks (task, item_id, extractor, state, input_hash, reason, at) VALUES "
            "('passage-concepts', :id, 'old@1/x', 'parked', '', 'it failed 2 times', '2026-01-01 00:00:00')",
            id=f"p-{number:04d}",
        )
    stopped = workspace.run("passages-pilot", "--yes", N="3")
    assert (stopped.exit_code, "it failed 2 times" in stopped.stderr) == (6, True), stopped.output
    assert "make unpark ALL=1 TASK=passages" in stopped.stderr
    assert workspace.run("unpark", "--all", "--yes", TASK="passages").exit_code == 0
    assert pilot(workspace, N="3")["ingested"] == {"1": 3}
