"""Take the pictures of docs/web.md, of the demo and of the reviews example."""

import io
import os
import shutil
from pathlib import Path
from unittest import mock

import pytest
from click.testing import CliRunner
from PIL import Image

from askrows.jobs.cli import main
from tests.browser.seen import Reading, reading
from tests.lab import ROOT, Workspace

PAGES_BY_PICTURE = {
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
# The limits of a picture: colours and bytes.
MAX_COLOURS = 48
MAX_PICTURE_BYTES = 90_000
NARROW = {"viewport": {"width": 360, "height": 720}}


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_pictures_of_the_documents_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve views give small files without browser errors; PICTURES= stores them."""
    folder = ROOT / (os.environ.get("PICTURES") or tmp_path)
    example = shutil.copytree(ROOT / "examples" / "reviews", tmp_path / "shop")
    monkeypatch.chdir(example)

    # The demo changes the environment.
    with mock.patch.dict(os.environ):
        assert CliRunner().invoke(main, ["demo"], catch_exceptions=False).exit_code == 0
    workspace = Workspace(
        Path("data/demo"), {"ASKROWS_DATA": "data/demo", "ASKROWS_BACKEND": "local"}
    )
    workspace.ran("tag-live", LIMIT="17", TASK="reviews")
    for kind, context_options in (("", {}), ("dark", {"color_scheme": "dark"}), ("narrow", NARROW)):
        with reading(workspace, context_options) as reading_session:
            for name, path in PAGES_BY_PICTURE.items():
                if name.partition("-")[2] == kind:
                    reading_session[0].go(path)
                    _save_picture(reading_session, folder / f"{name}.png")
            if not kind:
                _try_new_task(reading_session, example / "reviews.csv")
                # The picture shows the columns, the question and the tried answers.
                reading_session[1].set_viewport_size({"width": 1200, "height": 1500})
                reading_session[1].evaluate("document.querySelector('.roles').scrollIntoView()")
                _save_picture(reading_session, folder / "add.png")


def _try_new_task(reading_session: Reading, path: Path) -> None:
    """Drop a file for a new task, and try a question on it."""
    reader, tab, _ = reading_session
    reader.go("/add")
    tab.set_input_files("#drop [type=file]", path)
    tab.fill("[name=question]", "Praise or blame? Quote why.")
    tab.fill("[name='field0.name']", "tone")
    tab.select_option("[name='field0.kind']", "a|b|c")
    tab.fill("[name='field0.choices']", "praise\nblame\nmixed")
    tab.click("#try")
    tab.locator("#tried tbody tr").first.wait_for()


def _save_picture(reading_session: Reading, path: Path) -> None:
    reader, tab, _ = reading_session
    reader.wait_until_loaded()
    screenshot = Image.open(io.BytesIO(tab.screenshot()))
    screenshot.quantize(MAX_COLOURS).save(path, optimize=True)
    assert path.stat().st_size < MAX_PICTURE_BYTES, path.name
