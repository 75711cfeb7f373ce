"""`make new-task`: the file that it writes for any table runs as it is, to the first answer and to the export."""

import json
from pathlib import Path

from tests.lab import Workspace


def test_a_name_over_several_lines_is_shown_on_one(workspace: Workspace) -> None:
    """In JSON it stays as it is, and the task's file runs; no list is broken by it."""
    Path("broken.jsonl").write_text(json.dumps({"id": 1, "Text\nof it": "A lamp."}), encoding="utf-8")
    workspace.ran("new-task", "mine", "--from", "broken.jsonl")
    workspace.ran("tag", TASK="mine")
    listed = workspace.ran("items", TASK="mine").stdout.splitlines()
    assert [line.split("\t") for line in listed] == [["id", "Text of it", "state"], ["1", "A lamp.", "answered"]]


def test_it_wants_a_table_and_takes_no_name_of_a_task_that_was_used(workspace: Workspace) -> None:
    """FROM= has no default; a task whose file is gone keeps its name, and its tables."""
    Path("t.csv").write_text("id,text\n1,kettle\n")
    assert "With make: FROM=…" in workspace.ran("new-task", "mine", code=2).stderr
    assert not workspace.data.exists()
    workspace.ran("new-task", "mine", "--from", "t.csv")
    workspace.ran("preflight", TASK="mine")
    Path("tasks/mine.py").unlink()
    assert "mine.py is there already" in workspace.ran("new-task", "mine", "--from", "t.csv", code=2).stderr
