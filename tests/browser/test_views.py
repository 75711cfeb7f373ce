"""Views of what was answered, from start to end, in a browser: lists, passages, images, search, batches."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.browser.furnished import OTHER, furnish_images, furnish_passages, furnish_people
from tests.browser.seen import Reader, read
from tests.integration.many_passages import put
from tests.lab import Api, Workspace

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]
PARTS = ".skip, header, main, footer"
FOCUSED = f"""(() => {{ const one = document.activeElement; const part = one.closest("{PARTS}");
  return ["{PARTS}".split(", ").findIndex((name) => part.matches(name)), getComputedStyle(one).outlineStyle]; }})()"""
NAMES = "[...document.querySelectorAll('#list tbody th a')].map((one) => one.textContent)"


@pytest.fixture
def sample(workspace: Workspace, begun: Callable[..., None]) -> Workspace:
    """A workspace with the first people of the sample, tagged and indexed."""

    def prepare() -> None:
        """Make it."""
        furnish_people(workspace)

    begun(prepare)
    return workspace


def test_people_are_narrowed_down_sorted_and_taken_along(sample: Workspace, tmp_path: Path) -> None:
    """A part of a name, a facet, an order, columns; the address says it all, and the CSV has what is shown."""

    def reader(browser: Any, address: str, _client: httpx2.Client) -> None:
        """Narrow down."""
        seen = Reader(browser, address)
        tab = seen.tab
        seen.go("/items")
        tab.click("#facets a:text-is('tagged')")
        seen.wait_for(".chosen", "state tagged")
        tab.click("#list thead a:has-text('score')")
        tab.wait_for_url("**sort=-findability_score**")
        tab.fill("#find", "e")
        tab.wait_for_url("**find=e**")
        tab.click(".columns summary")
        tab.check("[name=fields][value=bio]")
        tab.wait_for_url("**fields=bio**")
        tab.keyboard.press("Escape")
        shown = tab.evaluate(NAMES)
        scores = [float(one) for one in tab.locator("#list tbody td.num").all_inner_texts()]
        assert scores == sorted(scores, reverse=True)
        with tab.expect_download() as taken:
            tab.click("#list [download]")
        taken.value.save_as(tmp_path / "items.csv")
        with (tmp_path / "items.csv").open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        assert ([row["username"] for row in rows], "bio" in rows[0]) == (shown, True)
        tab.reload()
        assert tab.evaluate(NAMES) == shown
        tab.keyboard.press("j")
        tab.keyboard.press("j")
        tab.keyboard.press("Enter")
        seen.wait_for("h1", shown[1])
        tab.keyboard.press("Escape")
        tab.wait_for_url("**/items?**")
        assert seen.complaints == []

    read(sample, reader)


def test_filters_open_above_the_list_on_a_narrow_screen(sample: Workspace) -> None:
    """They are shut at first and open by keyboard; a wide screen has them beside the list at any time."""

    def reader(browser: Any, address: str, _client: httpx2.Client) -> None:
        """Look at a list on a phone, then on a wide screen."""
        seen = Reader(browser, address, viewport={"width": 360, "height": 800})
        tab, facets = seen.tab, seen.tab.locator("#facets")
        seen.go("/items")
        tab.wait_for_load_state("networkidle")
        assert not facets.is_visible()
        tab.focus("#narrow")
        tab.keyboard.press("Space")
        facets.get_by_text("tagged", exact=True).wait_for()
        tops = [tab.evaluate("(one) => document.querySelector(one).offsetTop", one) for one in ("#facets", "#list")]
        assert tops == sorted(tops)
        tab.keyboard.press("Space")
        assert not facets.is_visible()
        tab.set_viewport_size({"width": 1200, "height": 800})
        assert (facets.is_visible(), tab.locator("#narrow").is_visible()) == (True, False)

    read(sample, reader)


def test_quotations_are_marked_and_passages_found(workspace: Workspace) -> None:
    """What the newest version quotes is marked; more passages come by a link."""
    furnish_passages(workspace)

    def reader(browser: Any, address: str, _client: httpx2.Client) -> None:
        """Read."""
        seen = Reader(browser, address)
        tab = seen.tab
        seen.go("/passage?key=p-0001")
        assert tab.locator(".quoted mark").count() > 0
        seen.wait_for(".passage", OTHER)
        seen.go("/passages")
        tab.fill("main [name=find]", "p-0003")
        tab.keyboard.press("Enter")
        seen.wait_for(".passage h2", "p-0003")
        assert tab.locator(".passage").count() == 1
        tab.click(".below a:has-text('Answers and requests')")
        assert seen.complaints == []

    read(workspace, reader)


def test_images_are_opened_by_keys_and_found_by_a_bucket(workspace: Workspace) -> None:
    """J and k go through them, Enter opens one, which has an address, as the next one has; Esc closes it."""
    furnish_images(workspace)

    def reader(browser: Any, address: str, _client: httpx2.Client) -> None:
        """Look."""
        seen = Reader(browser, address)
        tab = seen.tab
        seen.go("/images")
        tab.keyboard.press("j")
        tab.keyboard.press("Enter")
        opened = tab.locator(".opened:popover-open")
        opened.wait_for()
        first = opened.get_attribute("aria-label")
        tab.keyboard.press("j")
        seen.until(f"document.querySelector('.opened:popover-open').ariaLabel !== {json.dumps(first)}")
        next_one = opened.get_attribute("data-opened")
        tab.wait_for_url(f"**/images?open={next_one}")
        tab.click(".opened:popover-open h2 a")
        tab.go_back()
        tab.reload()
        opened.wait_for()
        assert opened.get_attribute("data-opened") == next_one
        tab.keyboard.press("Escape")
        opened.wait_for(state="hidden")
        tab.wait_for_url("**/images")
        assert tab.evaluate("document.activeElement.className") == "shot"
        tab.select_option("[name=bucket]", "colours")
        tab.fill("[name=tag]", "green")
        tab.keyboard.press("Enter")
        tab.wait_for_url("**tag=green**")
        assert tab.locator("#gallery .shot").count() == 1
        seen.until("document.querySelector('#gallery img').naturalWidth > 0")
        tab.select_option("[name=state]", "broken")
        tab.fill("[name=tag]", "")
        tab.select_option("[name=bucket]", "")
        tab.click("main form button")
        seen.wait_for(".shot.none", "0 bytes")
        assert seen.complaints == []

    read(workspace, reader)


def test_a_search_is_narrowed_by_filters(sample: Workspace) -> None:
    """Weak hits are marked, filters narrow, and keys go through what was found."""

    def reader(browser: Any, address: str, _client: httpx2.Client) -> None:
        """Ask."""
        seen = Reader(browser, address)
        tab = seen.tab
        tab.keyboard.press("/")
        tab.keyboard.type("documentary film")
        tab.keyboard.press("Enter")
        seen.wait_for(".hits li:first-child", "lorcan-d")
        assert tab.locator(".hits .weak").count() > 0
        everyone = tab.locator(".hits li").count()
        tab.click(".more summary")
        tab.fill("[name=min_score]", "99")
        tab.fill("[name=where]", "username != 'lorcan-d'")
        tab.keyboard.press("Enter")
        tab.wait_for_url("**min_score=99**")
        assert 0 < tab.locator(".hits li").count() < everyone
        assert "lorcan-d" not in tab.inner_text(".hits")
        tab.wait_for_load_state("domcontentloaded")  # j is heard from then on
        tab.keyboard.press("j")
        tab.keyboard.press("Enter")
        seen.wait_for("h2", "Requests")
        assert seen.complaints == []

    read(sample, reader)


def test_a_batch_is_cancelled_after_asking_and_costs_are_told(
    workspace: Workspace, api: Api, people: Callable[..., list[str]]
) -> None:
    """A no leaves it as it is; after a yes the open page follows by itself; costs by day, task, model and batch."""
    people(2)
    api.configure(paused=True)
    workspace.ran("batch-submit")

    def reader(browser: Any, address: str, client: httpx2.Client) -> None:
        """Cancel."""
        seen = Reader(browser, address)
        tab = seen.tab
        seen.wait_for(".board", "0 of 2")
        tab.click("#batch-1")
        tab.once("dialog", lambda dialog: dialog.dismiss())
        tab.click("#cancel")
        assert client.get("/api/batches/1").json()["state"] == "submitted"
        tab.once("dialog", lambda dialog: dialog.accept())
        tab.click("#cancel")
        seen.wait_for("#told", "batch 1")
        api.configure(paused=False)
        home = seen.beside()
        home.go("/")
        home.wait_for(".next code", "make batch-poll")
        home.tab.click("#next")
        home.tab.click("#begin")
        tab.locator("#cancel").wait_for(state="detached")
        seen.go("/costs")
        for kind in ("task", "model", "batch", "day"):
            tab.click(f"main a.button:text-is('by {kind}')")
            seen.wait_for("th", kind)
        assert seen.complaints == []

    read(workspace, reader)


def test_passages_go_from_a_pilot_to_the_index_on_the_page(workspace: Workspace) -> None:
    """The menu leads to them; the pilot tells its estimate first and stands among the reports; the index is built."""
    put(workspace.begin(), 3)

    def reader(browser: Any, address: str, client: httpx2.Client) -> None:
        """Go from step to step."""
        seen = Reader(browser, address)
        tab = seen.tab
        tab.click(".tasks summary")
        tab.click(".tasks a:text-is('Passages')")
        seen.wait_for(".next code", "make passages-pilot")
        tab.click("#next")
        seen.wait_for("#plan", "estimated cost")
        assert client.get("/api/batches").json() == []
        tab.click("#begin")
        seen.wait_for(".figures li:nth-child(2)", "3")
        seen.wait_for(".next", "nothing to do")
        seen.go("/index?task=passages")
        tab.click("#rebuild")
        tab.click("#begin")
        seen.wait_for("#index", "was verified and is in service")
        seen.go("/reports?task=passages")
        seen.wait_for("tbody th .state", "pilot")
        assert seen.complaints == []

    read(workspace, reader)


def test_all_is_reached_by_the_tab_key_and_what_has_the_focus_is_seen(sample: Workspace) -> None:
    """First a link to the content, which goes there; then all in the order of reading, each with an outline."""

    def reader(browser: Any, address: str, _client: httpx2.Client) -> None:
        """Press Tab."""
        seen = Reader(browser, address)
        tab = seen.tab
        for path in ("/", "/items", "/item?key=lorcan-d", "/search?q=film"):
            seen.go(path)
            tab.wait_for_load_state("networkidle") if path != "/" else None
            tab.evaluate("document.activeElement.blur()")
            tops = []
            for _ in range(16):
                tab.keyboard.press("Tab")
                top, outline = tab.evaluate(FOCUSED)
                assert outline == "solid", (path, seen.focus)
                tops.append(top)
            assert tops == sorted(tops), (path, tops)
        seen.go("/items")
        tab.keyboard.press("Tab")
        assert tab.locator(".skip").bounding_box()["x"] > 0
        tab.keyboard.press("Enter")
        assert seen.focus == "main"
        assert seen.complaints == []

    read(sample, reader)
