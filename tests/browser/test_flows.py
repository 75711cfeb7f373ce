"""What a person does on the page, from start to end, in a browser."""

from typing import Any

import httpx2
import pytest

from tests.browser.seen import Reader, read
from tests.lab import Api, Workspace

BIO = "I keep bees and teach water law."
LIVE = ":generateContent"
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.mark.full
@pytest.mark.sampled(0)
def test_a_person_added_while_gemini_is_down_is_tagged_indexed_and_found(workspace: Workspace, api: Api) -> None:
    """Saved without tags; once it is back the next step says what it costs and tags; the index is rebuilt; found."""
    workspace.begin()
    api.fault("status", times=1000, path=LIVE, args={"code": 503})

    def reader(browser: Any, address: str, _client: httpx2.Client) -> None:
        """Add, tag, index and search."""
        seen = Reader(browser, address)
        tab = seen.tab
        seen.go("/people/new")
        tab.fill("[name=username]", "ada")
        tab.fill("[name=bio]", BIO)
        tab.click("#add button")
        seen.wait_for("#added", "Saved without tags")
        api.clear_faults()
        seen.go("/")
        tab.click("#next")
        seen.wait_for("#plan", "estimated cost")
        tab.click("#begin")
        seen.wait_for("#told", "begun")
        seen.wait_for(".figures li:nth-child(2)", "1")
        seen.go("/index")
        tab.click("#rebuild")
        tab.click("#begin")
        seen.wait_for("#index", "was verified and is in service")
        tab.fill("header input[name=q]", "water law")
        tab.press("header input[name=q]", "Enter")
        seen.wait_for(".hits", "ada")
        assert seen.complaints == []

    read(workspace, reader)


@pytest.mark.sampled(0)
def test_what_happens_elsewhere_is_seen_without_losing_the_focus(workspace: Workspace) -> None:
    """A person whom a program adds is counted on the open page; what has the focus keeps it while nothing changes."""
    workspace.begin()

    def reader(browser: Any, address: str, client: httpx2.Client) -> None:
        """Look at home while a program adds someone, and go on by keyboard alone."""
        seen = Reader(browser, address)
        tab = seen.tab
        seen.wait_for(".figures li:first-child", "0")
        assert client.post("/api/admin/experts", json={"username": HOSTILE}).status_code == 201
        seen.wait_for(".figures li:first-child", "1")
        tab.focus("#to-costs")
        with tab.expect_response("**/?task=*"), tab.expect_response("**/?task=*"):
            pass
        assert tab.evaluate("document.activeElement.id") == "to-costs"
        tab.keyboard.press("Enter")
        seen.wait_for("h1", "Costs")
        tab.wait_for_load_state()  # the page's script is there
        tab.keyboard.press("/")
        assert tab.evaluate("document.activeElement.name") == "q"
        seen.go("/items")
        seen.wait_for("main", HOSTILE)
        assert seen.complaints == []

    read(workspace, reader)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_a_build_is_put_back_after_asking(workspace: Workspace) -> None:
    """Two builds; a no leaves all as it is, a yes puts the first one back; verified by a button."""
    workspace.begin()

    def reader(browser: Any, address: str, client: httpx2.Client) -> None:
        """Build twice, go back, verify."""
        seen = Reader(browser, address)
        tab = seen.tab
        for number, name in enumerate(("ada", "bea"), start=1):
            client.post("/api/admin/experts", json={"username": name, "bio": BIO})
            seen.go("/index")
            tab.click("#rebuild")
            tab.click("#begin")
            seen.wait_for("#index", f"build {number} was verified")
        tab.once("dialog", lambda dialog: dialog.dismiss())
        tab.click("#rollback")
        assert [one["in_service"] for one in client.get("/api/tasks/experts/index").json()] == [True, False]
        tab.once("dialog", lambda dialog: dialog.accept())
        tab.click("#rollback")
        seen.wait_for("#told", "build 1 is in service again")
        tab.click("#verify")
        seen.wait_for("#index", "every byte and every row is sound")
        seen.go("/settings")
        tab.click("#check")
        seen.wait_for("#doctor", "checks done")

    read(workspace, reader)
