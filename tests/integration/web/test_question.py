"""The question and the fields of a task are displayed, and become the draft of a new task."""

from html import unescape
from pathlib import Path

import pytest

from tests.integration import reviews
from tests.integration.web.intake import (
    KEY_TEXT,
    TONE,
    WHY,
    drop_reviews,
    list_roles,
    press_button,
    try_question,
)
from tests.lab import Workspace
from tests.page import Page

TASK = {"task": "kettles"}
STARS = {"new2.name": "stars", "new2.kind": "1-5", "new2.bounds": "1 - 3"}
DATE = {"new3.name": "bought", "new3.kind": "date", "new3.description": "When it was bought"}


def create_task(page: Page) -> None:
    """Create a task from a dropped file."""
    number = drop_reviews(page)
    try_question(page, number, **TONE, **WHY, **STARS, **DATE, **KEY_TEXT)
    press_button(page, number, keep="kettles", mode="live")
    page.settle()


def open_draft(page: Page) -> tuple[int, str]:
    """Press "Copy and change"; return the number of the upload and the page of its form."""
    response = page.post("/question", params=TASK, follow_redirects=False)
    assert response.status_code == 303, response.text
    page.settle()
    address = response.headers["location"]
    return int(address.partition("number=")[2]), unescape(page.get(address).text)


@pytest.mark.full
def test_a_question_becomes_the_draft_of_a_new_task(page: Page, workspace: Workspace) -> None:
    """The form has the question, the fields and the roles of the columns; a new task is created."""
    create_task(page)
    number, html = open_draft(page)
    for text in (
        "Praise or blame?</textarea>",
        'value="How the review sounds"',
        "praise\nblame</textarea>",
        'name="field1.name"\n        value="why"',
        'value="1-3"',
        'value="When it was bought"',
    ):
        assert text in html, text
    assert list_roles(html) == KEY_TEXT

    question = {"question": "Praise, blame or both?"}
    typed_fields = {**WHY, **STARS, **DATE}
    fields = {name.replace("new", "field"): text for name, text in typed_fields.items()}
    try_question(page, number, **TONE | question, **fields, **KEY_TEXT)
    press_button(page, number, keep="kettles2", mode="live")
    page.settle()
    texts = [
        (workspace.data / f"tasks/{name}.py").read_text(encoding="utf-8")
        for name in ("kettles", "kettles2")
    ]
    expected_text = texts[0].replace("Praise or blame?", "Praise, blame or both?")
    expected_text = expected_text.replace("Kettle reviews.csv", "kettles.csv")
    assert texts[1] == expected_text.replace("sources/kettles", "sources/kettles2")
    tables = [workspace.data / f"sources/{name}.csv" for name in ("kettles", "kettles2")]
    assert tables[0].read_bytes() == tables[1].read_bytes()


@pytest.mark.alike
def test_a_task_is_removed_with_its_files(page: Page, workspace: Workspace) -> None:
    """Its name must be typed; its costs stay."""
    create_task(page)
    page.settle()
    costs = page.get("/api/costs").json()
    assert page.post("/question/remove", params=TASK, data={"name": "x"}).status_code == 422
    page.post("/question/remove", params=TASK, data={"name": "kettles"})
    contents = [path.read_bytes() for path in workspace.data.rglob("*") if path.is_file()]
    assert not any(b"It boils in" in content for content in contents)
    assert page.get("/api/costs").json() == costs
    assert not [work for work in page.get("/api/work").json() if work["task"]]
    workspace.ran("doctor")
    assert page.get("/", params=TASK).status_code == 404


@pytest.mark.parametrize(
    ("old", "new", "obstacle"),
    [
        (
            'items="reviews.csv"',
            "items=\"SELECT 1 AS id, 'good' AS text\"",
            "The rows of this task are not in a file",
        ),
        (
            "praise: list[str]",
            "praise: list[list[str]]",
            "The form for a new task has no kind for the field 'praise'",
        ),
    ],
    ids=["query", "nested field"],
)
def test_a_task_that_the_form_cannot_have_says_why(
    workspace: Workspace,
    *,
    old: str,
    new: str,
    obstacle: str,
) -> None:
    """Question and fields are shown without a button; built-in tasks have no question page."""
    reviews.set_up_task(workspace)
    path = Path("tasks", "reviews.py")
    path.write_text(path.read_text().replace(old, new))
    workspace.ran("tag", "--dry", TASK="tasks/reviews.py")
    with Page(workspace) as page:
        html = unescape(page.get("/question", params={"task": "reviews"}).text)
        assert f"This question cannot be copied. {obstacle}." in html
        assert "use-as-draft" not in html
        assert '<td data-label="Field">' in html
        response = page.post("/question", params={"task": "reviews"}, follow_redirects=False)
        assert response.status_code == 422
        assert page.get("/question", params={"task": "experts"}).status_code == 404
