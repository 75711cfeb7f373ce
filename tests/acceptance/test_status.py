"""`status` lists stopped runs, failures and the next step, and commands choose a task."""

import re
import shlex
import time
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.engine import Engine
from tests.acceptance.killing import kill_after_calls
from tests.acceptance.product import HEADER, PEOPLE, Workspace, write_declaration
from tests.outside.answers import Json, fill, user_text
from tests.outside.server import Outside

CALLS = ":generateContent"
LIVE = f"{CALLS}$"
LONGEST_S = 60.0
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
    match = re.search(r"^next:? +(findable .*)$", output, re.MULTILINE)
    return shlex.split(match[1]) if match else []


def kill_live_run(workspace: Workspace, api: Engine, *, call_count: int) -> None:
    """Kill a live run after some answered calls, while the next call hangs."""
    api.script_fault("hang", nth=call_count + 1, times=99, path=LIVE, args={"seconds": 300})
    kill_after_calls(
        workspace,
        api,
        CALLS,
        "tag",
        mode="live",
        TASK=TASK,
        yes=True,
        CONCURRENCY=1,
        call_count=call_count + 1,
    )
    api.clear_faults()


def test_stopped_run_is_listed_and_continued(workspace: Workspace, api: Engine) -> None:
    """Status, the page and `tag` name the same next step, which continues the run.

    A stopped run has no remaining time.
    """
    put_letters(workspace)
    kill_live_run(workspace, api, call_count=2)
    times_before = {path.name: path.stat().st_mtime_ns for path in workspace.data.glob("batches/*")}

    output = workspace.run_command("status").output
    progress = r"under way +live run 1, stopped, at least \d of 6 rows asked"
    assert re.search(rf"{progress}: `findable tag --task letters` continues", output)
    assert " left" not in output
    assert next_step(output) == ["findable", "tag", "--task", TASK]
    times_after = {path.name: path.stat().st_mtime_ns for path in workspace.data.glob("batches/*")}
    assert times_after == times_before

    # A page that may write would end the stopped run by itself.
    with workspace.serve_page(readonly=True) as client:
        next_document = client.get(f"/api/tasks/{TASK}/next").json()
        assert shlex.split(next_document["next"])[-3:] == ["tag", "--task", TASK]
        assert next_document["plan"]["cost"] > 0
        assert ", stopped" in client.get("/parts/state", params={"task": TASK}).text

    # `tag` continues the stopped run.
    tag_run = workspace.run_command("tag", mode="live", yes=True)
    assert "continuing live run 1, stopped, at least" in tag_run.stderr
    assert re.search(r"stored \d answers? that a stopped live run had left", tag_run.stderr)
    assert workspace.state_counts(TASK) == {"answered": 6}


@pytest.mark.alike
def test_continued_batch_is_named_with_its_rows(workspace: Workspace, api: Engine) -> None:
    """`tag` names the running batch with its rows and the same next step as `status`."""
    api.configure(paused=True)
    put_letters(workspace)
    tag_run = workspace.run_command("tag", mode="batch", TASK=TASK, yes=True)
    poll_step = ["findable", "batch-poll", "--task", TASK]
    assert next_step(tag_run.output) == poll_step
    output = workspace.run_command("status").output
    assert re.search(r"^under way +batch 1, 6 rows", output, re.MULTILINE)
    tag_run = workspace.run_command("tag", yes=True)
    assert "continuing batch 1, 6 rows" in tag_run.stderr
    assert "0 rows" not in tag_run.stderr
    assert next_step(tag_run.output) == poll_step

    # The status of another task names the task of the batch.
    workspace.import_people(1)
    other_output = workspace.run_command("status", TASK=PEOPLE).stdout
    assert re.search(r"^under way +task letters: batch 1, 6 rows", other_output, re.MULTILINE)


