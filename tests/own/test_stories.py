"""Five tables of five kinds, from a file of a task to what is exported, on both servers, and killed at random.

What each of the tables is there for stands in `tables/expected.md`.
"""

import csv
import json
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.steps import Fate
from tests.crash import homes
from tests.crash.program import KILLED, Mortal
from tests.lab import Api, Workspace
from tests.outside.server import Outside

pytestmark = pytest.mark.full

TABLES = Path(__file__).parent / "tables"
ROUND = ("batch-submit", "batch-poll", "batch-ingest")
MOST_ROUNDS = 9
MOST_STEPS = 60
SERVERS = ("emulator", "outside")


@dataclass(frozen=True)
class Story:
    """One task: its name and version, how many rows are to be answered, its key and the fields of an answer."""

    name: str
    rows: int
    key: tuple[str, ...]
    fields: tuple[str, ...]
    version: int = 1
    prefix: str = ""  # of its tables, where that is not the name
    quoted: str = ""  # column that quotations stand in
    exploded: str = ""  # a list, to be exported a row each

    @property
    def answers(self) -> str:
        """Return the name of the table of answers."""
        return f"{self.prefix or self.name}_answers"


STORIES = (
    Story("reviews", 19, ("id",), ("aspects", "stars"), quoted="text", exploded="aspects"),
    Story("invoices", 15, ("vendor", "number"), ("issued", "due", "total", "net", "currency", "is_credit"), version=3),
    Story("tickets", 14, ("ticket",), ("kind", "urgent", "summary", "contact", "tags"), prefix="desk", exploded="tags"),
    Story("museum", 14, ("id",), ("century", "state", "damage"), quoted="note"),
    Story("rezepte", 12, ("row",), ("gericht", "schritte", "ohne_ofen"), quoted="Text", exploded="schritte"),
)


@pytest.fixture(scope="module")
def mortal() -> Iterator[Mortal]:
    """The program that runs commands which die."""
    with Mortal() as program:
        yield program


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Api | Outside:
    """One server and then the other."""
    found: Api | Outside = request.getfixturevalue("api" if request.param == "emulator" else "outside")
    return found


