"""The page says within seconds that Gemini does not answer, and searches by words."""

import re
import time
from pathlib import Path

import pytest

from tests.integration import reviews
from tests.lab import Api, Workspace
from tests.page import LONG_S, Page

LIVE = ":generateContent"
EMBED = "mbedContent"


@pytest.mark.full
@pytest.mark.alike
def test_a_search_falls_back_to_words(workspace: Workspace, api: Api) -> None:
    """A refused, and an unanswered embedding give hits by words, and the page says so."""
    workspace.begin()
    with Page(workspace) as page:
        page.post("/api/admin/experts", json={"username": "ada", "bio": "I keep bees."})
        page.settle()
        workspace.ran("tag", MODE="live")
        workspace.ran("index")
        for fault in ("status", "hang"):
            api.script_fault(fault, times=1000, path=EMBED)
            response = page.get("/search", params={"q": "bees", "task": "experts"})
            api.clear_faults()
            assert response.status_code == 200
            assert "Gemini does not answer: these are found by their words alone." in response.text
            assert 'key=ada"' in response.text


@pytest.mark.full
@pytest.mark.alike
def test_a_run_says_that_gemini_fails(workspace: Workspace, api: Api) -> None:
    """The state line of a running run has the error of the service, before the run gives up."""
    reviews.set_up_task(workspace).ran("tag", "--dry", TASK="tasks/reviews.py")
    workspace.environ |= {"ASKROWS_RETRY_FOR": "60", "ASKROWS_MODE": "live"}
    api.script_fault("status", times=1000, path=LIVE, args={"code": 503})
    with Page(workspace) as page:
        step = page.get("/api/tasks/reviews/next").json()["next"]
        params: dict[str, str | float] = {"step": step, "cost": 1.0}
        work = page.post("/api/tasks/reviews/next", params=params).json()
        deadline = time.monotonic() + LONG_S
        state = ""
        while not re.search(r'class="warn">· \d+ at once, Gemini fails \(', state):
            assert time.monotonic() < deadline, state
            state = page.get("/parts/state", params={"task": "reviews"}).text
        page.post(f"/api/work/{work['number']}/stop")
        page.settle()


@pytest.mark.alike
def test_answers_of_the_local_engine_are_called_placeholders(
    workspace: Workspace, tmp_path: Path
) -> None:
    """The local engine's pages have the bar, its files a name; with Gemini there is none.

    No page of a workspace without a table leads to people.
    """
    note = "Rehearsal: the answers are made up. Do not use them."
    with Page(workspace.begin()) as page:
        assert note not in page.get("/").text
    environ = {**workspace.environ, "ASKROWS_BACKEND": "local"}
    environ["ASKROWS_DATA"] = str(tmp_path / "rehearsal")
    with Page(Workspace(tmp_path / "rehearsal", environ).begin()) as page:
        texts = [page.get(path).text for path in ("/", "/runs", "/quality", "/settings", "/add")]
        assert all(note in text and 'href="/?task=experts"' not in text for text in texts)
        file_headers = page.get("/rows.csv", params={"task": "experts"}).headers
        assert "experts-invented-answers.csv" in file_headers["content-disposition"]
