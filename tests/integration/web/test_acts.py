"""Rows: asked about again, one or those that were chosen, and forgotten."""

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
def test_items_of_an_own_task(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is asked about by its file; of one that is forgotten it is said that the file still holds it."""
    monkeypatch.chdir(tmp_path)
    reviews.set_up_task(workspace).ran("preflight", TASK="tasks/reviews.py")
    one = {"task": "reviews", "key": "1"}
    with Page(workspace) as page:

        def shown() -> dict[str, Any]:
            """Return all that is known of the row."""
            found: dict[str, Any] = page.get(
                "/api/show", params={"task": "reviews", "item": "1"}
            ).json()
            return found

        def act(**form: str) -> None:
            """Press a button of its page, and wait for what it began."""
            page.post("/parts/row", params=one, data=form)
            page.settle()

        act(act="ask")
        first = shown()
        act(act="ask")
        again = shown()
        assert [one["applied"] for one in again["answers"]] == [False, True]
        assert (len(first["requests"]), len(again["requests"])) == (1, 2)
        freed = page.post("/api/tasks/reviews/items/free", json={"ids": ["1"]}).json()
        assert (freed["freed"], freed["said"]) == (0, "0 of 1 will be asked again")
        assert page.post("/api/tasks/reviews/items/cost", json={"ids": ["1"]}).json()["cost"] > 0
        result = ended(page, page.post("/api/tasks/reviews/items/ask", json={"ids": ["1", "2"]}))[
            "result"
        ]
        assert result == {"answered": 2, "asked": 2}
        text = page.get("/items.csv", params={"task": "reviews", "id": ["2"]}).text
        assert len(text.splitlines()) == 2
        assert page.get("/row", params=one).status_code == 200
        act(act="forget", name="1")
        assert "your own files" in page.get("/parts/row", params=one).text
