"""Charts filter, and columns change without a reload."""

from pathlib import Path

import pytest

from tests.browser.seen import reading
from tests.integration import reviews
from tests.lab import Workspace

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800), pytest.mark.sampled(0)]
FIRST_HEADER = "#list thead th >> nth=0"
HEADERS = "[...document.querySelectorAll('#list thead th')].map((th) => th.textContent.trim())"


def _set_up(workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer four reviews, with 2 or 4 stars and different lists."""
    monkeypatch.chdir(folder)
    reviews.set_up_task(workspace).ran("tag-live")
    for key in reviews.TEXTS:
        stars = 2 if key in {"1", "3"} else 4
        workspace.change(
            "UPDATE findable_answers SET answer = :answer WHERE item_id = :key",
            answer=f'{{"stars": {stars}, "praise": ["part {key}", "light"], "quote": null}}',
            key=key,
        )


def test_charts_filter_and_columns_change(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two bars are chosen and removed by chips; columns are pinned and hidden by keys alone."""
    _set_up(workspace, tmp_path, monkeypatch)
    with reading(workspace) as (reader, tab, _):
        reader.go("/?task=reviews")
        tab.click(".histogram a:has-text('4')")
        reader.until("document.querySelectorAll('#list tbody tr').length === 2")
        tab.click(".histogram a:has-text('2') >> nth=0")
        reader.until("document.querySelectorAll('#list tbody tr').length === 4")
        assert tab.locator("#list .tools a.chip").count() == 2
        tab.click("#list .tools a.chip >> nth=0")
        reader.until("document.querySelectorAll('#list tbody tr').length === 2")

        assert reader.violations() == ""

        tab.evaluate("window.isSameDocument = true")
        tab.focus("#columns summary")
        tab.keyboard.press("Enter")
        tab.focus("#columns a[aria-label='Pin stars']")
        tab.keyboard.press("Enter")
        reader.wait_for(FIRST_HEADER, "stars")
        reader.until("document.activeElement.ariaLabel === 'Unpin stars'")
        tab.focus("#columns a[aria-label='Hide text']")
        tab.keyboard.press("Enter")
        reader.until(f"!{HEADERS}.includes('text')")
        assert tab.evaluate("window.isSameDocument && document.getElementById('columns').open")
        # The search keeps the columns.
        tab.keyboard.press("Escape")
        tab.fill("#find", "e")
        with tab.expect_response("**/parts/rows?*"):
            tab.press("#find", "Enter")
        reader.wait_for(FIRST_HEADER, "stars")
        assert not tab.evaluate(f"{HEADERS}.includes('text')")
