"""`make passages-backfill`: confirmed once a pilot has passed, in a window, in turns that may each be the last."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration import many_passages as passages
from tests.integration.many_passages import (
    CREATE,
    asked,
    backfill,
    check,
    counts,
    document,
    pilot,
    put,
    sent,
)
from tests.integration.workflows.test_pilot import STRICT
from tests.lab import Api, Workspace

RUNS = "SELECT extractor, why FROM findable_runs WHERE mode = 'backfill' ORDER BY number"
SKIP: dict[str, Any] = {"SKIP_PILOT": "1"}


def window_of(api: Api, folder: Path, tokens: int) -> dict[str, Any]:
    """Let so many prompt tokens wait at once, by our table; the server takes a little more, and no more."""
    api.configure(enqueued_tokens={"*": tokens + 200})
    models = passages.models(folder / "models.toml", enqueued_tokens=tokens)
    return {"MODELS_FILE": str(models), "RETRY_FOR": "0.1", "RPM": "6000"}


@pytest.fixture
def tried(workspace: Workspace, begun: Callable[..., None]) -> Workspace:
    """A workspace of 30 passages, 20 of which were asked about in a pilot that passed."""

    def prepare() -> None:
        """Run the pilot."""
        put(workspace, 30)
        pilot(workspace, N="20")

    begun(prepare)
    return workspace


@pytest.mark.full
def test_turn_by_turn_it_comes_to_the_same_end(workspace: Workspace, api: Api, tmp_path: Path) -> None:
    """Without waiting each command makes one turn and says what is left; status tells the stage and what is next."""
    put(workspace, 12)
    values = window_of(api, tmp_path, 1500) | SKIP | {"BUDGET_PER_DAY": "20"}
    turns = []
    for _ in range(30):
        turns.append(backfill(workspace, **values))
        status = document(workspace, "passages-status")
        if turns[-1]["is_over"]:
            break
        assert status["backfill"]["extractor"] == passages.EXTRACTOR
        assert status["next"]
    assert turns[0]["held_back"] == "the API takes no more for now"
    assert (turns[0]["left"], turns[-1]["left"], len(turns) > 3) == (12 - turns[0]["asked"] + turns[0]["left"], 0, True)
    assert counts(workspace) == {"total": 12, "with_concepts": 12}
    assert set(asked(workspace).values()) == {1}
    assert workspace.query(RUNS) == [(passages.EXTRACTOR, "nobody is left")]
    assert check(workspace)


@pytest.mark.full
def test_run_goes_on_with_a_backfill_and_ends_it(workspace: Workspace, api: Api, tmp_path: Path) -> None:
    """From cron: what a person began is brought to its end, under its own version, and the run's row is closed."""
    put(workspace, 12)
    values = window_of(api, tmp_path, 1500)
    pilot(workspace, N="4", **values)
    backfill(workspace, "--no-resume", VERSION="mine@7", **values, **SKIP)
    for _ in range(40):
        document(workspace, "run", TASK="passages", **values)
        if workspace.query(RUNS)[0][1]:
            break
    assert workspace.query(RUNS) == [("mine@7/gemini-3.5-flash-lite", "nobody is left")]
    assert counts(workspace)["with_concepts"] == 12
    mine = "SELECT count(DISTINCT passage_id) FROM passage_concepts WHERE extractor_version = 'mine@7'"
    assert workspace.scalar(mine) == 12
    assert max(asked(workspace).values()) == 2  # by the pilot and by the version of its own
    assert check(workspace)


@pytest.mark.full
def test_a_pilot_of_a_new_version_clears_the_backfill_of_it(tried: Workspace) -> None:
    """`--no-resume` on both means the same version, which is named as what is next, and no person is asked again."""

    def following(**values: str) -> str:
        """Return what a pilot says to type next."""
        return tried.run("passages-pilot", "--yes", **values).stdout.strip().rpartition("Next: ")[2]

    backfill(tried, "--wait")
    assert following(N="20", NO_RESUME="1") == f"make passages-backfill VERSION={passages.KEY}@2"
    done = backfill(tried, "--no-resume", "--wait")
    assert (done["extractor"], sum(done["ingested"].values())) == (f"passage-concepts@2/{passages.MODEL}", 10)
    assert set(asked(tried).values()) == {2}
    assert following(N="5", VERSION="mine@2") == "make passages-backfill VERSION=mine@2"


