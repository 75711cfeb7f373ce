"""The page as a reader's browser shows it: Debian's Chromium, driven by Playwright, on the page that `web` serves."""

import os
import shutil
import time
from collections.abc import Callable
from copy import copy
from typing import Any

import httpx2

from tests.lab import Workspace
from tests.page import served

CHROMIUM = shutil.which("chromium") or ""
LONG_MS = 180_000  # no test waits for it to end: a busy machine may take long
AXE = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}


class Reader:
    """A browser with one page open, entered with the token; `tab` is Playwright's page."""

    def __init__(self, browser: Any, address: str, **looks: Any) -> None:
        """Open the first page; what the browser complains about is kept in `complaints`."""
        self.base = address.partition("/?")[0]
        self.complaints: list[str] = []
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 800}, **looks})
        context.set_default_timeout(LONG_MS)
        self.tab = context.new_page()
        self.tab.on("console", lambda said: self.complaints.append(said.text) if _is_complaint(said) else None)
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.goto(address)

    def go(self, path: str) -> None:
        """Open a view."""
        self.tab.goto(self.base + path)

    def beside(self) -> "Reader":
        """Return the same reader at another tab, which is open at the same address."""
        other = copy(self)
        other.tab = self.tab.context.new_page()
        other.tab.goto(self.tab.url)
        return other

    def until(self, expression: str) -> None:
        """Wait until an expression is true; Playwright's own way is what the page's policy forbids."""
        ends = time.monotonic() + LONG_MS / 1000
        while not self.tab.evaluate(expression):
            assert time.monotonic() < ends, expression
            self.tab.wait_for_timeout(50)

    @property
    def focus(self) -> str:
        """Return the id of what has the focus, or its name."""
        return str(self.tab.evaluate("document.activeElement.id || document.activeElement.tagName"))

    def violations(self) -> str:
        """Return what axe finds wrong with what is shown, an empty text where that is nothing."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.tab, options=AXE)
        return found.generate_report() if found.violations_count else ""

    def wait_for(self, selector: str, text: str) -> None:
        """Wait until an element says something."""
        self.tab.locator(selector).filter(has_text=text).first.wait_for()


def _is_complaint(said: Any) -> bool:
    """Return whether a line of the console is one; that a question was overtaken by the next one is not."""
    return said.type == "error" and not said.text.startswith(("htmx:afterRequest", "htmx:sendAbort"))


def read(workspace: Workspace, reader: Callable[[Any, str, httpx2.Client], None], **values: str) -> None:
    """Serve the page of a workspace to a reader, who gets a browser, the page's address, and a program's client."""
    from playwright.sync_api import sync_playwright

    def reading(client: httpx2.Client, address: str) -> None:
        """Read in a browser."""
        client.headers["authorization"] = f"Bearer {address.partition('token=')[2]}"
        with sync_playwright() as playwright:
            args = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium has no sandbox for root
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=args)
            try:
                reader(browser, address, client)
            finally:
                browser.close()

    done = served(workspace, reading, **values)
    assert done.exit_code == 0, done.output
