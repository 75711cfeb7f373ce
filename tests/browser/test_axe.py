"""What axe-core, which knows the rules of accessible pages, finds wrong with each view: nothing."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.browser.furnished import furnish
from tests.browser.seen import Reader, read
from tests.lab import Workspace

VIEWS = (
    *(
        "/",
        "/items",
        "/item?key=lorcan-d&raw=1",
        "/people/new",
        "/import",
        "/import?task=passages",
        "/search?q=law",
        "/search",
    ),
    *("/index", "/reports", "/batches", "/batch?number=1", "/costs?by=task", "/settings", "/nowhere"),
    *("/?task=passages", "/items?task=passages", "/passages", "/passage?key=p-0001", "/item?task=passages&key=p-0001"),
    *("/?task=images", "/items?task=images", "/images"),
)
LOOKS: tuple[tuple[str, dict[str, int]], ...] = (
    ("light", {"width": 1200, "height": 800}),
    ("dark", {"width": 1200, "height": 800}),
    ("dark", {"width": 360, "height": 800}),
)


OVER = """[...document.querySelectorAll("article *")]
  .filter((one) => one.checkVisibility() && !one.closest(".wide, pre, [popover], .unseen, .passage"))
  .filter((one) => one.getBoundingClientRect().right > one.closest("article").getBoundingClientRect().right + 1)
  .map((one) => one.outerHTML.slice(0, 80)).join("; ")"""


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_axe_finds_nothing_on_any_view(workspace: Workspace, begun: Callable[..., None]) -> None:
    """In light, in the dark, and on a narrow screen; nothing is wider than the screen or its card."""

    def prepare() -> None:
        """Have something of everything."""
        furnish(workspace)

    begun(prepare)
    found: list[tuple[str, str]] = []

    def reader(browser: Any, address: str, _client: httpx2.Client) -> None:
        """Open each view once, and look at it in every way."""
        seen = Reader(browser, address)
        for path in VIEWS:
            seen.go(path)
            seen.tab.wait_for_load_state("networkidle") if "/item?" in path or path == "/items" else None
            for scheme, size in LOOKS:
                seen.tab.emulate_media(color_scheme=scheme)
                seen.tab.set_viewport_size(size)
                found.extend((f"{path} {scheme} {size['width']}", one) for one in [seen.violations()] if one)
                found.extend(
                    (f"{path} {size['width']} over its card:", one) for one in [seen.tab.evaluate(OVER)] if one
                )
                assert seen.tab.evaluate("document.documentElement.scrollWidth") <= size["width"], path

    read(workspace, reader, BUDGET_PER_DAY="5")
    assert found == [], "\n".join(map(" ".join, found))
