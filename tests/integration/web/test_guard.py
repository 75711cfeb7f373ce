"""Who is let in by a token that is set, and where an address with one leads."""

import pytest

from tests.lab import Workspace
from tests.page import HOST, TOKEN, Page


def test_an_address_with_the_token_stays_on_this_page(page: Page) -> None:
    """Whatever stands in the path, it leads to no other host."""
    away = page.request("GET", f"http://{HOST}//x.example/a", params={"token": TOKEN})
    assert away.headers["location"] == "/x.example/a"


@pytest.mark.sampled(0)
def test_a_token_that_can_be_guessed_is_refused(workspace: Workspace) -> None:
    """Exit code 3, and nothing is served."""
    stderr = (
        workspace.begin().ran("web", "--no-open", "--port", "0", code=3, WEB_TOKEN="short").stderr  # noqa: S106
    )
    assert "fewer than 20 characters" in stderr
