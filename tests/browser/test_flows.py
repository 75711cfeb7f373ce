"""What a person does on the page, from start to end, in a browser."""

from typing import Any

import httpx2
import pytest

from tests.browser.seen import Reader, read
from tests.lab import Api, Workspace

BIO = "I keep bees and teach water law."
LIVE = ":generateContent"
HOSTILE = "<img src=x onerror=alert(1)>"
BYTES = """[...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
  .filter((one) => one.initiatorType !== "xmlhttprequest").reduce((sum, one) => sum + one.encodedBodySize, 0)"""
CHECKED = frozenset({"/", "/items"})  # by axe; `make test-web` has it look at every view
VIEWS = ("/", "/items", "/people/new", "/search?q=bees", "/index", "/reports", "/batches", "/costs", "/settings")


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
@pytest.mark.sampled(0)
def test_every_view_fits_a_narrow_screen_in_the_dark(workspace: Workspace) -> None:
    """At 360 pixels nothing is wider than the screen, nothing is complained about, a page is small and accessible."""
    workspace.begin()

    def reader(browser: Any, address: str, client: httpx2.Client) -> None:
        """Look at each view."""
        client.post("/api/admin/experts", json={"username": "ada", "bio": BIO, "last_name": HOSTILE})
        client.post("/api/tasks/experts/index")
        seen = Reader(browser, address, viewport={"width": 360, "height": 800}, color_scheme="dark")
        for path in VIEWS:
            seen.go(path)
            assert seen.tab.evaluate("document.documentElement.scrollWidth") <= 360, path
            assert seen.tab.evaluate(BYTES) < 100_000, path
            assert path not in CHECKED or seen.violations() == "", path
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


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_what_is_refused_is_said_and_changes_nothing(workspace: Workspace, api: Api) -> None:
    """A username that is there, and a page that only reads."""
    workspace.begin()
    asked = len(api.seen("POST", LIVE))

    def twice(browser: Any, address: str, client: httpx2.Client) -> None:
        """Add one who is there."""
        client.post("/api/admin/experts", json={"username": "ada"})
        seen = Reader(browser, address)
        seen.go("/people/new")
        seen.tab.fill("[name=username]", "ada")
        seen.tab.click("#add button")
        seen.wait_for("#added .warn", "ada")

    def only_reading(browser: Any, address: str, _client: httpx2.Client) -> None:
        """Look for buttons that are not there."""
        seen = Reader(browser, address)
        for path in VIEWS:
            seen.go(path)
            assert seen.tab.locator("main button[hx-post]").count() == 0, path

    read(workspace, twice)
    read(workspace, only_reading, READONLY="1")
    assert len(api.seen("POST", LIVE)) == asked
