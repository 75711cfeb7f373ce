"""In another program's database no command that reads makes a table; one that writes asks, naming all that it makes."""

from pathlib import Path
from typing import Any

import pytest

from jobs.command import WritingCommand
from jobs.commands import COMMANDS, command_of
from tests.integration import reviews
from tests.integration.engine.test_access import NEW_ONE, PASSAGES, PEOPLE
from tests.lab import ROOT, URL, Workspace

QUERIES, QRELS = str(ROOT / "data/sample/queries.jsonl"), str(ROOT / "data/sample/qrels.tsv")
IMAGES = str(ROOT / "data/sample/photos")
THEIRS = (
    "CREATE TABLE experts (id INTEGER PRIMARY KEY, username TEXT, bio TEXT, shoe TEXT)",
    "INSERT INTO experts VALUES (1, 'ada', 'Knows engines.', '38'), (2, 'bo', 'Keeps bees in Lund.', '44')",
)
TASKS = ("experts", "passages", "images", reviews.NAME)
WHOLE = {  # about no task, or about all of them
    *(("batches",), ("costs",), ("doctor",), ("backup", "copy"), ("clean", "--dry"), ("settings",), ("prices",)),
}
OF_PEOPLE = {("people",), ("tags",), ("tags", "--merge", "a=b", "--dry", "--yes"), ("show", "ada")}
OF_PASSAGES = {("passages-status",), ("best-concepts",), ("best-concepts", "a")}
OF_TASK = {
    *(("status",), ("items",), ("log",), ("qc",), ("parked",), ("versions",), ("export", "out.csv"), ("preflight",)),
    *(("search", "law"), ("show", "--item", "1"), ("eval", QUERIES, QRELS), ("batch-submit", "--dry")),
    *(("lab-run",), ("lab-tune",), ("lab-export", "--queries", "q.jsonl")),
}
DRY = {("import", PEOPLE, "--dry", "--yes"), ("import-passages", PASSAGES, "--dry", "--yes")}
READING = sorted(WHOLE | OF_PEOPLE | OF_PASSAGES | OF_TASK | DRY)
NO_READERS = {"demo", "unpark", "rollback", "restore", "web", "emulator"}  # nor do they ask to add to a database
FIRST_USE = {
    "passages": ("import-passages", PASSAGES),
    "images": ("import-images", IMAGES),
    reviews.NAME: ("preflight",),
}


