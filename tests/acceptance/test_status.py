"""`status` lists stopped runs and the next step, and commands choose a task."""

import re
import shlex

import pytest

from tests.acceptance.engine import LIVE_CALL, LIVE_CALL_PATH, Engine
from tests.acceptance.killing import kill_after_calls
from tests.acceptance.product import HEADER, Workspace, write_declaration

TASK = "letters"
FIELDS = {"tone": "Literal['praise', 'blame']"}


def put_letters(
    workspace: Workspace, name: str = TASK, *, count: int = 6, fields: dict[str, str] = FIELDS
) -> None:
    """Write a task file and a file of rows about letters."""
    rows = "".join(f"L-{number},letter {number} about a bridge\n" for number in range(count))
    workspace.write_file(f"tasks/{name}.csv", f"id,text\n{rows}")
    workspace.write_file(
        f"tasks/{name}.py", write_declaration(fields, prompt="{text}", items=f"{name}.csv")
    )


def next_step(output: str) -> list[str]:
    """Return the words of the next command of an output."""
    match = re.search(r"^next:? +(askrows .*)$", output, re.MULTILINE)
    return shlex.split(match[1]) if match else []


def kill_live_run(workspace: Workspace, api: Engine, *, call_count: int) -> None:
    """Kill a live run after some answered calls, while the next call hangs."""
    api.script_fault(
        "hang", nth=call_count + 1, times=99, path=LIVE_CALL_PATH, args={"seconds": 300}
    )
    kill_after_calls(
        workspace,
        api,
        LIVE_CALL,
        "tag",
        mode="live",
        TASK=TASK,
        yes=True,
        CONCURRENCY=1,
        call_count=call_count + 1,
    )
    api.clear_faults()


def test_stopped_run_is_listed_and_continued(workspace: Workspace, api: Engine) -> None:
    """Status and the page name the same next step, which continues the run."""
    put_letters(workspace)
    kill_live_run(workspace, api, call_count=2)
    output = workspace.run_command("status").output
    progress = r"under way +live run 1, 6 rows, stopped for .*; \d of 6 done"
    assert re.search(progress, output)
    assert next_step(output) == ["askrows", "tag", "--task", TASK]

    # A page that may write would end the stopped run by itself.
    with workspace.serve_page(readonly=True) as client:
        next_document = client.get(f"/api/tasks/{TASK}/next").json()
        assert shlex.split(next_document["next"])[-3:] == ["tag", "--task", TASK]

    # `tag` continues the stopped run.
    tag_run = workspace.run_command("tag", mode="live", yes=True)
    assert re.search(r"stored \d answers? that a stopped live run had left", tag_run.stderr)
    assert workspace.state_counts(TASK) == {"answered": 6}


@pytest.mark.alike
def test_only_task_is_the_default_and_several_tasks_are_listed(workspace: Workspace) -> None:
    """Commands and the page default to the only task, and to people if there are any."""
    put_letters(workspace)
    workspace.run_command("tag", mode="live", TASK=TASK, limit=3, yes=True)
    assert len(workspace.read_json("items")["rows"]) == 6
    assert workspace.status()[TASK]["total"] == 6
    workspace.run_command("export", "out.csv")
    workspace.run_command("show", row="L-0")
    workspace.run_commands("submit", "poll", "ingest", "tag", yes=True)
    assert workspace.state_counts(TASK) == {"answered": 6}

    # If there are two tasks, each command needs a name.
    put_letters(workspace, "notes", count=2)
    workspace.run_command("tag", mode="live", TASK="notes", yes=True)
    for verb, *arguments in (("items",), ("export", "no.csv"), ("tag",), ("parked",)):
        error_output = workspace.run_command(verb, *arguments, code=2).stderr
        assert (
            "has no rows of experts but several tasks: letters, notes; nothing was done"
            in error_output
        )
    assert not (workspace.home / "no.csv").exists()
    # The status of several tasks begins with the first.
    assert workspace.status()["letters"]["total"] == 6
    assert workspace.status()["others"] == ["notes"]

    workspace.write_file("people.csv", f"{HEADER}ada,Ada,Lovelace,,,Keeps bees.\n")
    workspace.run_command("import", "people.csv")
    assert [row["username"] for row in workspace.read_json("items")["rows"]] == ["ada"]
