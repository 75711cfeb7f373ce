"""One item: asked about again, and forgotten."""

from pathlib import Path
from typing import Any

import pytest

from tests.integration import reviews
from tests.lab import Workspace
from tests.page import Page


def ended(page: Page, answer: Any) -> dict[str, Any]:
    """Return what came of the work that an answer leads to."""
    assert answer.status_code == 202, answer.text
    page.settle()
    found: dict[str, Any] = page.get(answer.headers["location"]).json()
    return found


@pytest.mark.sampled(0)
def test_items_of_an_own_task(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is asked about by its file; of one that is forgotten it is said that the file still holds it."""
    monkeypatch.chdir(tmp_path)
    reviews.put(workspace).ran("preflight", TASK="tasks/reviews.py")
    item, one = "/api/tasks/reviews/item", {"key": "1"}
    with Page(workspace) as page:
        assert ended(page, page.post(f"{item}/ask", params=one))["result"]["state"] == "answered"
        assert page.post(f"{item}/ask", params=one).status_code == 409
        assert page.get("/item", params={"task": "reviews", **one}).status_code == 200
        ended(page, page.post(f"{item}/forget", params=one, json={"name": "1"}))
        assert "your own files" in page.get("/parts/acts", params={"task": "reviews", **one}).text
