"""The pictures of docs/web.md, made of what `make demo` makes; `make test-web` makes them anew."""

import io
import os
from pathlib import Path
from typing import Any
from unittest import mock

import httpx2
import pytest
from click.testing import CliRunner
from PIL import Image

from jobs.cli import main
from tests.browser.seen import Reader, read
from tests.lab import Workspace

SHOWN = {
    "home": "/",
    "people": "/items",
    "person": "/item?key=eleuterio-campoverde-ruz",
    "search": "/search?q=who+knows+water+law",
    "index": "/index",
    "reports": "/reports?task=passages",
    "batch": "/batch?number=1",
    "add": "/people/new",
}
COLOURS, MOST = 48, 80_000  # of a picture: colours and bytes
LATER = frozenset({"people", "person"})  # have parts that come after the page
DARK = frozenset({"search", "reports"})


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_the_pictures_of_the_documents_are_made(tmp_path: Path) -> None:
    """The demo, then eight views of it, each a small file; PICTURES= keeps them."""
    folder = Path(os.environ.get("PICTURES") or tmp_path)
    data = Path("data/demo")
    with mock.patch.dict(os.environ):  # which the demo changes
        assert CliRunner().invoke(main, ["demo"], catch_exceptions=False).exit_code == 0

    def reader(browser: Any, address: str, _client: httpx2.Client) -> None:
        """Take them."""
        for name, path in SHOWN.items():
            seen = Reader(browser, address, color_scheme="dark" if name in DARK else "light")
            seen.go(path)
            seen.tab.wait_for_load_state("networkidle") if name in LATER else None
            taken = Image.open(io.BytesIO(seen.tab.screenshot()))
            taken.quantize(COLOURS).save(folder / f"{name}.png", optimize=True)
            assert (folder / f"{name}.png").stat().st_size < MOST, name
            assert seen.complaints == [], (name, seen.complaints)

    read(Workspace(data, {"FINDABLE_DATA": str(data)}), reader)
