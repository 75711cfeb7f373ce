"""Distributions of answers beside the table, with the counts that the commands report."""

import json
import re
from html import unescape
from typing import Any

import pytest

from tests.integration import reviews
from tests.lab import Workspace
from tests.page import Page

STARS_BY_KEY = {"1": 2, "2": 5, "3": 2, "4": 4}
PRAISE_BY_KEY = {"1": ["light"], "2": ["light", "oak"], "3": ["oak"], "4": ["light"]}
REVIEWS = {"task": "reviews"}
LINK = re.compile(r'<a\s+href="([^"]*)"[^>]*>(.*?)</a>', re.DOTALL)


@pytest.fixture(name="task")
def _task(workspace: Workspace) -> Workspace:
    """A task with four answered rows: stars 2, 5, 2 and 4."""
    reviews.set_up_task(workspace).ran("tag-live")
    for key, stars in STARS_BY_KEY.items():
        _write_answer(workspace, key, stars=stars, praise=PRAISE_BY_KEY[key])
    return workspace


def _write_answer(workspace: Workspace, key: str, **fields: Any) -> None:
    """Replace the stored answer of a row."""
    answer = json.dumps({"quote": None, **fields})
    change = "UPDATE askrows_answers SET answer = :answer WHERE row_id = :key"
    workspace.change(change, answer=answer, key=key)


def _read_values(page: Page, **parameters: Any) -> dict[str, dict[str, tuple[int, str]]]:
    """Return count and address of each value by facet."""
    html = page.get("/parts/facets", params={**REVIEWS, **parameters}).text
    values_by_field = {}
    for section in html.split('<section class="facet">')[1:]:
        field = re.findall(r"<h2[^>]*>(.*?)</h2>", section)[0]
        values = {}
        for href, content in LINK.findall(section):
            [label] = re.findall(r'class="name"[^>]*>(.*?)</span>', content)
            [count] = re.findall(r'class="num soft">(\d*)</span>', content)
            values[unescape(label)] = (int(count or 0), unescape(href))
        values_by_field[field] = values
    return values_by_field


def _read_names(page: Page, address: str) -> list[str]:
    """Return the keys of the listed rows."""
    return re.findall(r'/row\?task=reviews[^"]*&amp;key=(\w+)', page.get(address).text)


@pytest.mark.full
@pytest.mark.alike
def test_several_values_of_a_field_are_chosen(task: Workspace) -> None:
    """Values of a field are alternatives with their own counts; another field narrows them."""
    with Page(task) as page:
        values = _read_values(page, only=["stars = 2"])
        counts = [(label, count) for label, (count, _) in values["stars"].items()]
        assert counts == [("2", 2), ("4", 1), ("5", 1)]
        assert {label: count for label, (count, _) in values["praise"].items()} == {
            "light": 1,
            "oak": 1,
        }
        two_values = values["stars"]["5"][1]
        assert _read_names(page, two_values) == ["1", "2", "3"]
        values = _read_values(page, only=["stars = 2", "stars = 5"])
        assert _read_names(page, values["praise"]["oak"][1]) == ["2", "3"]
        assert _read_names(page, values["stars"]["5"][1]) == ["1", "3"]


@pytest.mark.full
@pytest.mark.alike
def test_many_numbers_are_counted_by_range(task: Workspace) -> None:
    """More than 12 numbers, or texts with numbers, become ranges; a range lists its rows.

    A number far from the others makes no ranges without rows.
    """
    texts = {str(number): f"Lamp {number}." for number in range(5, 21)}
    reviews.set_up_task(task, **texts).ran("tag-live")
    for number in range(1, 20):
        stars = 10 * number if number % 2 else str(10 * number)
        _write_answer(task, str(number), stars=stars, praise=[])
    _write_answer(task, "20", stars=1000, praise=[])
    with Page(task) as page:
        values = _read_values(page)["stars"]
        assert [(label, count) for label, (count, _) in values.items()] == [
            ("0 to 99", 9),
            ("100 to 199", 10),
            ("1000 to 1099", 1),
        ]
        assert _read_names(page, values["1000 to 1099"][1]) == ["20"]
        html = unescape(page.get(values["1000 to 1099"][1]).text)
        assert "stars: 1000 to 1099" in html


@pytest.mark.full
@pytest.mark.alike
def test_a_range_of_numbers_filters(task: Workspace) -> None:
    """A number field takes a range, which replaces its other filters and is named in words."""
    with Page(task) as page:
        html = page.get("/parts/facets", params={**REVIEWS, "only": "stars = 2"}).text
        assert re.findall(r'data-column="(\w+)" data-list="([^"]*)"', html) == [
            ("stars", "/?task=reviews")
        ]
        for condition, label, keys in (
            ("stars >= 3 AND stars <= 5", "stars: 3 to 5", ["2", "4"]),
            ("stars >= 5", "stars: from 5", ["2"]),
            ("stars <= 2", "stars: up to 2", ["1", "3"]),
        ):
            html = page.get("/", params={**REVIEWS, "only": condition}).text
            assert label in html
            assert _read_names(page, f"/?task=reviews&only={condition}") == keys


@pytest.mark.full
@pytest.mark.alike
def test_filters_speak_of_this_table(task: Workspace) -> None:
    """The legend has the states that are listed, and the example is a condition on a column."""
    with Page(task) as page:
        legend = page.get("/parts/facets", params=REVIEWS).text.partition("What the states mean")[2]
        assert re.findall(r"<li>(.*?): <span", legend) == ["answered"]
        [example] = re.findall(r'placeholder="(\w+ [^"]*)"', page.get("/", params=REVIEWS).text)
        assert _read_names(page, f"/?task=reviews&where={unescape(example)}")
