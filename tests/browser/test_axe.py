"""Every view passes the accessibility rules of axe-core."""

import time
from collections.abc import Callable

import httpx2
import pytest

from tests.browser.furnished import furnish
from tests.browser.seen import LONG_MS, reading
from tests.lab import Workspace

VIEWS = (
    "/",
    "/?state=tagged",
    "/row?key=lorcan-d&raw=1",
    "/add",
    "/search?q=law",
    "/search",
    "/runs",
    "/batch?number=1",
    "/quality",
    "/settings",
    "/nowhere",
    "/?task=passages",
    "/row?task=passages&key=p-0001",
    "/quality?task=passages",
    "/?task=images",
    "/?task=images&state=unusable",
    "/runs?task=images&by=model",
    "/settings?task=images",
)
LOOKS: tuple[tuple[str, dict[str, int]], ...] = (
    ("light", {"width": 1200, "height": 800}),
    ("dark", {"width": 1200, "height": 800}),
    ("dark", {"width": 360, "height": 800}),
)


# Views of a task that was created from a dropped file; its question has a tried change.
NOTES_VIEWS = (
    "/?task=notes",
    "/?task=notes&reviewed=no",
    "/question?task=notes",
    "/add?task=notes",
    "/row?task=notes&key=a",
    "/set?task=notes&field=tone",
    "/runs?task=notes",
    "/quality?task=notes",
)
QUESTION = {
    "question": "Praise or blame?",
    "field0.name": "tone",
    "field0.kind": "a|b|c",
    "field0.choices": "praise\nblame",
    "role.0": "key",
    "role.1": "text",
}
FIND_OVERFLOW = """[...document.querySelectorAll(".card *")]
  .filter((one) => one.checkVisibility() && !one.closest(".wide, pre, .unseen, svg"))
  .filter((one) => one.getBoundingClientRect().right
    > one.closest(".card").getBoundingClientRect().right + 1)
  .map((one) => one.outerHTML.slice(0, 80)).join("; ")"""


def _drop_new_task(client: httpx2.Client) -> int:
    """Drop a file for a new task, and try a question on it; return the number of the file."""
    rows = "id,text\na,It boils.\nb,It broke.\n"
    reply = client.post("/api/imports?task=new&name=r.csv", content=rows)
    number: int = reply.json()["number"]
    _wait_until(client, f"/api/imports/{number}", "ready")
    client.post(f"/parts/import?number={number}", data=QUESTION)
    _wait_until(client, f"/api/imports/{number}", "ready")
    return number


def _create_notes(client: httpx2.Client) -> None:
    """Create and ask the task of NOTES_VIEWS, and try a change of its question."""
    number = _drop_new_task(client)
    client.post(f"/parts/import?number={number}", data={"keep": "notes"})
    _wait_until(client, f"/api/imports/{number}", "imported")
    client.post(f"/parts/import?number={number}", data={"ask": "1", "mode": "live"})
    client.post("/parts/question?task=notes", data=QUESTION | {"question": "Which tone?"})
    for work in client.get("/api/work").json():
        _wait_until(client, f"/api/work/{work['number']}", "done")


def _wait_until(client: httpx2.Client, path: str, state: str) -> None:
    """Wait until a document has a state."""
    deadline = time.monotonic() + LONG_MS / 1000
    while (document := client.get(path).json())["state"] != state:
        assert time.monotonic() < deadline, document


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_axe_finds_no_violation_on_any_view(
    workspace: Workspace, begun: Callable[..., None]
) -> None:
    """Views are checked in light, dark and narrow; no element is wider than its card."""

    def prepare() -> None:
        """Fill the workspace."""
        furnish(workspace)

    begun(prepare)
    violations: list[tuple[str, str]] = []
    with reading(workspace, BUDGET_PER_DAY="5") as (reader, tab, client):
        rows = "Username,Zrg\nada,Bees.\n,nobody\n"
        number = client.post("/api/imports?task=experts&name=p.csv", content=rows).json()["number"]
        new_number = _drop_new_task(client)
        _create_notes(client)
        for path in (
            *VIEWS,
            *NOTES_VIEWS,
            f"/add?task=experts&number={number}",
            f"/add?task=new&number={new_number}",
        ):
            reader.go(path)
            reader.wait_until_loaded()
            for scheme, size in LOOKS:
                tab.emulate_media(color_scheme=scheme)
                tab.set_viewport_size(size)

                axe_report = reader.violations()
                if axe_report:
                    violations.append((f"{path} {scheme} {size['width']}", axe_report))
                overflowing_elements = tab.evaluate(FIND_OVERFLOW)
                if overflowing_elements:
                    violations.append(
                        (f"{path} {size['width']} over its card:", overflowing_elements)
                    )
                page_width = tab.evaluate("document.documentElement.scrollWidth")
                if page_width > size["width"]:
                    violations.append((path, f"is {page_width} pixels wide"))

        # The browser reports the invalid address as an error.
        reader.complaints.clear()
    assert violations == [], "\n".join(map(" ".join, violations))
