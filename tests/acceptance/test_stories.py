"""Five tables of five kinds, from the file of a task to what is exported, on both servers, killed at random steps.

What each of the tables is there for stands in `tables/expected.md`.
"""

import csv
import io
import random
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.acceptance.database import sql
from tests.acceptance.product import Workspace
from tests.acceptance.steps import Fate
from tests.outside.server import Outside

TABLES = Path(__file__).parent / "tables"
ROUND = ("submit", "poll", "ingest")
MOST_ROUNDS = 9
MOST_STEPS = 60
KILLED = -9


class Story(NamedTuple):
    """A task: its name, how many rows are answered, its key, the fields of an answer, what quotations stand in."""

    name: str
    rows: int
    key: tuple[str, ...]
    fields: tuple[str, ...]
    quoted: str = ""
    exploded: str = ""  # a list, to be exported a row each
    server: str = "outside"  # that it is killed on; the other one answers it live
    equal: int = 0  # rows that equal another, and share its request


REVIEWS = Story("reviews", 19, ("id",), ("aspects", "stars"), quoted="text", exploded="aspects")
MUSEUM = Story("museum", 14, ("id",), ("century", "state", "damage"), quoted="note")
STORIES = (
    REVIEWS,
    Story(
        "invoices",
        15,
        ("vendor", "number"),
        ("issued", "due", "total", "net", "currency", "is_credit"),
        server="api",
    ),
    Story(
        "tickets",
        14,
        ("ticket",),
        ("kind", "urgent", "summary", "contact", "tags"),
        exploded="tags",
        server="api",
    ),
    MUSEUM,
    Story(
        "rezepte",
        13,
        ("row",),
        ("gericht", "schritte", "ohne_ofen"),
        quoted="Text",
        exploded="schritte",
        equal=1,
    ),
)


def home(workspace: Workspace, story: Story) -> Workspace:
    """Put the five tasks beside a workspace, which is about one of them, and the museum's tables into its database."""
    shutil.copytree(TABLES, workspace.home / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    workspace.settings |= {
        "BATCH_ROWS": "4",
        "YES": "1",
    }  # a yes to tables in the database of a museum
    workspace.people(1)
    workspace.task = story.name
    for statement in (
        (TABLES / "museum.sql").read_text(encoding="utf-8").partition("\n")[2].split(";\n")
    ):
        if statement.strip():
            sql(workspace, statement)
    return workspace


def quotations(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every quotation in an answer."""
    if isinstance(value, dict) and value.keys() == {"quote", "start", "end"}:
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from quotations(inner)


def check_answers(workspace: Workspace, story: Story) -> None:
    """Hold that each row is answered once, quotations are slices of its text, and each export names each key once."""
    assert workspace.states()["answered"] == story.rows
    assert all(one["extractor"].startswith(f"{story.name}@") for one in workspace.asked())
    lines = workspace.exported()
    cells = list(csv.DictReader(io.StringIO(workspace.do("export", "-", format="csv").out)))
    for rows in (lines, cells):
        assert all({*story.key, *story.fields} <= row.keys() for row in rows)
        keys = [tuple(str(row[name]) for name in story.key) for row in rows]
        assert len(set(keys)) == len(keys) >= story.rows
    found = [
        (row[story.quoted], one)
        for row in lines
        if story.quoted
        for one in quotations([row[n] for n in story.fields])
    ]
    assert bool(found) == bool(story.quoted)
    assert all(text[one["start"] : one["end"]] == one["quote"] for text, one in found)
    table = "desk" if story.name == "tickets" else story.name
    view = sql(workspace, f"SELECT {', '.join(story.fields)} FROM {table}_answered")  # noqa: S608 - names of this module
    assert len(view) == story.rows
    if story.exploded:
        each = workspace.exported(rows=story.exploded, cost=True)
        assert len(each) == sum(len(row[story.exploded] or ()) for row in lines)
        assert all(
            {*story.key} <= row.keys() and any("cost" in name for name in row) for row in each
        )


@pytest.mark.parametrize("story", STORIES, ids=lambda one: one.name)
def test_a_file_of_a_task_is_all_that_it_takes(
    workspace: Workspace, outside_server: Outside, story: Story
) -> None:
    """Submit, poll and ingest, each killed at random moments; then every row is answered once, and is exported."""
    chance = random.Random(story.name)  # noqa: S311 - no secret
    if story.server == "outside":
        workspace.url = outside_server.url
        outside_server.troubles.lost_creates = outside_server.troubles.cut_downloads = 1
    home(workspace, story).do("preflight")
    killed = rounds = 0
    while workspace.states().get("answered") != story.rows:
        rounds += 1
        assert rounds < MOST_ROUNDS, workspace.status()
        for verb in ROUND:
            fate = Fate(chance.randrange(1, MOST_STEPS), chance.choice(("before", "after")))
            while (done := workspace.run(verb, fate=fate)).code == KILLED:
                killed += 1
                fate = Fate(fate.at + chance.randrange(MOST_STEPS), fate.side)
            assert done.code in {0, 4}, done
    assert killed > 1
    check_answers(workspace, story)
    if story.server == "outside":
        outside_server.check_once()
        assert sorted(outside_server.kept.questions().values()) == [1] * (story.rows - story.equal)
    assert "nothing contradicts" in workspace.do("doctor").out


@pytest.mark.parametrize("story", STORIES, ids=lambda one: one.name)
def test_the_same_rows_are_answered_live(
    workspace: Workspace, outside_server: Outside, story: Story
) -> None:
    """By the other server: one command asks about all rows now, and has nothing to do when it is run again.

    Centuries come into the museum's own table where there was none; the one that stood there stays.
    """
    if story.server != "outside":
        workspace.url = outside_server.url
    home(workspace, story).do("tag_live")
    check_answers(workspace, story)
    workspace.do("tag_live")
    assert len(workspace.asked()) == story.rows - story.equal
    if story is MUSEUM:
        told = {row["id"]: row["century"] for row in workspace.exported()}
        assert dict(sql(workspace, "SELECT id, century FROM objects")) == told | {11: 16}
