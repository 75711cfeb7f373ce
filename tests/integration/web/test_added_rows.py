"""Rows of a file are added to a task that was created from a dropped file."""

import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from xlsxwriter import Workbook

from pipeline.core.declaration import ReadOptions
from pipeline.tables.row_findings import SourceRow
from pipeline.tables.sheet_append import iterate_extended_workbook
from pipeline.tables.source import FileSource
from tests.integration import reviews
from tests.integration.web.test_imports import drop_file, list_dropped_files, press_button
from tests.integration.web.test_intake import TONE, try_question
from tests.integration.web.test_question import create_task
from tests.lab import Workspace
from tests.page import Page

NEW_ROWS = (
    "Text,id,shop\n"
    "It boils in 2 minutes.,r2,north\n"
    "It broke.,r3,north\n"
    '"It hums; ""loudly"".",r8,north\n'
    "It whistles.,,north\n"
    "It drips.,r9,north\n"
)


def read_source(workspace: Workspace) -> Path:
    """Return the file with the rows of the task."""
    return workspace.data / "sources/kettles.csv"


def test_new_rows_are_added_and_present_rows_stay(page: Page, workspace: Workspace) -> None:
    """The preview counts new, equal and refused rows; only new rows are open afterwards."""
    create_task(page)
    assert "More rows of kettles" in page.get("/add", params={"task": "kettles"}).text
    before = read_source(workspace).read_bytes()
    read = drop_file(page, NEW_ROWS, "kettles", "more.csv")
    assert read["found"]["added"] == 2, read
    assert (read["found"]["unchanged"], read["found"]["rejected"]) == (0, 3)
    assert read_source(workspace).read_bytes() == before

    press_button(page, read["number"])
    page.settle()
    html = page.get("/parts/import", params={"number": read["number"]}).text
    assert "2 added" in html
    assert list_dropped_files(workspace) == []
    after = read_source(workspace).read_bytes()
    assert after.startswith(before)
    state = page.get("/parts/state", params={"task": "kettles"}).text
    assert "7 answered" in state
    assert "2 open" in state
    items = page.get("/api/items", params={"task": "kettles", "find": "hums"}).json()["items"]
    assert 'It hums; "loudly".' in str(items)

    # A repeated file changes nothing.
    read = drop_file(page, NEW_ROWS, "kettles", "more.csv")
    assert (read["found"]["added"], read["found"]["unchanged"]) == (0, 2)
    press_button(page, read["number"])
    page.settle()
    assert read_source(workspace).read_bytes() == after


def test_notes_and_findings_name_columns_and_keys_exactly(page: Page) -> None:
    """A column without a place is "not used"; a key repeated in the file is not an existing row."""
    create_task(page, is_asked=False)
    content = "id,text,shop\nr8,It hums.,north\nr8,It drips.,north\nr1,It broke.,south\n"
    read = drop_file(page, content, "kettles", "more.csv")
    reasons = [finding["reason"] for finding in read["found"]["findings"]]
    assert reasons == [
        "an earlier row of the file has this key",
        "a row with this key exists and stays as it is",
    ]
    html = page.get("/parts/import", params={"number": read["number"]}).text
    assert "not used: shop" in html
    assert '<div class="small">not used</div>' in html
    assert "kept beside" not in html


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_no_row_is_offered_for_a_file_in_utf_16(
    page: Page, workspace: Workspace, encoding: str
) -> None:
    """The page says the reason before a file is dropped or a row is typed."""
    create_task(page, is_asked=False)
    source = read_source(workspace)
    source.write_bytes(source.read_text(encoding="utf-8").encode(encoding))
    html = unescape(page.get("/add", params={"task": "kettles"}).text)
    assert "its rows are in UTF-16 or UTF-32, which cannot get single rows" in html
    assert 'name="column.id"' not in html
    params = {"task": "kettles", "name": "more.csv"}
    assert page.post("/api/imports", params=params, content=NEW_ROWS).status_code == 422


@pytest.mark.parametrize("content", ["text\nIt boils.\n", ""])
def test_a_file_without_the_key_column_is_refused(
    page: Page, workspace: Workspace, content: str
) -> None:
    """The reason is displayed, and the rows of the task stay as they are."""
    create_task(page, is_asked=False)
    before = read_source(workspace).read_bytes()
    read = drop_file(page, content, "kettles", "more.csv")
    assert read["state"] == "unreadable"
    assert "nothing was" in read["error"]["detail"]
    assert read_source(workspace).read_bytes() == before


