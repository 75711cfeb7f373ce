"""Columns of the rows table are hidden and shown, and each filter can be removed."""

import csv
import re
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.integration import reviews
from tests.lab import Workspace
from tests.page import Page

REVIEWS = "/?task=reviews"


@pytest.fixture(name="task")
def _task(workspace: Workspace) -> Workspace:
    """A task with four rows without answers."""
    workspace_with_task = reviews.set_up_task(workspace)
    workspace_with_task.ran("tag", "--dry", TASK="tasks/reviews.py")
    return workspace_with_task


def _read_headers(html: str) -> list[str]:
    """Return the labels of the columns of the table."""
    [head] = re.findall(r"<thead>.*?</thead>", html, re.DOTALL)
    cells = re.findall(r"<th\s.*?</th>", head, re.DOTALL)
    return [re.sub(r"<[^>]+>", "", cell).strip() for cell in cells]


def _find_link(html: str, label: str) -> str:
    """Return the address of a link with this name."""
    [address] = re.findall(rf'href="([^"]*)"[^>]*aria-label="{label}"', html)
    return unescape(address)


@pytest.mark.full
@pytest.mark.alike
def test_columns_are_hidden_and_shown(task: Workspace) -> None:
    """Each link of the menu changes the table, and the filter and the sort order stay."""
    task.ran("tag-live")
    with Page(task) as page:
        html = page.get(f"{REVIEWS}&sort=-text&find=e").text
        names = _read_headers(html)
        assert names[:2] == ["id", "text ▾"]
        address = _find_link(html, "Hide id")
        parameters = parse_qs(urlsplit(address).query)
        assert (parameters["sort"], parameters["find"]) == (["-text"], ["e"])
        html = page.get(address).text
        assert _read_headers(html) == names[1:]
        html = page.get(_find_link(html, "Show id")).text
        assert _read_headers(html) == names
        [usual] = re.findall(r'href="([^"]*)">Usual columns', html)
        assert _read_headers(page.get(unescape(usual)).text) == names


@pytest.mark.alike
def test_columns_without_values_are_hidden(task: Workspace) -> None:
    """Empty columns are not displayed, but can be shown."""
    with Page(task) as page:
        html = page.get(REVIEWS).text
        assert _read_headers(html) == ["id", "text"]
        html = page.get(_find_link(html, "Show stars")).text
        assert _read_headers(html) == ["id", "text", "stars"]


@pytest.mark.full
@pytest.mark.alike
def test_each_filter_is_a_chip_that_removes_it_alone(task: Workspace) -> None:
    """The address of a chip has all filters but its own."""
    task.ran("tag-live")
    with Page(task) as page:
        html = page.get(f"{REVIEWS}&find=oak&only=stars+%3D+4&only=stars+%3D+5&state=answered").text
        chips = re.findall(r'<a class="chip" href="([^"]*)" dir="auto">([^<]*)<span', html)
        assert [label.strip() for _, label in chips] == [
            "Find: oak",
            "answered",
            "stars: 4",
            "stars: 5",
        ]
        parameters = parse_qs(urlsplit(unescape(chips[2][0])).query)
        assert parameters == {
            "task": ["reviews"],
            "find": ["oak"],
            "state": ["answered"],
            "only": ["stars = 5"],
        }
        assert page.get(unescape(chips[2][0])).status_code == 200


@pytest.mark.full
def test_rows_without_a_key_are_called_by_their_numbers(workspace: Workspace) -> None:
    """Table, row and run show the number of a row whose key is a hash, never the hash."""
    task = reviews.set_up_task(workspace)
    path = reviews.write_task_file()
    path.write_text(path.read_text().replace("    prompt=", '    key="row",\n    prompt='))
    table = path.with_suffix(".csv")
    task.ran("tag-live")
    with Page(task) as page:
        html = page.get(REVIEWS).text
        cells = re.findall(r'<th scope="row".*?key=(\w+)"[^>]*>(.*?)</a>', html, re.DOTALL)
        assert [title for _, title in cells] == ["row 1", "row 2", "row 3", "row 4"]
        key = cells[1][0]
        texts = [page.get(f"/row?task=reviews&key={key}").text]
        texts.append(page.get("/batch?task=reviews&number=1").text)
        for text in texts:
            assert key not in re.sub(r"<[^>]*>|Type \w+", "", text)
        assert '<h1 dir="auto">Row 2</h1>' in texts[0]
        assert ">row 2</a>" in texts[1]

        # In a newer table without the first row, the others keep their answers and move up.
        header, _, *rows = table.read_text().splitlines()
        table.write_text("\n".join([header, "9,It hums.", *reversed(rows)]))
        task.ran("tag-live", "--dry")
        html = page.get(REVIEWS).text
        assert re.findall(r">row (\d)<|>(waiting)<", html) == [
            ("1", ""),
            ("", "waiting"),
            ("2", ""),
            ("3", ""),
            ("4", ""),
        ]
        assert "gone row" in page.get(f"{REVIEWS}&state=gone").text
        listed = page.get("/rows.csv?task=reviews&sort=-row_number&where=row_number>1").text
        assert [row["row_number"] for row in csv.DictReader(listed.splitlines())] == ["2", "3", "4"]
    numbers = task.query("SELECT row_number FROM reviews_answered ORDER BY id")
    assert numbers == [(None,), (4,), (3,), (2,)]
