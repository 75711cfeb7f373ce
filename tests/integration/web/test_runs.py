"""Runs show what was answered, what failed and why; they are retried, cancelled and stopped."""

import re
from html import unescape
from typing import Any

import pytest

from tests.integration import reviews
from tests.lab import Api, Workspace
from tests.page import Page

LIVE = ":generateContent"
RUNS = {"task": "reviews"}


@pytest.fixture(name="task")
def _task(workspace: Workspace) -> Workspace:
    """A task with four rows."""
    return reviews.set_up_task(workspace)


def _read_runs(page: Page) -> str:
    """Return the list of runs."""
    return unescape(page.get("/runs", params=RUNS).text)


def _read_run(page: Page, number: int = 1, **parameters: str) -> str:
    """Return the page of a run."""
    response = page.get("/batch", params={"number": number, **parameters})
    assert response.status_code == 200
    return unescape(response.text)


@pytest.mark.full
@pytest.mark.alike
def test_failed_rows_are_counted_explained_and_retried(task: Workspace, api: Api) -> None:
    """List and page of a run have the same numbers, and the failed rows are asked again."""
    api.script_fault("answer_text", times=8, args={"text": '{"praise": 1}'})
    task.run("tag", MODE="live")
    api.clear_faults()
    with Page(task) as page:
        runs = _read_runs(page)
        bar = re.findall(r'aria-label="(\d+ answered, \d+ failed, \d+ waiting)"', runs)
        assert bar[0] == "0 answered, 8 failed, 0 waiting"
        assert re.search(r'class="bad">\d of 8 failed: ', runs)
        run = _read_run(page)
        assert f'aria-label="{bar[0]}"' in run
        assert "Retry 4 failed rows" in run

        params: dict[str, Any] = {"number": 1, "task": "reviews"}
        assert page.post("/parts/batch", params=params, data={"act": "retry"}).status_code == 200
        page.settle()
        assert page.get("/api/status", params=RUNS).json()["reviews"]["answered"] == 4
        assert "Retry" not in _read_run(page)
        runs = _read_runs(page)
        assert 'aria-label="4 answered, 0 failed, 0 waiting"' in runs
        # The failures stay in the list, but their rows are answered.
        assert re.search(r'class="bad">\d of 8 failed: ', runs)


@pytest.mark.full
@pytest.mark.alike
def test_a_cancelled_batch_is_cancelled_at_once(task: Workspace) -> None:
    """The reply to the button says so and has no button, and so does every later page."""
    task.ran("batch-submit")
    with Page(task) as page:
        assert 'id="cancel"' in _read_run(page)
        params: dict[str, Any] = {"number": 1, "task": "reviews"}
        reply = unescape(page.post("/parts/batch", params=params, data={"act": "cancel"}).text)
        page.settle()
        for html in (reply, _read_run(page)):
            assert 'id="cancel"' not in html
            assert re.search(r"being cancelled|cancelled</span>", html)
        runs = " ".join(_read_runs(page).split())
        assert "cancelled, 0 of 4 different rows answered, 4 waiting" in runs
        assert '<span class="warn">' in runs
        assert '<span class="ok">' not in runs


@pytest.mark.full
@pytest.mark.alike
def test_a_live_run_is_stopped(task: Workspace, api: Api) -> None:
    """Stop ends the run after its running calls; its answers stay, and the rest is open."""
    task.environ["ASKROWS_CONCURRENCY"] = "1"
    api.script_fault("slow_reply", times=1000, path=LIVE, args={"seconds": 1})
    with Page(task) as page:
        task.ran("tag", "--dry", TASK="tasks/reviews.py")
        step = page.get("/api/tasks/reviews/next").json()["next"]
        parameters: dict[str, Any] = {"step": step, "cost": 1}
        work = page.post("/api/tasks/reviews/next", params=parameters).json()
        state = page.get("/parts/state", params=RUNS).text
        assert f'hx-post="/api/work/{work["number"]}/stop"' in state
        assert page.post(f"/api/work/{work['number']}/stop").json()["said"].startswith("Stopping")
        page.settle()
        document = page.get(f"/api/work/{work['number']}").json()
        assert (document["state"], document["error"]) == ("stopped", None)
        assert "The answers so far are stored" in page.get("/parts/state", params=RUNS).text
        assert page.post(f"/api/work/{work['number']}/stop").status_code == 409
        counts = page.get("/api/status", params=RUNS).json()["reviews"]
        assert counts["open"] + counts["answered"] == 4
