"""A list of items is filtered, sorted, cut into pages, counted and written to a file, alike on both databases."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.listed import ItemFilter
from pipeline.ops import items
from pipeline.tables import grid
from tests.lab import Workspace

PEOPLE = 60
TAGS = ("water law", "bells", 'the "old" yard', "räder/teile")


@pytest.fixture
def many(workspace: Workspace, tmp_path: Path) -> Workspace:
    """A workspace of many people with a few scores and tags; some are parked, one is claimed."""
    rows = [f"p{n:02},First{n % 7},Last,Baker,=Co{n % 3},Bio {n}" for n in range(PEOPLE)]
    head = "Username,First Name,Last Name,Job Title,Company,Bio"
    (tmp_path / "many.csv").write_text("\n".join([head, *rows]), encoding="utf-8")
    workspace.ran("import", str(tmp_path / "many.csv"))
    for n in range(0, PEOPLE, 2):
        tags = json.dumps([TAGS[n % 4], "common"], ensure_ascii=n % 3 == 0)
        values = {"tags": tags, "score": float(10 * (n % 5)), "name": f"p{n:02}"}
        workspace.change("UPDATE experts SET tags = :tags, findability_score = :score WHERE username = :name", **values)
    return workspace


def listed(workspace: Workspace, *args: str) -> list[dict[str, Any]]:
    """Return the items of all pages of a list, each of seven."""
    found: list[dict[str, Any]] = []
    more: list[str] = []
    while True:
        page = json.loads(workspace.ran("people", *args, *more, "--limit", "7", "--json").stdout)
        found += page["items"]
        if page["after"] is None:
            return found
        more = ["--after", page["after"]]


def test_pages_of_every_order_have_each_item_once(many: Workspace) -> None:
    """Sorted by a column, the largest first or last, with what is equal in the order of rows."""
    every = {one["username"]: one for one in listed(many)}
    assert len(every) == PEOPLE
    for sort, column in (("username", "username"), ("findability_score", "findability_score")):
        rising = listed(many, "--sort", sort, "--fields", f"username,{column}")
        falling = listed(many, "--sort", f"-{sort}", "--fields", f"username,{column}")
        assert sorted(one["username"] for one in rising) == sorted(every)
        assert [one[column] for one in rising] == sorted(one[column] for one in rising)
        assert falling == rising[::-1]
    assert "SORT= takes username" in many.ran("people", "--sort", "bio", code=2).stderr
    assert "there are username" in many.ran("people", "--fields", "secret", code=2).stderr


def test_filters_hold_for_every_item_and_counts_add_up(many: Workspace) -> None:
    """By tag, state and score; each count is what a list filtered so has."""
    for tag in TAGS[::2]:
        assert {tag in one["tags"] for one in listed(many, "--tag", tag)} == {True}
    assert listed(many, "--tag", "wate") == []
    between = listed(many, "--min-score", "10", "--max-score", "30", "--tag", "common")
    assert {one["findability_score"] for one in between} == {10.0, 20.0, 30.0}
    counts = json.loads(many.ran("people", "--counts", "--json").stdout)
    assert counts["total"] == PEOPLE
    for one in counts["states"]:
        assert one["count"] == len(listed(many, "--state", one["value"]))
    for one in counts["tags"]:
        assert one["count"] == len(listed(many, "--tag", one["value"]))
    chosen = json.loads(many.ran("people", "--counts", "--state", "tagged", "--json").stdout)
    assert chosen["total"] == sum(one["count"] for one in chosen["states"]) == PEOPLE // 2
    assert "no versions" not in many.ran("people", "--extractor", "none@1").stderr


def test_a_large_table_is_counted_by_states_alone(many: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tags and versions of more rows than that are not counted."""
    monkeypatch.setattr(grid, "COUNTED", 10)
    with many.open() as ws:
        counts = items.run(ws).counts(ItemFilter(tags=["common"]))
    assert (counts.total, counts.tags, counts.versions) == (PEOPLE // 2, None, None)


def test_a_list_is_written_as_csv_without_formulas(many: Workspace, tmp_path: Path) -> None:
    """The columns that are asked for, in the order of the list; no file is left where the wish is wrong."""
    path = tmp_path / "view.csv"
    args = ("--sort", "-username", "--fields", "username,company,tags", "--state", "tagged")
    many.ran("people", *args, "--to", str(path))
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    assert rows[0] == ["username", "company", "tags", "state"]
    assert [row[0] for row in rows[1:]] == [one["username"] for one in listed(many, *args)]
    assert {row[1][:2] for row in rows[1:]} == {"'="}
    many.ran("people", "--sort", "bio", "--to", str(tmp_path / "none.csv"), code=2)
    assert not (tmp_path / "none.csv").exists()