def add_row(page: Page, **texts: str) -> str:
    """Submit the form for a new row, and return its part of the page."""
    form = {f"column.{name}": text for name, text in texts.items()}
    return unescape(page.post("/parts/new-row", params={"task": "kettles"}, data=form).text)


def test_a_typed_row_is_added(page: Page, workspace: Workspace) -> None:
    """The form has the columns of the source, the key first; the new row is open."""
    create_task(page)
    html = unescape(page.get("/add", params={"task": "kettles"}).text)
    names = re.findall(r'name="column\.(\w+)"', html)
    assert names == ["id", "product", "text"]
    before = read_source(workspace).read_bytes()

    html = add_row(page, id="r8", product="Kettle, 8", text='It hums;\r\n"loudly".')
    assert 'href="/row?task=kettles&key=r8"' in html
    assert 'value="r8"' not in html
    assert read_source(workspace).read_bytes().startswith(before)
    state = page.get("/parts/state", params={"task": "kettles"}).text
    assert "7 answered" in state
    assert "1 open" in state
    items = page.get("/api/items", params={"task": "kettles", "find": "hums"}).json()["items"]
    assert items[0]["id"] == "r8"
    assert 'It hums;\n"loudly".' in items[0].values()


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"id": "r2", "text": "It leaks."}, "A row with this key exists and stays as it is"),
        ({"id": " ", "text": "It leaks."}, "The key is blank"),
        (
            {"id": "r2", "product": "Kettle 2", "text": "It boils in 2 minutes."},
            "This row exists already",
        ),
    ],
)
def test_a_refused_row_stays_in_its_form(
    page: Page, workspace: Workspace, texts: dict[str, str], message: str
) -> None:
    """The reason is beside the key, and no file is changed."""
    create_task(page, is_asked=False)
    before = read_source(workspace).read_bytes()
    html = add_row(page, **({"product": "", "text": ""} | texts))
    assert message in html.partition('id="column-0-message"')[2].partition("</p>")[0]
    assert f"{texts['text']}</textarea>" in html
    assert read_source(workspace).read_bytes() == before


def test_a_row_with_other_columns_is_refused(page: Page, workspace: Workspace) -> None:
    """A form that was opened before the columns changed adds nothing."""
    create_task(page, is_asked=False)
    before = read_source(workspace).read_bytes()
    assert "The columns have changed" in add_row(page, id="r9", text="It leaks.")
    assert read_source(workspace).read_bytes() == before


JSON_ROWS = "".join(
    json.dumps({"id": number, "text": f"It boils in {number} minutes.", "loud": number > 3}) + "\n"
    for number in range(7)
)


def create_json_task(page: Page) -> None:
    """Create a task from dropped JSON lines."""
    number = drop_file(page, JSON_ROWS, "new", "kettles.jsonl")["number"]
    roles = {"role.0": "key", "role.1": "text", "role.2": "unsent"}
    try_question(page, number, **TONE, **roles)
    press_button(page, number, keep="kettles")
    page.settle()


def test_rows_are_added_to_json_lines(page: Page, workspace: Workspace) -> None:
    """Rows of a CSV and typed rows get the kinds of the columns; a wrong value is refused."""
    create_json_task(page)
    path = workspace.data / "sources/kettles.jsonl"
    before = path.read_bytes()
    rows = "id,text,loud\n3,It boils in 3 minutes.,false\n8,Grün.,true\nx,It broke.,true\n"
    read = drop_file(page, rows, "kettles", "more.csv")
    counts = read["found"]
    assert (counts["added"], counts["unchanged"], counts["rejected"]) == (1, 1, 1)
    press_button(page, read["number"])
    page.settle()
    assert "The column is true or false" in add_row(page, id="9", text="It hums.", loud="perhaps")
    assert "is added" in add_row(page, id="9", text="It hums.", loud="")

    after = path.read_bytes()
    assert after.startswith(before)
    assert [json.loads(line) for line in after[len(before) :].decode().splitlines()] == [
        {"id": 8, "text": "Grün.", "loud": True},
        {"id": 9, "text": "It hums.", "loud": None},
    ]
    state = page.get("/parts/state", params={"task": "kettles"}).text
    assert "9 open" in state


