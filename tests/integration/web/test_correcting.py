"""An answer is corrected on the page: none of two editors' words is lost, whatever is under way."""

import json
import re
from html import unescape
from pathlib import Path

import pytest

from tests.integration import reviews
from tests.lab import Api, Workspace
from tests.page import Page

ADD = "/api/admin/experts"


@pytest.fixture
def ada(page: Page, api: Api) -> Page:
    """A page with one person who has two tags."""
    api.fault("answer_text", times=1, args={"text": '{"tags": ["bees", "water law"]}'})
    assert page.post(ADD, json={"username": "a da", "bio": "Bees."}).json()["tags"] == ["bees", "water law"]
    return page


@pytest.mark.sampled(0)
def test_the_page_corrects_and_undoes(ada: Page) -> None:
    """A name is given once; the later of two tabs is shown what is there now; an edit is undone by its number."""
    browser = ada.browser()
    asked = {"task": "experts", "key": "a da"}
    found = browser.get("/row", params=asked).text
    state = re.findall(r'"state": "(\w+)"', found)[0]

    def said(value: str = "", **form: str) -> str:
        """Send a form of the page."""
        given = {"act": "correct", "field": "tags", "value": value, **form}
        return unescape(browser.post("/parts/row", params=asked, data=given).text)

    def stands() -> list[str]:
        """Return the tags that count."""
        return re.findall(
            '<span class="chip">(.*?)</span>', browser.get("/row", params=asked).text.split("<h2>Answer")[1]
        )

    assert "say who edits" in said("law", state=state)
    assert "<ins>bees, water law, law</ins>" in said("bees, water law, law", state=state, who="Ünal")
    late = said("beekeeping", state=state)
    assert "changed meanwhile, last by 'Ünal' (edit 1)" in late
    now = re.findall(r'"state": "(\w+)"', late)[0]
    assert "<ins>beekeeping, law</ins>" in said("beekeeping, law", state=now)
    assert stands() == ["beekeeping", "law"]
    now = re.findall(r'"state": "(\w+)"', said("", state=now))[0]
    assert "undid edit 2" in said(state=now, undo="2")
    assert stands() == ["bees", "water law", "law"]


def test_any_field_of_an_own_task_is_corrected(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quotation must stand in the text, and keeps its place; what is no valid answer is refused by why."""
    monkeypatch.chdir(tmp_path)
    reviews.put(workspace, **{"1": "It boils; the lid burns. Two stars."}).ran("tag-live")
    asked = {"task": "reviews", "key": "1"}
    with Page(workspace) as page:
        browser = page.browser()

        def said(**form: str) -> str:
            """Send a form of the page."""
            return unescape(
                browser.post("/parts/row", params=asked, data={"act": "correct", "who": "Bea", **form}).text
            )

        assert "no valid answer" in said(field="quote", value="It never boils")
        found = said(field="quote", value="boils; the lid burns")
        assert '<mark class="h0" data-name="quote">boils; the lid burns</mark>' in found
        assert "<dd>4 " in said(field="stars", value="4")
        assert "no valid answer" in said(field="stars", value="9")
        assert "praise" in said(field="praise", value="heat, speed")
        (one,) = (x for x in page.get("/api/items?task=reviews").json()["items"] if x["id"] == "1")
    answer = json.loads(workspace.ran("correct", "1", "--json").stdout)["answer"]
    assert one["state"] == "answered"
    assert (answer["stars"], answer["praise"], answer["quote"]["start"]) == (4, ["heat", "speed"], 3)
