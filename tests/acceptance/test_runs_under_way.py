"""A run of any process is shown by `status` and the page, and its progress never goes back."""

import re
import signal
from typing import Any

import pytest

from tests.acceptance.engine import LIVE_CALL, LIVE_CALL_PATH, Engine
from tests.acceptance.killing import wait_for_calls
from tests.acceptance.page_calls import run_job
from tests.acceptance.product import Workspace, write_declaration

TASK = "letters"
# Eight rows, which are five requests, because four of them are equal.
TEXTS = ("a bridge", "a tower", "a bridge", "a bridge", "a harbour", "a bridge", "a well", "a mill")
REQUEST_COUNT = 5


def put_letters(workspace: Workspace) -> None:
    """Write a task file and a file of rows, some of which are equal."""
    rows = "".join(f"L-{number},{text}\n" for number, text in enumerate(TEXTS))
    workspace.write_file(f"tasks/{TASK}.csv", f"id,text\n{rows}")
    declaration = write_declaration(
        {"tone": "Literal['praise', 'blame']"}, prompt="{text}", items=f"{TASK}.csv"
    )
    workspace.write_file(f"tasks/{TASK}.py", declaration)


def read_runs(workspace: Workspace) -> list[dict[str, Any]]:
    """Return the runs under way, as another process sees them."""
    runs: list[dict[str, Any]] = workspace.read_json("status").get("under_way", [])
    return runs


def test_run_of_another_process_is_shown(workspace: Workspace, api: Engine) -> None:
    """`status`, the page and a watching process show requests, the rows they cover, and replies."""
    put_letters(workspace)
    api.script_fault("hang", nth=3, times=99, path=LIVE_CALL_PATH, args={"seconds": 300})
    with workspace.start_command(
        "tag", mode="live", TASK=TASK, yes=True, CONCURRENCY=1, CALL_TIMEOUT=200
    ) as running:
        wait_for_calls(api, running, LIVE_CALL, 3)
        (run,) = read_runs(workspace)
        assert (run["requests"], run["rows"], run["done"]) == (REQUEST_COUNT, len(TEXTS), 2)
        assert (run["task"], run["mode"], run["phase"]) == (TASK, "live", "asking")
        line = f"live run 1, {REQUEST_COUNT} requests for {len(TEXTS)} rows, asking for"
        assert line in workspace.run_command("status").stdout

        with workspace.serve_page() as client:
            state = " ".join(client.get("/parts/state", params={"task": TASK}).text.split())
            assert f"{REQUEST_COUNT} requests for {len(TEXTS)} rows" in state
            assert f"2 of {REQUEST_COUNT} done" in state
            assert f"2 of {REQUEST_COUNT} done" in client.get("/runs", params={"task": TASK}).text
            # The button offers nothing while another process works.
            assert re.search(
                r'disabled title="Pid \d+, tag">Another process is asking rows<', state
            )
            assert "/parts/next" not in state

            running.signal(signal.SIGKILL)
            running.wait()
            state = client.get("/parts/state", params={"task": TASK}).text
            assert "Another process" not in state
            assert "/parts/next" in state

    # A killed run waits for a person, so it is not followed.
    watching = workspace.run_command("status", watch=True).stdout
    assert "no run is under way" in watching
    assert "stopped for" in watching
    assert workspace.run_unchecked("status", watch=True, json=True).code == 2


def test_progress_never_goes_back(workspace: Workspace, api: Engine) -> None:
    """Invalid answers are asked again in a further batch, and count once."""
    put_letters(workspace)
    api.script_fault("answer_text", times=3, args={"text": "no object"}, path=LIVE_CALL_PATH)
    api.script_fault("slow_reply", nth=4, times=99, path=LIVE_CALL_PATH, args={"seconds": 0.7})
    done_counts = []
    with workspace.start_command("tag", mode="live", TASK=TASK, yes=True, CONCURRENCY=1) as running:
        wait_for_calls(api, running, LIVE_CALL, 1)
        with workspace.start_command("status", watch=True) as watching:
            while not running.is_finished():
                done_counts += [run["done"] for run in read_runs(workspace)]
            assert running.wait().code == 0
            watched = watching.wait()
    assert watched.code == 0
    assert f"{REQUEST_COUNT} requests for {len(TEXTS)} rows, asking for" in watched.stdout
    assert f"{len(TEXTS)} answered" in watched.stdout
    assert done_counts == sorted(done_counts)
    assert set(done_counts) <= set(range(REQUEST_COUNT + 1))
    assert workspace.state_counts(TASK) == {"answered": len(TEXTS)}
    assert api.count_calls("POST", LIVE_CALL) == REQUEST_COUNT + 3


def test_bar_of_a_waiting_tag_counts_distinct_requests(workspace: Workspace, api: Engine) -> None:
    """The bar of `tag` shows all its requests, and the rows they cover, from batch to batch."""
    put_letters(workspace)
    # The second batch is sent after the first one, so the run polls twice.
    api.script_fault("quota_batch", nth=2)
    api.script_fault("slow_reply", times=9, method="GET", path="/batches/", args={"seconds": 2.1})
    ended = workspace.run_command(
        "tag", mode="batch", wait=True, TASK=TASK, yes=True, BATCH_ROWS=2, CALL_TIMEOUT=20
    )
    shown_counts = [
        int(count)
        for count in re.findall(
            f"{REQUEST_COUNT} requests for {len(TEXTS)} rows: (.)/{REQUEST_COUNT}, batch",
            ended.stderr,
        )
    ]
    assert len(shown_counts) >= 2, ended.stderr
    assert shown_counts == sorted(shown_counts)


@pytest.mark.usefixtures("api")
def test_counts_of_the_service_are_stored(workspace: Workspace) -> None:
    """A look at a batch stores how many requests ended and failed by the service's own count."""
    workspace.import_people(4)
    workspace.run_command("submit")
    workspace.run_command("poll")
    (batch,) = workspace.batches()
    assert (batch["remote_done"], batch["remote_failed"]) == (4, 0)


@pytest.mark.usefixtures("api")
def test_one_press_gets_and_stores_results(workspace: Workspace) -> None:
    """After a command that waited for a batch was killed, a single step of the page is left."""
    put_letters(workspace)
    workspace.run_command("submit", TASK=TASK, yes=True)
    with workspace.serve_page() as client:
        path = f"/api/tasks/{TASK}/next"
        step = client.get(path).json()
        assert step["command"] == "batch-poll"
        work = run_job(client, path, params={"step": step["next"]})
        assert work["state"] == "done", work
        assert client.get(path).json()["command"] == ""
    assert workspace.state_counts(TASK) == {"answered": len(TEXTS)}
