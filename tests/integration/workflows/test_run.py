"""`make run`: whatever is due is done once, one failure does not keep the rest, and the user's command is told."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests import ledger
from tests.integration.live.test_meets_others import slow, wait_for_calls
from tests.integration.workflows.test_tag import window_for
from tests.lab import ROOT, Api, Workspace

People = Callable[..., list[str]]
LIVE = ":generateContent"
CREATE = ":batchGenerateContent"


def ran(workspace: Workspace, *, code: int = 0, **values: str) -> dict[str, Any]:
    """Run the command once and return its document."""
    result = workspace.run("run", "--json", **values)
    assert result.exit_code == code, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def ran_until(workspace: Workspace, member: str, *, code: int = 0, **values: str) -> dict[str, Any]:
    """Run the command while batches are not over, and return the document that has this member, ended with `code`."""
    for _ in range(200):
        result = workspace.run("run", "--json", **values)
        document: dict[str, Any] = json.loads(result.stdout)
        if document.get(member):
            assert result.exit_code == code, result.output
            return document
        assert result.exit_code == 0, result.output
    raise AssertionError(f"no {member} ever came")


def without_time(line: str) -> str:
    """Return a line of a log without its date and time, which it must begin with."""
    stamp, text = line[:20], line[20:]
    assert datetime.now() - datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S ") < timedelta(minutes=5)  # noqa: DTZ005, DTZ007
    return text


@pytest.mark.full
def test_called_again_and_again_it_brings_everyone_home(workspace: Workspace, people: People, api: Api) -> None:
    """Submitted, polled, ingested and indexed, each when it is due; then nothing is, and exit code 0 all along.

    Who was changed since the last build is in the next one.
    """
    people(5, without_bio=1)
    did: list[str] = []
    for _ in range(30):
        done = ran(workspace)["did"]
        did += done
        if not done and ledger.people(workspace).get("tagged") == 5:
            break
    assert did[0] == "5 submitted in 1 batch"
    assert "1 batch downloaded" in did
    assert "5 tagged from 1 batch" in did
    assert did[-1] == "index of 5 built"
    assert len(api.seen("POST", CREATE)) == 1
    assert workspace.ran("run").output == ""
    workspace.change("UPDATE experts SET job_title = 'Luthier' WHERE id = 1")
    assert ran(workspace)["index"]["embedded"] == 1
    ledger.check(workspace)


@pytest.mark.full
def test_who_was_added_while_gemini_failed_is_asked_again(workspace: Workspace, api: Api, tmp_path: Path) -> None:
    """The person is due; each run asks live and tells so, with exit code 4 where it was in vain once more."""
    new = tmp_path / "new.json"
    new.write_text(json.dumps({"username": "ada", "bio": "Keeps bees and teaches water law."}))
    api.fault("status", times=2, path=LIVE, args={"code": 503, "message": "overloaded"})
    assert workspace.run("add-expert", str(new)).exit_code == 0
    assert workspace.query("SELECT outcome, tries FROM findable_due") == [(None, 0)]
    api.configure(paused=True)
    api.fault("status", times=2, path=LIVE, args={"code": 503, "message": "overloaded"})
    document = ran(workspace, code=4)
    assert (document["retried"], document["submitted"]) == ({"answered": 0, "failed": 1}, {"1": "created"})
    assert workspace.query("SELECT outcome, tries FROM findable_due") == [(None, 1)]
    assert workspace.run("batch-cancel", "1", "--yes").exit_code == 0
    document = ran(workspace)
    assert document["retried"] == {"answered": 1, "failed": 0}
    assert "1 tagged that were due" in document["did"]
    assert workspace.query("SELECT outcome FROM findable_due") == [("tagged",)]
    assert ledger.people(workspace)["tagged"] == 1


def test_the_users_commands_get_the_summary(workspace: Workspace, people: People, api: Api, tmp_path: Path) -> None:
    """ON_DONE where all went well, ON_FAIL where not, each with JSON on its standard input and only one of them.

    The API refuses the batch, and the index is built all the same.

    A command that fails is told with exit code 3, what was done is kept, and a failure before it is not hidden.
    """
    people(5)
    workspace.ran("tag", "--mode", "live", "--limit", "2")
    done, failed = tmp_path / "done.json", tmp_path / "failed.json"
    on_done, on_fail = f"cat > '{done}'", f"cat > '{failed}'"
    api.fault("status", args={"code": 429, "message": "Resource exhausted"}, path=CREATE)
    result = workspace.ran("run", ON_FAIL="exit 7", code=4)
    assert "ON_FAIL ended with 7" in result.stderr
    assert "Resource exhausted" in result.stderr
    api.fault("status", args={"code": 429, "message": "Resource exhausted"}, path=CREATE)
    assert len(ran(workspace, code=4, ON_DONE=on_done, ON_FAIL=on_fail)["failures"]) == 1
    assert ledger.status(workspace)["index"]["count"] == 2
    told = json.loads(failed.read_text())
    assert (told["ok"], told["exit_code"], done.exists()) == (False, 4, False)
    assert told["error"]
    failed.unlink()
    assert ran(workspace, ON_DONE=on_done, ON_FAIL=on_fail)["submitted"] == {"1": "created"}
    assert json.loads(done.read_text())["did"] == ["3 submitted in 1 batch"]
    assert not failed.exists()
    assert "ON_DONE ended with 7" in workspace.ran("run", ON_DONE="exit 7", code=3).stderr


@pytest.mark.full
def test_the_users_commands_learn_when_and_where(
    workspace: Workspace, people: People, api: Api, tmp_path: Path
) -> None:
    """The summary has both ends of the run, the folder and the database, whichever of them it is for; no password."""
    people(3)
    told = tmp_path / "told.json"
    hooks = {"ON_DONE": f"cat > '{told}'", "ON_FAIL": f"cat > '{told}'"}
    began = datetime.now(UTC) - timedelta(seconds=1)
    api.fault("status", args={"code": 429, "message": "Resource exhausted"}, path=CREATE)
    for code in (4, 0):
        ran(workspace, code=code, **hooks)
        summary = json.loads(told.read_text())
        times = [datetime.fromisoformat(summary[name]) for name in ("began_at", "ended_at")]
        assert began < times[0] <= times[1] <= datetime.now(UTC)
        assert summary["workspace"] == str(workspace.data)
        assert summary["workspace_id"] == ledger.status(workspace)["workspace_id"]
    ran(workspace, code=4, DATABASE_URL="postgresql+psycopg://ada:geheim@127.0.0.1:9/people", **hooks)
    summary = json.loads(told.read_text())
    assert (summary["workspace"], summary["ok"]) == (str(workspace.data), False)
    assert summary["database"] == "postgresql+psycopg://ada:…@127.0.0.1:9/people"


@pytest.mark.full
def test_a_log_has_times_and_a_person_an_answer(workspace: Workspace, people: People, api: Api) -> None:
    """What was done, and what went wrong, begin with date and time; on a terminal it is said that nothing was due."""
    people(2)
    api.fault("status", args={"code": 429, "message": "Resource exhausted"}, path=CREATE)
    failed = workspace.ran("run", code=4)
    error, hint = failed.stderr.splitlines()[-2:]
    assert without_time(error).startswith("error: ")
    assert hint.startswith("next: ")
    assert without_time(workspace.ran("run").stdout) == "2 submitted in 1 batch\n"
    while ledger.people(workspace).get("tagged") != 2:
        workspace.ran("run")
    workspace.ran("run")
    assert workspace.ran("run").output == ""
    ours, theirs = pty.openpty()
    environ = {**os.environ, **workspace.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", "jobs", "run"], env=environ, stdout=theirs, stderr=theirs, check=True)
    assert done.returncode == 0
    assert os.read(ours, 1000) == b"nothing was due\r\n"
    os.close(theirs)
    os.close(ours)


@pytest.mark.full
def test_an_interrupt_while_somebody_due_is_asked_ends_it(
    workspace: Workspace, api: Api, people: People, tmp_path: Path
) -> None:
    """By Ctrl-C or SIGTERM: nothing more is begun then, above all no batch; who was asked is due still."""
    people(3)
    new = tmp_path / "new.json"
    new.write_text(json.dumps({"username": "ada", "bio": "Keeps bees."}))
    api.fault("status", times=2, path=LIVE, args={"code": 503, "message": "overloaded"})
    assert workspace.run("add-expert", str(new)).exit_code == 0
    before = len(api.seen("POST", LIVE))
    slow(api)
    environ = {**os.environ, **workspace.environ, "PYTHONPATH": str(ROOT), "FINDABLE_CALL_TIMEOUT": "60"}
    with subprocess.Popen([sys.executable, "-m", "jobs", "run"], env=environ, text=True) as process:
        wait_for_calls(api, before + 1, process)
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)  # two signals at once may come as one
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
    assert api.seen("POST", CREATE) == []
    assert workspace.query("SELECT outcome, tries FROM findable_due") == [(None, 1)]
    assert workspace.scalar("SELECT count(*) FROM findable_requests WHERE open") == 0


def test_without_a_yes_nothing_dear_is_sent(workspace: Workspace, people: People, api: Api) -> None:
    """Above CONFIRM_ABOVE cron cannot say yes."""
    people(2)
    workspace.ran("run", CONFIRM_ABOVE="0", code=2)
    assert api.seen("POST", CREATE) == []
    assert ran(workspace, CONFIRM_ABOVE="0", YES="1")["submitted"] == {"1": "created"}


@pytest.mark.full
def test_batches_that_fail_are_told(workspace: Workspace, people: People, api: Api, tmp_path: Path) -> None:
    """Each with its reason, by ON_FAIL and exit code 4; so is how many were parked when it failed too often."""
    people(3)
    api.fault("batch_fails", times=10)
    told = tmp_path / "told.json"
    ran(workspace)
    documents = []
    for _ in range(3):
        documents.append(ran_until(workspace, "failed", code=4, ON_FAIL=f"cat > '{told}'"))
        assert json.loads(told.read_text())["failures"] == documents[-1]["failures"]
    assert [list(one["failed"]) for one in documents] == [["1"], ["2"], ["3"]]
    assert "batch 3 failed at the API (fail" in documents[-1]["failures"][0]
    assert [one.get("parked") for one in documents] == [None, None, 3]
    assert documents[-1]["did"] == ["1 batch failed", "3 parked"]
    assert workspace.ran("run").output == ""


@pytest.mark.full
def test_a_part_of_the_results_is_taken_in_and_the_failure_told(workspace: Workspace, people: People, api: Api) -> None:
    """A batch that expired half done gives what it has, exit code 4 all the same, and the rest goes out again."""
    people(4)
    api.fault("batch_expires", args={"partial": 0.5})
    ran(workspace)
    document = ran_until(workspace, "failed", code=4)
    assert (document["ingested"], list(document["failed"])) == ({"1": 2}, ["1"])
    assert document["submitted"] == {"2": "created"}


@pytest.mark.full
def test_a_batch_that_a_person_cancelled_is_no_failure(workspace: Workspace, people: People, api: Api) -> None:
    """It was asked for; exit code 0, and its people go out again."""
    people(3)
    api.configure(paused=True)
    ran(workspace)
    assert workspace.run("batch-cancel", "1", "--yes").exit_code == 0
    api.configure(paused=False)
    document = ran_until(workspace, "submitted")
    assert ("failed" in document, document["failures"]) == (False, [])
    assert document["submitted"] == {"2": "created"}


@pytest.mark.full
def test_who_is_parked_for_invalid_answers_is_told_and_no_failure(
    workspace: Workspace, people: People, api: Api
) -> None:
    """Two answers that do not validate: the line says that a person was parked, and all is well."""
    people(3)
    api.fault("schema_mismatch", times=2, key="tags/1$")
    lines = []
    for _ in range(100):
        result = workspace.ran("run")
        lines.append(result.stdout)
        if "parked" in lines[-1]:
            break
    assert "1 parked" in lines[-1]
    assert sum("parked" in line for line in lines) == 1


@pytest.mark.full
def test_a_full_queue_with_batches_under_way_is_no_failure(workspace: Workspace, people: People, api: Api) -> None:
    """The rest waits for room, which the line says; what is under way is brought home, and then the rest goes out."""
    people(6)
    api.configure(batch_looks=3)
    api.fault("status", nth=2, times=2, args={"code": 429, "message": "Resource exhausted"}, path=CREATE)
    document = ran(workspace, BATCH_ROWS="3")
    assert (document["submitted"], document["no_room"], document["failures"]) == ({"1": "created"}, 3, [])
    assert "3 submitted in 1 batch" in document["did"]
    assert without_time(workspace.run("run").stdout) == "3 wait for room at the API\n"
    assert ran_until(workspace, "ingested")["ingested"] == {"1": 3}
    assert ran_until(workspace, "ingested")["ingested"] == {"2": 3}
    ledger.check(workspace)


@pytest.mark.full
def test_who_waits_for_room_is_not_left_for_want_of_money(
    workspace: Workspace, people: People, api: Api, tmp_path: Path
) -> None:
    """What fills the quota of tokens by our own count is `no_room`, whether it was sent just now or before."""
    people(6)
    values = window_for(workspace, tmp_path, 0.5) | {"BUDGET_PER_DAY": "20"}
    api.configure(paused=True)
    first = ran(workspace, **values)
    for document in (first, ran(workspace, **values)):
        assert document["no_room"] == ledger.people(workspace)["untagged"] > 0
        assert "out_of_money" not in document
    assert without_time(workspace.run("run", **values).stdout) == f"{first['no_room']} wait for room at the API\n"


def test_a_quota_of_the_day_is_a_failure_whatever_is_under_way(workspace: Workspace, people: People, api: Api) -> None:
    """No batch's end makes room then; exit code 4 and the time of the reset."""
    people(6)
    api.fault("quota_day", nth=2, path=CREATE)
    document = ran(workspace, code=4, BATCH_ROWS="3")
    assert (len(document["failures"]), "no_room" in document) == (1, False)
