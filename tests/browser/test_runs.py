"""A failed run looks failed, and is retried."""

from pathlib import Path

import pytest

from tests.browser.seen import Reader, reading
from tests.integration import reviews
from tests.lab import Api, Workspace

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800), pytest.mark.sampled(0)]
RUNS = "/runs?task=reviews"


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