@pytest.mark.alike
def test_failures_are_grouped_by_reason(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Similar reasons are a single line of `status` before the next step.

    The line names the report of the failed gate.
    """

    def answer(request: Json) -> Any:
        """Answer the first 70 rows with different values outside the choices."""
        match = re.search(r"letter (\d+) ", user_text(request))
        assert match

        number = int(match[1])
        return fill(request) if number >= 70 else {"tone": f"tone {number}"}

    outside_server.answerer = answer
    put_letters(served_workspace, count=75)
    served_workspace.run_command("tag", mode="live", TASK=TASK, yes=True)

    lines = served_workspace.run_command("status").stdout.splitlines()
    assert lines[-1].startswith("failed ")
    failures = served_workspace.status()["failures"]
    reason, count = next(iter(failures["reasons"].items()))
    assert (failures["rows"], count) == (70, 70)
    assert f"70 rows: {reason}" in lines[-1]
    assert Path(failures["report"]).is_file()
    assert failures["report"] in lines[-1]

    long_lines = served_workspace.run_command("status", more=True).stdout.splitlines()
    assert len(long_lines) < 60
    assert sum(reason in line for line in long_lines) == 2
    assert max(map(len, long_lines)) < 500


@pytest.mark.alike
def test_progress_counts_a_repeated_row_once(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """If each first reply is invalid, the progress still counts every row once."""
    asked_texts = set[str]()

    def answer(request: Json) -> Any:
        """Return an invalid answer to the first request of each row."""
        text = user_text(request)
        is_first = text not in asked_texts
        asked_texts.add(text)
        return {"tone": "neither"} if is_first else fill(request)

    outside_server.answerer = answer
    put_letters(served_workspace)
    served_workspace.run_command("try", TASK=TASK, yes=True)
    asked_texts.clear()

    with served_workspace.serve_page() as client:
        parameters: dict[str, str | int] = {"task": TASK, "cost": 1}
        response = client.post("/api/tag", params=parameters, json={"mode": "live"})
        number = response.json()["number"]
        deadline = time.monotonic() + LONGEST_S
        while (work := client.get(f"/api/work/{number}").json())["state"] == "running":
            assert time.monotonic() < deadline
            assert work["done"] <= (work["total"] or work["done"])
        assert (work["done"], work["total"]) == (6, 6)


@pytest.mark.alike
def test_only_task_is_the_default_and_several_tasks_are_listed(workspace: Workspace) -> None:
    """Commands and the page default to the only task, and to people if there are any."""
    put_letters(workspace)
    workspace.run_command("tag", mode="live", TASK=TASK, limit=3, yes=True)
    workspace.run_command("export", "out.jsonl")
    assert len((workspace.home / "out.jsonl").read_text(encoding="utf-8").splitlines()) >= 3
    assert len(workspace.read_json("items")["items"]) == 6
    assert workspace.status()[TASK]["total"] == 6
    assert workspace.read_json("show", item="L-0")["task"] == TASK
    assert "row is parked" in workspace.run_command("parked").stdout
    for verb in ("qc", "try", "preflight", "submit", "poll", "ingest", "tag"):
        assert "import people" not in workspace.run_command(verb, yes=True).output
    assert workspace.state_counts(TASK) == {"answered": 6}
    with workspace.serve_page() as client:
        assert client.get("/api/status").json()[TASK]["total"] == 6
        assert "letter 0 about a bridge" in client.get("/").text
    call_count = workspace.read_json("costs", by="task")["total"]["calls"]

    # If there are two tasks, each command needs a name.
    put_letters(workspace, "notes", count=2)
    workspace.run_command("tag", mode="live", TASK="notes", yes=True)
    for verb, *arguments in (("items",), ("export", "no.csv"), ("tag",), ("parked",)):
        error_output = workspace.run_command(verb, *arguments, code=2).stderr
        assert "has no people but several tasks: letters, notes; nothing was done" in error_output
        assert "--task letters" in error_output
    assert not (workspace.home / "no.csv").exists()
    # The status of several tasks begins with the first.
    assert workspace.status()["letters"]["total"] == 6
    assert workspace.status()["others"] == ["notes"]
    assert workspace.read_json("costs", task=TASK)["total"]["calls"] == call_count
    assert workspace.read_json("costs")["total"]["calls"] == call_count + 2

    workspace.write_file("people.csv", f"{HEADER}ada,Ada,Lovelace,,,Keeps bees.\n")
    workspace.run_command("import", "people.csv")
    assert [row["username"] for row in workspace.read_json("items")["items"]] == ["ada"]


@pytest.mark.alike
def test_positional_arguments_and_settings_are_options(workspace: Workspace) -> None:
    """Positional arguments and settings may be options; a double argument is refused."""
    put_letters(workspace)
    workspace.run_command("tag", mode="live", TASK=TASK, yes=True)
    workspace.run_command("export", to="x.csv")
    assert (workspace.home / "x.csv").is_file()
    assert "was given twice" in workspace.run_command("export", "y.csv", to="z.csv", code=2).stderr
    items = workspace.read_json("items", find="bridge L-4", rpm=9)["items"]
    assert [item["id"] for item in items] == ["L-4"]
    assert "--rpm" in workspace.run_command("settings", rpm=9, debug=True).stdout
