"""The row of a person, edited on the page."""

import re
from html import unescape

from tests.lab import Api
from tests.page import Page

ADD = "/api/admin/experts"
ROW = "/api/people/ada/row"


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
