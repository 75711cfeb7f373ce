"""Printed next steps help if a file has another kind of rows or a name is mistyped."""

import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence

import pytest

from tests.acceptance.process import PRODUCT, PYTHON
from tests.acceptance.product import HEADER, Workspace, write_declaration
from tests.outside.answers import Json, fill, user_text
from tests.outside.server import Outside

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
    assert step(error_output) == ["askrows", "ask", str(file), "What is it about?"]
    header_file = workspace.write_file("head.csv", HEADER)
    workspace.run_command("import", header_file, code=2)
    workspace.run_command("ask", header_file, q="Praise?", code=2)
    assert not workspace.data.exists()


@pytest.mark.promise("usage")
def test_unknown_name_is_answered_with_the_nearest_name(workspace: Workspace) -> None:
    """Errors for an unknown task, file, option, column or version suggest a correction."""
    workspace.import_people(3)
    workspace.run_command("people", task="passages", code=2)
    error_output = workspace.run_command("items", where="tgas = 1", code=2).stderr
    assert "there is no column 'tgas'\nnext: did you mean 'tags'?" in error_output
    declare_rows(workspace, "letters", "1,The lamp hums.\n")
    mistyped_commands = (
        ("status", "--task", "lettres"),
        ("status", "--task", "letters-x"),
        ("ask", "tasks/leters.csv", "Who?"),
        ("ask", "tasks/letters.csv", "Who?", "--fields", "topic: tasks/leters.csv"),
        ("tag", "--task", "experts", "--tags-from", "tasks/leters.csv"),
        ("restore", "tasks/leters"),
        ("forget", "--task", "letters", "--file", "tasks/leters.csv"),
    )
    for words in mistyped_commands:
        assert "did you mean 'letters" in workspace.run_command(*words, code="any").stderr

    workspace.run_command("tag_live", task="letters", yes=True)
    (workspace.home / "tasks/letters.py").rename(workspace.home / "moved.py")
    error_output = workspace.run_command("status", "--task", "lettres", code=3).stderr
    assert "did you mean 'letters'?" in error_output


