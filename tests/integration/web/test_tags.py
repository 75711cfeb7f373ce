"""Tags by hand on the page: none of two editors' words is lost, whatever is under way."""

import re
from html import unescape
from typing import Any

import pytest

from tests.lab import Api
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


def test_an_edit_names_the_state_that_it_was_made_from(ada: Page) -> None:
    """428 without it, 412 with both states where it is an older one; a state is 304 to who has it."""
    first = ada.get(TAGS)
    state = first.headers["etag"]
    assert ada.get(TAGS, headers={"if-none-match": state}).status_code == 304
    assert ada.patch(TAGS, json=BOTH).status_code == 428
    done = ada.patch(TAGS, json=BOTH, headers={"if-match": state})
    assert (done.status_code, done.json()["tags"], done.json()["edit"]) == (200, ["bees", "water law", "law"], 1)
    late = ada.put(TAGS, json={"tags": ["Art"], "who": "bob"}, headers={"if-match": state})
    found = late.json()
    assert (late.status_code, found["was"], found["now"]["tags"]) == (412, ["bees", "water law"], done.json()["tags"])
    wanted = {"tags": ["law", "Art", "bees"], "who": "bob"}
    now = ada.put(TAGS, json=wanted, headers={"if-match": done.headers["etag"]})
    assert (now.json()["tags"], now.headers["etag"]) == (["bees", "law", "art"], ada.get(TAGS).headers["etag"])
    undone = ada.patch(TAGS, json={"undo": 1, "who": "bob"}, headers={"if-match": "*"}).json()
    assert (undone["tags"], undone["edits"][-1]["undoes"]) == (["bees", "art"], 1)
    assert [one["who"] for one in undone["edits"]] == ["Ünal", "bob", "bob"]


@pytest.mark.sampled(0)
def test_what_is_no_edit_is_refused(ada: Page) -> None:
    """Without a name of who edits, with a tag that is none, or of a person who is not there; nothing is written."""
    wrong: tuple[tuple[int, dict[str, Any]], ...] = (
        (422, {"add": ["law"]}),
        (422, {**BOTH, "undo": 1}),
        (422, {**BOTH, "moon": 1}),
        (422, {"add": ["<b"], "who": "bob"}),
        (422, {"remove": ["bees", "water law"], "who": "bob"}),
        (422, {"undo": 7, "who": "bob"}),
        (422, {"add": ["a"], "who": "\0"}),
    )
    for status, body in wrong:
        got = ada.patch(TAGS, json=body, headers={"if-match": "*"})
        assert (got.status_code, got.headers["content-type"]) == (status, "application/problem+json"), body
    assert ada.patch("/api/people/bob/tags", json=BOTH, headers={"if-match": "*"}).status_code == 404
    assert ada.get(TAGS).json()["edits"] == []


@pytest.mark.sampled(0)
def test_the_page_edits_and_shows_both_states(ada: Page) -> None:
    """A name is given once; the later of two tabs is shown what is there now, and can do it all the same."""
    browser, headers = ada.browser(), {"x-csrf-token": ada.desk.access.csrf}
    asked = {"task": "experts", "key": "a da"}
    state = re.findall(r'name="state" value="(\w+)"', browser.get("/item", params=asked).text)[0]
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
