"""Rows are reviewed by keyboard, and by two people at once."""

import pytest

from tests.browser.seen import reading
from tests.integration.web.reviewed import (
    answer_many_rows,
)
from tests.lab import Api, Workspace

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800), pytest.mark.alike]


def test_five_rows_are_reviewed_by_keyboard_alone(workspace: Workspace, api: Api) -> None:
    """The name is typed once; keys choose, mark, undo, edit, and move through the filter."""
    answer_many_rows(workspace, api, 12)
    with reading(workspace) as (reader, tab, client):
        reader.go("/?task=reviews&checked=no")
        tab.keyboard.press("j")
        tab.keyboard.press("Enter")
        tab.wait_for_url("**/row?**")
        reader.wait_for("#one nav", "0 of 20 checked")
        tab.keyboard.press("2")
        assert reader.focus == "who-name"
        tab.keyboard.type("Bea")
        tab.keyboard.press("Enter")
        reader.wait_for("#answer", "Saved")
        assert reader.focus == "choice-2"
        reader.wait_for("#heard", "Saved")
        tab.keyboard.press("u")
        reader.wait_for("#one", "Undone")
        tab.keyboard.press("r")
        reader.wait_for("#one", "Checked by Bea")
        for key in ("2", "3", "4"):
            tab.keyboard.press("j")
            tab.wait_for_url(f"**key={key}")
            tab.keyboard.press("r")
            reader.wait_for("#one", "Checked by Bea")
            assert "checked=no" in tab.url
        tab.keyboard.press("j")
        tab.wait_for_url("**key=5")
        tab.keyboard.press("e")
        reader.until("document.activeElement.id === 'edit-stars-value'")
        tab.fill("#edit-stars-value", "4")
        tab.focus("#edit-stars-save")
        tab.keyboard.press("Enter")
        reader.wait_for("#answer", "Saved")
        assert reader.focus == "one"
        tab.keyboard.press("?")
        reader.wait_for("#key-help p", "next, k previous")
        tab.keyboard.press("Escape")
        tab.wait_for_url("**/quality?task=reviews#accuracy")
        params = {"task": "reviews", "where": "reviewed = true"}
        reviewed_rows = client.get("/api/items", params=params).json()["rows"]
        assert [row["id"] for row in reviewed_rows] == ["1", "2", "3", "4"]
