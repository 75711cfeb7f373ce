"""A page for each test, on a workspace that is begun."""

from collections.abc import Iterator

import pytest

from tests.lab import Workspace
from tests.page import Page


@pytest.fixture
def page(workspace: Workspace) -> Iterator[Page]:
    """A page on an empty workspace; nothing works in its background."""
    with Page(workspace.begin()) as page:
        yield page
