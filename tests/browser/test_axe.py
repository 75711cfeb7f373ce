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
        "/search?q=law&beside=1",
        "/search",
        "/judge",
    ),
    *("/index", "/reports", "/batches", "/batch?number=1", "/costs?by=task", "/settings", "/nowhere"),
    *("/?task=passages", "/items?task=passages", "/passages", "/passage?key=p-0001", "/item?task=passages&key=p-0001"),
    *("/?task=images", "/items?task=images", "/images"),
)
LOOKS: tuple[dict[str, Any], ...] = (
    {"color_scheme": "light"},
    {"color_scheme": "dark"},
    {"color_scheme": "dark", "viewport": {"width": 360, "height": 800}},
)


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("looks", LOOKS, ids=("light", "dark", "narrow"))
def test_axe_finds_nothing_on_any_view(workspace: Workspace, begun: Callable[..., None], looks: dict[str, Any]) -> None:
    """In light, in the dark, and on a narrow screen; nothing is wider than the screen."""

    def prepare() -> None:
        """Have something of everything."""
        furnish(workspace)

    begun(prepare)
    found: list[tuple[str, str]] = []

    def reader(browser: Any, address: str, _client: httpx2.Client) -> None:
        """Look at each view."""
        seen = Reader(browser, address, **looks)
        for path in VIEWS:
            seen.go(path)
            seen.tab.wait_for_load_state("networkidle") if "/item?" in path or path == "/items" else None
            found.extend((path, report) for report in [seen.violations()] if report)
            width = seen.tab.viewport_size["width"]
            assert seen.tab.evaluate("document.documentElement.scrollWidth") <= width, path

    read(workspace, reader)
    assert found == [], "\n".join(map(" ".join, found))
