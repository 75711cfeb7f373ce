"""Rows of a file are added to a task that was created from a dropped file."""

from pathlib import Path

import pytest

from tests.integration.web.test_imports import drop_file, list_dropped_files, press_button
from tests.integration.web.test_question import create_task
from tests.lab import Workspace
from tests.page import Page

NEW_ROWS = (
    "Text,id,shop\n"
    "It boils in 2 minutes.,r2,north\n"
    "It broke.,r3,north\n"
    '"It hums; ""loudly"".",r8,north\n'
    "It whistles.,,north\n"
    "It drips.,r9,north\n"
)


def read_source(workspace: Workspace) -> Path:
    """Return the file with the rows of the task."""
    return workspace.data / "sources/kettles.csv"


def test_new_rows_are_added_and_present_rows_stay(page: Page, workspace: Workspace) -> None:
    """The preview counts new, equal and refused rows; only new rows are open afterwards."""
    create_task(page)
    assert "More rows of kettles" in page.get("/add", params={"task": "kettles"}).text
    before = read_source(workspace).read_bytes()
    read = drop_file(page, NEW_ROWS, "kettles", "more.csv")
    assert read["found"]["added"] == 2, read
    assert (read["found"]["unchanged"], read["found"]["rejected"]) == (0, 3)
    assert read_source(workspace).read_bytes() == before

    press_button(page, read["number"])
    page.settle()
    html = page.get("/parts/import", params={"number": read["number"]}).text
    assert "2 added" in html
    assert list_dropped_files(workspace) == []
    after = read_source(workspace).read_bytes()
    assert after.startswith(before)
    state = page.get("/parts/state", params={"task": "kettles"}).text
    assert "7 answered" in state
    assert "2 open" in state
    items = page.get("/api/items", params={"task": "kettles", "find": "hums"}).json()["items"]
    assert 'It hums; "loudly".' in str(items)

    # A repeated file changes nothing.
    read = drop_file(page, NEW_ROWS, "kettles", "more.csv")
    assert (read["found"]["added"], read["found"]["unchanged"]) == (0, 2)
    press_button(page, read["number"])
    page.settle()
    assert read_source(workspace).read_bytes() == after


@pytest.mark.parametrize("content", ["text\nIt boils.\n", ""])
def test_a_file_without_the_key_column_is_refused(
    page: Page, workspace: Workspace, content: str
) -> None:
    """The reason is displayed, and the rows of the task stay as they are."""
    create_task(page, is_asked=False)
    before = read_source(workspace).read_bytes()
    read = drop_file(page, content, "kettles", "more.csv")
    assert read["state"] == "unreadable"
    assert "nothing was" in read["error"]["detail"]
    assert read_source(workspace).read_bytes() == before
