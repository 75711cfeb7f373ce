"""An answer is corrected on the page, and no edit of two editors is lost."""

import re
from html import unescape

import pytest

from tests.lab import Api
from tests.page import Page

ADD = "/api/admin/experts"


@pytest.fixture
def ada(page: Page, api: Api) -> Page:
    """Open a page with a person who has two tags."""
    api.script_fault("answer_text", times=1, args={"text": '{"tags": ["bees", "water law"]}'})
    assert page.post(ADD, json={"username": "a da", "bio": "Bees."}).json()["tags"] == [
        "bees",
        "water law",
    ]
    return page


@pytest.mark.sampled(0)
def test_the_page_corrects_and_undoes(ada: Page) -> None:
    """The page asks for a name once, shows a newer edit, and undoes an edit by its number."""
    browser = ada.browser()
    row_params = {"task": "experts", "key": "a da"}
    text = browser.get("/row", params=row_params).text
    state = re.findall(r'"state": "(\w+)"', text)[0]

    def submit(value: str = "", **form: str) -> str:
        """Send a form of the page, with a line for each tag."""
        lines = {f"value.{index}": tag for index, tag in enumerate(value.split(", "))}
        fields = {"act": "correct", "field": "tags", **lines, **form}
        return unescape(browser.post("/parts/row", params=row_params, data=fields).text)

    def read_tags() -> list[str]:
        """Return the tags in force."""
        return re.findall(
            '<span class="chip" dir="auto">(.*?)</span>',
            browser.get("/row", params=row_params).text.split("<h2>Answer")[1],
        )

    assert "Type your name" in submit("law", state=state)
    assert "<ins>bees, water law, law</ins>" in submit(
        "bees, water law, law", state=state, who="Ünal"
    )

    # Another tab still has the old state.
    late_answer = submit("beekeeping", state=state)
    assert "'Ünal' changed this answer meanwhile (edit 1)" in late_answer

    new_state = re.findall(r'"state": "(\w+)"', late_answer)[0]
    assert "<ins>beekeeping, law</ins>" in submit("beekeeping, law", state=new_state)
    assert read_tags() == ["beekeeping", "law"]

    new_state = re.findall(r'"state": "(\w+)"', submit("", state=new_state))[0]
    assert "undid edit 2" in submit(state=new_state, undo="2")
    assert read_tags() == ["bees", "water law", "law"]
