"""Views where every name, path, tag, text and reason is one long word: nothing is wider than the screen."""

import csv
import json
from collections.abc import Callable

import pytest
from PIL import Image

from tests.browser.seen import reading
from tests.browser.test_axe import OVER
from tests.integration.many_passages import put_foreign, text_of
from tests.lab import Workspace

LONG = "donaudampfschifffahrtsgesellschaft" * 4
TAG = LONG[:60]
PARKED = (
    "INSERT INTO findable_asks (task, item_id, extractor, state, input_hash, reason, at) "
    "VALUES ('expert-tags', '2', 'expert-tags@2/x', 'parked', '', :why, :at)"
)
QUOTED = "UPDATE passage_concepts SET concept_name = :name, concept_type = :name"
WIDTHS = (360, 1200)
VIEWS = (
    *("/", "/?state=tagged&tag={tag}&find={long}", "/row?key={long}&raw=1", "/row?key=b{long}", "/add", "/{long}"),
    *("/search?q={long}", "/search?like={long}", "/runs?by=task", "/batch?number=1", "/quality", "/settings"),
    *("/?task=passages", "/row?task=passages&key={long}&raw=1", "/quality?task=passages", "/?task=images"),
    *("/row?task=images&key={image}&raw=1", "/search?task=images&q=blue"),
)


def furnish(workspace: Workspace) -> None:
    """Have people, passages and images, all named by one long word."""
    workspace.begin()
    (folder := workspace.data.with_name(LONG)).mkdir()
    head = ["Username", "First Name", "Job Title", "Company", "Bio", "Profile URL", "category"]
    rows = [
        [name, LONG, LONG, LONG, f"{LONG} law", f"https://{LONG}.example/{LONG}", LONG] for name in (LONG, f"b{LONG}")
    ]
    with (folder / "people.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    workspace.ran("import", EXPERTS=str(folder / "people.csv"))
    workspace.change(PARKED, why=LONG, at="2026-11-20 00:00:00.000000")
    workspace.ran_each("batch-submit", "batch-poll", "batch-ingest")
    workspace.ran("correct", ITEM=LONG, SET=f"tags={TAG}", WHO=LONG)
    (folder / "p.jsonl").write_text(json.dumps({"id": LONG, "text": f"{LONG}. {text_of(1)}", "source": LONG}) + "\n")
    workspace.ran("import-passages", str(folder / "p.jsonl"))
    workspace.ran("tag", MODE="live", TASK="passages")
    put_foreign(workspace, LONG, f"{LONG}@1")
    workspace.change(QUOTED, name=LONG)
    for name, colour in ((LONG, "navy"), (f"b{LONG}", "lime")):
        Image.new("RGB", (48, 32), colour).save(folder / f"{name}.png")
    (folder / f"{LONG}.jpg").write_bytes(b"")
    workspace.ran("import-images", str(folder))
    workspace.ran("tag", MODE="live", TASK="images")
    workspace.ran("index")
    workspace.ran("index", TASK="images")


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_no_long_word_makes_a_view_wider_than_the_screen(workspace: Workspace, begun: Callable[..., None]) -> None:
    """Every view, on a phone and on a desk, with all that can be opened; a file that was dropped, too."""

    def prepare() -> None:
        """Make it."""
        furnish(workspace)

    begun(prepare)
    found: list[str] = []
    with reading(workspace, {"viewport": {"width": WIDTHS[0], "height": 800}}) as (seen, tab, client):
        image = client.get("/api/items?task=images").json()["items"][0]["id"]
        rows = f"Username,{LONG}\n{LONG},{LONG}\n,\n"
        dropped = client.post("/api/imports", params={"task": "experts", "name": f"{LONG}.csv"}, content=rows).json()
        views = [one.format(long=LONG, tag=TAG, image=image) for one in VIEWS]
        for path in [*views, f"/add?task=experts&number={dropped['number']}"]:
            seen.go(path)
            tab.wait_for_load_state()
            tab.wait_for_timeout(400)  # parts come after the page
            tab.evaluate("for (const one of document.querySelectorAll('main details')) one.open = true")
            for width in WIDTHS:
                tab.set_viewport_size({"width": width, "height": 800})
                wide, over = tab.evaluate("document.documentElement.scrollWidth"), tab.evaluate(OVER)
                said = (f"{wide} pixels" if wide > width else "", over)
                found.extend(f"{path[:60]} {width}: {one}" for one in said if one)
        seen.complaints.clear()  # of the address that is none
    assert found == [], "\n".join(found)
