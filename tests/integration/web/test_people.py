"""`POST /api/admin/experts`: a person is saved at once, and tagged within seconds or later."""

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
