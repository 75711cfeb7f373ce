"""The pictures of docs/web.md, made of the demo's data; `make test-web` makes them anew."""

import io
import os
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from tests.browser.seen import Reader, read
from tests.lab import Workspace

SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "experts.csv"
SHOWN = {
    "home": "/",
    "people": "/items",
    "person": "/item?key=eleuterio-campoverde-ruz",
    "search": "/search?q=who+knows+water+law",
    "index": "/index",
    "reports": "/reports",
    "batch": "/batch?number=1",
    "add": "/people/new",
}
COLOURS, MOST = 48, 80_000  # of a picture: colours and bytes
DARK = frozenset({"search", "reports"})


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_the_pictures_of_the_documents_are_made(workspace: Workspace, tmp_path: Path) -> None:
    """The sample people, tagged by batch and indexed; eight views, each a small file; PICTURES= keeps them."""
    folder = Path(os.environ.get("PICTURES") or tmp_path)
    workspace.begin()
    workspace.ran("import", EXPERTS=str(SAMPLE))
    workspace.ran_each("batch-submit", "batch-poll", "batch-ingest", "index")

    def reader(browser: Any, address: str, _client: httpx2.Client) -> None:
        """Take them."""
        for name, path in SHOWN.items():
            seen = Reader(browser, address, color_scheme="dark" if name in DARK else "light")
            seen.go(path)
            seen.tab.evaluate("document.querySelector('footer span').textContent = 'data/demo'")
            taken = Image.open(io.BytesIO(seen.tab.screenshot()))
            taken.quantize(COLOURS).save(folder / f"{name}.png", optimize=True)
            assert (folder / f"{name}.png").stat().st_size < MOST, name
            assert seen.complaints == [], (name, seen.complaints)

    read(workspace, reader)
