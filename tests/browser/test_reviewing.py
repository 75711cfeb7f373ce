"""Rows are reviewed by keyboard, and by two people at once."""

from typing import Any
from urllib.parse import parse_qs

import pytest

from tests.browser.seen import reading
from tests.integration.web.reviewed import (
    answer_many_rows,
)
from tests.lab import Api, Workspace

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800), pytest.mark.alike]
# Timers of a page run two seconds late.
LATE_TIMERS = """const startTimer = window.setTimeout;
window.setTimeout = (action, delayMs = 0, ...values) =>
  startTimer(action, delayMs + 2000, ...values)"""


def test_five_rows_are_reviewed_by_keyboard_alone(workspace: Workspace, api: Api) -> None:
    """The name is typed once; keys choose, mark, undo, edit, and move through the random draw."""
    answer_many_rows(workspace, api, 12)
    with reading(workspace) as (reader, tab, client):
        reader.go("/quality?task=reviews")
        tab.focus("#accuracy a.b")
        tab.keyboard.press("Enter")
        tab.wait_for_url("**/row?**")
        reader.wait_for("#one nav", "0 of 11 checked")
        tab.keyboard.press("2")
        assert reader.focus == "who-name"
        tab.keyboard.type("Bea")
        tab.keyboard.press("Enter")
        reader.wait_for("#answer", "Saved")
        assert reader.focus == "choice-2"
        reader.wait_for("#heard", "Saved")
        tab.keyboard.press("u")
        reader.wait_for("#one", "Undone")
        reviewed_keys = []
        for count in range(1, 5):
            key = parse_qs(tab.url)["key"][0]
            tab.keyboard.press("r")
            tab.wait_for_url(f"**reviewed={key}")
            reader.wait_for("#one form", f"{key} is marked as checked")
            reader.wait_for("#one nav", f"{count} of 11 checked")
            reviewed_keys.append(key)
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
        reader.wait_for("#accuracy", "5 of 11 rows that were picked at random")
        params = {"task": "reviews", "where": "reviewed = true"}
        reviewed_rows = client.get("/api/items", params=params).json()["rows"]
        assert sorted(row["id"] for row in reviewed_rows) == sorted(reviewed_keys)


def _slow_down(tab: Any, seconds: float = 0.4) -> list[str]:
    """Delay each reply to a saved change; the returned list grows by the act of each change."""
    acts = []

    def delay(route: Any) -> None:
        """Send the request on, and wait before its reply."""
        form = parse_qs(route.request.post_data)
        acts.extend(form["act"])
        response = route.fetch()
        tab.wait_for_timeout(1000 * seconds)
        route.fulfill(response=response)

    tab.route("**/parts/row?*", delay)
    return acts


def test_twenty_rows_are_reviewed_with_one_or_two_keys_each(workspace: Workspace, api: Api) -> None:
    """A right answer takes `r`, a wrong one its choice and `r`, also while replies are slow."""
    answer_many_rows(workspace, api, 25)
    with reading(workspace) as (reader, tab, client):
        tab.context.add_cookies([{"name": "askrows_who", "value": "Bea", "url": reader.base}])
        saved_acts = _slow_down(tab)
        reader.go("/quality?task=reviews")
        reader.press("#accuracy a.b")
        tab.wait_for_url("**/row?**")
        pressed_keys = ""
        wrong_ids = []
        for count in range(20):
            assert f"{count} of 20 checked" in tab.inner_text("#one nav")
            row_id = parse_qs(tab.url)["key"][0]
            row_keys = "r"
            if count % 4 == 0:
                row_keys = "2r"
                wrong_ids.append(row_id)
            # The second key is pressed before the first one is saved.
            for pressed_key in row_keys:
                tab.keyboard.press(pressed_key)
            pressed_keys += row_keys
            if count < 19:
                tab.wait_for_url(f"**reviewed={row_id}")

        tab.wait_for_url("**/quality?task=reviews#accuracy")
        reader.wait_for("#accuracy", "75 % of 20 right")
        assert len(pressed_keys) == len(saved_acts) == 25
        params = {"task": "reviews", "where": "reviewed = true"}
        assert len(client.get("/api/items", params=params).json()["rows"]) == 20
        params["where"] = "tone = 'blame'"
        corrected_rows = client.get("/api/items", params=params).json()["rows"]
        assert sorted(row["id"] for row in corrected_rows) == sorted(wrong_ids)


