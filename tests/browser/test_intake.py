"""A dropped file of 300 rows becomes a downloaded table, in a browser."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.browser.intake import (
    correct_and_undo,
    download_rows,
    fill_question,
    read_download,
    write_lamps,
)
from tests.browser.seen import Reader, reading
from tests.lab import Api, Workspace

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800), pytest.mark.alike]
ROW_COUNT = 300
FEW_ROWS = 6
MAX_TAB_PRESSES = 80
ANSWER = {"tone": "praise", "stars": 4}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "narrow": {"viewport": {"width": 360, "height": 720}},
}


def _check_looks(reader: Reader, tab: Any, name: str) -> None:
    """Check the view for violations of accessibility, and for elements outside of the page."""
    assert reader.violations() == "", name
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), name


@pytest.mark.parametrize("look", LOOKS)
def test_a_dropped_file_becomes_a_downloaded_table(
    workspace: Workspace, api: Api, tmp_path: Path, look: str
) -> None:
    """A file is tried, kept, asked, corrected and exported; five clicks lead to the answers."""
    texts = write_lamps(tmp_path / "lamps.csv", ROW_COUNT)
    # Live calls have no key, and control requests have a key without a slash.
    args = {"text": json.dumps(ANSWER)}
    api.script_fault("answer_text", times=ROW_COUNT, args=args, path=":generateContent")
    api.script_fault("answer_text", times=ROW_COUNT * 2, args=args, key="/")
    workspace.begin()
    with reading(workspace, LOOKS[look]) as (reader, tab, client):
        reader.go("/add")
        # The clicks of a person: new task, choose a file, try, use, ask.
        tab.check("[name=task][value=new]")
        tab.set_input_files("#drop [type=file]", tmp_path / "lamps.csv")
        reader.wait_for(".roles th", "shop")
        assert tab.input_value("[name='role.1']") == "unsent"
        tab.select_option("[name='role.1']", "sent")
        assert "unsent" not in tab.locator(".roles td >> nth=1").get_attribute("class")
        tab.select_option("[name='role.1']", "unsent")
        assert "unsent" in tab.locator(".roles td >> nth=1").get_attribute("class")
        fill_question(tab)
        _check_looks(reader, tab, "asked")
        tab.click("#try")
        reader.wait_for("#tried", "Use for all 300 rows")
        _check_looks(reader, tab, "tried")
        tab.click("#keep")
        reader.wait_for("#import", "is created")
        _check_looks(reader, tab, "created")
        tab.check("[name=mode][value=batch]")
        tab.click("#ask")
        tab.wait_for_url("**/?task=lamps")
        reader.wait_for("#state", "300 answered")
        reader.wait_for("#list", "praise")

        correct_and_undo(reader, tab)
        rows = download_rows(reader, tab, "where=tone%20%3D%20%27mixed%27")
        assert list(rows) == ["7"]
        rows = download_rows(reader, tab, "")
        assert {key: row["text"] for key, row in rows.items()} == texts
        assert {key for key, row in rows.items() if row["tone"] != "praise"} == {"7"}
        assert {row["stars"] for row in rows.values()} == {"4"}
        ways = {batch["way"] for batch in client.get("/api/batches?task=lamps").json()}
        assert ways == {"batch"}


def _press_tab_until(reader: Reader, tab: Any, selector: str) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(MAX_TAB_PRESSES):
        if tab.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        tab.keyboard.press("Tab")
    pytest.fail(f"{selector} is not reached by Tab; the focus is on {reader.focus}")


def _press(reader: Reader, tab: Any, selector: str, key: str = "Enter") -> None:
    """Move the focus to an element by Tab, and press a key on it."""
    _press_tab_until(reader, tab, selector)
    tab.keyboard.press(key)


def test_a_file_becomes_a_table_by_keyboard_alone(workspace: Workspace, tmp_path: Path) -> None:
    """From the first page to the downloaded table every control is reached by Tab."""
    texts = write_lamps(tmp_path / "lamps.csv", FEW_ROWS)
    workspace.begin()
    with reading(workspace) as (reader, tab, _):
        _press(reader, tab, "#state a[href^='/add']")
        tab.wait_for_url("**/add?**")
        _press_tab_until(reader, tab, "#drop [name=task]:checked")
        while not tab.is_checked("#drop [value=new]"):
            tab.keyboard.press("ArrowDown")
        _press_tab_until(reader, tab, "#drop [type=file]")
        with tab.expect_file_chooser() as chooser:
            tab.keyboard.press("Enter")
        chooser.value.set_files(tmp_path / "lamps.csv")
        tab.locator("#question-text").wait_for()

        for selector, text in (
            ("#question-text", "Praise or blame?"),
            ("[name='field0.name']", "tone"),
            ("[name='field0.kind']", "A choice"),
            ("[name='field0.choices']", "praise\nblame"),
        ):
            _press_tab_until(reader, tab, selector)
            tab.keyboard.press("Control+a")
            tab.keyboard.type(text)
        _press(reader, tab, "#try")
        reader.wait_for("#tried", f"Use for all {FEW_ROWS} rows")
        _press(reader, tab, "#keep")
        reader.wait_for("#import", "is created")
        _press(reader, tab, "#ask")
        tab.wait_for_url("**/?task=lamps")
        reader.wait_for("#state", f"{FEW_ROWS} answered")

        _press_tab_until(reader, tab, "a[href^='/items.csv']")
        with tab.expect_download() as download:
            tab.keyboard.press("Enter")
        rows = read_download(download.value)
        assert {key: row["text"] for key, row in rows.items()} == texts
        assert {row["tone"] for row in rows.values()} <= {"praise", "blame"}
