"""Views of what was answered, from start to end, in a browser: lists, passages, images, search, batches."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.browser.furnished import furnish_images, furnish_people
from tests.browser.seen import Reader, read
from tests.lab import Workspace

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
