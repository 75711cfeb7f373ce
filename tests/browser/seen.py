"""Open the page of `web` in Debian's Chromium, driven by Playwright."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from tests.lab import ROOT, Workspace

CHROMIUM = shutil.which("chromium") or ""
# A busy machine may be slow; no test waits for the end of this time.
LONG_MS = 180_000
MAX_TAB_PRESSES = 80
# Polls never end, and images below the window are loaded later.
IS_LOADED = """!document.querySelector("#facets:empty")
  && !document.querySelector("#state:empty")
  && !document.querySelector(".htmx-request:not([hx-trigger^='every'])")
  && [...document.images].every((image) =>
    image.complete || image.getBoundingClientRect().top > innerHeight)"""
AXE = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}


class Reader:
    """A browser with an open page and the token; `tab` is Playwright's page."""

    def __init__(self, browser: Any, address: str, **context_options: Any) -> None:
        """Open the first page; `complaints` collects the errors of the browser."""
        self.base = address.partition("/?")[0]
        self.complaints: list[str] = []
        context = browser.new_context(
            **{"viewport": {"width": 1200, "height": 800}, **context_options}
        )
        context.set_default_timeout(LONG_MS)
        self.tab = context.new_page()
        self.tab.on(
            "console",
            lambda message: (
                self.complaints.append(message.text) if _is_complaint(message) else None
            ),
        )
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.goto(address)

    def go(self, path: str) -> None:
        """Open a view."""
        self.tab.goto(self.base + path)

    def until(self, expression: str) -> None:
        """Wait until an expression is true; the page's policy forbids Playwright's own wait."""
        deadline = time.monotonic() + LONG_MS / 1000
        while not self.tab.evaluate(expression):
            assert time.monotonic() < deadline, expression
            self.tab.wait_for_timeout(50)

    def wait_until_loaded(self) -> None:
        """Wait for the parts of the page that are loaded after it, such as counts and charts."""
        self.tab.wait_for_load_state()
        self.until(IS_LOADED)

    def press_tab_until(self, selector: str) -> None:
        """Press Tab until an element has the focus."""
        for _ in range(MAX_TAB_PRESSES):
            if self.tab.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
            self.tab.keyboard.press("Tab")
        pytest.fail(f"{selector} is not reached by Tab; the focus is on {self.focus}")

    def press(self, selector: str) -> None:
        """Move the focus to an element by Tab, and press Enter on it."""
        self.press_tab_until(selector)
        self.tab.keyboard.press("Enter")

    @property
    def focus(self) -> str:
        """Return the id or the tag of the focused element."""
        return str(self.tab.evaluate("document.activeElement.id || document.activeElement.tagName"))

    def violations(self, options: dict[str, Any] | None = None) -> str:
        """Return the report of axe on the current view; empty without violations."""
        from axe_playwright_python.sync_playwright import Axe

        # The script is large, so a page runs it once.
        is_loaded = self.tab.evaluate("'axe' in window")
        axe = Axe("null") if is_loaded else Axe()
        axe_report = axe.run(self.tab, options=options or AXE)
        return axe_report.generate_report() if axe_report.violations_count else ""

    def wait_for(self, selector: str, text: str, *, timeout_ms: int = LONG_MS) -> None:
        """Wait until an element contains a text."""
        self.tab.locator(selector).filter(has_text=text).first.wait_for(timeout=timeout_ms)


def _is_complaint(console_message: Any) -> bool:
    """Return whether a console line is an error; aborted requests are not."""
    return console_message.type == "error" and not console_message.text.startswith(
        "htmx: htmx:error: Failed to fetch"
    )


# A reader, the tab, and a client with the token.
Reading = tuple[Reader, Any, httpx2.Client]


@contextmanager
def serving(
    workspace: Workspace, port: str = "0", **values: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Serve the page from a process that a test may kill; yield the process and its address."""
    command = [sys.executable, "-m", "askrows", "web", "--no-open", "--port", port]
    setting_variables = {f"ASKROWS_{name}": value for name, value in values.items()}
    environ = {**os.environ, **workspace.environ, **setting_variables, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@contextmanager
def chromium() -> Iterator[Any]:
    """Yield a browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium has no sandbox for root.
        args = ["--no-sandbox"] if os.geteuid() == 0 else []
        with playwright.chromium.launch(executable_path=CHROMIUM, args=args) as browser:
            yield browser


@contextmanager
def reading(
    workspace: Workspace, looks: dict[str, Any] | None = None, **values: Any
) -> Iterator[Reading]:
    """Serve the page to a browser and to a client; the browser must report no error."""
    with serving(workspace, **values) as (_, address), chromium() as browser:
        token = {"authorization": f"Bearer {address.partition('token=')[2]}"}
        base = address.partition("/?")[0]
        with httpx2.Client(
            base_url=base, headers=token, trust_env=False, timeout=LONG_MS / 1000
        ) as client:
            reader = Reader(browser, address, **(looks or {}))
            yield reader, reader.tab, client
            assert reader.complaints == [], reader.complaints
