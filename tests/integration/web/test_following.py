"""The rows of a task follow a run to its end, and the page says how the run ended."""

import re
from html import unescape

import pytest

from tests.integration import reviews
from tests.lab import Workspace
from tests.page import Page

NEXT = "/api/tasks/reviews/next"


def _read_poll_address(html: str) -> str:
    """Return the address that a state line loads again and again."""
    section = html.partition('id="state"')[2].partition(">")[0]
    assert re.search(r'hx-trigger="every \d+s"', section), section
    return unescape(re.findall(r'hx-get="([^"]+)"', section)[0])


@pytest.mark.full
@pytest.mark.alike
def test_rows_follow_a_run_to_its_end(workspace: Workspace) -> None:
    """Each state line polls; a poll reports changed rows once, and the end has its counts."""
    reviews.set_up_task(workspace).ran("tag", "--dry", TASK="tasks/reviews.py")
    with Page(workspace) as page:
        rows_page = page.get("/", params={"task": "reviews", "after": "1"}).text
        list_pattern = r'hx-get="(/parts/rows\?[^"]*)"\s+hx-trigger="rows-changed from:body"'
        list_address = re.findall(list_pattern, rows_page)[0]
        first_address = unescape(re.findall(r'hx-get="(/parts/state\?[^"]*)"', rows_page)[0])
        address = _read_poll_address(page.get(first_address).text)
        assert "hx-trigger" not in page.get(address).headers

        step = page.get(NEXT).json()
        query = {"step": step["next"], "cost": step["plan"]["cost"]}
        assert page.post(NEXT, params=query).status_code == 202
        page.settle()

        state = page.get(address)
        assert state.headers["hx-trigger"] == "rows-changed"
        assert "4 answered</a>" in state.text
        assert "Done: 4 of 4 answered." in state.text
        assert "hx-trigger" not in page.get(_read_poll_address(state.text)).headers

        # The list may be older than the first state line.
        assert page.get(first_address).headers["hx-trigger"] == "rows-changed"
        new_list = page.get(unescape(list_address))
        assert "after=1" in new_list.headers["hx-replace-url"]
        assert "waiting</span>" not in new_list.text
