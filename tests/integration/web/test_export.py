"""The page exports the rows of a filter in each format."""

import csv
import json
import re
from html import unescape
from io import StringIO
from typing import Any

import pytest

from tests.integration import reviews
from tests.lab import Workspace
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
