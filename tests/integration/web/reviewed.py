"""A task with four rows for tests of reviews; the first two rows have answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.engine.task_file import forget_loaded_files
from tests.integration import reviews
from tests.integration.web.test_field_forms import ANSWER, TASK_TEXT
from tests.lab import Api, Workspace
from tests.page import Page

TASK = {"task": "reviews"}
MIXED_ANSWER = ANSWER.replace('"praise", "stars"', '"mixed", "stars"').replace(
    "Boils in two minutes", "easy to dim"
)


def answer_two_rows(workspace: Workspace, api: Api) -> None:
    """Write the task to the current directory, and answer its first two rows."""
    reviews.set_up_task(workspace)
    Path("tasks", "reviews.py").write_text(TASK_TEXT, encoding="utf-8")
    forget_loaded_files()
    for text in (ANSWER, MIXED_ANSWER):
        api.fault("answer_text", times=1, args={"text": text})
        workspace.ran("tag-live", LIMIT="1")


@contextmanager
def open_reviewed_page(workspace: Workspace, api: Api) -> Iterator[Page]:
    """Yield the page of the task."""
    answer_two_rows(workspace, api)
    with Page(workspace) as page:
        yield page


def list_ids(page: Page, **parameters: Any) -> list[str]:
    """Return the ids of the listed rows."""
    listing = page.get("/api/items", params={**TASK, **parameters}).json()
    return [row["id"] for row in listing["items"]]
