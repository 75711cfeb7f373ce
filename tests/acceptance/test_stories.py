"""Five tables of five kinds run from the file of a task to the export, on both servers.

On the first server the commands are killed at random steps. `tables/expected.md` describes the
purpose of each table.
"""

import csv
import io
import random
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.acceptance.database import run_sql
from tests.acceptance.product import Workspace
from tests.acceptance.steps import Fate
from tests.outside.server import Outside

TABLES = Path(__file__).parent / "tables"
ROUND = ("submit", "poll", "ingest")
MAX_ROUNDS = 9
MAX_STEP = 60
KILLED = -9


class Story(NamedTuple):
    """A task and the expected number of its answered rows."""

    name: str
    rows: int
    key: tuple[str, ...]
    # The fields of an answer.
    fields: tuple[str, ...]
    # The column with the text of all quotations.
    quoted_column: str = ""
    # The server of the killed commands. The other server answers live.
    server: str = "outside"
    # Rows that equal another row and share its request.
    equal_rows: int = 0


REVIEWS = Story("reviews", 19, ("id",), ("aspects", "stars"), quoted_column="text")
MUSEUM = Story("museum", 13, ("id",), ("century", "state", "damage"), quoted_column="note")
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
        server="api",
    ),
    MUSEUM,
    Story(
        "rezepte",
        13,
        ("row",),
        ("gericht", "schritte", "ohne_ofen"),
        quoted_column="Text",
        equal_rows=1,
    ),
)


def prepare_workspace(workspace: Workspace, story: Story) -> Workspace:
    """Copy the five tasks to a workspace, select a task, and create the museum's tables."""
    shutil.copytree(TABLES, workspace.home / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    # YES agrees to new tables in the museum's database.
    workspace.settings |= {"BATCH_ROWS": "4", "YES": "1"}
    workspace.import_people(1)
    workspace.task = story.name

    _, _, statements = (TABLES / "museum.sql").read_text(encoding="utf-8").partition("\n")
    for statement in statements.split(";\n"):
        if statement.strip():
            run_sql(workspace, statement)
    return workspace


def find_quotations(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every quotation in an answer."""
    if isinstance(value, dict) and value.keys() == {"quote", "start", "end"}:
        yield value
    elif isinstance(value, dict | list):
        for member in value.values() if isinstance(value, dict) else value:
            yield from find_quotations(member)


def check_answers(workspace: Workspace, story: Story) -> None:
    """Assert that each row is answered once, and that exports and the view are complete."""
    assert workspace.state_counts()["answered"] == story.rows
    requests = workspace.logged_requests()
    assert all(request["extractor"].startswith(f"{story.name}@") for request in requests)

    json_rows = workspace.exported_rows()
    csv_text = workspace.run_command("export", "-", format="csv").stdout
    csv_rows = list(csv.DictReader(io.StringIO(csv_text)))
    for rows in (json_rows, csv_rows):
        assert all({*story.key, *story.fields} <= row.keys() for row in rows)
        keys = [tuple(str(row[name]) for name in story.key) for row in rows]
        assert len(set(keys)) == len(keys) >= story.rows

    check_quotations(json_rows, story)
    table = "desk" if story.name == "tickets" else story.name
    columns = ", ".join(story.fields)
    view_rows = run_sql(workspace, f"SELECT {columns} FROM {table}_answered")  # noqa: S608
    assert len(view_rows) == story.rows


def check_quotations(rows: list[dict[str, Any]], story: Story) -> None:
    """Assert that each quotation is a slice of the text of its row."""
    quotation_count = 0
    for row in rows if story.quoted_column else ():
        text = row[story.quoted_column]
        for quotation in find_quotations([row[name] for name in story.fields]):
            quotation_count += 1
            assert text[quotation["start"] : quotation["end"]] == quotation["quote"]
    assert bool(quotation_count) == bool(story.quoted_column)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_killed_commands_answer_every_row_of_a_task_file_once(
    workspace: Workspace, outside_server: Outside, story: Story
) -> None:
    """Submit, poll and ingest are killed at random steps, and every row is answered once."""
    dice = random.Random(story.name)  # noqa: S311 - no secret
    if story.server == "outside":
        workspace.url = outside_server.url
        outside_server.troubles.lost_creates = 1
        outside_server.troubles.cut_downloads = 1
    prepare_workspace(workspace, story).run_command("preflight")

    killed_count = 0
    round_count = 0
    while workspace.state_counts().get("answered") != story.rows:
        round_count += 1
        assert round_count < MAX_ROUNDS, workspace.status()
        for verb in ROUND:
            fate = Fate(dice.randrange(1, MAX_STEP), dice.choice(("before", "after")))
            while (process := workspace.try_command(verb, fate=fate)).code == KILLED:
                killed_count += 1
                fate = Fate(fate.step + dice.randrange(MAX_STEP), fate.side)
            assert process.code in {0, 4}, process

    assert killed_count > 1
    check_answers(workspace, story)
    if story.server == "outside":
        outside_server.check_once()
        question_counts = sorted(outside_server.kept.questions().values())
        assert question_counts == [1] * (story.rows - story.equal_rows)
    assert "no contradiction found" in workspace.run_command("doctor").stdout


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_one_live_command_answers_every_row(
    workspace: Workspace, outside_server: Outside, story: Story
) -> None:
    """A live command on the other server answers all rows, and a second run asks nothing.

    Centuries fill empty cells of the museum's own table. A filled cell keeps its value.
    """
    if story.server != "outside":
        workspace.url = outside_server.url
    prepare_workspace(workspace, story).run_command("tag_live")
    check_answers(workspace, story)

    workspace.run_command("tag_live")
    assert len(workspace.logged_requests()) == story.rows - story.equal_rows
    if story is MUSEUM:
        centuries = {row["id"]: row["century"] for row in workspace.exported_rows()}
        stored_centuries = dict(run_sql(workspace, "SELECT id, century FROM objects"))
        assert stored_centuries == centuries | {11: 16}
