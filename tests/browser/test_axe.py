"""What axe-core, which knows the rules of accessible pages, finds wrong with each view: nothing."""

from collections.abc import Callable

import pytest

from tests.browser.furnished import furnish
from tests.browser.seen import reading
from tests.lab import Workspace

VIEWS = (
    *(
        "/",
        "/?state=tagged",
        "/row?key=lorcan-d&raw=1",
        "/add",
        "/search?q=law",
        "/search",
        "/runs",
        "/batch?number=1",
    ),
    *(
        "/quality",
        "/settings",
        "/nowhere",
        "/?task=passages",
        "/row?task=passages&key=p-0001",
        "/quality?task=passages",
    ),
    *(
        "/?task=images",
        "/?task=images&state=unusable",
        "/runs?task=images&by=model",
        "/settings?task=images",
    ),
)
LOOKS: tuple[tuple[str, dict[str, int]], ...] = (
    ("light", {"width": 1200, "height": 800}),
    ("dark", {"width": 1200, "height": 800}),
    ("dark", {"width": 360, "height": 800}),
)


OVER = """[...document.querySelectorAll(".card *")]
  .filter((one) => one.checkVisibility() && !one.closest(".wide, pre, .unseen, svg"))
  .filter((one) => one.getBoundingClientRect().right > one.closest(".card").getBoundingClientRect().right + 1)
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
    with reading(workspace, BUDGET_PER_DAY="5") as (seen, tab, client):
        rows = "Username,Zrg\nada,Bees.\n,nobody\n"
        number = client.post("/api/imports?task=experts&name=p.csv", content=rows).json()["number"]
        new = client.post(
            "/api/imports?task=new&name=r.csv", content="id,text\na,It boils.\nb,It broke.\n"
        ).json()
        for path in (
            *VIEWS,
            f"/add?task=experts&number={number}",
            f"/add?task=new&number={new['number']}",
        ):
            seen.go(path)
            tab.wait_for_load_state()
            if path in {"/", "/?state=tagged"} or "task=" in path:
                tab.wait_for_timeout(400)  # parts come after the page
            for scheme, size in LOOKS:
                tab.emulate_media(color_scheme=scheme)
                tab.set_viewport_size(size)
                found.extend(
                    (f"{path} {scheme} {size['width']}", one) for one in [seen.violations()] if one
                )
                over = tab.evaluate(OVER)
                found.extend(
                    (f"{path} {size['width']} over its card:", one) for one in [over] if one
                )
                if (wide := tab.evaluate("document.documentElement.scrollWidth")) > size["width"]:
                    found.append((path, f"is {wide} pixels wide"))
        seen.complaints.clear()  # of the address that is none
    assert found == [], "\n".join(map(" ".join, found))
