"""`POST /api/admin/experts`: a person is saved at once, and tagged within seconds or later."""

from typing import Any

import pytest

from tests.lab import Api
from tests.page import Page

ADD = "/api/admin/experts"
BIO = "I keep bees and teach water law."
LIVE = ":generateContent"


def test_a_person_is_added_with_tags(page: Page, api: Api) -> None:
    """201 with tags and a score, in snake case or with the CSV's names; without a bio there is no call."""
    got = page.post(ADD, json={"username": "ada", "first_name": "Ada", "bio": BIO})
    found = got.json()
    assert (got.status_code, found["ok"], found["username"], found["retrying"]) == (201, True, "ada", False)
    assert found["tags"]
    assert found["findability_score"] > 0
    assert set(page.post(ADD, json={"Username": "bob", "First Name": "Bob"}).json()["tags"] or []) == set()
    assert len(api.seen("POST", LIVE)) == 1
    listed = page.get("/api/tasks/experts/items").json()["items"]
    assert [(one["username"], one["state"]) for one in listed] == [("ada", "tagged"), ("bob", "no_bio")]


@pytest.mark.sampled(0)
def test_what_cannot_be_added_is_refused_by_name(page: Page) -> None:
    """409 for a username that is there, 422 with the field for all else; nothing is written."""
    assert page.post(ADD, json={"username": "ada"}).status_code == 201
    wrong: tuple[tuple[int, Any, str | None], ...] = (
        (409, {"username": "ada", "bio": "other"}, "username"),
        (422, [{"username": "bea"}], None),
        (422, "bea", None),
        (422, {}, "username"),
        (422, {"username": "a\0b"}, "username"),
    )
    for status, body, field in wrong:
        got = page.post(ADD, json=body)
        assert (got.status_code, got.json().get("field")) == (status, field), got.text
        assert got.json()["hint"], body
    assert page.post(ADD, content=b"{").status_code == 422
    assert [one["username"] for one in page.get("/api/tasks/experts/items").json()["items"]] == ["ada"]


def test_a_person_is_saved_while_gemini_is_down_and_tagged_when_it_is_back(page: Page, api: Api) -> None:
    """A refusal and a broken reply: 201 with null for tags; the next look at what is due asks again."""
    for name, (word, args) in {"ada": ("status", {"code": 503}), "bob": ("html_as_json", {"code": 200})}.items():
        api.fault(word, times=100, path=LIVE, args=args)
        found = page.post(ADD, json={"username": name, "bio": BIO}).json()
        assert (found["tags"], found["retrying"]) == (None, True)
        assert isinstance(found["findability_score"], float)
        api.clear_faults()
    page.desk.tagger.look()
    listed = page.get("/api/tasks/experts/items", params={"state": "tagged"}).json()["items"]
    assert [one["username"] for one in listed] == ["ada", "bob"]