@pytest.mark.full
def test_a_gate_that_fails_at_the_end_ends_the_run_all_the_same(workspace: Workspace) -> None:
    """Exit code 6 with the whole account, for nothing is left to stop; who died before the last report owes it."""
    put(workspace, 25)
    for submitted in ([1], []):
        done = backfill(workspace, "--wait", code=6, GATES=STRICT, **SKIP)
        assert (done["is_over"], done["left"], done["passed"], done["submitted"]) == (True, 0, False, submitted)
        assert workspace.query(RUNS) == [(passages.EXTRACTOR, "nobody is left")]
        assert counts(workspace)["with_concepts"] == 25
        if submitted:
            workspace.change("UPDATE findable_runs SET ended_at = NULL, why = NULL")
    assert backfill(workspace, "--wait", **SKIP)["report"] is None


@pytest.mark.full
def test_a_passage_that_changes_while_it_is_asked_is_asked_again(
    workspace: Workspace, api: Api, tmp_path: Path
) -> None:
    """The answer to its old text, or to one that is deleted, is kept, not applied, and held against none of them."""
    put(workspace, 6)
    api.configure(paused=True)
    backfill(workspace, **SKIP)
    path = passages.write(tmp_path / "new.jsonl", [3], p_0003=f"Before all of it: {passages.text_of(3)}")
    assert workspace.run("import-passages", str(path)).exit_code == 0
    workspace.change("UPDATE passages SET text = 'Another text about apples.' WHERE id = 'p-0004'")
    workspace.change("DELETE FROM passages WHERE id = 'p-0002'")
    api.configure(paused=False)
    for command in ("batch-poll", "batch-ingest"):
        done = workspace.ran(command, TASK="passages")
    assert "p-0003" in done.output
    assert counts(workspace) == {"total": 5, "with_concepts": 3, "open": 2}
    outdated = "SELECT item_id FROM findable_answers WHERE outdated ORDER BY item_id"
    assert workspace.query(outdated) == [("p-0003",), ("p-0004",)]
    assert workspace.scalar("SELECT count(*) FROM findable_answers WHERE NOT applied AND item_id = 'p-0002'") == 1
    assert workspace.scalar("SELECT count(*) FROM findable_attempts") == 0
    again = backfill(workspace, "--wait", **SKIP)
    assert (again["ingested"], again["is_over"]) == ({"2": 2}, True)
    assert check(workspace)


@pytest.mark.full
def test_the_api_refuses_and_it_goes_on_later(workspace: Workspace, api: Api, tmp_path: Path) -> None:
    """A 429 with nothing under way, or a quota of the day on the way, ends it with 4; the same command goes on."""
    put(workspace, 12)
    values = window_of(api, tmp_path, 1500) | SKIP
    api.fault("status", args={"code": 429, "message": "Resource exhausted"}, path=CREATE)
    assert workspace.run("passages-backfill", "--wait", "--yes", **values).exit_code == 4
    api.fault("quota_day", path=CREATE, nth=2, times=1)
    stopped = workspace.run("passages-backfill", "--wait", "--yes", **values)
    assert (stopped.exit_code, "UTC" in stopped.stderr) == (4, True), stopped.output
    assert backfill(workspace, "--wait", **values)["is_over"]
    assert set(asked(workspace).values()) == {1}
    assert check(workspace)


@pytest.mark.full
def test_on_the_local_engine_it_goes_the_same_way(tmp_path: Path) -> None:
    """Without a key: pilot and backfill to the end, with true offsets throughout."""
    here = {"FINDABLE_DATA": str(tmp_path / "data"), "FINDABLE_POLL_FIRST": "0.02", "FINDABLE_POLL_MOST": "0.1"}
    workspace = Workspace(tmp_path / "data", here)
    put(workspace, 24)
    assert pilot(workspace, N="20")["passed"]
    assert backfill(workspace, "--wait")["is_over"]
    assert check(workspace) > 48


