"""The pictures of docs/web.md, of what `make demo` makes and the reviews of examples/; `make test-web` makes them."""

import io
import os
import shutil
from pathlib import Path
from unittest import mock

import pytest
from click.testing import CliRunner
from PIL import Image

from jobs.cli import main
from tests.browser.seen import Reading, reading
from tests.lab import ROOT, Workspace

SHOWN = {
    "rows": "/?task=reviews",
    "rows-dark": "/?task=reviews",
    "rows-narrow": "/?task=reviews",
    "row": "/row?task=reviews&key=1",
    "people": "/",
    "passages": "/?task=passages",
    "images": "/?task=images",
    "search": "/search?q=who+knows+water+law",
    "runs": "/runs?task=reviews",
    "quality": "/quality",
    "settings": "/settings",
}
COLOURS = 48  # of a picture: colours and bytes
MOST = 90_000
NARROW = {"viewport": {"width": 360, "height": 720}}


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_the_pictures_of_the_documents_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve views, each a small file without a complaint of the browser; PICTURES= keeps them."""
    folder = Path(os.environ.get("PICTURES") or tmp_path).absolute()
    monkeypatch.chdir(example := shutil.copytree(ROOT / "examples" / "reviews", tmp_path / "shop"))
    with mock.patch.dict(os.environ):  # which the demo changes
        assert CliRunner().invoke(main, ["demo"], catch_exceptions=False).exit_code == 0
    workspace = Workspace(
        Path("data/demo"), {"FINDABLE_DATA": "data/demo", "FINDABLE_BACKEND": "local"}
    )
    workspace.ran("tag-live", LIMIT="17", TASK="reviews")
    for kind, looks in (("", {}), ("dark", {"color_scheme": "dark"}), ("narrow", NARROW)):
        with reading(workspace, looks) as found:
            for name, path in SHOWN.items():
                if name.partition("-")[2] == kind:
                    found[0].go(path)
                    _take(found, folder / f"{name}.png")
            if not kind:
                _drop(found, example / "reviews.csv")
                _take(found, folder / "add.png")


def _drop(found: Reading, path: Path) -> None:
    """Drop a file for a new task, and try a question on it."""
    seen, tab, _ = found
    seen.go("/add")
    tab.check("[name=task][value=new]")
    tab.set_input_files("#drop [type=file]", path)
    tab.fill("[name=question]", "Praise or blame? Quote why.")
    tab.fill("[name=fields]", "tone: praise|blame|mixed; why: quote")
    tab.keyboard.press("Enter")
    tab.locator("#tried tbody tr").first.wait_for()


def _take(found: Reading, path: Path) -> None:
    found[1].wait_for_load_state()
    found[1].wait_for_timeout(500)  # parts come after the page
    taken = Image.open(io.BytesIO(found[1].screenshot()))
    taken.quantize(COLOURS).save(path, optimize=True)
    assert path.stat().st_size < MOST, path.name
