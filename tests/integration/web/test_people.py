"""`POST /api/admin/experts`: a person is saved at once, and tagged within seconds or later."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.lab import Api
from tests.page import Page

ADD = "/api/admin/experts"
BIO = "I keep bees and teach water law."
LIVE = ":generateContent"


@pytest.mark.full
def test_a_person_without_replies_is_parked_and_tagged_by_hand(page: Page, api: Api) -> None:
    """The tenth lost reply parks a person, because each may have cost money; a 503 never does."""
    api.script_fault("status", times=100, path=LIVE, args={"code": 503})
    assert page.post(ADD, json={"username": "ada", "bio": BIO}).json()["retrying"]

    # A 503 costs nothing, however many tries fail.
    for _ in range(4):
        page.desk.ask_due_rows()
    assert page.get("/api/status").json()["parked"] == {}

    api.clear_faults()
    # A lost reply may have cost money.
    api.script_fault("drop", times=100, path=LIVE)
    for _ in range(10):
        page.desk.ask_due_rows()
    before = len(api.seen("POST", LIVE))
    page.desk.ask_due_rows()
    assert len(api.seen("POST", LIVE)) == before

    (reason,) = page.get("/api/status").json()["parked"]
    assert reason.startswith("asked 10 times without a reply")
    assert page.get("/api/status").json()["due"] == []
    assert "asked 10 times without a reply" in page.get("/quality").text

    api.clear_faults()
    page.post("/parts/row", params={"task": "experts", "key": "ada"}, data={"act": "ask"})
    page.settle()
    assert page.get("/api/status").json()["experts"]["tagged"] == 1


def test_a_refused_person_has_an_address_of_its_own(page: Page) -> None:
    """A refused person with the username of another is not mistaken for that one."""
    body = f"username,bio\nada,{BIO}\nada,I repair clocks.\n,I sail.\n"
    upload = page.post("/api/imports?task=experts&name=people.csv", content=body).json()
    page.settle()
    page.post("/parts/import", params={"number": upload["number"]}, data={"import": "1"})
    page.settle()

    html = page.get("/parts/rows?task=experts").text
    keys = re.findall(r'data-key="([^"]+)"', html)
    assert keys[0] == "ada"
    refused_ids = [row["id"] for row in page.get("/api/items?state=refused").json()["rows"]]
    assert keys[1:] == refused_ids

    # From each row, the next one is opened; the last leads back to the list.
    key = "ada"
    opened_keys = [key]
    while "/row?" in (address := page.get("/review", params={"after": key}).headers["location"]):
        [key] = parse_qs(urlsplit(address).query)["key"]
        opened_keys.append(key)
        assert len(opened_keys) <= len(keys)
    assert opened_keys == keys
    assert "I repair clocks." in page.get("/row", params={"key": refused_ids[0]}).text
