"""The list of items: found, counted, sorted, page by page, and as CSV."""

from typing import Any

import pytest

from tests.page import Page

ADD = "/api/admin/experts"
LIST = "/api/items"
EVIL = "<script>alert(1)</script>\"'&amp;=1+1"


@pytest.fixture
def listed(page: Page) -> Page:
    """A page with three people without tags, of whom one has a name that is markup and a formula."""
    for one in (
        {"username": "ada", "first_name": EVIL, "company": "Bee Works", "hourly_rate": 90},
        {"username": "bob", "job_title": "lawyer", "company": "=cmd()"},
        {"username": "cyd", "company": "Bee Works"},
    ):
        assert page.post(ADD, json=one).status_code == 201
    return page


def named(page: Page, **asked: Any) -> list[str]:
    """Return the usernames that the API lists."""
    return [one["username"] for one in page.get(LIST, params=asked).json()["items"]]


@pytest.mark.sampled(0)
def test_the_api_lists_as_the_command_does(listed: Page) -> None:
    """Words, scores, order, columns, pages behind a place, and counts; what cannot be is refused by name."""
    assert named(listed, find="bee works", sort="-username") == ["cyd", "ada"]
    assert named(listed, min_score=10) == ["ada", "bob"]
    first = listed.get(LIST, params={"limit": 2, "fields": "company,username"}).json()
    assert [list(one) for one in first["items"]] == [["id", "company", "username", "state"]] * 2
    assert named(listed, after=first["after"]) == ["cyd"]
    counts = listed.get(LIST, params={"find": "bee", "counts": "1"}).json()
    assert counts["total"] == 2
    assert {"value": "no_bio", "count": 2} in counts["states"]
    for wrong in ({"state": "asleep"}, {"sort": "moon"}, {"fields": "moon"}, {"min_score": "nan"}, {"find": "a\0"}):
        assert listed.get(LIST, params=wrong).status_code == 422, wrong
        assert listed.get("/items.csv", params={"task": "experts", **wrong}).status_code == 422, wrong
