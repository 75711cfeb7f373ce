"""The rows page follows a run to its end without a reload, and says how it ended."""

import csv
from pathlib import Path
from typing import Any

import pytest

from tests.browser.seen import reading
from tests.integration import reviews
from tests.lab import Workspace

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800), pytest.mark.alike]
ROW_COUNT = 300


def _write_reviews(row_count: int) -> None:
    """Replace the table of the reviews task by one with this many rows."""
    with Path("tasks", "reviews.csv").open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(["id", "text"])
        for number in range(1, row_count + 1):
            writer.writerow([number, f"Lamp {number} is bright. Four stars."])


@pytest.mark.parametrize("mode", ["live", "batch"])
def test_a_run_of_300_rows_is_watched_to_its_end(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Counts, table, filters and next step change by themselves; a chosen row stays chosen."""
    monkeypatch.chdir(tmp_path)
    reviews.set_up_task(workspace)
    _write_reviews(ROW_COUNT)
    workspace.ran("tag", "--dry", TASK="tasks/reviews.py")
    with reading(workspace, MODE=mode) as (reader, tab, _):
        reader.go("/?task=reviews")
        reader.wait_for("#begin", "Ask the 300 open rows")
        # Polls that change nothing must not end the polling.
        for _ in range(3):
            with tab.expect_response("**/parts/state?*"):
                pass
        tab.check("#list tbody tr >> nth=0 >> input")
        tab.evaluate("window.isSameDocument = true")
        tab.click("#begin")
        reader.wait_for("#state", "300 answered, 0 open, $")
        reader.wait_for("#state .facts", "300 answered")
        reader.wait_for("#facets", "300")
        reader.until("!document.querySelector('#list .chip.open')")
        reader.until("document.querySelectorAll('#list tbody .q').length === 50")
        assert tab.locator("#begin", has_text="Ask").count() == 0
        assert tab.locator("#list input:checked").count() == 1
        reader.wait_for(".chosen", "1 chosen")
        assert tab.evaluate("window.isSameDocument")


def test_rows_that_change_while_the_list_is_loaded_are_shown(workspace: Workspace) -> None:
    """The list is loaded once more after a slow response, which lacks the last change."""
    workspace.begin()
    late_responses: list[tuple[Any, Any]] = []

    def delay_first(route: Any) -> None:
        """Keep the first response."""
        if late_responses:
            route.continue_()
        else:
            late_responses.append((route, route.fetch()))

    with reading(workspace) as (reader, tab, client):
        reader.wait_for("#state", "none open")
        tab.route("**/parts/rows?*", delay_first)
        client.post("/api/admin/experts", json={"username": "ada"})
        while not late_responses:
            tab.wait_for_timeout(50)

        client.post("/api/admin/experts", json={"username": "bea"})
        reader.wait_for("#state", "2 no bio")
        route, response = late_responses[0]
        route.fulfill(response=response)
        reader.wait_for("#list", "bea")
        reader.wait_for("#facets", "2 people")
