"""Fill a workspace with a task that has confidences, corrections and failures."""

from pathlib import Path

from tests.integration.web.reviewed import answer_many_rows, store_confidences
from tests.lab import Api, Workspace
from tests.page import Page

ROW_COUNT = 81
REVIEWS = {"task": "reviews"}


def furnish_reviews(workspace: Workspace, api: Api) -> None:
    """Answer rows with confidences, and correct their tone; the last row fails, so it is parked.

    The task is written to the current directory, and is not the default task of the workspace.
    """
    answer_many_rows(workspace, api, ROW_COUNT)
    api.script_fault("answer_text", times=2, args={"text": "no JSON"})
    workspace.ran("tag-live")
    store_confidences(
        workspace,
        {str(number): {"tone": 0.4 + number % 6 / 10} for number in range(1, ROW_COUNT)},
    )
    lines = "".join(f"{number},mixed\n" for number in range(1, ROW_COUNT))
    Path("labels.csv").write_text(f"id,tone\n{lines}")
    workspace.ran("correct", FILE="labels.csv", WHO="Bea")
    del workspace.environ["ASKROWS_TASK"]


def review_rows(page: Page) -> None:
    """Measure the answers."""
    response = page.post("/api/qc", params=REVIEWS, json={})
    assert response.status_code == 202, response.text
    page.settle()
