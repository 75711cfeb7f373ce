"""Fill a workspace with a task that has confidences, corrections, judgements and failures."""

from typing import Any

from tests.integration.web.reviewed import answer_many_rows, store_confidences
from tests.lab import Api, Workspace
from tests.page import Page

# A third of the rows has the corrected value already, and 50 labels are needed.
ROW_COUNT = 81
REVIEWS = {"task": "reviews"}


def furnish_reviews(workspace: Workspace, api: Api) -> None:
    """Answer rows with confidences; the last row fails twice, so it is parked.

    The task is written to the current directory, and is not the default task of the workspace.
    """
    answer_many_rows(workspace, api, ROW_COUNT)
    api.script_fault("answer_text", times=2, args={"text": "no JSON"})
    workspace.ran("tag-live")
    store_confidences(
        workspace,
        {str(number): {"tone": 0.4 + number % 6 / 10} for number in range(1, ROW_COUNT)},
    )
    del workspace.environ["FINDABLE_TASK"]


def review_rows(page: Page) -> None:
    """Judge and measure the answers, and correct the tone of most rows."""
    parameters = {**REVIEWS, "field": "tone", "find": "Number"}
    body = {"value": "mixed", "count": ROW_COUNT, "who": "Bea"}
    steps: tuple[tuple[str, dict[str, str], dict[str, Any]], ...] = (
        ("/api/judge", {**REVIEWS, "cost": "0.1"}, {}),
        ("/api/tasks/reviews/items/set", parameters, body),
        ("/api/qc", REVIEWS, {}),
    )
    for path, query, options in steps:
        response = page.post(path, params=query, json=options)
        assert response.status_code == 202, response.text
        page.settle()
