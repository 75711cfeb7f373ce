"""No page shows a command or a setting as it is typed in a terminal."""

import re
from html import unescape
from pathlib import Path

import pytest

from tests.integration import reviews
from tests.integration.web.reviewed import TASK, TASK_TEXT, answer_two_rows
from tests.lab import Api, Workspace
from tests.page import Page

TYPED = re.compile(r"\bmake [a-z]|\b(?:WHERE|SET|MAP|TASK|YES|OPTION)=|INDEX_COLUMNS|—")
PATHS = ("/", "/runs", "/quality", "/settings", "/search", "/add", "/batch", "/none", "/row?key=1")
PARTS = ("/parts/state", "/parts/facets", "/parts/next", "/parts/index")


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


def test_a_hit_has_no_quotation_as_tag(workspace: Workspace, api: Api) -> None:
    """The tags of a hit are no sentences."""
    answer_two_rows(workspace, api)
    indexed_text = TASK_TEXT.replace('prompt="{text}"', 'prompt="{text}", index="{text}"')
    Path("tasks", "reviews.py").write_text(indexed_text, encoding="utf-8")
    workspace.ran("tag", "--dry", TASK="tasks/reviews.py")
    with Page(workspace) as page:
        workspace.ran("index", TASK="tasks/reviews.py")
        html = page.get("/search", params={**TASK, "q": "minutes"}).text
        tags = re.findall(r'class="chip[^"]*"[^>]*>\s*([^<]+?)\s*<', html)
        assert "praise" in tags
        assert "Boils in two minutes" not in tags
