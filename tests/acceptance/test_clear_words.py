"""Exports, counts, checks and hints say what is true about rows, versions and files."""

import csv
import io
import shutil
from pathlib import Path

import pytest

from tests.acceptance.product import Workspace, write_declaration

TEXTS = {
    "k1": "Boils fast and the handle stays cool.",
    "k2": "The lid leaks on the table.",
    "k3": "Sturdy, quick and easy to clean.",
}
KETTLES = "kettles"
CLOSED = {"mood": "Literal['good', 'bad']"}


def declare(workspace: Workspace, *, version: int = 1) -> Path:
    """Write a task with a closed question, and its rows."""
    rows = "".join(f'{key},"{text}"\n' for key, text in TEXTS.items())
    workspace.write_file("kettles.csv", f"id,text\n{rows}")
    text = write_declaration(
        CLOSED,
        prompt="{text}",
        items="../kettles.csv",
        extra_arguments=[f"version={version}", "key='id'"],
    )
    if "import Literal" not in text:
        text = f"from typing import Literal\n\n{text}"
    return workspace.write_file(f"tasks/{KETTLES}.py", text)


def exported_csv(workspace: Workspace, **options: str) -> dict[str, dict[str, str]]:
    """Return the exported rows by key."""
    output = workspace.run_command("export", "-", format="csv", TASK=KETTLES, **options).stdout
    return {row["id"]: row for row in csv.DictReader(io.StringIO(output))}


@pytest.mark.alike
def test_export_of_a_version_names_other_answers(workspace: Workspace) -> None:
    """A row without an answer of the version is not answered; corrections left out are counted."""
    declare(workspace)
    workspace.run_command("tag", mode="live", TASK=KETTLES)
    declare(workspace, version=2)
    workspace.run_command("tag", mode="live", limit=1, TASK=KETTLES)
    for key in ("k1", "k3"):
        workspace.run_command("correct", key, set="mood=bad", TASK=KETTLES)

    newer_rows = exported_csv(workspace, extractor=f"{KETTLES}@2")
    assert newer_rows["k1"]["state"] == "answered"
    assert newer_rows["k1"]["reason"].startswith("corrected by a person")
    # It is open under the version of the file.
    assert newer_rows["k2"]["state"] == "other_version"
    assert newer_rows["k2"]["reason"].startswith(f"answered by {KETTLES}@1/")
    assert newer_rows["k3"]["state"] == "other_version"
    assert newer_rows["k3"]["reason"].startswith("corrected by a person")
    for row in newer_rows.values():
        assert (row["state"] == "answered") == bool(row["mood"])

    corrected_rows = exported_csv(workspace, extractor="person")
    assert corrected_rows["k1"]["mood"] == "bad"
    assert corrected_rows["k1"]["reason"] == ""
    error_output = workspace.run_command(
        "export", "out.csv", extractor=f"{KETTLES}@2", TASK=KETTLES
    ).stderr
    assert "2 corrections left out" in error_output
    assert (
        "corrections left out"
        not in workspace.run_command("export", "all.csv", TASK=KETTLES).stderr
    )


@pytest.mark.alike
def test_duplicate_keys_are_counted_alike(workspace: Workspace) -> None:
    """A trial and a stored question count the same rows, and name repeated keys and their lines."""
    file = workspace.write_file(
        "twice.csv",
        "id,text\n1,a fine kettle that boils\n2,a bad kettle that leaks\n"
        "2,another kettle entirely\n3,a red kettle for tea\n",
    )
    options = {"key": "id", "q": "Praise or blame?"}
    trial = workspace.run_command("ask", file, **options)
    stored = workspace.run_command("ask", file, name="twice", yes=True, **options)
    for command_run in (trial, stored):
        assert "3 of 3 rows asked" in command_run.stdout + command_run.stderr
        assert "line 4, column 'id': the key is already on line 3 (2)" in command_run.stderr


@pytest.mark.alike
def test_broken_task_file_is_named_with_its_line(workspace: Workspace) -> None:
    """`status` and `doctor` name file and line of a syntax error, and what to type."""
    path = declare(workspace)
    workspace.run_command("tag", mode="live", TASK=KETTLES)
    path.write_text(f"{path.read_text(encoding='utf-8')}x = (\n", encoding="utf-8")
    line_count = len(path.read_text(encoding="utf-8").splitlines())

    status = workspace.status(TASK=KETTLES)
    assert f"{path}, line {line_count}" in status["task_file"]
    assert "doctor" in status["next"]
    doctor_output = workspace.run_command("doctor", TASK=KETTLES).stdout
    assert f"{path}, line {line_count}: '(' was never closed" in doctor_output
    assert f"correct {path}" in doctor_output
    assert "1 notice above" in doctor_output


