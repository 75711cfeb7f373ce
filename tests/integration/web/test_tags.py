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
def test_the_page_edits_and_shows_both_states(ada: Page) -> None:
    """A name is given once; the later of two tabs is shown what is there now, and can do it all the same."""
    browser = ada.browser()
    asked = {"task": "experts", "key": "a da"}
    state = re.findall(r'"state": "(\w+)"', browser.get("/item", params=asked).text)[0]
    where = {"username": "a da"}

    def said(**form: str) -> str:
        """Send a form of the page."""
        return unescape(browser.post("/parts/tags", params=where, data=form).text)

    assert "say who edits" in said(state=state, add="law")
    assert "Edit 1 is stored" in said(state=state, add="law; <i>art</i>", who="Ünal")
    late = said(state=state, old="bees", new="beekeeping")
    assert "changed meanwhile, last by 'Ünal' (edit 1): they are 'bees', 'water law', 'law'" in late
    now = re.findall(r'"state": "(\w+)"', late)[0]
    assert "You edit as <b>Ünal</b>" in said(state=now, old="bees", new="beekeeping")
    assert ada.get(TAGS).json()["tags"] == ["beekeeping", "water law", "law", "art"]
    assert "Not in the index" in late
