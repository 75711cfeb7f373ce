"""Printed next steps help if a file has another kind of rows or a name is mistyped."""

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.database import run_sql
from tests.acceptance.engine import Engine
from tests.acceptance.process import PRODUCT, PYTHON
from tests.acceptance.product import HEADER, Workspace, write_declaration
from tests.acceptance.test_right_rows import hold_batch, rotate
from tests.outside.answers import Json, fill, user_text
from tests.outside.server import Outside

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
    assert step(error_output) == ["findable", "ask", str(file), "What is it about?"]
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


@pytest.mark.promise("usage")
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

    workspace.run_command("export", "out.csv")
    assert (
        "next: --overwrite replaces it" in workspace.run_command("export", "out.csv", code=2).stderr
    )
    assert "next: mkdir" in workspace.run_command("export", "no/out.csv", code=2).stderr


def test_status_has_five_lines_and_the_next_step(workspace: Workspace) -> None:
    """`status` describes the state and the running work in words; `--more` adds details."""
    workspace.import_people(4)
    workspace.run_command("submit")
    status_run = workspace.run_command("status")
    lines = status_run.stdout.splitlines()
    assert [line[:11].strip() for line in lines] == [
        "workspace",
        "experts",
        "under way",
        "spent",
        "index",
    ]
    assert status_run.stderr == "next: findable batch-poll\n"
    assert "4: 0 tagged, 4 claimed" in lines[1]
    assert len(workspace.run_command("items", state="claimed").stdout.splitlines()) == 1 + 4
    error_output = workspace.run_command("items", where="state = 'claimed'", code=2).stderr
    assert "items --state …` lists the rows in a state" in error_output
    output = workspace.run_command("status", more=True).stdout
    assert {line for line in lines if not line.startswith("under way")} <= set(output.splitlines())
    assert "backend gemini" in output


