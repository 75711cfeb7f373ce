"""A page for each test, on an initialised workspace."""

from collections.abc import Iterator

import pytest

from tests.integration.web.reviewed import answer_two_rows
from tests.lab import Api, Workspace
from tests.page import Page


@pytest.fixture
def page(workspace: Workspace) -> Iterator[Page]:
    """Open a page on an empty workspace without background work."""
    with Page(workspace.begin()) as page:
        yield page


@pytest.fixture
def reviewed_page(workspace: Workspace, api: Api) -> Iterator[Page]:
    """Open the page of a task with four rows; the first two have answers."""
    answer_two_rows(workspace, api)
    with Page(workspace) as page:
        yield page
