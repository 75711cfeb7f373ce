"""Tags by hand on the page: none of two editors' words is lost, whatever is under way."""

import json
import re
from html import unescape
from itertools import product

import pytest

from tests.lab import Api, Workspace
from tests.page import Page

ADD = "/api/admin/experts"
TAGS = "/api/people/a%20da/tags"
BOTH = {"add": ["law"], "who": "Ünal"}


@pytest.fixture
def ada(page: Page, api: Api) -> Page:
    """A page with one person who has two tags."""
    api.fault("answer_text", times=1, args={"text": '{"tags": ["bees", "water law"]}'})
    assert page.post(ADD, json={"username": "a da", "bio": "Bees."}).json()["tags"] == ["bees", "water law"]
    return page


@pytest.mark.sampled(0)
def test_the_page_edits_and_shows_both_states(ada: Page) -> None:
    """A name is given once; the later of two tabs is shown what is there now, and can do it all the same."""
    browser, headers = ada.browser(), {"x-csrf-token": ada.desk.access.csrf}
    asked = {"task": "experts", "key": "a da"}
    state = re.findall(r'"state": "(\w+)"', browser.get("/item", params=asked).text)[0]
    where = {"username": "a da"}

    def said(**form: str) -> str:
        """Send a form of the page."""
        return unescape(browser.post("/parts/tags", params=where, data=form, headers=headers).text)

    assert "say who edits" in said(state=state, add="law")
    assert "Edit 1 is stored" in said(state=state, add="law; <i>art</i>", who="Ünal")
    late = said(state=state, old="bees", new="beekeeping")
    assert "changed meanwhile, last by 'Ünal' (edit 1): they were 'bees', 'water law'" in late
    now = re.findall(r'"state": "(\w+)"', late)[0]
    assert "You edit as <b>Ünal</b>" in said(state=now, old="bees", new="beekeeping")
    assert ada.get(TAGS).json()["tags"] == ["beekeeping", "water law", "law", "art"]
    assert "Not in the index" in late


def test_two_tabs_lose_nothing_while_an_ingest_runs(page: Page, api: Api, workspace: Workspace) -> None:
    """The one who is late is told, and what stands at the end is the replay of the accepted edits, in their order."""
    names, kinds = ("ada", "bob"), [*product(["add"], ["law", "art", "soil"]), *product(["remove"], ["law", "art"])]
    every = list(product(names, ("left", "right"), kinds))
    for name in names:
        api.fault("status", times=100, path=":generateContent", args={"code": 503})
        page.post(ADD, json={"username": name, "bio": f"Bees of {name}."})
    api.clear_faults()
    workspace.ran_each("batch-submit", "batch-poll")
    seen: dict[tuple[str, str], str] = {}
    accepted: dict[str, list[tuple[str, str]]] = {name: [] for name in names}
    late = 0
    for step in range(40):
        if step == 20:
            workspace.ran("batch-ingest")
        name, tab, (kind, tag) = every[step * 7 % len(every)]
        at = f"/api/people/{name}/tags"
        state = seen.setdefault((name, tab), page.get(at).headers["etag"])
        got = page.patch(at, json={kind: [tag], "who": tab}, headers={"if-match": state})
        if got.status_code == 200 and got.json()["edit"] is not None:
            accepted[name].append((kind, tag))
        if got.status_code == 412:
            late += 1
            assert got.json()["now"]["state"] != state
        seen[name, tab] = page.get(at).headers["etag"] if got.status_code == 412 else got.headers.get("etag", state)
    assert late
    [batch] = json.loads(workspace.ran("batches", "--json").stdout)
    assert (batch["answered"], batch["not_applied"]) == (2, 2)
    for name in names:
        found = page.get(f"/api/people/{name}/tags").json()
        tags: list[str] = []
        for kind, tag in accepted[name]:
            tags = [*tags, tag] if kind == "add" else [one for one in tags if one != tag]
        assert found["tags"] == tags
        assert [one["number"] for one in found["edits"]] == [*range(1, len(accepted[name]) + 1)]
