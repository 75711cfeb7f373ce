"""Names that a user task cannot have, and commands that need no name of a task."""

import json
from pathlib import Path

import pytest

from askrows.pipeline.core.declaration import STATUS_MEMBERS
from askrows.pipeline.ops.status import OPTIONAL_MEMBERS
from tests.lab import Workspace


def test_a_member_of_the_status_document_is_no_task_name(tmp_path: Path) -> None:
    """`status` has the rows of a task under the task's name, beside its other members."""
    workspace = Workspace(tmp_path / "data", {"ASKROWS_DATA": str(tmp_path / "data")})
    Path("texts.jsonl").write_text('{"id": "a", "text": "bees"}\n', encoding="utf-8")
    workspace.ran("import-passages", "texts.jsonl")
    # The document of passages has the newest pilot, too.
    document = json.loads(workspace.ran("status", JSON="1", TASK="passages").stdout)
    assert {*document, *OPTIONAL_MEMBERS} - {"passages"} == STATUS_MEMBERS

    Path("notes.csv").write_text("id,text\n1,I keep bees\n", encoding="utf-8")
    refused_run = workspace.ran("ask", "notes.csv", code=2, Q="What?", NAME="others")
    assert "a task cannot be called 'others'; nothing was written" in refused_run.stderr


@pytest.fixture(name="two_tasks")
def _workspace_of_two_tasks(tmp_path: Path) -> Workspace:
    """A workspace without people, with two tasks that have asked one of two rows."""
    workspace = Workspace(tmp_path / "data", {"ASKROWS_DATA": str(tmp_path / "data")})
    rows = "id,text\n1,I keep bees\n2,I bake bread\n"
    Path("notes.csv").write_text(rows, encoding="utf-8")
    for name in ("first", "second"):
        workspace.ran("ask", "notes.csv", Q="What?", N="1", NAME=name)
    return workspace


@pytest.mark.full
def test_work_does_the_work_of_several_tasks_without_people(two_tasks: Workspace) -> None:
    """Without TASK= no task needs to be chosen, because `work` is about all tasks."""
    report = json.loads(two_tasks.ran("work", ONCE="1", JSON="1").stdout)
    assert {"first", "second"} <= {task for task, done in report["tasks"].items() if done}
    assert report["failures"] == []


@pytest.mark.full
def test_rollback_takes_the_task_from_the_version(two_tasks: Workspace) -> None:
    """Without TASK= only the answers of the version's task are deleted."""
    two_tasks.ran("rollback", "second@1", YES="1")
    for name, answered_rows in (("first", 1), ("second", 0)):
        document = json.loads(two_tasks.ran("status", JSON="1", TASK=name).stdout)
        assert document[name]["answered"] == answered_rows
