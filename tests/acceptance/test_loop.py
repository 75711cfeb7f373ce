"""A changed question is tried as a draft before it becomes a version."""

import json

import pytest

from tests.acceptance.product import Workspace, write_declaration

ROWS = (
    ("a", "good kettle", 5),
    ("b", "bad lamp", 1),
    ("c", "bad stool, Größe L", 2),
    ("d", "", 3),
)
FIELDS = {"verdict": "Literal['good', 'bad']"}


@pytest.fixture(name="notes_workspace")
def _notes_workspace(workspace: Workspace) -> Workspace:
    """A workspace with the task `notes`, whose rows are in a file."""
    workspace.task = "notes"
    workspace.settings["YES"] = "1"
    lines = [f'{key},"{text}",{stars}\n' for key, text, stars in ROWS]
    workspace.write_file("tasks/notes.csv", "id,text,Stars given\n" + "".join(lines))
    return workspace


def declare(
    workspace: Workspace,
    *arguments: str,
    prompt: str = "About: {text}",
    head: str = "",
    **fields: str,
) -> None:
    """Write the file of the task."""
    text = write_declaration(
        fields or FIELDS, prompt=prompt, items="notes.csv", extra_arguments=arguments
    )
    workspace.write_file("tasks/notes.py", head + text)


def test_changed_question_is_tried_as_a_draft(
    notes_workspace: Workspace,
) -> None:
    """A used task needs a new version for `tag`, and `try` runs its changed file as a draft.

    A draft stores only its cost. An unused file may change freely.
    """
    declare(notes_workspace, prompt="Of: {text}")
    notes_workspace.run_command("try", N=1)
    declare(notes_workspace)
    notes_workspace.run_command("tag", mode="live")
    rows_before = notes_workspace.exported_rows()
    # The changed prompt and the new field are only a draft.
    declare(notes_workspace, prompt="Rate: {text}", verdict=FIELDS["verdict"], why="str | None")

    try_document = notes_workspace.read_json("try", item="b")
    assert try_document["draft_of"] == "notes@1"
    assert "Rate: <text>bad lamp</text>" in json.dumps(try_document["items"][0]["request"])
    assert "why" in try_document["items"][0]["answer"]
    error_output = notes_workspace.run_command("tag", mode="live", code=3).stderr
    assert "the prompt and the answer changed since version 1 was used" in error_output

    assert (notes_workspace.exported_rows(), notes_workspace.state_counts()) == (
        rows_before,
        {"answered": 3, "empty": 1},
    )
    # Trials are stored as costs only.
    assert [batch["way"] for batch in notes_workspace.batches()] == ["live"]

    declare(notes_workspace, "version=2", prompt="Rate: {text}")
    notes_workspace.run_command("tag", mode="live")
    assert {
        version["version"]: version["items"] for version in notes_workspace.read_json("versions")
    } == {
        "notes@1": 3,
        "notes@2": 3,
    }
