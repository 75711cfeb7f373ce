"""Left out where there is no Chromium, or Playwright was not installed; `make test-web` says what to install."""

import importlib.util

import pytest

from tests.browser.seen import CHROMIUM

IS_THERE = bool(CHROMIUM) and importlib.util.find_spec("playwright") is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what needs a browser."""
    if not IS_THERE:
        for row in items:
            if row.path.parent.name == "browser":
                row.add_marker(pytest.mark.skip(reason="needs chromium and playwright"))
