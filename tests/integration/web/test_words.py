"""No page shows a command or a setting as it is typed in a terminal."""

import re
from html import unescape

import pytest

from tests.integration import reviews
from tests.lab import Workspace
from tests.page import Page

TYPED = re.compile(r"\bmake [a-z]|\b(?:WHERE|SET|MAP|TASK|YES|OPTION)=|INDEX_COLUMNS|—")
PATHS = ("/", "/runs", "/quality", "/settings", "/search", "/add", "/batch", "/none", "/row?key=1")
PARTS = ("/parts/state", "/parts/facets", "/parts/next", "/parts/index", "/parts/settings")


@pytest.mark.full
@pytest.mark.alike
def test_pages_have_no_typed_commands(workspace: Workspace) -> None:
    """All pages of a task with answers, of one without rows, and all refusals are in page words."""
    reviews.set_up_task(workspace).ran("tag-live", LIMIT="2")
    with Page(workspace) as page:
        page.headers["accept"] = "text/html"
        page.post("/api/doctor", params={"task": "reviews"}, json={})
        page.settle()
        for task in ("reviews", "experts"):
            for path in (*PATHS, *PARTS):
                response = page.get(path, params={"task": task, "number": 1, "key": "1"})
                text = unescape(re.sub(r"<(?!/?code)[^>]*>", "", response.text))
                assert not TYPED.search(text), (path, TYPED.findall(text))
        for query in ("where=moon", "sort=moon", "state=moon", "where=id+%3E"):
            html = page.get(f"/?task=reviews&{query}").text
            text = unescape(re.sub(r"<[^>]*>", "", html))
            assert not TYPED.search(text), (query, TYPED.findall(text))
