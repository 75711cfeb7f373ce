"""A dropped file becomes a downloaded table, in a browser."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.table_files import put_book
from tests.browser.intake import write_lamps
from tests.browser.seen import Reader, reading
from tests.lab import Workspace

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800), pytest.mark.alike]
FEW_ROWS = 6
# The question, the kind, the choices, the try and the run take one click each.
MAX_CLICKS = 5
COUNT_CLICKS = "window.clickCount = 0; addEventListener('click', () => window.clickCount++, true)"
NARROW = {"viewport": {"width": 360, "height": 720}}
IS_ASK_BUTTON_VISIBLE = (
    "document.querySelector('#ask').getBoundingClientRect().bottom <= innerHeight"
)
IS_SHOWN_LAST = """performance.getEntriesByName("first-paint")[0].startTime
  > Math.max(...performance.getEntriesByType("resource")
    .filter(({ name }) => name.endsWith(".js")).map((script) => script.responseEnd))"""
DROP_FILE = """(text) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([text], "lamps.csv"));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true }));
}"""


def read_download(download: Any) -> dict[str, dict[str, str]]:
    """Return the rows of a downloaded CSV by key."""
    text = Path(download.path()).read_bytes().decode("utf-8-sig")
    return {row["id"]: row for row in csv.DictReader(io.StringIO(text, newline=""))}


def write_cases(path: Path, row_count: int) -> None:
    """Write a workbook with a title and an empty line above its header."""
    title = [("Complaints of the north, 2024",), ()]
    header = ("Case no.", "Region", "Received", "What the customer wrote")
    rows = [
        (
            f"N-{number}",
            "north",
            "2024-05-01",
            f"Lamp {number} arrived broken, and nobody answered.",
        )
        for number in range(1, row_count + 1)
    ]
    put_book(path, {"Cases": [*title, header, *rows]})


def try_choice(reader: Reader, question: str, choices: str) -> None:
    """Type a question whose answer is a choice, and try it with few clicks."""
    tab = reader.tab
    tab.evaluate(COUNT_CLICKS)
    tab.click("#question-text")
    tab.keyboard.type(question)
    tab.click("[name='field0.kind']")
    tab.select_option("[name='field0.kind']", "a|b|c")
    tab.click("[name='field0.choices']")
    tab.keyboard.type(choices)
    tab.click("#try")
    tab.locator("#ask").wait_for()

    # The next click asks all rows, and leads to another page.
    assert tab.evaluate("window.clickCount") < MAX_CLICKS


def test_a_dropped_file_is_asked_with_few_clicks(workspace: Workspace, tmp_path: Path) -> None:
    """From an empty workspace to a run: a drop, a question, a field with choices, few clicks."""
    texts = write_lamps(tmp_path / "lamps.csv", FEW_ROWS)
    workspace.begin()
    with reading(workspace) as (reader, tab, _):
        tab.evaluate(DROP_FILE, (tmp_path / "lamps.csv").read_text(encoding="utf-8"))
        tab.locator("#question-text").wait_for()
        reader.wait_until_loaded()
        tab.select_option("[name='role.1']", "key")
        reader.wait_for("#row-counts", "the name of the row is already on line 2")
        assert tab.input_value("[name='role.0']") == "unsent"
        tab.select_option("[name='role.0']", "key")
        try_choice(reader, "Praise or blame?", "praise\nblame")
        reader.until(IS_ASK_BUTTON_VISIBLE)
        assert reader.focus != "question-text"
        tab.click("#ask")
        tab.wait_for_url("**/?task=lamps")
        reader.wait_for("#state", f"{len(texts)} answered")


def test_a_workbook_is_asked_and_its_first_row_is_on_a_narrow_screen(
    workspace: Workspace, tmp_path: Path
) -> None:
    """Its header is found below its title; a question and a field are typed, with few clicks."""
    write_cases(tmp_path / "Complaints of the north 2024.xlsx", FEW_ROWS)
    workspace.begin()
    with reading(workspace, NARROW) as (reader, tab, _):
        tab.set_input_files("#drop [type=file]", tmp_path / "Complaints of the north 2024.xlsx")
        reader.wait_for("#row-counts", "line 3 is the header")
        try_choice(reader, "Is the customer angry?", "angry, calm")
        reader.until(IS_ASK_BUTTON_VISIBLE)
        tab.click("#ask")
        reader.wait_for("#state", f"{FEW_ROWS} answered")
        reader.wait_until_loaded()
        row = tab.locator("#rows tbody tr").first.bounding_box()
        assert row["y"] + row["height"] <= tab.evaluate("innerHeight"), row


def test_nothing_is_shown_before_the_scripts_work(workspace: Workspace) -> None:
    """A file that is dropped at once is not opened by the browser, however slow the server is."""
    workspace.begin()
    with reading(workspace) as (reader, tab, _):
        tab.route("**/dom.js", lambda route: (tab.wait_for_timeout(500), route.continue_()))
        reader.go("/add")
        reader.until("performance.getEntriesByName('first-paint').length")
        assert tab.evaluate(IS_SHOWN_LAST)


def test_a_file_becomes_a_table_by_keyboard_alone(workspace: Workspace, tmp_path: Path) -> None:
    """From the first page to the downloaded table every control is reached by Tab."""
    texts = write_lamps(tmp_path / "lamps.csv", FEW_ROWS)
    workspace.begin()
    with reading(workspace) as (reader, tab, _):
        # The browser is told before the keys that the test chooses the file.
        with tab.expect_file_chooser() as chooser:
            reader.press("#drop [type=file]")
        chooser.value.set_files(tmp_path / "lamps.csv")
        tab.locator("#question-text").wait_for()
        reader.wait_until_loaded()

        for selector, text in (
            ("#question-text", "Praise or blame?"),
            ("[name='field0.name']", "tone"),
            ("[name='field0.kind']", "A choice"),
            ("[name='field0.choices']", "praise\nblame"),
        ):
            reader.press_tab_until(selector)
            tab.keyboard.press("Control+a")
            tab.keyboard.type(text)
        reader.press("#try")
        reader.wait_for("#ask", f"Ask {FEW_ROWS} rows")
        reader.press("#ask")
        tab.wait_for_url("**/?task=lamps")
        reader.wait_for("#state", f"{FEW_ROWS} answered")

        reader.press_tab_until("a[href^='/rows.csv']")
        with tab.expect_download() as download:
            tab.keyboard.press("Enter")
        rows = read_download(download.value)
        assert {key: row["text"] for key, row in rows.items()} == texts
        assert {row["tone"] for row in rows.values()} <= {"praise", "blame"}
