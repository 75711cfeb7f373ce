"""An answer is corrected on the page: none of two editors' words is lost, whatever is under way."""

import re
from html import unescape

import pytest

from tests.lab import Api
from tests.page import Page

ADD = "/api/admin/experts"


@pytest.fixture
def ada(page: Page, api: Api) -> Page:
    """A page with one person who has two tags."""
    api.fault("answer_text", times=1, args={"text": '{"tags": ["bees", "water law"]}'})
    assert page.post(ADD, json={"username": "a da", "bio": "Bees."}).json()["tags"] == [
        "bees",
        "water law",
    ]
    return page


@pytest.mark.sampled(0)
def test_the_page_corrects_and_undoes(ada: Page) -> None:
    """A name is given once; the later of two tabs is shown what is there now; an edit is undone by its number."""
    browser = ada.browser()
    asked = {"task": "experts", "key": "a da"}
    text = browser.get("/row", params=asked).text
    state = re.findall(r'"state": "(\w+)"', text)[0]

    def said(value: str = "", **form: str) -> str:
        """Send a form of the page."""
        given = {"act": "correct", "field": "tags", "value": value, **form}
        return unescape(browser.post("/parts/row", params=asked, data=given).text)

    def stands() -> list[str]:
        """Return the tags that count."""
        return re.findall(
            '<span class="chip">(.*?)</span>',
            browser.get("/row", params=asked).text.split("<h2>Answer")[1],
        )

    assert "say who edits" in said("law", state=state)
    assert "<ins>bees, water law, law</ins>" in said(
        "bees, water law, law", state=state, who="Ünal"
    )
    late = said("beekeeping", state=state)
    assert "changed meanwhile, last by 'Ünal' (edit 1)" in late
    now = re.findall(r'"state": "(\w+)"', late)[0]
    assert "<ins>beekeeping, law</ins>" in said("beekeeping, law", state=now)
    assert stands() == ["beekeeping", "law"]
    now = re.findall(r'"state": "(\w+)"', said("", state=now))[0]
    assert "undid edit 2" in said(state=now, undo="2")
    assert stands() == ["bees", "water law", "law"]