@pytest.fixture(name="adopted")
def _adopted(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Another program's database that was adopted for people, with the file of a task that was never used."""
    monkeypatch.chdir(tmp_path)
    workspace.data.mkdir(parents=True, exist_ok=True)
    if not workspace.on_postgresql:
        workspace.environ[URL] = f"sqlite:///{workspace.data / 'findable.db'}"
    for statement in THEIRS:
        workspace.change(statement)
    workspace.ran("score", "--yes")
    reviews.declare()
    rows = [f'{key},"{text}"' for key, text in reviews.TEXTS.items()]
    Path("tasks", "reviews.csv").write_text("\n".join(["id,text", *rows, ""]), encoding="utf-8")
    return workspace


def objects(workspace: Workspace) -> dict[str, str]:
    """Return every table and view, by name, each with what it is."""
    if workspace.on_postgresql:
        found = workspace.query("SELECT tablename, 'table' FROM pg_tables WHERE schemaname = 'public'")
        found += workspace.query("SELECT viewname, 'view' FROM pg_views WHERE schemaname = 'public'")
    else:
        found = workspace.query("SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view')")
    return {name: kind for name, kind in found if not name.startswith("sqlite_")}


def everything(workspace: Workspace) -> list[Any]:
    """Return the whole schema of a database, indexes too, and how many rows each table and view has."""
    if workspace.on_postgresql:
        columns = "SELECT table_name, column_name, data_type FROM information_schema.columns"
        found = workspace.query(f"{columns} WHERE table_schema = 'public' ORDER BY 1, ordinal_position")
        found += workspace.query("SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2")
        found += workspace.query("SELECT viewname, definition FROM pg_views WHERE schemaname = 'public' ORDER BY 1")
    else:
        found = workspace.query("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2")
    names = sorted(objects(workspace))
    return [found, {name: workspace.scalar(f'SELECT count(*) FROM "{name}"') for name in names}]  # noqa: S608 - their names


def concerned(command: tuple[str, ...], task: str) -> str:
    """Return the task that a command reads where TASK names one; empty where it reads none."""
    if command in WHOLE or command in DRY:
        return ""
    if command in OF_PEOPLE or command in OF_PASSAGES:
        return "experts" if command in OF_PEOPLE else "passages"
    return task


def test_every_command_that_reads_is_tried() -> None:
    """A command that asks nothing before it works reads, but for a few."""
    quiet = {name for name in COMMANDS if not isinstance(command_of(name), WritingCommand)}
    assert quiet - NO_READERS <= {command[0] for command in READING}


@pytest.mark.parametrize("task", TASKS)
def test_reading_makes_no_table(adopted: Workspace, task: str) -> None:
    """Neither of a task that was never used, which is said with what begins it, nor of one that was."""
    before = everything(adopted)
    for command in READING:
        done = adopted.run(*command, TASK=task)
        assert everything(adopted) == before, (command, done.output)
        if concerned(command, task) not in {"", "experts"}:
            assert done.exit_code == 3, (command, done.output)
            brings = command[0] in {"preflight", "batch-submit"} and task in {"images", reviews.NAME}
            said = "would add the table" if brings else "was never used in"
            assert said in done.stderr, (command, done.output)
            assert "next: " in done.stderr, (command, done.output)
        elif command in WHOLE or command in DRY or command in {("status",), ("items",), ("people",), ("parked",)}:
            assert done.exit_code == 0, (command, done.output)


@pytest.mark.parametrize("task", TASKS[1:])
def test_reading_makes_nothing_where_the_task_was_used(adopted: Workspace, task: str) -> None:
    """What is there is read, with other settings too."""
    adopted.ran(*FIRST_USE[task], "--yes", TASK=task)
    before = everything(adopted)
    for command in READING:
        done = adopted.run(*command, TASK=task, PREFER_VERSIONS="x@2", MIN_CONFIDENCE="0.9")
        assert everything(adopted) == before, (command, done.output)
        if command in WHOLE or command in {("status",), ("items",), ("parked",), ("versions",), ("preflight",)}:
            assert done.exit_code == 0, (command, done.output)
    assert "was never used" in adopted.ran("status", TASK=next(one for one in TASKS[1:] if one != task), code=3).stderr


def named_in(said: str) -> dict[str, str]:
    """Return the tables and views that a refusal says would be made, each with what it is."""
    added = said.partition("findable would add ")[2].partition("; nothing was written")[0]
    found: dict[str, str] = {}
    for part in added.split("; "):
        words = part.removeprefix("the ")
        for begins, kind in (("table", "table"), ("view", "view")):
            if words.startswith(begins) and "`" not in words:
                names = words.partition("(")[2].rstrip(")") if "(" in words else words.partition(" ")[2]
                found |= dict.fromkeys(names.split(", "), kind)
    return found


def test_the_first_consent_names_every_table(workspace: Workspace) -> None:
    """Those of the engine, and those of people where another program has none."""
    workspace.data.mkdir(parents=True, exist_ok=True)
    if not workspace.on_postgresql:
        workspace.environ[URL] = f"sqlite:///{workspace.data / 'findable.db'}"
    workspace.change("CREATE TABLE orders (x INTEGER)")
    named = named_in(workspace.ran("add-expert", NEW_ONE, code=3).stderr)
    assert list(objects(workspace)) == ["orders"]
    workspace.ran("add-expert", NEW_ONE, "--yes")
    made = objects(workspace)
    del made["orders"]
    assert named == made
    assert "experts" in named


@pytest.mark.parametrize("task", TASKS[1:])
def test_a_later_consent_names_what_a_task_adds(adopted: Workspace, task: str) -> None:
    """Exactly that; every command that writes asks, and after one yes none does."""
    before, all_of_it = objects(adopted), everything(adopted)
    named = named_in(adopted.ran(*FIRST_USE[task], TASK=task, code=3).stderr)
    for command in ("batch-submit", "tag", "unpark"):
        words = ("--all",) if command == "unpark" else ()
        said = adopted.ran(command, *words, TASK=task, code=3).stderr
        assert "holds tables of another program (experts)" in said
        assert named_in(said) == named, command
    assert everything(adopted) == all_of_it
    adopted.ran(*FIRST_USE[task], "--yes", TASK=task)
    made = objects(adopted)
    assert {name: kind for name, kind in made.items() if name not in before} == named
    adopted.ran("unpark", "--all", TASK=task)
    assert objects(adopted) == made


@pytest.mark.parametrize("task", TASKS[1:])
def test_a_database_of_ones_own_needs_no_consent(workspace: Workspace, task: str) -> None:
    """Where every table is findable's, a task begins without a question."""
    reviews.put(workspace)
    workspace.ran("import", PEOPLE)
    workspace.ran(*FIRST_USE[task], TASK=task)


def test_a_table_that_is_gone_is_told(adopted: Workspace) -> None:
    """Who dropped it is not given an empty one by a command that reads."""
    adopted.change("DROP TABLE experts")
    before = everything(adopted)
    assert "no table experts any more" in adopted.ran("status", code=5).stderr
    assert everything(adopted) == before
