"""The row of a person, edited on the page."""

import re
from html import unescape

import pytest

from tests.lab import Api
from tests.page import Page

ADD = "/api/admin/experts"
ROW = "/api/people/ada/row"


@pytest.mark.sampled(0)
def test_a_row_is_edited_from_the_state_that_was_shown(page: Page) -> None:
    """428, 412 with what is there now, 404 and 422; what is not named stays, and the score follows."""
    page.post(ADD, json={"username": "ada", "company": "Bee Works"})
    first = page.get(ROW)
    state = {"if-match": first.headers["etag"]}
    assert page.patch(ROW, json={"job_title": "judge"}).status_code == 428
    done = page.patch(ROW, json={"Job Title": "judge", "hourly_rate": 90}, headers=state)
    found = done.json()
    assert (found["job_title"], found["company"], found["hourly_rate"]) == ("judge", "Bee Works", 90)
    assert found["findability_score"] == first.json()["findability_score"] + 20
    late = page.patch(ROW, json={"company": "other"}, headers=state)
    assert (late.status_code, late.json()["now"]["company"]) == (412, "Bee Works")
    for wrong in ({"username": "bob"}, {"tags": ["a"]}, {"moon": 1}, {"hourly_rate": "much"}, {"company": "a\0"}):
        assert page.patch(ROW, json=wrong, headers={"if-match": "*"}).status_code == 422, wrong
    cleared = page.patch(ROW, json={"company": None}, headers={"if-match": done.headers["etag"]}).json()
    assert (cleared["company"], cleared["job_title"]) == (None, "judge")
    assert page.patch("/api/people/bob/row", json={}, headers=state).status_code == 404


def test_the_form_writes_what_was_typed_alone(page: Page, api: Api) -> None:
    """Line ends are the browser's own; tags stay, and that is said; the later of two tabs is shown what is there."""
    page.post(ADD, json={"username": "ada", "bio": "Bees.\nLaw."})
    before = len(api.seen("POST", ":generateContent"))
    shown = page.get("/item", params={"task": "experts", "key": "ada"}).text
    state = re.findall(r'name="state" value="(\w+)"', shown)[0]
    form = {"state": state, "bio": "Bees.\r\nLaw.", "company": "<b>Works</b>"}
    done = page.post("/parts/row", params={"username": "ada"}, data=form).text
    assert "Stored." in done
    assert "<b>Works" in unescape(done)
    assert "<b>Works" not in done
    assert "changed meanwhile" in page.post("/parts/row", params={"username": "ada"}, data=form).text
    now = page.get(ROW)
    assert now.json()["bio"] == "Bees.\nLaw."
    page.patch(ROW, json={"job_title": "judge\nof wax", "hourly_rate": 90}, headers={"if-match": "*"})
    assert 'name="hourly_rate" value="90"' in page.get("/item", params={"task": "experts", "key": "ada"}).text
    form = {"job_title": "judgeof wax", "company": "Wax", "hourly_rate": "much"}
    refused = page.post("/parts/row", params={"username": "ada"}, data=form).text
    assert all(one in refused for one in ('<details id="editing" open>', 'value="Wax"', 'value="much"'))
    form["hourly_rate"] = "90"
    assert "Stored." in page.post("/parts/row", params={"username": "ada"}, data=form).text
    now = page.get(ROW)
    assert (now.json()["job_title"], now.json()["company"], now.json()["hourly_rate"]) == ("judge\nof wax", "Wax", 90)
    said = page.patch(ROW, json={"bio": "Wax."}, headers={"if-match": now.headers["etag"]}).json()["said"]
    assert said == ["changed, and the tags stay as they are"]
    assert len(api.seen("POST", ":generateContent")) == before
