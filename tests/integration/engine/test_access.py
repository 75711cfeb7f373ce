"""What is not a workspace is not changed by a command that reads, and by one that writes only where that was agreed."""

import hashlib
import os
import pty
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests import postgresql
from tests.lab import ON_POSTGRESQL, ROOT, URL, Workspace

THEIRS = (
    "CREATE TABLE experts (id INTEGER PRIMARY KEY, username TEXT, bio TEXT)",
    "INSERT INTO experts VALUES (1, 'ada', 'Knows engines.')",
    "CREATE TABLE orders (x INTEGER)",
)
PEOPLE_ALONE = ("CREATE TABLE people (id INTEGER PRIMARY KEY)",)
READING = (
    ("status",),
    ("passages-status",),
    ("costs",),
    ("search", "law"),
    ("show", "ada"),
    ("log",),
    ("export", "out.csv"),
    ("preflight",),
    ("batches",),
    ("batch-submit", "--dry"),
    ("doctor",),
    ("parked",),
    ("versions",),
    ("qc",),
    ("best-concepts",),
    ("clean", "--dry"),
    ("backup", "copy"),
)
NEW_ONE = str(ROOT / "data/sample/new_expert.json")
PEOPLE = str(ROOT / "data/sample/experts.csv")
PASSAGES = str(ROOT / "data/sample/passages.jsonl")
LOOKING = (("import", PEOPLE, "--dry", "--yes"), ("import-passages", PASSAGES, "--dry", "--yes"))
OWN = "from pydantic import BaseModel\nfrom findable import Task\nclass Answer(BaseModel):\n    note: str\n"
WRITING = (
    *(("import", PEOPLE), ("add-expert", NEW_ONE), ("tag",), ("tag-live",), ("batch-submit",), ("batch-poll",)),
    *(("batch-ingest",), ("index",), ("score",), ("run",), ("unpark", "--all"), ("clean",)),
)