@pytest.mark.parametrize("path", ["/usr/bin:/bin", f"{BIN_FOLDER}:/usr/bin:/bin"])
def test_printed_command_has_no_path(workspace: Workspace, path: str) -> None:
    """A next step begins with `findable`, also if a shell does not find it."""
    environ = {"PATH": path, "FINDABLE_DATA": str(workspace.data)}
    process = subprocess.run(
        [PYTHON, "-m", "findable", "status"],
        cwd=PRODUCT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert step(process.stderr)[0] == "findable"


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
    tag_run = workspace.run_command("tag", task="again", mode="live", wait=True)
    assert " left" not in tag_run.stdout
    assert "next: findable " in tag_run.stderr


def declare_rows(workspace: Workspace, name: str, rows: str, *, arguments: str = "") -> None:
    """Write the file of a task and the file of its rows."""
    declaration = write_declaration(
        {"topic": "str"}, prompt="{text}", items=f"{name}.csv", extra_arguments=[arguments]
    )
    workspace.write_file(f"tasks/{name}.py", declaration)
    workspace.write_file(f"tasks/{name}.csv", f"id,text\n{rows}")


def test_status_without_people_is_about_a_task_with_rows(workspace: Workspace) -> None:
    """`status` without TASK= shows the first of several tasks and its next step."""
    for name in ("letters", "notes"):
        declare_rows(workspace, name, "1,The lamp hums.\n")
        workspace.run_command("tag", mode="live", TASK=name)
    status_run = workspace.run_command("status")
    assert status_run.stdout.splitlines()[1].split() == ["letters", "1:", "1", "answered"]
    assert status_run.stderr == "next: findable export letters-answers.csv --task letters\n"


NOTES = "1,The lamp hums.\n2,The lamp is hot.\n"
UNASKED_NOTES = "1,\n2,\n"


def declare_notes(workspace: Workspace, rows: str = NOTES, *, arguments: str = "") -> None:
    """Write the task `notes`, which all further commands are about."""
    declare_rows(workspace, "notes", rows, arguments=arguments)
    workspace.task = "notes"


def answer_notes(workspace: Workspace, rows: str = NOTES, *, arguments: str = "") -> None:
    """Write the task `notes`, and ask about its rows."""
    declare_notes(workspace, rows, arguments=arguments)
    workspace.run_command("tag", mode="live")


def leave_open(workspace: Workspace, _server: Outside) -> None:
    """Ask about one of two rows."""
    declare_notes(workspace)
    workspace.run_command("tag", mode="live", limit=1)


def send_batch(workspace: Workspace, _server: Outside) -> None:
    """Send all rows in a batch."""
    declare_notes(workspace)
    workspace.run_command("submit")


def download_batch(workspace: Workspace, server: Outside) -> None:
    """Download the result of a batch, and do not store it."""
    send_batch(workspace, server)
    workspace.run_command("poll")


def mix_up_batch(workspace: Workspace, server: Outside) -> None:
    """Hold a batch whose replies belong to other rows; all later batches are right."""
    hold_batch(workspace, server, rotate)
    server.mixing = None


def park(workspace: Workspace, server: Outside, text: str) -> None:
    """Park the rows with a text: each reply about them is invalid."""

    def answer(request: Json) -> Json:
        return {"topic": 7} if text in user_text(request) else fill(request)

    server.answerer = answer
    answer_notes(workspace)
    workspace.try_command("tag", mode="live")


def park_one(workspace: Workspace, server: Outside) -> None:
    """Park one of two rows."""
    park(workspace, server, "hums")


def park_all(workspace: Workspace, server: Outside) -> None:
    """Park both rows."""
    park(workspace, server, "lamp")


def change_row(workspace: Workspace, _server: Outside) -> None:
    """Change the text of an answered row, and read it."""
    answer_notes(workspace)
    declare_notes(workspace, "1,The lamp is silent.\n2,The lamp is hot.\n")
    workspace.run_command("tag", mode="live")


def mark_row(workspace: Workspace, _server: Outside) -> None:
    """Ask for an answered row again with a budget that has no room for it."""
    answer_notes(workspace)
    workspace.try_command("tag", item="1", again=True, mode="live", yes=True, budget="0.0000001")


def read_empty_texts(workspace: Workspace, _server: Outside) -> None:
    """Read rows without a text."""
    answer_notes(workspace, UNASKED_NOTES)


def answer_all(workspace: Workspace, _server: Outside) -> None:
    """Answer all rows of a task without an index."""
    answer_notes(workspace)


def answer_indexed(workspace: Workspace, _server: Outside) -> None:
    """Answer all rows of a task that declares an index."""
    answer_notes(workspace, arguments='index="{text}"')


def make_index_stale(workspace: Workspace, server: Outside) -> None:
    """Correct an answer after the index was built."""
    answer_indexed(workspace, server)
    workspace.run_command("index")
    workspace.run_command("correct", "1", set="topic=lamps")


def correct_row(workspace: Workspace, _server: Outside) -> None:
    """Correct an answer of a task without an index."""
    answer_notes(workspace)
    workspace.run_command("correct", "1", set="topic=lamps")


def lose_row(workspace: Workspace, _server: Outside) -> None:
    """Remove an answered row from the source, and read the source."""
    answer_notes(workspace)
    declare_notes(workspace, "1,The lamp hums.\n")
    workspace.run_command("tag", mode="live")


def change_source(workspace: Workspace, _server: Outside) -> None:
    """Add a row to the source, and do not read it."""
    answer_notes(workspace)
    declare_notes(workspace, f"{NOTES}3,The lamp leaks.\n")


def import_nothing(workspace: Workspace, _server: Outside) -> None:
    """Read the status of an empty workspace."""
    workspace.write_file("head.csv", HEADER + "ada,Ada,,,,\n")
    workspace.run_command("import", "head.csv")
    workspace.run_command("forget", "ada", yes=True)


def empty_query(workspace: Workspace, _server: Outside) -> None:
    """Let the query of an answered task return no row."""
    workspace.settings["YES"] = "1"
    workspace.import_people(1)
    run_sql(workspace, "CREATE TABLE lamps (id INTEGER PRIMARY KEY, text TEXT, done INTEGER)")
    run_sql(workspace, "INSERT INTO lamps VALUES (1, 'hums', NULL)")
    declaration = write_declaration(
        {"topic": "str"}, prompt="{text}", items="SELECT id, text FROM lamps WHERE done IS NULL"
    )
    workspace.write_file("tasks/notes.py", declaration)
    workspace.task = "notes"
    workspace.run_command("tag", mode="live")
    run_sql(workspace, "UPDATE lamps SET done = 1")
    workspace.run_command("tag", mode="live")


# Each state with the steps that lead from it to the last one. A last step that is not `export`
# waits for a person.
STATES: dict[str, tuple[Callable[[Workspace, Outside], None], str]] = {
    "open": (leave_open, "tag export"),
    "batch sent": (send_batch, "batch-poll batch-ingest export"),
    "batch downloaded": (download_batch, "batch-ingest export"),
    "batch held": (
        mix_up_batch,
        "batch-poll batch-cancel tag index export",
    ),
    "parked": (park_one, "export"),
    "all parked": (park_all, "parked"),
    "stale by a change": (change_row, "export"),
    "stale by a mark": (mark_row, "tag export"),
    "unusable": (read_empty_texts, "export"),
    "answered": (answer_all, "export"),
    "answered with an index": (answer_indexed, "index export"),
    "index stale": (make_index_stale, "index export"),
    "corrected": (correct_row, "export"),
    "gone": (lose_row, "export"),
    "nothing imported": (import_nothing, "import"),
    "source changed": (change_source, "tag export"),
    "query without rows": (empty_query, "export"),
}
MAX_STEPS = 10


def walk_steps(workspace: Workspace) -> Iterator[str]:
    """Run each next step, and yield its command, until `export` or a step that changes nothing."""
    for _ in range(MAX_STEPS):
        state = workspace.status()
        verb, *words = shlex.split(state["next"])[1:]
        yield verb
        process = workspace.try_command(verb, *words, yes=True)
        assert process.output.strip(), verb
        if verb == "export":
            assert (workspace.home / words[0]).is_file()
        later_state = workspace.status()
        if later_state == state:
            return

        # Each command that changes the state ends with the next step of `status`.
        assert process.stderr.splitlines()[-1] == f"next: {later_state['next']}"
    raise AssertionError("the steps never end")


# A marked row is asked again, rightly.
@pytest.mark.excused("nobody_is_answered_twice")
@pytest.mark.parametrize(("reach_state", "steps"), STATES.values(), ids=STATES)
def test_next_steps_lead_to_the_export(
    served_workspace: Workspace,
    outside_server: Outside,
    reach_state: Callable[[Workspace, Outside], None],
    steps: str,
) -> None:
    """Each state has one next step, which changes the state, waits for a person, or is the last."""
    reach_state(served_workspace, outside_server)
    assert " ".join(walk_steps(served_workspace)) == steps


def test_each_command_names_the_step_of_the_state(workspace: Workspace) -> None:
    """Commands and `status` name the same next step while one batch ends and another is sent."""
    declare_notes(workspace)
    for command in ("submit", "poll", "submit", "ingest", "poll", "ingest", "submit"):
        options = {"limit": 1} if command == "submit" else {}
        error_lines = workspace.run_command(command, **options).stderr.splitlines()
        status_lines = workspace.run_command("status").stderr.splitlines()
        assert error_lines[-1] == status_lines[-1], command


def test_row_with_a_hash_is_found_by_its_beginning(workspace: Workspace) -> None:
    """`show` takes the beginning of a hash if one row alone has it; `forget` does not."""
    declare_rows(workspace, "notes", "1,The lamp hums.\n1,It leaks.\n", arguments='key="row"')
    workspace.task = "notes"
    workspace.run_command("tag", mode="live")
    [row_id, _] = [row["row"] for row in workspace.listed_rows()]
    assert workspace.read_json("show", item=row_id[:8])["item"] == row_id
    workspace.run_command("show", item=row_id[:3], code=2)
    workspace.run_command("show", item="none", code=2)
    workspace.run_command("forget", item=row_id[:8], yes=True, code=2)

    wrong = workspace.run_command("show", row_id, task="notes", code=2)
    assert f"findable show --item {row_id} --task notes" in wrong.stderr


def test_hints_name_what_helps(workspace: Workspace, api: Engine) -> None:
    """Messages name the option as it was typed, a column's place, and a command that works."""
    workspace.import_people(1)
    workspace.run_command("tag", mode="live")
    export = workspace.run_command("export", "out.csv", extractor="nope", code=2)
    assert "items --extractor nope --to view.csv" in export.stderr
    column = workspace.run_command("index", INDEX_COLUMNS="Bio", code=2)
    assert "'Bio' is a column of people and needs no INDEX_COLUMNS=" in column.stderr
    assert "'0' must be 1 or more" in workspace.run_command("show", n=0, code=2).stderr
    settings = workspace.run_command("settings")
    assert "have the default value" in settings.output

    workspace.import_people(2)
    no_quota = {"code": 429, "message": "Quota exceeded for metric: free_tier, limit: 0"}
    api.script_fault("status", times=100, path=":generateContent", args=no_quota)
    refusal = workspace.run_command("tag", mode="live", model="gemini-2.5-flash", code="any")
    assert "set --model to a model that has a quota" in refusal.stderr
