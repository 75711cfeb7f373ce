"""A page for each test, on an initialised workspace."""

from collections.abc import Iterator

import pytest

from tests.lab import Workspace
from tests.page import Page


@pytest.fixture
def page(workspace: Workspace) -> Iterator[Page]:
    """Open a page on an empty workspace without background work."""
    with Page(workspace.begin()) as page:
        yield page
