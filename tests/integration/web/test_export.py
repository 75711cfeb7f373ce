"""The page exports what the command `export` writes, for each kind of task and by the filter."""

import csv
import json
import re
from collections.abc import Mapping
from html import unescape
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from PIL import Image

from tests.integration import reviews
from tests.integration.many_passages import import_passages
from tests.lab import Workspace
from tests.page import Page

FORMATS = ("csv", "xlsx", "jsonl")


def _compare(page: Page, workspace: Workspace, task: str) -> None:
    """Compare the bytes of each format; of a workbook, those of its sheet and texts."""
    for format_ in FORMATS:
        path = Path(f"out-{task}.{format_}")
        workspace.ran("export", str(path), TASK=task)
        response = page.get(f"/items.{format_}", params={"task": task})
        assert response.status_code == 200, response.text
        assert response.headers["content-disposition"].endswith(f'filename="{task}.{format_}"')
        assert _read_parts(response.content) == _read_parts(path.read_bytes()), (task, format_)


def _read_parts(content: bytes) -> Mapping[str, bytes]:
    """Return the contents of a file; the parts of a workbook, without its time of creation."""
    if not content.startswith(b"PK"):
        return {"": content}
    with ZipFile(BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist() if "docProps" not in name}


def _read_lines(page: Page, **parameters: Any) -> list[dict[str, Any]]:
    """Return the rows of an export as JSON lines."""
    text = page.get("/items.jsonl", params=parameters).text
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.alike
def test_each_task_is_exported_as_by_the_command(
    workspace: Workspace,
) -> None:
    """Own tasks, people, passages and images have their answers in every format."""
    workspace.begin()
    Path("people.csv").write_text("Username,Bio\nada,I keep bees.\nbea,Bells.\n", encoding="utf-8")
    workspace.ran("import", EXPERTS="people.csv")
    workspace.ran("tag-live", LIMIT="1")
    import_passages(workspace, 3)
    workspace.ran("tag", MODE="live", TASK="passages")
    Path("photos").mkdir()
    Image.new("RGB", (48, 32), "navy").save("photos/blue.png")
    workspace.ran("import-images", "photos")
    workspace.ran("tag", MODE="live", TASK="images")
    reviews.set_up_task(workspace).ran("tag-live", LIMIT="3")
    with Page(workspace) as page:
        for task in ("reviews", "experts", "passages", "images"):
            _compare(page, workspace, task)

        people = _read_lines(page, task="experts", find="ada")
        assert [(person["Username"], bool(person["tags"])) for person in people] == [("ada", True)]
        concepts = _read_lines(page, task="passages", find="p-0001")
        assert {concept["passage_id"] for concept in concepts} == {"p-0001"}
        assert _read_lines(page, task="images", state="open") == []


@pytest.mark.alike
def test_an_export_has_the_rows_of_the_filter(
    workspace: Workspace,
) -> None:
    """State, words, a condition and chosen rows select; the links of the page name them."""
    reviews.set_up_task(workspace).ran("tag-live", LIMIT="3")
    with Page(workspace) as page:

        def read_ids(**parameters: Any) -> list[str]:
            """Return the ids of the exported rows."""
            text = page.get("/items.csv", params={"task": "reviews", **parameters}).text
            return [row["id"] for row in csv.DictReader(StringIO(text))]

        assert read_ids() == ["1", "2", "3", "4"]
        assert read_ids(state="open") == ["4"]
        assert read_ids(find="warm") == ["2"]
        assert read_ids(where="id > 1", state="answered") == ["2", "3"]
        assert read_ids(id=["3", "1"]) == ["1", "3"]
        answers = _read_lines(page, task="reviews", id=["1"])
        assert answers[0]["praise"]
        assert answers[0]["state"] == "answered"

        # A filter that is typed replaces the links in the header of the page.
        part = page.get("/parts/rows", params={"task": "reviews", "find": "warm"}).text
        assert 'hx-swap-oob="true"' in part
        links = re.findall(r'href="(/items\.[^"]*)"', part)
        assert len(links) == len(FORMATS) + 1
        assert len(page.get(unescape(links[0])).text.splitlines()) == 2
        assert page.get("/items.parquet", params={"task": "reviews"}).status_code == 422
