"""The card with the counts of a task."""

from tests.lab import Workspace
from tests.page import Page


def test_bar_without_rows_says_so(workspace: Workspace) -> None:
    """A task without rows has none of none answered."""
    workspace.begin()
    with Page(workspace) as page:
        state = page.get("/parts/state", params={"task": "experts"}).text
    assert 'aria-label="0 of 0 ' in state
