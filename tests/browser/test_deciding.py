"""A dropped file is asked by decisions, reviewed and measured."""

from pathlib import Path
from typing import Any

import pytest

from tests.browser.intake import open_new_task, write_lamps
from tests.browser.seen import Reader, reading
from tests.lab import Workspace

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800), pytest.mark.sampled(0)]
# Two rows are reviewed one by one.
ROW_COUNT = 60
DARK = {"color_scheme": "dark"}


def _ask_by_decisions(reader: Reader, tab: Any, path: Path) -> None:
    """Drop a file, type a question with one choice, and have it decided."""
    open_new_task(reader, tab, path)
    tab.fill("#question-text", "Praise or blame?")
    tab.fill("[name='field0.name']", "tone")
    tab.select_option("[name='field0.kind']", "a|b|c")
    tab.fill("[name='field0.choices']", "praise\nblame\nmixed")
    tab.click("#try")
    reader.wait_for("#tried", f"Use for all {ROW_COUNT} rows")
    reader.wait_for("#tried", "a decision model chooses each value")
    tab.check("[name=mode][value=decide]")
    tab.click("#keep")
    reader.wait_for("#import", "is created")
    assert tab.is_checked("[name=mode][value=decide]")
    tab.click("#ask")
    tab.wait_for_url("**/?task=lamps")
    reader.wait_for("#state", f"{ROW_COUNT} answered")


def _review_doubtful_rows(reader: Reader, tab: Any) -> None:
    """Filter and sort by confidence, and review the first doubtful rows by keys."""
    reader.go("/?task=lamps")
    tab.click("#facets a:text-is('doubtful')")
    tab.wait_for_url("**doubtful=yes**")
    tab.locator("#list svg.sure rect.doubt").first.wait_for()
    tab.click("#facets a:text-is('least certain first')")
    tab.wait_for_url("**sort=**")
    reader.wait_for("#list .tools", "doubtful")

    tab.click("#state a[href^='/review']")
    tab.wait_for_url("**/row?**doubtful=yes**")
    tab.fill("#reviewer", "Bea")
    tab.keyboard.press("Enter")
    reader.wait_for("#one", "You review as Bea")
    tab.keyboard.press("r")
    reader.wait_for("#one", "Reviewed by Bea")
    assert tab.locator("#review").inner_text() == "Remove the mark"


def _correct_rows(workspace: Workspace, path: Path) -> None:
    """Correct or confirm the tone of all rows."""
    lines = "".join(f"{number},mixed\n" for number in range(1, ROW_COUNT + 1))
    path.write_text(f"id,tone\n{lines}")
    workspace.ran("correct", TASK="lamps", FILE=str(path), WHO="Bea")


def _measure(reader: Reader, tab: Any) -> None:
    """Measure; the page follows the work without being loaded by hand."""
    reader.go("/quality?task=lamps")
    tab.click("#measure")
    reader.wait_for("h2", "checks passed")
    assert reader.violations() == ""


@pytest.mark.parametrize("looks", [{}, DARK], ids=["light", "dark"])
def test_a_decided_task_is_reviewed_and_measured(
    workspace: Workspace, tmp_path: Path, looks: dict[str, Any]
) -> None:
    """From a dropped file to figures of quality."""
    write_lamps(tmp_path / "lamps.csv", ROW_COUNT)
    workspace.begin()
    with reading(workspace, looks) as (reader, tab, _):
        _ask_by_decisions(reader, tab, tmp_path / "lamps.csv")
        _review_doubtful_rows(reader, tab)
        _correct_rows(workspace, tmp_path / "labels.csv")
        _measure(reader, tab)
