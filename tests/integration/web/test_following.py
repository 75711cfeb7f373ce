"""The rows of a task follow a run to its end, and the page says how the run ended."""

import re
from html import unescape
from pathlib import Path

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


@pytest.mark.alike
def test_a_changed_file_is_read_before_its_rows_are_priced(workspace: Workspace) -> None:
    """The button first reads the file at no cost; then it has the number of new rows."""
    reviews.set_up_task(workspace).ran("tag", TASK="tasks/reviews.py", MODE="live", YES="1")
    with Path("tasks", "reviews.csv").open("a", encoding="utf-8") as table:
        table.write("5,Hums at night. Two stars.\n6,A gift. Five stars.\n")
    with Page(workspace) as page:
        part = {"task": "reviews"}
        assert "Read the changed file reviews.csv" in page.get("/parts/next", params=part).text
        page.post(NEXT, params={"step": page.get(NEXT).json()["next"]})
        page.settle()
        assert "Ask the 2 waiting rows" in page.get("/parts/next", params=part).text
        assert "4 answered</span>" in page.get("/parts/state", params=part).text
