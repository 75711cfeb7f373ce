"""No page shows a command or a setting as it is typed in a terminal."""

import re
from html import unescape
from pathlib import Path

import pytest

from tests.integration import reviews
from tests.lab import Workspace
from tests.page import Page

TYPED = re.compile(r"\bmake [a-z]|\b(?:WHERE|SET|MAP|TASK|YES|OPTION)=|INDEX_UNTAGGED|—")
PATHS = ("/", "/runs", "/quality", "/settings", "/search", "/add", "/batch", "/none", "/row?key=1")
PARTS = ("/parts/state", "/parts/facets", "/parts/next", "/parts/settings")


@pytest.mark.alike
def test_pages_have_no_typed_commands(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All pages of a task with answers, of one without rows, and all refusals are in page words."""
    monkeypatch.chdir(tmp_path)
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


@pytest.mark.alike
def test_quality_counts_its_checks(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verdict has the numbers of the checks in the table below."""
    monkeypatch.chdir(tmp_path)
    reviews.set_up_task(workspace).ran("tag-live")
    workspace.ran("qc")
    with Page(workspace) as page:
        html = page.get("/quality", params={"task": "reviews"}).text
        passed = html.count(">passed</span>")
        unjudged = html.count(">too few rows</span>")
        unmeasured = html.count(">nothing to measure</span>")
        verdict = f"{unjudged} had too few rows"
        if unmeasured:
            verdict += f", {unmeasured} had nothing to measure"
        assert re.search(rf"{passed} checks? passed, {verdict}<", html)


@pytest.mark.alike
def test_a_wrong_condition_is_explained_as_it_was_typed(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message about a single condition names no parenthesis, and its position is right."""
    monkeypatch.chdir(tmp_path)
    reviews.set_up_task(workspace)
    with Page(workspace) as page:
        detail = page.get("/api/items", params={"task": "reviews", "where": "moon"}).json()[
            "detail"
        ]
        html = page.get("/parts/rows", params={"task": "reviews", "where": "moon"}).text
    assert ")" not in detail
    assert "found ')'" not in unescape(html)