def test_the_first_key_works_as_soon_as_a_page_is_shown(workspace: Workspace, api: Api) -> None:
    """A key is not faster than the scripts, even if no timer has run yet."""
    answer_many_rows(workspace, api, 2)
    with reading(workspace) as (reader, tab, _):
        tab.add_init_script(LATE_TIMERS)
        reader.go("/row?task=reviews&key=1")
        tab.keyboard.press("r")
        tab.keyboard.type("Bea")
        tab.keyboard.press("Enter")
        tab.wait_for_url("**key=2&reviewed=1")


def test_a_key_belongs_to_the_row_that_is_shown(workspace: Workspace, api: Api) -> None:
    """Keys wait for a slow save in their order; one act leads to the next row, once."""
    answer_many_rows(workspace, api, 5)
    with reading(workspace) as (reader, tab, client):
        reader.go("/row?task=reviews&key=1")
        tab.keyboard.press("r")
        tab.keyboard.type("Bea")
        tab.keyboard.press("Enter")
        tab.wait_for_url("**key=2&reviewed=1")
        _slow_down(tab)
        # The keys after r are for no row that is shown.
        for key in ("3", "r", "j", "2", "r"):
            tab.keyboard.press(key)
        reader.wait_for("#told", "Pressed next: r")
        tab.wait_for_url("**key=3&reviewed=2")
        assert "2 is marked as checked" in tab.inner_text("#one")
        tab.keyboard.press("u")
        tab.wait_for_url("**key=2")
        assert "Not checked" in tab.inner_text("#one nav") or "corrected" in tab.inner_text("#one")
        shown = client.get("/api/show", params={"task": "reviews", "row": "2"}).json()
        in_force = [answer for answer in shown["answers"] if answer["preferred"]]
        assert [answer["answer"]["tone"] for answer in in_force] == ["mixed"]
        assert in_force[0]["reviewed_at"] is None
        third = client.get("/api/show", params={"task": "reviews", "row": "3"}).json()
        assert [answer["answer"]["tone"] for answer in third["answers"]] == ["praise"]
        # r on a checked row leads on, and never removes the mark.
        reader.go("/row?task=reviews&key=1")
        tab.keyboard.press("r")
        tab.wait_for_url("**key=2")
        tab.locator("[data-key=k]").wait_for()
        tab.keyboard.press("k")
        tab.wait_for_url("**key=1")
        assert "Checked by Bea" in tab.inner_text("#one")
        tab.keyboard.press("u")
        reader.wait_for("#one", "No longer marked as checked")


def test_a_refused_save_drops_the_keys_behind_it(workspace: Workspace, api: Api) -> None:
    """The page names the keys that were not pressed, and stays on the row."""
    answer_many_rows(workspace, api, 5)
    with reading(workspace) as (reader, tab, client):
        tab.context.add_cookies([{"name": "askrows_who", "value": "Bea", "url": reader.base}])
        reader.go("/row?task=reviews&key=1")
        _slow_down(tab)
        state = tab.locator("#one [name=state]").first.input_value()
        form = {"act": "correct", "field": "tone", "value": "blame", "state": state, "who": "Ada"}
        client.post("/parts/row", params={"task": "reviews", "key": "1"}, data=form)
        for key in ("3", "r"):
            tab.keyboard.press(key)
        reader.wait_for("#told .warn", "Not pressed, because the change before was not saved: r.")
        reader.wait_for("#one [role=alert]", "Ada")
        assert tab.url.endswith("key=1")
        assert (
            client.get("/api/items", params={"task": "reviews", "where": "reviewed = true"}).json()[
                "rows"
            ]
            == []
        )