@pytest.mark.full
def test_what_is_next_is_about_the_subject(workspace: Workspace, people: Callable[..., list[str]], api: Api) -> None:
    """A batch of passages is none of people's business, nor the other way round; each status goes on with its own."""
    people(3)
    put(workspace, 3)
    api.configure(paused=True)
    backfill(workspace, **SKIP)
    assert document(workspace, "status")["next"] == "make tag"
    assert document(workspace, "passages-status")["next"] == "make passages-backfill"
    workspace.change("DELETE FROM findable_runs")
    assert document(workspace, "passages-status")["next"] == "make batch-poll TASK=passages"
    assert workspace.run("batch-cancel", "1", "--yes", TASK="passages").exit_code == 0
    done = workspace.run("batch-poll", TASK="passages")
    assert "its passages can be asked again. Next: make passages-backfill" in done.stdout
    assert workspace.run("batch-submit").exit_code == 0
    api.configure(paused=False)
    api.fault("answer_text", key=r"passage-concepts/p-0002$", args={"text": "{}"})
    told = workspace.run("passages-backfill", "--wait", "--yes", **SKIP)
    assert told.stdout.count("Next: ") == 1, told.stdout
    assert "3 of 4 passages" in told.stderr
    assert "4 of 4 passages" in told.stderr
    assert workspace.query("SELECT state FROM findable_batches WHERE task = 'expert-tags'") == [("submitted",)]
    workspace.ran_each("batch-poll", "batch-ingest")
    assert document(workspace, "status")["experts"]["tagged"] == 3


@pytest.mark.full
def test_a_batch_that_fails_stops_the_sending(workspace: Workspace, api: Api) -> None:
    """One try of each in one command: exit code 4 with the reason; three commands park, and say so."""
    put(workspace, 5)
    api.fault("batch_expires", times=3)
    for number in (1, 2):
        done = backfill(workspace, "--wait", code=4, **SKIP)
        assert (list(done["failed"]), done["left"], sent(api)) == ([str(number)], 5, number)
        assert "nothing more was sent" in done["held_back"]
    stopped = workspace.ran("passages-backfill", "--wait", "--yes", **SKIP, code=4)
    assert "batch 3 failed at the API (expi" in stopped.stderr
    assert ("5 passages parked" in stopped.stderr, "parked (5 just now)" in stopped.stdout) == (True, True)
    assert sent(api) == 3
    assert counts(workspace) == {"total": 5, "parked": 5}


@pytest.mark.full
def test_while_others_succeed_what_a_batch_held_that_failed_is_sent_again(workspace: Workspace, api: Api) -> None:
    """One of three fails: it is told, and the same command comes to the end."""
    put(workspace, 9)
    api.fault("batch_fails", nth=2, times=1)
    assert backfill(workspace, BATCH_ROWS="3", **SKIP)["submitted"] == [1, 2, 3]
    told = workspace.run("passages-backfill", "--wait", "--yes", "--json", **SKIP)
    done = json.loads(told.stdout)
    assert (told.exit_code, len(done["failed"]), done["is_over"], done["parked"]) == (0, 1, True, 0), told.output
    assert "failed at the API" in told.stderr
    assert sent(api) == 4
    assert check(workspace)


@pytest.mark.full
def test_a_batch_that_failed_meanwhile_lets_a_turn_send_nothing(workspace: Workspace, api: Api) -> None:
    """Also where no command waits: the turn that sees the failure tells it, and the next one sends."""
    put(workspace, 4)
    api.fault("batch_fails", times=1)
    assert backfill(workspace, **SKIP)["submitted"] == [1]
    for _ in range(200):
        turn = workspace.run("passages-backfill", "--yes", "--json", **SKIP)
        if json.loads(turn.stdout)["failed"]:
            break
    assert (turn.exit_code, sent(api), json.loads(turn.stdout)["left"]) == (4, 1, 4)
    assert backfill(workspace, "--wait", **SKIP)["is_over"]


@pytest.mark.full
def test_a_batch_that_cannot_be_looked_at_is_not_asked_for_in_a_circle(workspace: Workspace, api: Api) -> None:
    """The others are waited for with pauses between the looks; exit code 4 at the end for the one that is left."""
    put(workspace, 6)
    api.configure(batch_looks=12)
    assert backfill(workspace, BATCH_ROWS="3", **SKIP)["submitted"] == [1, 2]
    name = workspace.scalar("SELECT remote_name FROM findable_batches WHERE number = 1")
    api.fault("status", times=10_000, args={"code": 400, "message": "bad"}, method="GET", path=f"{name}$")
    done = backfill(workspace, "--wait", code=4, BATCH_ROWS="3", **SKIP)
    assert (done["ingested"], done["under_way"]) == ({"2": 3}, 1)
    assert len(api.seen("GET", name)) <= 4
