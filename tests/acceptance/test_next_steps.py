"""Printed next steps help if a file has another kind of rows or a name is mistyped."""

import os
import re
import shlex
import subprocess

import pytest

from tests.acceptance.process import PRODUCT, PYTHON
from tests.acceptance.product import HEADER, Workspace

# The folder of the interpreter and of `findable`. A link is not resolved.
BIN_FOLDER = os.path.dirname(PYTHON)  # noqa: PTH120
REVIEWS = "id,product,text\n1,kettle,Boils a full litre in two minutes and the handle stays cool.\n"


def step(message: str) -> list[str]:
    """Return the words of the command between backticks in a message."""
    return shlex.split(message.rpartition("next: ")[2].split("`")[1])


def test_file_without_people_leads_to_a_question_about_it(
    workspace: Workspace,
) -> None:
    """The error for a table of reviews names `ask`, and no workspace is created.

    A header alone has no rows.
    """
    file = workspace.write_file("reviews.csv", REVIEWS)
    error_output = workspace.run_command("import", file, code=2).stderr
    assert step(error_output) == ["findable", "ask", str(file), "-q", "What is it about?"]
    header_file = workspace.write_file("head.csv", HEADER)
    error_output = workspace.run_command("import", header_file, code=2).stderr
    assert "next: the file has no rows; add rows below the header" in error_output
    assert not workspace.data.exists()

    error_output = workspace.run_command("ask", header_file, q="Praise?", code=2).stderr
    assert "nothing was asked" in error_output
    assert "text:" not in error_output
    assert (
        "nothing was imported"
        not in workspace.run_command("ask", "nope.csv", q="Praise?", code=2).stderr
    )


def test_notes_of_an_import_are_printed_once(
    workspace: Workspace,
) -> None:
    """The error names a shared e-mail address; an unchanged file prints no notes.

    A column of dates is not suggested as a text.
    """
    file = workspace.write_file(
        "people.csv",
        "E-Mail,Geburtsdatum,Kurzbio\nann@x.org,1970-01-02,Bees\nbob@x.org,1971-01-02,Ice\n"
        "ann@x.org,,Tea\n",
    )
    options = {"map": "username=E-Mail,bio=Kurzbio"}
    error_output = workspace.run_command("import", file, **options).stderr
    assert "bio=Geburtsdatum" not in error_output
    assert "already on line 2 (ann@x.org)" in error_output

    workspace.write_file(
        "people.csv",
        "E-Mail,Geburtsdatum,Kurzbio\nann@x.org,1970-01-02,Bees\nbob@x.org,1971-01-02,Ice\n",
    )
    assert "note:" not in workspace.run_command("import", file, **options).stderr


def test_unknown_name_is_answered_with_the_nearest_name(workspace: Workspace) -> None:
    """Errors for an unknown person, tag, task, option or version suggest a correction."""
    workspace.import_people(3)
    workspace.run_commands("tag_live", "index")
    # The suggestions come from stored names.
    name = workspace.read_json("items")["items"][0]["username"]
    assert f"did you mean {name}?" in workspace.run_command("show", f"{name}x", code=2).stderr
    tag = next(iter(workspace.exported_tags().values()))[0]
    assert f"did you mean {tag}?" in workspace.run_command("search", "bees", tag=f"{tag}x").stderr

    error_output = workspace.run_command("people", task="passages", code=2).stderr
    assert "about experts, not about passages; nothing was done" in error_output
    error_output = workspace.run_command("items", where="tgas = 1", code=2).stderr
    assert "there is no column 'tgas'\nnext: did you mean 'tags'?" in error_output

    assert (
        "is neither a version nor 'draft'"
        in workspace.run_command("try", a="2", b="passages", code=2).stderr
    )
    workspace.run_command("export", "out.csv")
    assert (
        "next: --overwrite replaces it" in workspace.run_command("export", "out.csv", code=2).stderr
    )
    assert "next: mkdir" in workspace.run_command("export", "no/out.csv", code=2).stderr


def test_status_has_six_lines(workspace: Workspace) -> None:
    """`status` describes the state and the running work in words; `--more` adds details."""
    workspace.import_people(4)
    workspace.run_command("submit")
    lines = workspace.run_command("status").stdout.splitlines()
    assert [line[:11].strip() for line in lines] == [
        "workspace",
        "experts",
        "under way",
        "spent",
        "index",
        "next",
    ]
    assert "4: 0 tagged, 4 under way" in lines[1]
    output = workspace.run_command("status", more=True).stdout
    assert {line for line in lines if not line.startswith("under way")} <= set(output.splitlines())
    assert "backend gemini" in output


@pytest.mark.parametrize("path", ["/usr/bin:/bin", f"{BIN_FOLDER}:/usr/bin:/bin"])
def test_printed_command_works_in_the_shell(workspace: Workspace, path: str) -> None:
    """A next step begins with `findable` only if a shell finds it, else with the interpreter."""
    environ = {"PATH": path, "FINDABLE_DATA": str(workspace.data)}
    process = subprocess.run(
        [PYTHON, "-m", "jobs", "status"],
        cwd=PRODUCT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    words = step(process.stderr)
    if path.startswith(BIN_FOLDER):
        assert words[0] == "findable"
    else:
        assert words[1:3] == ["-m", "jobs"]


def test_rows_that_share_an_answer_are_counted_once(workspace: Workspace) -> None:
    """A limit of four requests answers more than four rows if rows share a text."""
    shared_text = "Boils fast and the handle stays cool all day."
    rows = []
    for number in range(12):
        own_text = f"Text number {number} about a kettle and its handle."
        rows.append(f"{number},{shared_text if number % 2 else own_text}")
    file = workspace.write_file("kettles.csv", "\n".join(["id,text", *rows, ""]))
    workspace.run_command("new_task", "kettles", **{"from": file.name})

    output = workspace.run_command("tag", task="kettles", mode="live", limit=4).stdout
    [answered_count] = [int(count) for count in re.findall(r"(\d+) answered", output)]
    assert answered_count > 4
    assert workspace.state_counts("kettles") == {
        "answered": answered_count,
        "open": 12 - answered_count,
    }

    workspace.run_command("new_task", "again", **{"from": file.name})
    workspace.run_command("submit", task="again")
    output = workspace.run_command("tag", task="again", mode="live", wait=True).stdout
    assert " left" not in output
    assert "Next: " in output