@pytest.mark.alike
def test_copied_folder_uses_its_own_task_file(workspace: Workspace) -> None:
    """A copy reads the task file next to it, not the file of the original folder."""
    workspace.url = ""
    declare(workspace)
    workspace.run_command("tag", mode="live", TASK=KETTLES)
    copy_home = workspace.home.with_name("copied")
    shutil.copytree(workspace.home, copy_home)
    copied_file = copy_home / "tasks" / f"{KETTLES}.py"
    copied_file.write_text(
        copied_file.read_text(encoding="utf-8").replace("version=1", "version=7"),
        encoding="utf-8",
    )

    copied = Workspace(copy_home, settings={"TRUST": str(copied_file)})
    output = copied.run_command("tag", mode="live", TASK=KETTLES).stdout
    assert "3 answered" in output
    assert f"{KETTLES}@7" in {
        row["version"].partition("/")[0] for row in copied.read_json("versions")
    }


@pytest.mark.alike
@pytest.mark.parametrize(
    ("name", "content", "format_name"),
    [
        ("a.csv", b"%PDF-1.4\n%\xe2\xe3\nstream\nabc,def\n", "a PDF document"),
        ("b.csv", b"\x89PNG\r\n\x1a\n,,,", "a PNG image"),
        ("c.jsonl", b"\xff\xd8\xff\xe0,,", "a JPEG image"),
        ("d.csv", b"id,text\n" + bytes(range(8)) * 40, "a binary file"),
    ],
)
def test_documents_are_refused_as_tables(
    workspace: Workspace, name: str, content: bytes, format_name: str
) -> None:
    """A file that is no table is named by its content, whatever its suffix says."""
    path = workspace.write_file(name, "")
    path.write_bytes(content)
    for verb, options in (("ask", {"q": "Praise?"}), ("import", {})):
        error_output = workspace.run_command(verb, path, code=2, **options).stderr
        assert f"is {format_name}, not a table; nothing was read" in error_output
        assert "next: save its table as CSV" in error_output


@pytest.mark.alike
def test_comma_between_fields_is_refused_with_the_corrected_text(workspace: Workspace) -> None:
    """A comma after a choice is most likely a field's end; the hint has the corrected fields."""
    file = workspace.write_file("t.csv", "id,text\n1,a fine kettle\n")
    error_output = workspace.run_command(
        "ask", file, q="Praise?", fields="mood: a|b, why", code=2
    ).stderr
    assert "'mood' has a choice with a comma: 'b, why'" in error_output
    assert '--fields "mood: a|b; why"' in error_output
    error_output = workspace.run_command("ask", file, q="Praise?", fields="mood=a|b", code=2).stderr
    assert "call it mood_a_b" not in error_output


@pytest.mark.alike
def test_equal_answers_pass_if_all_fields_are_choices(workspace: Workspace) -> None:
    """The gate `same` has no bound for closed questions, unless a bound is set."""
    declare(workspace)
    rows = "".join(f"k{number},a kettle with number {number}\n" for number in range(36))
    workspace.write_file("kettles.csv", f"id,text\n{rows}")
    workspace.run_command("tag", mode="live", TASK=KETTLES)
    for number in range(36):
        workspace.run_command("correct", f"k{number}", set="mood=bad", TASK=KETTLES)
    assert (
        "same 100 %\tswitched off"
        in workspace.run_command("qc", TASK=KETTLES, extractor="person").stdout
    )
    bounded_run = workspace.run_command(
        "qc", TASK=KETTLES, extractor="person", GATES="same=0.5", code=6
    )
    assert "same is 100 %" in bounded_run.stderr


@pytest.mark.alike
def test_invalid_correction_names_field_and_command(workspace: Workspace) -> None:
    """The message has the allowed values in plain words, and the hint a command."""
    declare(workspace)
    workspace.run_command("tag", mode="live", TASK=KETTLES)
    error_output = workspace.run_command("correct", "k1", set="mood=x", TASK=KETTLES, code=2).stderr
    assert "mood must be 'good' or 'bad'" in error_output
    assert 'correct k1 --task kettles --set "mood=good"' in error_output


@pytest.mark.alike
def test_hints_repeat_what_was_typed(workspace: Workspace) -> None:
    """Suggestions name options as options, and variables with the prefix that was typed."""
    declare(workspace)
    error_output = workspace.run_command("tag", model="gemini-nope", TASK=KETTLES, code=3).stderr
    assert "next: set --model to a known model" in error_output
    error_output = workspace.run_command("status", MODLE="x", code=2).stderr
    assert "unknown variable FINDABLE_MODLE; did you mean FINDABLE_MODE?" in error_output
