"""Commands with answers of the local engine print once that the answers are placeholders."""

from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.product import Workspace

pytestmark = pytest.mark.alike

NOTE = "local engine: placeholder answers for rehearsal; use none of them"
QUESTION = {"q": "Praise or blame?", "fields": "verdict: praise|blame"}
# Commands and options after `ask` has stored a question.
COMMANDS: list[tuple[str, dict[str, Any]]] = [
    ("ask", {"from": "notes.csv", **QUESTION}),
    ("try", {"N": 1}),
    ("tag", {"mode": "live"}),
    ("qc", {}),
]


def write_notes(workspace: Workspace) -> None:
    """Write a table with two notes."""
    workspace.write_file("notes.csv", "id,text\na,The kettle boils fast.\nb,The lamp broke.\n")


@pytest.fixture(name="local_workspace")
def _local_workspace(tmp_path: Path) -> Workspace:
    """A workspace without a key, with one answer of the task `notes`."""
    workspace = Workspace(tmp_path / "local")
    write_notes(workspace)
    ask_run = workspace.run_command("ask", "notes.csv", n=1, name="notes", **QUESTION)
    assert ask_run.stderr.count(NOTE) == 1
    workspace.task = "notes"
    return workspace


@pytest.mark.parametrize(("verb", "options"), COMMANDS, ids=["ask", "try", "tag", "qc"])
def test_local_answers_are_called_placeholders_once(
    local_workspace: Workspace, verb: str, options: dict[str, Any]
) -> None:
    """The note is on standard error once; the JSON document has it as a boolean."""
    process = local_workspace.run_command(verb, **options)
    assert process.stderr.count(NOTE) == 1
    assert NOTE not in process.stdout

    process = local_workspace.run_command(verb, json=True, **options)
    assert process.stderr.count(NOTE) == 1
    assert process.json["placeholder"] is True


def test_verify_without_a_key_says_that_gemini_was_not_checked(local_workspace: Workspace) -> None:
    """It passes, and names the missing key as the next step."""
    local_workspace.task = ""
    process = local_workspace.run_command("verify-gemini")
    assert process.stderr.count(NOTE) == 1
    assert "no provider was checked: the local engine answered all rows" in process.stdout
    assert "next: set GEMINI_API_KEY or OPENAI_API_KEY, then askrows verify" in process.stderr
    assert local_workspace.read_json("verify-gemini")["backend"] == "local"
