"""Tags by hand on the page: none of two editors' words is lost, whatever is under way."""

import re
from html import unescape

import pytest

from tests.lab import Api
from tests.page import Page

ADD = "/api/admin/experts"
TAGS = "/api/people/a%20da/tags"


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
        given = {"act": "correct", "value": value, **form}
        return unescape(browser.post("/parts/row", params=asked, data=given).text)

    assert "say who edits" in said("law", state=state)
    assert "<ins>+ law</ins>" in said("bees, water law, law", state=state, who="Ünal")
    late = said("beekeeping", state=state)
    assert "changed meanwhile, last by 'Ünal' (edit 1): they are 'bees', 'water law', 'law'" in late
    now = re.findall(r'"state": "(\w+)"', late)[0]
    assert "<del>bees</del>" in said("beekeeping; water law; law", state=now)
    assert sorted(ada.get(TAGS).json()["tags"]) == ["beekeeping", "law", "water law"]
    now = re.findall(r'"state": "(\w+)"', said("", state=now))[0]
    assert "undid edit 2" in said(state=now, undo="2")
    assert ada.get(TAGS).json()["tags"] == ["bees", "water law", "law"]
