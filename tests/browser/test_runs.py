"""Runs are shown as they end: failed, retried, cancelled or stopped, on the page of their task."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.seen import Reader, reading
from tests.integration import reviews
from tests.lab import Api, Workspace

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800), pytest.mark.sampled(0)]
LIVE = ":generateContent"
CANCEL = ":cancel"
RUNS = "/runs?task=reviews"
# Enough that a run is not over before it is stopped.
ROW_COUNT = 100


@pytest.fixture(name="task")
def _task(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A task with four rows; it is not named by a setting."""
    monkeypatch.chdir(tmp_path)
    reviews.set_up_task(workspace)
    workspace.ran("tag", "--dry", TASK="tasks/reviews.py")
    del workspace.environ["FINDABLE_TASK"]
    return workspace


def _read_bar(reader: Reader) -> str | None:
    """Return the outcomes of the newest run in the list."""
    bar: str | None = reader.tab.locator("#runs svg.share").first.get_attribute("aria-label")
    return bar


def test_a_failed_run_looks_failed_and_is_retried(task: Workspace, api: Api) -> None:
    """The list has no sign of success but the commonest reason; a retry answers the rows."""
    api.script_fault("answer_text", times=8, args={"text": '{"praise": 1}'})
    task.run("tag", MODE="live", TASK="reviews")
    api.clear_faults()
    with reading(task) as (reader, tab, _):
        reader.go(RUNS)
        reader.wait_for("#runs .bad", "of 8 failed: ")
        assert tab.locator("#runs li > .bad svg").count() == 1
        assert tab.locator("#runs .ok:not(rect)").count() == 0
        assert _read_bar(reader) == "0 answered, 8 failed, 0 open"
        tab.click("#runs a:has-text('Retry failed rows')")
        assert tab.locator("#batch svg.share").first.get_attribute("aria-label") == (
            "0 answered, 8 failed, 0 open"
        )
        reader.wait_for("#retry", "Retry 4 failed rows")
        assert reader.violations() == ""
        tab.click("#retry")
        reader.until("!document.querySelector('#retry, #batch progress')")
        reader.go(RUNS)
        assert _read_bar(reader) == "4 answered, 0 failed, 0 open"
        assert tab.locator("#runs li > .ok svg").count() == 1


def test_a_run_opens_on_the_page_of_its_task(
    task: Workspace, people: Callable[..., list[str]]
) -> None:
    """An address with the number alone shows the task of the run; other links keep their task."""
    # Without people their page is not the first.
    people(1)
    task.ran("tag", MODE="live", TASK="reviews")
    with reading(task) as (reader, tab, _):
        reader.wait_for(".tasks summary", "People")
        for path, title in (
            ("/batch?number=1", "reviews"),
            ("/batch?number=1&task=experts", "People"),
        ):
            reader.go(path)
            reader.wait_for("main h1", "Live 1")
            reader.wait_for(".tasks summary", title)

        reader.go(RUNS)
        tab.click("#runs li a >> nth=0")
        tab.wait_for_url("**/batch?**")
        tab.click("nav a.place[aria-label=Rows]")
        tab.wait_for_url("**/?task=reviews")
        reader.wait_for("#state", "4 answered")


def test_a_batch_is_cancelled_at_once(task: Workspace, api: Api) -> None:
    """While Gemini takes its time, the page says so and has no button any more."""
    task.ran("batch-submit", TASK="reviews")
    api.script_fault("slow_reply", path=CANCEL, args={"seconds": 10})
    with reading(task, CALL_TIMEOUT="60") as (reader, tab, _):
        reader.go("/batch?number=1")
        tab.once("dialog", lambda dialog: dialog.accept())
        tab.click("#cancel")
        reader.wait_for("#batch .chip", "being cancelled")
        assert tab.locator("#cancel").count() == 0
        reader.until("document.querySelector('#batch .chip').textContent === 'cancelled'")
        assert tab.locator("#cancel").count() == 0
        reader.go(RUNS)
        reader.wait_for("#runs li", "cancelled, 0 answered")
        assert tab.locator("#runs li > .ok svg").count() == 0


def test_a_live_run_is_stopped(task: Workspace, api: Api) -> None:
    """Stop ends the run after its running calls; its answers stay, and the rest is open."""
    reviews.set_up_task(task, **{str(number): f"Lamp {number}." for number in range(5, ROW_COUNT)})
    del task.environ["FINDABLE_TASK"]
    task.ran("tag", "--dry", TASK="tasks/reviews.py")
    api.script_fault("slow_reply", times=ROW_COUNT, path=LIVE, args={"seconds": 3})
    with reading(task, MODE="live", CONCURRENCY="1", CALL_TIMEOUT="60") as (reader, tab, client):
        reader.go("/?task=reviews")
        tab.click("#begin")
        tab.click("#state button:text-is('Stop')")
        reader.wait_for("#state", "The answers so far are stored; the other rows are open.")
        counts = client.get("/api/status?task=reviews").json()["reviews"]
        assert counts["open"] > 0
        assert counts["open"] + counts["answered"] == ROW_COUNT - 1
        assert tab.locator("#state button:text-is('Stop')").count() == 0
