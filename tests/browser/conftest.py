"""Skip tests of the browser without Chromium and Playwright.

`make test-web` prints how to install them.
"""

import importlib.util

import pytest

from tests.browser.seen import CHROMIUM

HAS_BROWSER = bool(CHROMIUM) and importlib.util.find_spec("playwright") is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that need a browser."""
    if not HAS_BROWSER:
        for item in items:
            if item.path.parent.name == "browser":
                item.add_marker(pytest.mark.skip(reason="needs chromium and playwright"))
