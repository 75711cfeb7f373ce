"""One item: asked about again, and forgotten."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.batch import due
from pipeline.batch.prepare import Prepared
from pipeline.experts import table
from tests.integration import reviews
from tests.lab import Workspace
from tests.page import Page

ADD = "/api/admin/experts"
ITEM = "/api/tasks/experts/item"
LIVE = ":generateContent"
ADA = {"key": "ada"}


def ended(page: Page, answer: Any) -> dict[str, Any]:
    """Return what came of the work that an answer leads to."""
    assert answer.status_code == 202, answer.text
    work = page.desk.running.get(answer.json()["number"])
    assert work is not None
    assert work.thread is not None
    work.thread.join()
    found: dict[str, Any] = page.get(answer.headers["location"]).json()
    return found


@pytest.mark.sampled(0)
def test_who_was_asked_by_a_process_that_is_gone_is_asked_again(page: Page, workspace: Workspace) -> None:
    """The button is there, and takes the person out of that process's hands."""
    with workspace.open() as ws, ws.store.write() as tx:  # which ends with its lock
        key = table.insert_person(tx, "ada", {"bio": "Bees."})
        made = due.prepare_alone(ws, tx, [key])
        assert isinstance(made, Prepared)
        assert made.lock is not None
        made.lock.release()
    assert "Ask about it" in page.get("/item", params={"task": "experts", **ADA}).text
    assert page.get("/api/tasks/experts/next").json()["next"] == "make batch-ingest"
    assert ended(page, page.post(f"{ITEM}/ask", params=ADA))["result"]["state"] == "tagged"


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