def test_printed_command_has_no_path(workspace: Workspace) -> None:
    """A next step begins with `askrows`, also if the shell does not find it."""
    process = subprocess.run(
        [PYTHON, "-m", "askrows", "status"],
        cwd=PRODUCT,
        env={"PATH": "/usr/bin:/bin", "ASKROWS_DATA": str(workspace.data)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert step(process.stderr)[0] == "askrows"


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


def declare_rows(workspace: Workspace, name: str, rows: str, *, arguments: str = "") -> None:
    """Write the file of a task and the file of its rows."""
    declaration = write_declaration(
        {"topic": "str"}, prompt="{text}", items=f"{name}.csv", extra_arguments=[arguments]
    )
    workspace.write_file(f"tasks/{name}.py", declaration)
    workspace.write_file(f"tasks/{name}.csv", f"id,text\n{rows}")


def test_status_without_people_is_about_a_task_with_rows(workspace: Workspace) -> None:
    """`status` shows a line about each task, and the next step of the first without TASK=."""
    for name in ("letters", "notes"):
        declare_rows(workspace, name, "1,The lamp hums.\n")
        workspace.run_command("tag", mode="live", TASK=name)
    status_run = workspace.run_command("status")
    lines = [line.split() for line in status_run.stdout.splitlines()]
    assert [line for line in lines if line[-1] == "answered"] == [
        ["letters", "1:", "1", "answered"],
        ["notes", "1:", "1", "answered"],
    ]
    assert status_run.stderr == "next: askrows export letters-answers.csv --task letters\n"


# Rows of the file of the task `notes`. Replies about a row with `unclear` are invalid.
NOTES = "1,The lamp hums.\n2,The lamp is hot.\n"
CHANGED = "1,The lamp is silent.\n2,The lamp is hot.\n"
LONGER = f"{NOTES}3,The lamp leaks.\n"
UNCLEAR = "1,The lamp is unclear.\n"
SUBMIT = "batch-submit"
TAG = "tag --mode live"
CORRECT = "correct 1 --set topic=lamps"
# The budget has no room for the row, so its mark stays.
MARK = "tag --mode live --row 1 --again --yes --budget 0.0000001"

# Each state, what leads to it, and the steps from it to the last one. New rows are written into the
# file, all others are commands. The task can be indexed, and `index` is a step if it has a build. A
# last step other than `export` waits for a person.
STATES = {
    "open": ((NOTES, f"{TAG} --limit 1"), "tag export"),
    "batch sent": ((NOTES, SUBMIT), "batch-poll batch-ingest export"),
    "batch downloaded": ((NOTES, SUBMIT, "batch-poll"), "batch-ingest export"),
    "parked": ((NOTES + UNCLEAR.replace("1", "3"), TAG, TAG), "export"),
    "all parked": ((UNCLEAR, TAG, TAG), "parked"),
    "stale by a change": ((NOTES, TAG, CHANGED, TAG), "export"),
    "stale by a mark": ((NOTES, TAG, MARK), "tag export"),
    "unusable": (("1,\n2,\n", TAG), "export"),
    "answered": ((NOTES, TAG), "export"),
    "corrected": ((NOTES, TAG, CORRECT), "export"),
    "gone": ((NOTES, TAG, "1,The lamp hums.\n", TAG), "export"),
    "two batches": (
        (NOTES, f"{SUBMIT} --limit 1", "batch-poll", SUBMIT),
        "batch-ingest batch-poll batch-ingest export",
    ),
    "answered, can be indexed": ((NOTES, TAG), "export"),
    "index stale": ((NOTES, TAG, "index", CORRECT), "index export"),
    "source changed": ((NOTES, TAG, LONGER), "tag export"),
}
MAX_STEPS = 10


def walk_steps(workspace: Workspace) -> Iterator[str]:
    """Run each next step, and yield its command, until `export` or a step that changes nothing."""
    for _ in range(MAX_STEPS):
        state = workspace.status()
        verb, *words = shlex.split(state["next"])[1:]
        yield verb
        process = workspace.try_command(verb, *words, yes=True)
        if verb == "export":
            assert (workspace.home / words[0]).is_file()
        later_state = workspace.status()
        if later_state == state:
            return

        # Each command that changes the state ends with the next step of `status`.
        assert process.stderr.splitlines()[-1] == f"next: {later_state['next']}"
    raise AssertionError("the steps never end")


def answer_clear_rows(request: Json) -> Json:
    """Answer rows; a row with `unclear` gets a value of the wrong type."""
    return {"topic": 7} if "unclear" in user_text(request) else fill(request)


# A marked row is asked again, rightly.
@pytest.mark.excused("nobody_is_answered_twice")
@pytest.mark.parametrize(("inputs", "steps"), STATES.values(), ids=STATES)
def test_next_steps_lead_to_the_export(
    served_workspace: Workspace, outside_server: Outside, inputs: Sequence[str], steps: str
) -> None:
    """Each state has one next step, which changes the state, waits for a person, or is the last."""
    outside_server.answerer = answer_clear_rows
    served_workspace.task = "notes"
    arguments = 'index="{text}"'
    for line in inputs:
        if line.endswith("\n"):
            declare_rows(served_workspace, "notes", line, arguments=arguments)
        else:
            verb, *words = shlex.split(line)
            served_workspace.try_command(verb, *words)
    assert " ".join(walk_steps(served_workspace)) == steps


def test_row_with_a_hash_is_found_by_its_beginning(workspace: Workspace) -> None:
    """`show` takes the beginning of a hash if one row alone has it; `forget` does not."""
    declare_rows(workspace, "notes", "1,The lamp hums.\n1,It leaks.\n", arguments='key="row"')
    workspace.task = "notes"
    workspace.run_command("tag", mode="live")
    [row_id, _] = [row["row"] for row in workspace.listed_rows()]
    assert workspace.read_json("show", row=row_id[:8])["row"] == row_id
    workspace.run_command("show", row=row_id[:3], code=2)
    workspace.run_command("show", row="none", code=2)
    workspace.run_command("forget", row=row_id[:8], yes=True, code=2)


def test_name_without_an_option_is_a_row_of_the_task(workspace: Workspace) -> None:
    """`show` and `forget` take a name as a row of TASK, and a person only by --expert."""
    declare_rows(workspace, "notes", "31,The lamp hums.\n", arguments="")
    [person] = workspace.import_people(1)
    workspace.run_command("tag", mode="live", TASK="notes")
    workspace.task = "notes"
    assert workspace.read_json("show", "31")["task"] == "notes"
    assert workspace.read_json("show", expert=person)["task"] == "experts"
    workspace.run_command("show", person, code=2)
    workspace.run_command("forget", "31", yes=True)
    assert workspace.listed_rows() == []
    assert len(workspace.listed_rows("experts")) == 1
