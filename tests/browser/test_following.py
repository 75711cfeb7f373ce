"""The rows page follows changes without a reload."""

from typing import Any

import pytest

from tests.browser.seen import reading
from tests.lab import Workspace

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800), pytest.mark.alike]


def test_rows_that_change_while_the_list_is_loaded_are_shown(workspace: Workspace) -> None:
    """The list is loaded once more after a slow response, which lacks the last change."""
    workspace.begin()
    late_responses: list[tuple[Any, Any]] = []

    def delay_first(route: Any) -> None:
        """Keep the first response."""
        if late_responses:
            route.continue_()
        else:
            late_responses.append((route, route.fetch()))

    with reading(workspace) as (reader, tab, client):
        reader.go("/?task=experts")
        reader.wait_for("#state", "Add rows")
        tab.route("**/parts/rows?*", delay_first)
        client.post("/api/admin/experts", json={"username": "ada"})
        while not late_responses:
            tab.wait_for_timeout(50)

        client.post("/api/admin/experts", json={"username": "bea"})
        reader.wait_for("#state", "2 have no text")
        route, response = late_responses[0]
        route.fulfill(response=response)
        reader.wait_for("#list", "bea")
        reader.wait_for("#facets", "2 people")


def test_a_chosen_row_stays_chosen_while_rows_are_added(workspace: Workspace) -> None:
    """The list is loaded again around the focused and checked box, and no other row is chosen."""
    workspace.begin()
    with reading(workspace) as (reader, tab, client):
        client.post("/api/admin/experts", json={"username": "bea"})
        reader.go("/?task=experts")
        reader.wait_for("#state", "1 has no text")
        tab.focus("#rows tbody input")
        tab.keyboard.press("Space")
        reader.wait_for(".chosen", "1 chosen")
        client.post("/api/admin/experts", json={"username": "ada"})
        reader.wait_for("#list", "ada")
        assert "bea" in tab.locator("#rows tbody tr:has(input:checked)").inner_text()
        assert tab.evaluate("document.activeElement.matches('#rows tbody :checked')")
        reader.wait_for(".chosen", "1 chosen")
