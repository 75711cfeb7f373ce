"""Every view passes the accessibility rules of axe-core."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
from fastapi.routing import APIRoute

from tests.browser.furnished import furnish_images, furnish_passages, furnish_people
from tests.browser.seen import AXE, LONG_MS, Reader, reading
from tests.integration.web.reviewed import answer_many_rows, store_confidences
from tests.lab import Api, Workspace
from tests.page import Page

# Rules whose outcome depends on colours, or on the size of the window.
COLOUR_RULES = {**AXE, "runOnly": ["color-contrast"]}
SIZE_RULES = {**AXE, "runOnly": ["target-size", "scrollable-region-focusable"]}

ROW_COUNT = 81
REVIEWS = {"task": "reviews"}

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800), pytest.mark.alike]

VIEWS = (
    "/",
    "/?state=tagged",
    "/?where=moon",
    "/row?key=lorcan-d&raw=1",
    "/row?key=nobody",
    "/add",
    "/search?q=law",
    "/search?like=lorcan-d",
    "/search?q=zzzzzz&tag=moon",
    "/search",
    "/runs?by=day",
    "/batch?number=1",
    "/batch?number=99",
    "/quality",
    "/settings",
    "/nowhere",
    "/?task=passages",
    "/row?task=passages&key=p-0001",
    "/quality?task=passages",
    "/?task=images",
    "/?task=images&state=unusable",
    "/row?task=images&key=red.png",
    "/settings?task=images",
)
# Views of a task that was created from a dropped file.
NOTES_VIEWS = (
    "/?task=notes",
    "/question?task=notes",
    "/add?task=notes",
    "/runs?task=notes",
    "/quality?task=notes",
)
# Views of a task of a person's file, with confidences, corrections and a parked row.
REVIEWS_VIEWS = (
    "/?task=reviews",
    "/?task=reviews&doubtful=no&sort=confidence",
    "/?task=reviews&state=parked",
    "/review?task=reviews&doubtful=yes",
    "/row?task=reviews&key=1",
    "/row?task=reviews&key=81",
    "/question?task=reviews",
    "/add?task=reviews",
    "/search?task=reviews",
    "/runs?task=reviews",
    "/batch?task=reviews&number=2",
    "/quality?task=reviews",
)
EMPTY_VIEWS = ("/", "/search", "/runs", "/quality", "/settings", "/add", "/?task=passages")
Step = Callable[[Reader, Any], None]
# Colour scheme, width, and the rules that are checked with them.
LOOKS: tuple[tuple[Literal["light", "dark"], int, dict[str, Any]], ...] = (
    ("light", 1200, AXE),
    ("dark", 1200, COLOUR_RULES),
    ("dark", 360, SIZE_RULES),
)
QUESTION = {
    "question": "Praise or blame?",
    "field0.name": "tone",
    "field0.kind": "a|b|c",
    "field0.choices": "praise\nblame",
    "role.0": "key",
    "role.1": "text",
}
# Menus are opened by hand, because an open menu covers other elements.
OPEN_DETAILS = (
    "document.querySelectorAll('details:not(.menu)').forEach((one) => { one.open = true })"
)
# A bar that sticks to the lower edge covers rows, but none at the end of the page.
SCROLL_TO_END = "scrollTo(0, document.documentElement.scrollHeight)"
FIND_OVERFLOW = """[...document.querySelectorAll(".card *")]
  .filter((one) => one.checkVisibility() && !one.closest(".wide, pre, .unseen, svg"))
  .filter((one) => one.getBoundingClientRect().right
    > one.closest(".card").getBoundingClientRect().right + 1)
  .map((one) => one.outerHTML.slice(0, 80)).join("; ")"""


def furnish(workspace: Workspace) -> None:
    """Add people, passages and images."""
    furnish_people(workspace)
    furnish_passages(workspace)
    furnish_images(workspace)


def furnish_reviews(workspace: Workspace, api: Api) -> None:
    """Answer rows with confidences, and correct their tone; the last row fails, so it is parked.

    The task is written to the current directory, and is not the default task of the workspace.
    """
    answer_many_rows(workspace, api, ROW_COUNT)
    api.script_fault("answer_text", times=2, args={"text": "no JSON"})
    workspace.ran("tag-live")
    store_confidences(
        workspace,
        {str(number): {"tone": 0.4 + number % 6 / 10} for number in range(1, ROW_COUNT)},
    )
    lines = "".join(f"{number},mixed\n" for number in range(1, ROW_COUNT))
    Path("labels.csv").write_text(f"id,tone\n{lines}")
    workspace.ran("correct", FILE="labels.csv", WHO="Bea")
    del workspace.environ["ASKROWS_TASK"]


def review_rows(page: Page) -> None:
    """Measure the answers."""
    response = page.post("/api/qc", params=REVIEWS, json={})
    assert response.status_code == 202, response.text
    page.settle()


class Audit:
    """Checks the open page in all looks, and collects what is wrong."""

    def __init__(self, reader: Reader) -> None:
        """Nothing is wrong yet."""
        self.reader = reader
        self.faults: list[str] = []

    def check_view(self, path: str) -> None:
        """Open a view with all its details, and check it."""
        self.reader.go(path)
        self.reader.wait_until_loaded()
        self.check_page(path)

    def check_page(self, name: str) -> None:
        """Check the open page; elements must not be wider than their card, nor than the page."""
        tab = self.reader.tab
        tab.evaluate(OPEN_DETAILS)
        for scheme, width, rules in LOOKS:
            tab.emulate_media(color_scheme=scheme)
            tab.set_viewport_size({"width": width, "height": 800})
            tab.evaluate(SCROLL_TO_END)

            report = self.reader.violations(rules)
            if report:
                self.faults.append(f"{name} {scheme} {width} {report}")
            overflowing_elements = tab.evaluate(FIND_OVERFLOW)
            if overflowing_elements:
                self.faults.append(f"{name} {width} over its card: {overflowing_elements}")
            page_width = tab.evaluate("document.documentElement.scrollWidth")
            if page_width > width:
                self.faults.append(f"{name} is {page_width} pixels wide")


def _drop_new_task(client: httpx2.Client) -> int:
    """Drop a file for a new task, and try a question on it; return the number of the file."""
    rows = "id,text\na,It boils.\nb,It broke.\n"
    reply = client.post("/api/imports?task=new&name=r.csv", content=rows)
    number: int = reply.json()["number"]
    _wait_until(client, f"/api/imports/{number}", "ready")
    client.post(f"/parts/import?number={number}", data=QUESTION)
    _wait_until(client, f"/api/imports/{number}", "ready")
    return number


def _create_notes(client: httpx2.Client) -> int:
    """Create and ask the task of NOTES_VIEWS."""
    number = _drop_new_task(client)
    client.post(f"/parts/import?number={number}", data={"keep": "notes", "mode": "live"})
    _wait_until(client, f"/api/imports/{number}", "imported")
    for work in client.get("/api/work").json():
        _wait_until(client, f"/api/work/{work['number']}", "done")
    return number


def _wait_until(client: httpx2.Client, path: str, state: str) -> None:
    """Wait until a document has a state."""
    deadline = time.monotonic() + LONG_MS / 1000
    while (document := client.get(path).json())["state"] != state:
        assert time.monotonic() < deadline, document


def _drop_files(client: httpx2.Client) -> list[str]:
    """Drop files in several states; return their views."""
    views = [f"/add?task=notes&number={_create_notes(client)}"]
    views.append(f"/add?task=new&number={_drop_new_task(client)}")
    for query, content, state in (
        ("task=experts&name=p.csv", b"Username,Zrg\nada,Bees.\n,nobody\n", "ready"),
        ("task=experts&name=p.xlsx", b"no workbook", "unreadable"),
    ):
        number = client.post(f"/api/imports?{query}", content=content).json()["number"]
        _wait_until(client, f"/api/imports/{number}", state)
        views.append(f"/add?task=experts&number={number}")
    return views


def _refuse_correction(reader: Reader, tab: Any) -> None:
    """Set a number above its limit."""
    reader.go("/row?task=reviews&key=1")
    tab.click("#edit-stars-open")
    tab.fill("#edit-stars-value", "9")
    tab.click("#edit-stars-save")
    tab.fill("#who-name", "Bea")
    tab.keyboard.press("Enter")
    tab.locator("#edit-stars-message[role=alert]").wait_for()


def _choose_rows(reader: Reader, tab: Any) -> None:
    """Choose a row, and open the formats of an export."""
    reader.go("/?task=reviews")
    tab.check("#list tbody [type=checkbox] >> nth=0")
    tab.locator(".chosen").wait_for()
    tab.click("#export-formats summary")


def _check_all(workspace: Workspace, views: Sequence[str], *steps: Step) -> list[str]:
    """Return the faults of views, and of the pages after steps."""
    with reading(workspace, BUDGET_PER_DAY="5") as (reader, tab, _):
        audit = Audit(reader)
        for path in views:
            audit.check_view(path)
        for step in steps:
            step(reader, tab)
            audit.check_page(step.__name__)

        # The browser reports invalid addresses and refused forms as errors.
        reader.complaints.clear()
    return audit.faults


def test_axe_finds_no_violation_on_views_of_shipped_tasks(workspace: Workspace) -> None:
    """People, passages and images are checked in light, dark and narrow."""
    furnish(workspace)
    assert _check_all(workspace, VIEWS) == []


def test_axe_finds_no_violation_on_views_of_dropped_files(workspace: Workspace) -> None:
    """Files in each state are checked, and the task that was created from one."""
    workspace.begin()
    with reading(workspace) as (reader, _, client):
        audit = Audit(reader)
        for path in (*_drop_files(client), *NOTES_VIEWS):
            audit.check_view(path)
        reader.complaints.clear()
    assert audit.faults == []


def test_axe_finds_no_violation_on_views_of_a_reviewed_task(workspace: Workspace, api: Api) -> None:
    """Confidences, corrections, a parked row and a failed run are checked."""
    furnish_reviews(workspace, api)
    with Page(workspace) as page:
        review_rows(page)
    steps = (_refuse_correction, _choose_rows)
    assert _check_all(workspace, REVIEWS_VIEWS, *steps) == []


def test_axe_finds_no_violation_without_rows(workspace: Workspace) -> None:
    """An empty workspace is checked."""
    workspace.begin()
    assert _check_all(workspace, EMPTY_VIEWS) == []


def test_every_page_is_among_the_views(workspace: Workspace) -> None:
    """A new page fails here until it is checked as well."""
    with Page(workspace.begin()) as page:
        page_paths = {
            route.path for route in page.routes() if isinstance(route, APIRoute) and _is_page(route)
        }
    checked_paths = {path.partition("?")[0] for path in (*VIEWS, *NOTES_VIEWS, *REVIEWS_VIEWS)}
    assert page_paths <= checked_paths


def _is_page(route: APIRoute) -> bool:
    """Return whether a route is a whole page in HTML."""
    is_part = route.path.startswith(("/parts/", "/api/"))
    return "GET" in (route.methods or ()) and not route.include_in_schema and not is_part
