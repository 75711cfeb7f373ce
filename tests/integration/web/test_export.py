"""The page exports the rows of a filter in each format."""

import csv
import json
import re
from html import unescape
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx2
import pytest

from tests.integration import reviews
from tests.integration.web.reviewed import TASK, answer_two_rows
from tests.lab import Api, Workspace
from tests.page import Page

FORMATS = ("csv", "xlsx", "jsonl")


@pytest.mark.full
@pytest.mark.alike
def test_an_export_has_the_rows_of_the_filter(workspace: Workspace) -> None:
    """State, words, a condition and chosen rows select; the links of the page name them."""
    reviews.set_up_task(workspace).ran("tag-live", LIMIT="3")
    with Page(workspace) as page:

        def read_ids(**parameters: Any) -> list[str]:
            """Return the ids of the exported rows."""
            text = page.get("/rows.csv", params={"task": "reviews", **parameters}).text
            return [row["id"] for row in csv.DictReader(StringIO(text))]

        assert read_ids() == ["1", "2", "3", "4"]
        assert read_ids(state="open") == ["4"]
        assert read_ids(find="warm") == ["2"]
        assert read_ids(where="id > 1", state="answered") == ["2", "3"]
        assert read_ids(id=["3", "1"]) == ["1", "3"]
        lines = page.get("/rows.jsonl", params={"task": "reviews", "id": ["1"]}).text.splitlines()
        assert [json.loads(line)["state"] for line in lines] == ["answered"]
        assert page.get("/rows.xlsx", params={"task": "reviews"}).content.startswith(b"PK")

        # A filter that is typed replaces the links in the header of the page.
        part = page.get("/parts/rows", params={"task": "reviews", "find": "warm"}).text
        assert 'hx-swap-oob="true"' in part
        links = re.findall(r'href="(/rows\.[^"]*)"', part)
        assert len(links) == len(FORMATS)
        assert len(page.get(unescape(links[0])).text.splitlines()) == 2
        assert page.get("/rows.parquet", params={"task": "reviews"}).status_code == 422


@pytest.mark.full
@pytest.mark.alike
def test_an_export_names_the_corrected_fields_and_their_editors(
    workspace: Workspace, api: Api
) -> None:
    """Each format has a column of its own for them, which labels from such a file ignore."""
    answer_two_rows(workspace, api)
    table = Path("tasks", "reviews.csv")
    texts = table.read_text(encoding="utf-8").splitlines()
    days = ("day", "2024-01-02", "2024-W01-1", "1899-12-31", "2024-02-31")
    table.write_text("\n".join(map(",".join, zip(texts, days, strict=True))), encoding="utf-8")
    workspace.ran("tag-live", LIMIT="1")
    with Page(workspace) as page:

        def read(format_: str) -> httpx2.Response:
            """Return the exported file."""
            return page.get(f"/rows.{format_}", params=TASK)

        assert "corrected_by" not in read("csv").text
        workspace.ran("correct", "1", SET="tone=blame; stars=5", WHO="Bea")
        workspace.ran("correct", "1", SET="tone=mixed", WHO="Ada")
        workspace.ran("correct", "2", SET="tone=blame", WHO="Ada")
        workspace.ran("correct", "2", UNDO="1", WHO="Ada")
        rows = list(csv.DictReader(StringIO(read("csv").text)))
        assert [row["corrected_by"] for row in rows] == ["stars: Bea; tone: Ada", "", "", ""]
        lines = [json.loads(line) for line in read("jsonl").text.splitlines()]
        assert [line["corrected_by"] for line in lines] == ["stars: Bea; tone: Ada", *[None] * 3]

        with ZipFile(BytesIO(read("xlsx").content)) as book:
            sheet = book.read("xl/worksheets/sheet1.xml").decode()
        assert '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/>' in sheet
        assert re.search(r'<autoFilter ref="A1:[A-Z]+5"/>', sheet)
        assert re.findall(r'<c r="[A-Z]\d" s="1"><v>(\d+)</v>', sheet) == ["45293"]
        for text in days[3:]:
            assert f"<t>{text}</t>" in sheet
        # The stars are a number, and whether it is urgent is a truth value.
        assert re.search(r'<c r="[A-Z]2"><v>5</v></c><c r="[A-Z]2" t="b"><v>0</v></c>', sheet)
        assert "stars: Bea; tone: Ada" in sheet

        Path("labels.csv").write_bytes(read("csv").content)
        workspace.ran("correct", FILE="labels.csv", WHO="Bea")
