"""Rows are reviewed one after another in the order of their list, and marked as reviewed."""

import re
from html import unescape

import pytest

from tests.integration.web.reviewed import MIXED_ANSWER, TASK, list_ids
from tests.lab import Api
from tests.page import Page


@pytest.fixture(name="page")
def _page(reviewed_page: Page) -> Page:
    """Open the page of a task with four rows; the first two have answers."""
    return reviewed_page


def _get_row(page: Page, key: str, **parameters: str) -> str:
    """Return the HTML of a row's page."""
    return unescape(page.get("/row", params={**TASK, "key": key, **parameters}).text)


def _act(page: Page, key: str, act: str, **form: str) -> str:
    """Send a form of a row's page with the state that the page shows, and return the part."""
    state = re.findall(r'name="state" value="(\w+)"', _get_row(page, key))[0]
    data = {"act": act, "state": state, "who": "Bea", **form}
    return unescape(page.post("/parts/row", params={**TASK, "key": key}, data=data).text)


def _find_link(text: str, relation: str) -> str:
    """Return the address of a link to a neighbour; empty without a link."""
    match = re.search(rf'<a rel="{relation}" data-key="[^"]*" href="([^"]*)"', text)
    return match[1] if match else ""


@pytest.mark.full
@pytest.mark.alike
def test_neighbours_follow_the_list(page: Page) -> None:
    """Previous and next keep the filter and the order, and the place is counted after the page."""

    def get_part(key: str, **parameters: str) -> str:
        """Return the part of a row's page with its place and its neighbours, in one line."""
        part = page.get("/parts/position", params={**TASK, "key": key, **parameters}).text
        return " ".join(unescape(part).split())

    def open_next(key: str, **parameters: str) -> str:
        """Return the address to which the link to the next row leads."""
        text = _get_row(page, key, **parameters)
        return page.get(_find_link(text, "next")).headers["location"]

    part = get_part("2")
    assert _find_link(part, "prev").endswith("key=1")
    assert open_next("2") == "/row?task=reviews&key=3"
    assert "<span>2 of 4 in the list</span>" in part

    part = get_part("4", sort="-text")
    assert open_next("2", sort="-text") == "/row?task=reviews&sort=-text&key=4"
    assert "<span>2 of 4 in the list</span>" in part

    part = get_part("2", state="answered")
    assert open_next("2", state="answered") == "/?task=reviews&state=answered"
    assert "<span>2 of 2 in the list</span>" in part
    assert "not among the 2 in the list" in get_part("3", state="answered")
    text = _get_row(page, "2", state="answered")
    assert re.search(r'<a id="to-list" data-back href="/\?task=reviews&state=answered"', text)


@pytest.mark.full
@pytest.mark.alike
def test_a_mark_belongs_to_the_reviewed_answer(page: Page, api: Api) -> None:
    """A mark has its reviewer and time, filters rows, and ends with a new answer."""
    assert "Not checked by a person" in _get_row(page, "1")
    assert "Type your name" in _act(page, "1", "review", who="")
    part = _act(page, "1", "review")
    assert 'data-told="Marked as checked"' in part
    assert re.search(r"Checked by <bdi>Bea</bdi>, <time", part)

    assert list_ids(page, where="reviewed = true") == ["1"]
    assert list_ids(page, where="reviewed = false") == ["2"]
    rows = page.get("/", params={**TASK, "checked": "no"}).text
    assert rows.count("data-hit") == 1
    exported = page.get("/rows.csv", params={**TASK, "checked": "yes"}).text
    assert len(exported.splitlines()) == 2

    assert 'data-told="No longer marked as checked"' in _act(page, "1", "unreview")
    assert list_ids(page, where="reviewed = true") == []

    # A correction is no mark: nobody looked at the other fields, until they are confirmed.
    _act(page, "1", "correct", field="tone", value="blame")
    assert list_ids(page, where="reviewed = true") == []
    # An undone correction is no answer of a person.
    differing = {**TASK, "differ": ["reviews@1", "person"]}
    assert "key=1" in page.get("/parts/rows", params=differing).text
    assert "Compare two answers" not in _act(page, "1", "correct", undo="1")
    # A repeated undo changes nothing.
    assert "changed again" not in _act(page, "1", "correct", undo="1")
    assert "key=1" not in page.get("/parts/rows", params=differing).text
    assert list_ids(page, where="reviewed = true") == []

    _act(page, "2", "review")
    assert list_ids(page, where="reviewed = true") == ["2"]
    api.script_fault("answer_text", times=1, args={"text": MIXED_ANSWER})
    page.post("/api/tasks/reviews/rows/ask", json={"ids": ["2"]})
    page.settle()
    assert list_ids(page, where="reviewed = true") == []
    assert list_ids(page, where="reviewed = false") == ["1", "2"]
    assert "The mark ended with a newer answer." in _get_row(page, "2")
    # The mark still counts on the quality page.
    assert "key=2" not in page.get("/parts/rows", params={**TASK, "checked": "no"}).text


@pytest.mark.full
@pytest.mark.alike
def test_a_review_of_a_changed_answer_is_refused(page: Page) -> None:
    """A reviewer who saw another answer is told, and no mark is stored."""
    state = re.findall(r'name="state" value="(\w+)"', _get_row(page, "1"))[0]
    _act(page, "1", "correct", field="tone", value="blame")
    data = {"act": "review", "state": state, "who": "Ada"}
    part = page.post("/parts/row", params={**TASK, "key": "1"}, data=data).text
    assert "changed this answer meanwhile" in unescape(part)
    data = {"act": "review", "who": "Ada"}
    part = page.post("/parts/row", params={**TASK, "key": "3"}, data=data).text
    assert "has no answer to review" in part