@pytest.fixture
def home(tmp_path: Path, server: Api | Outside, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty workspace on that server, with the five tasks beside it and the museum's tables in its database."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(TABLES, tmp_path / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    settings = {"BATCH_ROWS": "4", "RETRY_WAIT": "0.01", "POLL_MOST": "0.1"}
    workspace = homes.workspace_at(tmp_path / "data", server.url, **settings).begin()
    script = (TABLES / "museum.sql").read_text(encoding="utf-8").partition("\n")[2]
    for statement in script.split(";\n"):
        if statement.strip():
            workspace.change(statement)
    return workspace


def answered(workspace: Workspace, story: Story) -> int:
    """Return how many rows are answered; none before the table is there."""
    if story.answers not in workspace.tables():
        return 0
    return int(workspace.scalar(f"SELECT count(*) FROM {story.answers}"))  # noqa: S608 - a name of this module


def run_until_answered(workspace: Workspace, story: Story, run: Callable[[str], object]) -> None:
    """Run the round until every row is answered."""
    for _ in range(MOST_ROUNDS):
        for command in ROUND:
            run(command)
        if answered(workspace, story) == story.rows:
            return
    raise AssertionError(workspace.run("status", TASK=story.name).output)


def parsed(value: Any) -> Any:
    """Return what a JSON column or cell holds; one database gives it as text."""
    return json.loads(value) if isinstance(value, str) and value[:1] in "[{" else value


def quotations(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every quotation in an answer."""
    if isinstance(value, dict) and value.keys() == {"quote", "start", "end"}:
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from quotations(inner)


def check_tables(workspace: Workspace, story: Story) -> None:
    """Hold that each row has one answer in the record and in the table, and that quotations are slices of its text."""
    columns = workspace.columns(story.answers)
    assert {*story.key, "extractor", *story.fields} <= {*columns}
    record = "SELECT item_id FROM findable_answers WHERE applied AND task = :task"
    kept = [row[0] for row in workspace.query(record, task=story.name)]
    assert len(kept) == len(set(kept)) == story.rows
    extractors = workspace.query(f"SELECT DISTINCT extractor FROM {story.answers}")  # noqa: S608 - our names
    assert all(row[0].startswith(f"{story.name}@{story.version}/") for row in extractors)
    view = f"{story.answers.removesuffix('_answers')}_answered"
    names = ", ".join(f'"{name}"' for name in (*story.fields, *([story.quoted] if story.quoted else ())))
    found = workspace.query(f"SELECT {names} FROM {view}")  # noqa: S608 - names of this module
    assert len(found) == story.rows
    for *fields, text in found if story.quoted else ():
        for one in quotations([parsed(field) for field in fields]):
            assert text[one["start"] : one["end"]] == one["quote"]


def check_exports(workspace: Workspace, story: Story) -> None:
    """Hold that what is written names each key once, and that a list is written a row each."""
    folder = workspace.data.parent
    for ending in ("csv", "jsonl"):
        workspace.ran("export", str(folder / f"out.{ending}"), TASK=story.name)
    with (folder / "out.csv").open(encoding="utf-8", newline="") as file:
        cells = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (folder / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    for rows in (cells, lines):
        assert all({*story.key, *story.fields} <= row.keys() for row in rows)
        keys = [tuple(str(row[name]) for name in story.key) for row in rows]
        assert len(set(keys)) == len(keys) >= story.rows


@pytest.mark.parametrize("story", STORIES, ids=lambda one: one.name)
def test_a_file_of_a_task_is_all_that_it_takes(
    home: Workspace, server: Api | Outside, mortal: Mortal, story: Story
) -> None:
    """Submit, poll and ingest, each killed at random moments; then every row is answered once, and is exported."""
    chance = random.Random(story.name)  # noqa: S311 - no secret
    environ = {"FINDABLE_TASK": story.name}
    home.ran("preflight", TASK=story.name)
    if isinstance(server, Outside):
        server.troubles.lost_creates = server.troubles.cut_downloads = 1
    killed = 0

    def run(command: str) -> None:
        """Run it until it is not killed; the more often it was, the later."""
        nonlocal killed
        fate = Fate(chance.randrange(1, MOST_STEPS), chance.choice(("before", "after")))
        for again in range(MOST_ROUNDS):
            fate = Fate(fate.at + again * chance.randrange(MOST_STEPS), fate.side)
            if homes.run(mortal, home, command, fate=fate, environ=environ).code != KILLED:
                return
            killed += 1

    run_until_answered(home, story, run)
    assert killed > 1
    if isinstance(server, Outside):
        server.check_once()
        assert len(server.kept.answered()) == story.rows
    else:
        names = [batch["displayName"] for batch in server.batches()["batches"]]
        assert len(set(names)) == len(names)
    check_tables(home, story)
    check_exports(home, story)
    home.ran("doctor")


@pytest.mark.parametrize("story", STORIES, ids=lambda one: one.name)
def test_the_same_rows_are_answered_live(home: Workspace, server: Api | Outside, story: Story) -> None:
    """One command asks about all rows now; none is asked twice, and run again it has nothing to do."""
    home.ran("tag-live", TASK=story.name)
    assert answered(home, story) == story.rows
    check_tables(home, story)
    check_exports(home, story)
    home.ran("tag-live", TASK=story.name)
    if isinstance(server, Outside):
        assert sorted(server.kept.questions().values()) == [1] * story.rows


@pytest.mark.parametrize("server", ["outside"], indirect=True)
@pytest.mark.parametrize("story", [STORIES[0], STORIES[4]], ids=lambda one: one.name)
def test_a_list_is_exported_a_row_each(home: Workspace, story: Story) -> None:
    """Each member of the list is a row that names its key and what it cost."""
    home.ran("tag-live", TASK=story.name)
    path = home.data.parent / "each.jsonl"
    home.ran("export", str(path), TASK=story.name, ROWS=story.exploded, COST="1")
    each = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lists = home.query(f"SELECT {story.exploded} FROM {story.answers}")  # noqa: S608 - names of this module
    assert len(each) == sum(len(parsed(row[0])) for row in lists)
    assert all({*story.key} <= row.keys() and any("cost" in name for name in row) for row in each)


@pytest.mark.parametrize("server", ["outside"], indirect=True)
@pytest.mark.parametrize("story", [STORIES[0]], ids=lambda one: one.name)
def test_status_counts_the_rows(home: Workspace, story: Story) -> None:
    """Before and after they are answered, and says what to type next."""
    home.ran("batch-submit", TASK=story.name)
    assert "batch-poll" in home.ran("status", TASK=story.name).output
    home.ran("batch-poll", TASK=story.name)
    home.ran("batch-ingest", TASK=story.name)
    assert str(story.rows) in home.ran("status", TASK=story.name).output


@pytest.mark.parametrize("server", ["outside"], indirect=True)
@pytest.mark.parametrize("story", [STORIES[3]], ids=lambda one: one.name)
def test_a_field_fills_the_column_that_it_is_to_be_written_to(home: Workspace, story: Story) -> None:
    """Centuries come into the museum's own table where there was none; the one that stood there stays."""
    home.ran("tag-live", TASK=story.name)
    told = "SELECT id, century FROM museum_answers ORDER BY id"
    stands = "SELECT id, century FROM objects ORDER BY id"
    expected = [(key, 16 if key == 11 else century) for key, century in home.query(told)]
    assert home.query(stands) == expected
