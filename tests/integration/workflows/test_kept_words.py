"""A question that is kept as words, with a copy of its table: a task that every command takes, and no file of code."""

from pathlib import Path

import pytest

from pipeline.core import settings
from pipeline.core.errors import InputError
from pipeline.store import workspace as records
from pipeline.workflows import ask
from tests.lab import Workspace, ran

QUESTION = 'Praise or "blame"? \\ {text}'
FIELDS = 'tone: praise|rather "mixed"|blame; why: quote; topics: list; stars: int'
TEXTS = ("It boils in two minutes.", "The lid burned my hand.", "Warm light, easy to dim.")
ROUND = ("batch-submit", "batch-poll", "batch-ingest")


def put(name: str = "kettle reviews.csv", *, column: str = "text") -> Path:
    """Write a table, and return its path."""
    path = Path(name)
    path.write_text("\n".join([f"id,{column}", *(f'{key},"{text}"' for key, text in enumerate(TEXTS, 1)), ""]))
    return path


def keep(workspace: Workspace, table: Path, name: str = "reviews") -> None:
    """Keep the question about a table, as the page does."""
    data = settings.load_settings(workspace.environ).data
    asking = ask.prepared(table, QUESTION, fields=FIELDS, name=name, data=data)
    with workspace.open() as ws:
        ask.keep(ws, asking)


def test_all_commands_take_it_and_a_file_of_it_goes_on(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was uploaded may go. Written out, also where that was killed midway, nothing is asked again."""
    table = put()
    keep(workspace.begin(), table)
    table.unlink()
    assert [one.name for one in (workspace.data / "sources").iterdir()] == ["reviews.csv"]
    assert "class Answer" not in workspace.scalar("SELECT words FROM findable_tasks")
    assert "3: 0 answered" in ran(workspace, "status", TASK="reviews")
    workspace.ran_each(*ROUND, TASK="reviews")
    ran(workspace, "correct", "2", "--set", 'tone=rather "mixed"', TASK="reviews")
    assert workspace.query("SELECT id, tone FROM reviews_answered WHERE id = '2'") == [("2", 'rather "mixed"')]
    with monkeypatch.context() as patch:
        patch.setattr(records, "put_task", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert workspace.run("new-task", "reviews").exit_code
    assert "tasks/reviews.py is written" in ran(workspace, "new-task", "reviews")
    assert "reviews.py" in workspace.scalar("SELECT path FROM findable_tasks")
    assert "nothing to tag" in ran(workspace, "tag", "--mode", "batch", TASK="reviews")
    assert workspace.scalar("SELECT count(*) FROM findable_asks WHERE task = 'reviews'") == len(TEXTS)
    assert "which rows is the task 'reviews' about" in ran(workspace, "new-task", "reviews", code=2)


def test_it_is_asked_to_the_letter_as_its_file_would_be(workspace: Workspace) -> None:
    """The fingerprint of the words is that of the file of NAME=."""
    table = put()
    keep(workspace.begin(), table, "words")
    ran(workspace, "ask", str(table), "-q", QUESTION, "--fields", FIELDS, "--name", "file")
    ran(workspace, "tag", "--mode", "live", TASK="file")
    (one, other) = workspace.query("SELECT fingerprint FROM findable_tasks ORDER BY name")
    assert one == other


def test_a_copy_of_the_workspace_has_its_rows(workspace: Workspace, tmp_path: Path) -> None:
    """So the task goes on from the copy where the first folder is gone."""
    keep(workspace.begin(), put())
    ran(workspace, "backup", str(tmp_path / "copy"))
    if workspace.on_postgresql:
        return  # what is typed there copies the whole folder
    ran(workspace, "restore", str(tmp_path / "copy"), DATA=str(tmp_path / "again"))
    (workspace.data / "sources" / "reviews.csv").unlink()
    assert "reviews.csv is not there" in ran(workspace, "try", TASK="reviews", code=2)
    assert "3 rows tried" in ran(workspace, "try", TASK="reviews", DATA=str(tmp_path / "again"))


def test_what_cannot_be_kept_leaves_nothing(workspace: Workspace) -> None:
    """A name that is taken, rows of Python, a table without text; what is wrong with the copy later is told."""
    keep(workspace.begin(), put())
    with pytest.raises(InputError, match="the task reviews is there already"):
        keep(workspace, put("other.csv"))
    Path("numbers.csv").write_text("id,n\n1,2\n")
    with pytest.raises(InputError, match="no column that holds a text"):
        keep(workspace, Path("numbers.csv"), "numbers")
    assert workspace.query("SELECT name FROM findable_tasks") == [("reviews",)]
    assert [one.name for one in (workspace.data / "sources").iterdir()] == ["reviews.csv"]
    put(str(workspace.data / "sources" / "reviews.csv"), column="body")
    told = ran(workspace, "tag", TASK="reviews", code=2)
    assert "the words of reviews: prompt= names the column 'text'" in told
    assert "make new-task NAME=reviews" in told
