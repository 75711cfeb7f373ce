"""A question that is kept on the page: a task's file in the workspace, with a copy of its table."""

import hashlib
import shutil
from pathlib import Path

import pytest

from pipeline.core import settings
from pipeline.core.errors import InputError
from pipeline.workflows import ask, new_task_files
from tests.lab import Workspace, ran

QUESTION = 'Praise or "blame"? \\ {text}'
FIELDS = 'tone: praise|rather "mixed"|blame; why: quote; topics: list; stars: int'
TEXTS = ("It boils in two minutes.", "The lid burned my hand.", "Warm light, easy to dim.")
ROUND = ("batch-submit", "batch-poll", "batch-ingest")


def put(name: str = "kettle reviews.csv", *, column: str = "text") -> Path:
    """Write a table, and return its path."""
    path = Path(name)
    path.write_text(
        "\n".join([f"id,{column}", *(f'{key},"{text}"' for key, text in enumerate(TEXTS, 1)), ""])
    )
    return path


def keep(workspace: Workspace, table: Path, name: str = "reviews") -> None:
    """Keep the question about a table, as the page does."""
    data = settings.load_settings(workspace.environ).data
    asking = ask.check_question(table, QUESTION, fields=FIELDS, name=name, data=data)
    with workspace.open() as ws:
        new_task_files.save_task_with_file(ws, asking)


def test_all_commands_take_it(workspace: Workspace) -> None:
    """What was uploaded may go; the file is as `ask NAME=` writes it, but for where its rows are."""
    table = put()
    keep(workspace.begin(), table)
    ran(workspace, "ask", str(table), "-q", QUESTION, "--fields", FIELDS, "--name", "other")
    mine = (
        (workspace.data / "tasks" / "reviews.py")
        .read_text()
        .replace("../sources/reviews.csv", f"../{table}")
    )
    assert (
        mine.replace("made for reviews.csv", f"made for {table}")
        == Path("tasks", "other.py").read_text()
    )
    table.unlink()
    assert "3: 0 answered" in ran(workspace, "status", TASK="reviews")
    workspace.ran_each(*ROUND, TASK="reviews")
    ran(workspace, "correct", "2", "--set", 'tone=rather "mixed"', TASK="reviews")
    assert workspace.query("SELECT id, tone FROM reviews_answered WHERE id = '2'") == [
        ("2", 'rather "mixed"')
    ]
    assert "nothing to tag" in ran(workspace, "tag", "--mode", "batch", TASK="reviews")


def test_a_copy_of_the_workspace_has_its_file_and_rows(
    workspace: Workspace, tmp_path: Path
) -> None:
    """So the task goes on from the copy, once confirmed, if the first folder is gone."""
    keep(workspace.begin(), put())
    ran(workspace, "backup", str(tmp_path / "copy"))
    if workspace.on_postgresql:
        return  # what is typed there copies the whole folder
    ran(workspace, "restore", str(tmp_path / "copy"), DATA=str(tmp_path / "again"))
    shutil.rmtree(workspace.data)
    there = {"TASK": "reviews", "DATA": str(tmp_path / "again")}
    assert "nobody confirmed it, and it was not run" in ran(workspace, "try", code=3, **there)
    file = tmp_path / "again" / "tasks" / "reviews.py"
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    there["TRUST"] = f"{workspace.environ['FINDABLE_TRUST']},{sha256}"
    assert "3 rows tried" in ran(workspace, "try", **there)


def test_what_cannot_be_kept_leaves_nothing(workspace: Workspace) -> None:
    """A name that is taken, rows without text; what is wrong with the copy later is told with the line to mend."""
    keep(workspace.begin(), put())
    with pytest.raises(InputError, match=r"reviews\.py is there already"):
        keep(workspace, put("other.csv"))
    Path("numbers.csv").write_text("id,n\n1,2\n")
    with pytest.raises(InputError, match="no column that holds a text"):
        keep(workspace, Path("numbers.csv"), "numbers")
    assert workspace.query("SELECT name FROM findable_tasks") == [("reviews",)]
    assert [one.name for one in (workspace.data / "sources").iterdir()] == ["reviews.csv"]
    put(str(workspace.data / "sources" / "reviews.csv"), column="body")
    assert "reviews.py, line " in ran(workspace, "tag", TASK="reviews", code=2)
