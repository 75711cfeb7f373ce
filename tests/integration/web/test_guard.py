"""Access by a token, and the target of an address with a token."""

import pytest

from tests.lab import Workspace
from tests.page import HOST, TOKEN, Page


def test_an_address_with_the_token_stays_on_this_page(page: Page) -> None:
    """Whatever the path, the redirect leads to no other host."""
    # Two slashes would begin the address of another host.
    response = page.request("GET", f"http://{HOST}//x.example/a", params={"token": TOKEN})
    assert response.headers["location"] == "/x.example/a"


@pytest.mark.alike
def test_a_token_that_can_be_guessed_is_refused(workspace: Workspace) -> None:
    """A short token exits with 3, and no page is served."""
    words = ("web", "--no-open", "--port", "0")
    result = workspace.begin().ran(*words, code=3, WEB_TOKEN="short")  # noqa: S106 - for tests
    assert "fewer than 20 characters" in result.stderr