def write_workbook(path: Path) -> None:
    """Write a workbook with the rows on its second sheet, not in its first row and column."""
    with Workbook(path) as book:
        book.add_worksheet("Notes").write_string(0, 0, "kept as it is")
        sheet = book.add_worksheet("Rows")
        sheet.write_row(1, 1, ["id", "", "text", "stars"])
        for number in range(7):
            text = f"It boils in {number} minutes."
            sheet.write_row(2 + number, 1, [f"r{number}", "?", text, number])


def test_rows_are_added_to_one_sheet_of_a_workbook(tmp_path: Path) -> None:
    """The new rows are below the last; other sheets stay; texts and numbers stay what they are."""
    write_workbook(tmp_path / "k.xlsx")
    source = FileSource(tmp_path / "k.xlsx", ReadOptions(sheet="Rows"))
    lines: list[Mapping[str, Any]] = [
        {"id": "r7", "text": ' <b>It "hums" & drips.</b>\n', "stars": 4},
        {"id": "r8", "text": "=1+1", "stars": None},
    ]
    path = tmp_path / "new.xlsx"
    path.write_bytes(b"".join(iterate_extended_workbook(source.path, "Rows", source.names, lines)))
    rows = [
        row.values
        for row in FileSource(path, ReadOptions(sheet="Rows"))
        if isinstance(row, SourceRow)
    ]
    assert len(rows) == 9
    assert rows[-2:] == lines
    kept_rows = [
        row.values
        for row in FileSource(path, ReadOptions(header="none"))
        if isinstance(row, SourceRow)
    ]
    assert kept_rows == [{"column_1": "kept as it is"}]


def test_rows_are_added_to_a_workbook(page: Page, workspace: Workspace, tmp_path: Path) -> None:
    """A typed row and the rows of a CSV get the kinds of the columns."""
    with Workbook(tmp_path / "k.xlsx") as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["id", "text", "stars"])
        for number in range(7):
            sheet.write_row(1 + number, 0, [f"r{number}", f"Boils in {number} minutes.", number])
    content = (tmp_path / "k.xlsx").read_bytes()
    number = drop_file(page, content, "new", "kettles.xlsx")["number"]
    roles = {"role.0": "key", "role.1": "text", "role.2": "unsent"}
    try_question(page, number, **TONE, **roles)
    press_button(page, number, keep="kettles")
    page.settle()

    rows = "id,text,stars\nr3,Boils in 3 minutes.,3\nr8,It hums.,5\nr9,It drips.,five\n"
    read = drop_file(page, rows, "kettles", "more.csv")
    counts = read["found"]
    assert (counts["added"], counts["unchanged"], counts["rejected"]) == (1, 1, 1)
    press_button(page, read["number"])
    page.settle()
    assert "The column has whole numbers" in add_row(page, id="x", text="It.", stars="1.5")
    assert "is added" in add_row(page, id="x", text="It leaks.", stars="1")
    state = page.get("/parts/state", params={"task": "kettles"}).text
    assert "9 open" in state
    source = FileSource(workspace.data / "sources/kettles.xlsx")
    values = [row.values for row in source if isinstance(row, SourceRow)]
    assert values[-2:] == [
        {"id": "r8", "text": "It hums.", "stars": 5},
        {"id": "x", "text": "It leaks.", "stars": 1},
    ]


def test_the_page_says_why_no_row_can_be_added(workspace: Workspace) -> None:
    """The rows of a file elsewhere are added in that file, which the page names."""
    reviews.set_up_task(workspace).ran("preflight", TASK="tasks/reviews.py")
    with Page(workspace) as page:
        html = unescape(page.get("/add", params={"task": "reviews"}).text)
        reason = html.partition('id="no-rows"')[2].partition("</p>")[0]
        assert "its rows are not in a file that the workspace stores" in reason
        assert "reviews.csv" in reason
        assert "change that file, and it is read again" in reason
        params = {"task": "reviews"}
        html = page.post("/parts/new-row", params=params, data={"column.id": "9"}).text
        assert "nothing was added" in html


def test_rows_that_are_added_at_the_same_time_are_all_kept(
    page: Page, workspace: Workspace
) -> None:
    """Each replaces the source of the others, so they wait for each other."""
    create_task(page, is_asked=False)
    with ThreadPoolExecutor(4) as pool:
        numbers = range(20, 28)
        parts = list(
            pool.map(lambda number: add_row(page, id=f"r{number}", product="", text="Hm."), numbers)
        )
    assert all("is added" in html for html in parts)
    text = read_source(workspace).read_text(encoding="utf-8")
    assert all(f'"r{number}"' in text for number in numbers)
