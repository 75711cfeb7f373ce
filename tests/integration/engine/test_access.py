"""What is not a workspace is not changed by a command that only reads or looks."""

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.lab import ON_POSTGRESQL, ROOT, URL, Workspace

THEIRS = (
    "CREATE TABLE experts (id INTEGER PRIMARY KEY, username TEXT, bio TEXT)",
    "INSERT INTO experts VALUES (1, 'ada', 'Knows engines.')",
    "CREATE TABLE orders (x INTEGER)",
)
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
    ("export", "-", "--best"),
    ("clean", "--dry"),
    ("backup", "copy"),
)
PEOPLE = str(ROOT / "data/sample/experts.csv")
PASSAGES = str(ROOT / "data/sample/passages.jsonl")
LOOKING = (("import", PEOPLE, "--dry", "--yes"), ("import-passages", PASSAGES, "--dry", "--yes"))
OWN = "from pydantic import BaseModel\nfrom findable import Task\nclass Answer(BaseModel):\n    note: str\n"


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


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_reading_changes_nothing_of_theirs(theirs: Workspace, journal: str) -> None:
    """Whatever its journal mode: no table, no column, no file beside it, no folder."""
    if not theirs.on_postgresql:
        with closing(sqlite3.connect(theirs.data / "findable.db")) as file:
            file.execute(f"PRAGMA journal_mode = {journal}")
    for statement in THEIRS:
        theirs.change(statement)
    before = contents(theirs)
    for command in (*READING, *LOOKING):
        said = theirs.ran(*command, code=3).output
        assert "tables of another program" in said, (command, said)
        assert contents(theirs) == before, command


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
