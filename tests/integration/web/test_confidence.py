"""The page shows confidences as bars, filters and sorts by them, and begins reviews with doubts."""

import re
from html import unescape

import pytest

from tests.integration.web.reviewed import (
    TASK,
    list_ids,
    store_confidences,
)
from tests.lab import Workspace
from tests.page import Page

# The answers of the task have a closed field and open fields.
SURE = {"tone": 0.93}
UNSURE = {"tone": 0.6999}


@pytest.fixture(name="page")
def _page(workspace: Workspace, reviewed_page: Page) -> Page:
    """Open the page of a task with four rows; the second of two answers is doubtful."""
    store_confidences(workspace, {"1": SURE, "2": UNSURE})
    return reviewed_page


def _get(page: Page, path: str, **parameters: str) -> str:
    """Return the HTML of a view in a single line."""
    return " ".join(unescape(page.get(path, params={**TASK, **parameters}).text).split())


@pytest.mark.full
@pytest.mark.alike
def test_each_field_with_a_confidence_has_a_bar(page: Page) -> None:
    """Screen readers get the number and the doubt; the columns of confidences stay hidden."""
    rows = _get(page, "/")
    labels = re.findall(r'<svg class="share sure" role="img" aria-label="([^"]*)"', rows)
    assert labels == ["confidence 0.93", "confidence 0.69, doubtful"]
    assert rows.count('<rect class="warn"') == 1
    assert 'data-label="tone confidence"' not in rows
    chosen = _get(page, "/", fields="id,tone_confidence,doubtful")
    assert 'data-label="tone confidence"' in chosen
    assert "0.6999" in chosen

    row = _get(page, "/row", key="2")
    assert row.count('aria-label="confidence 0.69, doubtful"') == 1
    assert "gemini-decision-1" in row


@pytest.mark.full
@pytest.mark.alike
def test_rows_are_filtered_and_sorted_by_confidence(page: Page) -> None:
    """The links of the list set the filter and the order, and exports follow the filter."""
    for doubtful, ids in (("yes", ["2"]), ("no", ["1"])):
        listing = _get(page, "/", doubtful=doubtful)
        assert re.findall(r'href="/row\?[^"]*&key=(\w+)"', listing) == ids
        exported = page.get("/rows.csv", params={**TASK, "doubtful": doubtful}).text
        assert [line.partition(",")[0] for line in exported.splitlines()[1:]] == ids
    sorted_rows = _get(page, "/", sort="confidence")
    assert re.findall(r'href="/row\?[^"]*&key=(\w+)"', sorted_rows) == ["2", "1", "3", "4"]


@pytest.mark.full
@pytest.mark.alike
def test_review_begins_with_the_doubtful(page: Page) -> None:
    """The head counts doubtful rows; a correction removes a row, and then the list is empty."""
    state = _get(page, "/parts/state")
    assert '<a href="/?task=reviews&doubtful=yes">1 doubtful</a>' in state
    parameters = {**TASK, "doubtful": "yes"}
    location = page.get("/review", params=parameters).headers["location"]
    assert location == "/row?task=reviews&doubtful=yes&key=2"
    row = _get(page, "/row", key="2", doubtful="yes")
    answer_state = re.findall(r'name="state" value="(\w+)"', row)[0]
    data = {"act": "correct", "state": answer_state, "who": "Bea", "field": "tone"}
    data["value"] = "blame"
    part = page.post("/parts/row", params={**parameters, "key": "2"}, data=data).text
    assert "Saved" in part
    assert "share sure" not in part
    assert list_ids(page, where="doubtful = true") == []
    assert "doubtful" not in _get(page, "/parts/state")
    location = page.get("/review", params=parameters).headers["location"]
    assert location == "/?task=reviews&doubtful=yes"
