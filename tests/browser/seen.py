"""The page as a reader's browser shows it: Debian's Chromium, driven by Playwright, on the page that `web` serves."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any

import httpx2

from tests.lab import ROOT, Workspace

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
        self.tab.on(
            "console",
            lambda said: self.complaints.append(said.text) if _is_complaint(said) else None,
        )
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
        deadline = time.monotonic() + LONG_MS / 1000
        while not self.tab.evaluate(expression):
            assert time.monotonic() < deadline, expression
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
    return said.type == "error" and not said.text.startswith(
        ("htmx:afterRequest", "htmx:sendAbort")
    )


Reading = tuple[Reader, Any, httpx2.Client]  # a reader, the tab, and a program that has the token


@contextmanager
def serving(
    workspace: Workspace, port: str = "0", **values: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Serve the page of a workspace from a process of its own, which a test may kill; give it and its address."""
    command = [sys.executable, "-m", "jobs", "web", "--no-open", "--port", port]
    named = {f"FINDABLE_{name}": value for name, value in values.items()}
    environ = {**os.environ, **workspace.environ, **named, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@contextmanager
def chromium() -> Iterator[Any]:
    """Give a browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        args = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium has no sandbox for root
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=args)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def reading(
    workspace: Workspace, looks: dict[str, Any] | None = None, **values: str
) -> Iterator[Reading]:
    """Serve the page of a workspace to a reader in a browser, and to a program; nothing may be complained about."""
    with serving(workspace, **values) as (_, address), chromium() as browser:
        token = {"authorization": f"Bearer {address.partition('token=')[2]}"}
        base = address.partition("/?")[0]
        with httpx2.Client(
            base_url=base, headers=token, trust_env=False, timeout=LONG_MS / 1000
        ) as client:
            reader = Reader(browser, address, **(looks or {}))
            yield reader, reader.tab, client
            assert reader.complaints == []
