"""A question that the page saves: a task file in the workspace, with a copy of its table."""

from pathlib import Path

import pytest

from askrows.pipeline.core import settings
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.workflows import ask, new_task_files
from tests.lab import Workspace, ran

QUESTION = 'Praise or "blame"? \\ {text}'
FIELDS = 'tone: praise|rather "mixed"|blame; why: quote; topics: list; stars: int'
TEXTS = ("It boils in two minutes.", "The lid burned my hand.", "Warm light, easy to dim.")
BATCH_COMMANDS = ("batch-submit", "batch-poll", "batch-ingest")


def write_table(name: str = "kettle reviews.csv", *, column: str = "text") -> Path:
    """Write a table, and return its path."""
    path = Path(name)
    path.write_text(
        "\n".join([f"id,{column}", *(f'{key},"{text}"' for key, text in enumerate(TEXTS, 1)), ""])
    )
    return path


def save_question(workspace: Workspace, table: Path, name: str = "reviews") -> None:
    """Save the question about a table, as the page does."""
    data = settings.load_settings(workspace.environ).data
    table_to_ask = ask.TableToAsk(table)
    draft = ask.parse_question(table_to_ask, QUESTION, fields=FIELDS, name=name, data=data).draft
    assert draft is not None
    with workspace.open() as ws:
        new_task_files.save_task_with_file(ws, draft)


def test_an_invalid_question_leaves_no_file(workspace: Workspace) -> None:
    """A used name and rows without text are refused; a later error in the copy names the line."""
    save_question(workspace.begin(), write_table())
    with pytest.raises(InputError, match=r"reviews\.py exists already"):
        save_question(workspace, write_table("other.csv"))
    Path("numbers.csv").write_text("id,n\n1,2\n")
    with pytest.raises(InputError, match="no column with a text"):
        save_question(workspace, Path("numbers.csv"), "numbers")
    assert workspace.query("SELECT name FROM askrows_tasks") == [("experts",), ("reviews",)]
    assert [path.name for path in (workspace.data / "sources").iterdir()] == ["reviews.csv"]

    write_table(str(workspace.data / "sources" / "reviews.csv"), column="body")
    assert "reviews.py, line " in ran(workspace, "tag", TASK="reviews", code=2)


def test_forget_names_the_copy_of_the_table(workspace: Workspace) -> None:
    """A forgotten row stays in the copy of its table, so the output names the copy."""
    save_question(workspace.begin(), write_table())
    output = ran(workspace, "forget", TASK="reviews", ROW="1", YES="1")
    assert f"{workspace.data / 'sources' / 'reviews.csv'} has it: delete it there" in output


def test_a_task_file_that_cannot_be_written_leaves_no_copy(workspace: Workspace) -> None:
    """Without a folder for the task file, the workspace gets no copy of the table either."""
    workspace.begin()
    (workspace.data / "tasks").write_text("not a folder")

    with pytest.raises(InputError, match=r"reviews\.py cannot be written: Not a directory"):
        save_question(workspace, write_table())

    assert list((workspace.data / "sources").iterdir()) == []
    assert workspace.query("SELECT name FROM askrows_tasks") == [("experts",)]


def test_an_unnamed_question_is_estimated_without_the_answers_of_others(
    workspace: Workspace,
) -> None:
    """The answers of another unnamed question leave the estimated cost as it was."""
    workspace.begin()
    path = str(write_table())
    for question, fields in (("Praise?", "a: bool"), ("Why?", FIELDS), ("Why?", FIELDS)):
        ran(workspace, "ask", path, question, FIELDS=fields)
    ran(workspace, "ask", path, "Praise?", FIELDS="a: bool")
    first_cost, *_, last_cost = workspace.query(
        "SELECT estimated_cost FROM askrows_batches ORDER BY number"
    )
    assert first_cost == last_cost