@pytest.fixture(name="theirs")
def _theirs(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A database of another program, in which a workspace's settings point; the folder is empty."""
    monkeypatch.chdir(tmp_path)
    workspace.data.mkdir(parents=True, exist_ok=True)
    if not ON_POSTGRESQL:
        workspace.environ[URL] = f"sqlite:///{workspace.data / 'findable.db'}"
    return workspace


def contents(workspace: Workspace) -> object:
    """Return all that a database holds, and the bytes of its file and of what lies beside it."""
    if workspace.on_postgresql:
        found = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
        return sorted(workspace.query(found)), workspace.query(
            "SELECT relname, relkind FROM pg_class WHERE oid > 16384"
        )
    return {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in workspace.data.iterdir()}


@pytest.mark.parametrize("made", [THEIRS, PEOPLE_ALONE], ids=["experts", "people"])
@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_reading_changes_nothing_of_theirs(theirs: Workspace, made: tuple[str, ...], journal: str) -> None:
    """Whatever its journal mode: no table, no column, no file beside it, no folder."""
    if not theirs.on_postgresql:
        with closing(sqlite3.connect(theirs.data / "findable.db")) as file:
            file.execute(f"PRAGMA journal_mode = {journal}")
    for statement in made:
        theirs.change(statement)
    before = contents(theirs)
    for command in (*READING, *LOOKING):
        said = theirs.ran(*command, code=3).output
        assert "tables of another program" in said, (command, said)
        assert contents(theirs) == before, command


def test_writing_asks_before_it_adds(theirs: Workspace) -> None:
    """Off a terminal it names what would be added and ends; `YES=1` agrees, and from then on it is a workspace."""
    for statement in THEIRS:
        theirs.change(statement)
    before = contents(theirs)
    for command in WRITING:
        said = theirs.ran(*command, code=3).output
        assert "findability_score" in said, (command, said)
        assert "YES=1 agrees" in said, (command, said)
        assert contents(theirs) == before, command
    assert "adopted the experts table (1 row)" in theirs.ran("score", "--yes").output
    assert theirs.ran("status").output.splitlines()[1].startswith("experts    1: ")


def test_a_role_that_may_only_select_reads(theirs: Workspace, tmp_path: Path) -> None:
    """And so does one in a folder that it may not write to."""
    for statement in THEIRS:
        theirs.change(statement)
    if theirs.on_postgresql:
        role = postgresql.name_of(tmp_path) + "_reader"
        postgresql.shared().execute(f'CREATE ROLE "{role}" LOGIN')
        theirs.change(f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{role}"')
        theirs.environ[URL] = theirs.environ[URL].replace("postgres@", f"{role}@")
    else:
        (theirs.data / "findable.db").chmod(0o444)
        theirs.data.chmod(0o555)
    try:
        assert "tables of another program (experts, orders)" in theirs.ran("status", code=3).output
    finally:
        theirs.data.chmod(0o755)


@pytest.mark.parametrize("place", ["data", "database"])
def test_a_mistyped_place_is_not_made(workspace: Workspace, tmp_path: Path, place: str) -> None:
    """Neither by a command that reads nor by one that writes, but by an import, which says so."""
    nowhere = tmp_path / "nowhere"
    values = {"DATA": str(nowhere)}
    if place == "database":
        values["DATABASE_URL"] = f"sqlite:///{nowhere / 'x.db'}"
    elif workspace.on_postgresql:
        pytest.skip("the database is named apart from the folder")
    for command in (*READING, *(one for one in WRITING if one[0] not in {"import", "add-expert"})):
        said = workspace.ran(*command, code=3, **values).output
        assert "there is no workspace in" in said, (command, said)
        assert str(nowhere) in said, (command, said)
        assert not nowhere.exists(), command
    assert f"a new workspace: {nowhere}" in workspace.ran("import", PEOPLE, **values).output


def test_what_only_looks_makes_nothing(workspace: Workspace, tmp_path: Path) -> None:
    """A dry import or submit says what it would do, in a new place too, where neither folder nor table is made."""
    (tmp_path / "own.csv").write_text("id,text\na,Old bees.\nb,Thin glass.\n", encoding="utf-8")
    task = tmp_path / "own.py"
    task.write_text(f'{OWN}task = Task(answer=Answer, items="own.csv", prompt="{{text}}")\n', encoding="utf-8")
    for command in (*LOOKING, ("batch-submit", "--dry", "--yes", "--task", str(task))):
        said = workspace.ran(*command)
        assert "holds no workspace, and gets none" in said.stderr, command
        assert "written" in said.stdout, command
        assert not workspace.data.exists() or not any(workspace.data.iterdir()), command
        assert not workspace.on_postgresql or not workspace.tables(), command
    workspace.ran("import", PEOPLE)
    before = workspace.tables()
    assert "would go in: " in workspace.ran("import-passages", PASSAGES, "--dry").stdout
    assert workspace.tables() == before


def test_an_empty_database_needs_no_yes(workspace: Workspace, tmp_path: Path) -> None:
    """A command that writes makes a workspace in the database that DATABASE_URL names, where that is there."""
    empty = tmp_path / "empty.db"
    empty.touch()
    said = workspace.ran("score", DATA=str(tmp_path / "new"), DATABASE_URL=f"sqlite:///{empty}").output
    assert "a new workspace" in said
    assert "0 scores checked" in said


@pytest.mark.sqlite_only(reason="the terminal is the same")
def test_a_persons_no_changes_nothing(theirs: Workspace) -> None:
    """The question says what is added; a no ends the command well."""
    for statement in THEIRS:
        theirs.change(statement)
    before = contents(theirs)
    ours, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "jobs", "score"],
        cwd=ROOT,
        env={**os.environ, **theirs.environ},
        stdin=terminal,
        stderr=subprocess.PIPE,
    ) as command:
        os.write(ours, b"n\n")
        said = command.communicate()[1].decode()
    os.close(terminal)
    os.close(ours)
    assert command.returncode == 0, said
    assert "Add tables of its own" in said
    assert said.endswith("nothing was changed\n")
    assert contents(theirs) == before
