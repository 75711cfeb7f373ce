"""What `status` says of what stopped, what failed and what comes next, and which task is meant without a name."""

import re
import shlex
import signal
import time
from pathlib import Path
from typing import Any

from tests.acceptance.engine import Engine
from tests.acceptance.product import HEADER, Workspace, declaration
from tests.outside.answers import Json, fill, user_text
from tests.outside.server import Outside

LIVE = ":generateContent$"
LONGEST_S = 60.0
TASK = "letters"
FIELDS = {"tone": "Literal['praise', 'blame']"}


def put_letters(
    workspace: Workspace, name: str = TASK, *, count: int = 6, fields: dict[str, str] = FIELDS
) -> None:
    """Write the file of a task, and its rows beside it."""
    rows = "".join(f"L-{number},letter {number} about a bridge\n" for number in range(count))
    workspace.put(f"tasks/{name}.csv", f"id,text\n{rows}")
    workspace.put(f"tasks/{name}.py", declaration(fields, prompt="{text}", items=f"{name}.csv"))


def next_step(said: str) -> list[str]:
    """Return the words of the command that an output names as the next one."""
    match = re.search(r"(?:Next: |^next +)(findable .*)$", said, re.MULTILINE)
    return shlex.split(match[1]) if match else []


def kill_live_run(workspace: Workspace, api: Engine, *, after: int) -> None:
    """Kill a live run once so many calls were answered, while the next one hangs."""
    api.fault("hang", nth=after + 1, times=99, path=LIVE, args={"seconds": 300})
    with workspace.start(
        "tag", mode="live", TASK=TASK, yes=True, CONCURRENCY=1, CALL_TIMEOUT=200
    ) as running:
        deadline = time.monotonic() + LONGEST_S
        while sum(one["path"].endswith(":generateContent") for one in api.journal()) <= after:
            assert time.monotonic() < deadline, running.so_far()
            time.sleep(0.01)
        running.signal(signal.SIGKILL)
        assert running.wait().code == -signal.SIGKILL
    api.clear_faults()


def test_a_stopped_run_is_said_to_have_stopped_and_one_command_continues_it(
    workspace: Workspace, api: Engine
) -> None:
    """No time is left to it; status, the page and `tag` name the same step, which says what it continues."""
    put_letters(workspace)
    kill_live_run(workspace, api, after=2)
    before = {path.name: path.stat().st_mtime_ns for path in workspace.data.glob("batches/*")}
    output = workspace.do("status").out
    assert re.search(
        r"under way +live run 1 stopped, \d of 6 rows asked: `findable tag --task letters` continues",
        output,
    )
    assert " left" not in output
    assert next_step(output) == ["findable", "tag", "--task", TASK]
    assert {
        path.name: path.stat().st_mtime_ns for path in workspace.data.glob("batches/*")
    } == before
    # A page that may write would end the stopped run by itself.
    with workspace.page(readonly=True) as client:
        found = client.get(f"/api/tasks/{TASK}/next").json()
        assert shlex.split(found["next"])[-3:] == ["tag", "--task", TASK]
        assert found["plan"]["cost"] > 0
        assert ", stopped" in client.get("/parts/state", params={"task": TASK}).text
    tag_run = workspace.do("tag", mode="live", yes=True)
    assert "continuing live run 1 stopped" in tag_run.err
    assert workspace.states(TASK) == {"answered": 6}
    assert next_step(tag_run.out) == next_step(workspace.do("status").out) != []


def test_a_resumed_batch_is_named_and_no_empty_plan_is_announced(
    workspace: Workspace, api: Engine
) -> None:
    """What goes on at the API is said with its rows; the next step after `tag` is that of `status`."""
    api.configure(paused=True)
    put_letters(workspace)
    done = workspace.do("tag", mode="batch", TASK=TASK, yes=True)
    assert (
        next_step(done.out)
        == next_step(workspace.do("status").out)
        == ["findable", "batch-poll", "--task", TASK]
    )
    done = workspace.do("tag", yes=True)
    assert "continuing batch 1, 6 rows" in done.err
    assert "0 rows" not in done.err
    assert next_step(done.out) == ["findable", "batch-poll", "--task", TASK]
    api.configure(paused=False)
    done = workspace.do("tag", wait=True, yes=True)
    assert next_step(done.out) == next_step(workspace.do("status").out)


def test_failures_are_one_line_before_the_next_step_and_grouped_in_all_of_it(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Most rows fail for a reason that each of them says in other words; the report of the failed gate is named."""

    def answer(request: Json) -> Any:
        """Answer the first rows with a value that is none of the choices, of each another one."""
        match = re.search(r"letter (\d+) ", user_text(request))
        assert match
        number = int(match[1])
        return fill(request) if number >= 70 else {"tone": f"tone {number}"}

    outside_server.answerer = answer
    put_letters(served_workspace, count=75)
    served_workspace.do("tag", mode="live", TASK=TASK, yes=True)
    lines = served_workspace.do("status").out.splitlines()
    assert [line[:11].strip() for line in lines[-2:]] == ["failed", "next"]
    failed = served_workspace.status()["failures"]
    reason, count = next(iter(failed["reasons"].items()))
    assert (failed["rows"], count) == (70, 70)
    assert f"70 rows: {reason}" in lines[-2]
    assert Path(failed["report"]).is_file()
    assert failed["report"] in lines[-2]
    more = served_workspace.do("status", more=True).out.splitlines()
    assert len(more) < 60
    assert sum(reason in line for line in more) == 2
    assert max(map(len, more)) < 500


def test_progress_counts_a_row_that_is_asked_again_once(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Every first reply is invalid: no more rows are shown as asked than there are."""
    asked = set[str]()

    def answer(request: Json) -> Any:
        """Answer a row invalidly the first time."""
        text = user_text(request)
        is_first = text not in asked
        asked.add(text)
        return {"tone": "neither"} if is_first else fill(request)

    outside_server.answerer = answer
    put_letters(served_workspace)
    served_workspace.do("try", TASK=TASK, yes=True)
    asked.clear()
    with served_workspace.page() as client:
        number = client.post(
            "/api/tag", params={"task": TASK, "cost": 1}, json={"mode": "live"}
        ).json()["number"]
        deadline = time.monotonic() + LONGEST_S
        while (work := client.get(f"/api/work/{number}").json())["state"] == "running":
            assert time.monotonic() < deadline
            assert work["done"] <= (work["total"] or work["done"])
        assert (work["done"], work["total"]) == (6, 6)


def test_the_only_task_is_meant_without_a_name_and_several_are_listed(workspace: Workspace) -> None:
    """By every command and the page; in a workspace with people it is people."""
    put_letters(workspace)
    workspace.do("tag", mode="live", TASK=TASK, limit=3, yes=True)
    workspace.do("export", "out.jsonl")
    assert len((workspace.home / "out.jsonl").read_text(encoding="utf-8").splitlines()) >= 3
    assert len(workspace.read("items")["items"]) == 6
    assert workspace.status()[TASK]["total"] == 6
    assert workspace.read("show", item="L-0")["task"] == TASK
    assert "row is parked" in workspace.do("parked").out
    for verb in ("qc", "try", "preflight", "submit", "poll", "ingest", "tag"):
        assert "import people" not in workspace.do(verb, yes=True).said
    assert workspace.states(TASK) == {"answered": 6}
    with workspace.page() as client:
        assert client.get("/api/status").json()[TASK]["total"] == 6
        assert "letter 0 about a bridge" in client.get("/").text
    spent = workspace.read("costs", by="task")["total"]["calls"]

    put_letters(workspace, "notes", count=2)
    workspace.do("tag", mode="live", TASK="notes", yes=True)
    for verb, *arguments in (("items",), ("export", "no.csv"), ("tag",), ("parked",)):
        error_output = workspace.do(verb, *arguments, code=2).err
        assert "has no people, and several tasks: letters, notes; nothing was done" in error_output
        assert "--task letters" in error_output
    assert not (workspace.home / "no.csv").exists()
    assert workspace.status()["others"] == ["letters", "notes"]
    assert workspace.read("costs", task=TASK)["total"]["calls"] == spent
    assert workspace.read("costs")["total"]["calls"] == spent + 2

    workspace.put("people.csv", f"{HEADER}ada,Ada,Lovelace,,,Keeps bees.\n")
    workspace.do("import", "people.csv")
    assert [row["username"] for row in workspace.read("items")["items"]] == ["ada"]


def test_what_stands_without_a_name_is_an_option_too(workspace: Workspace) -> None:
    """A setting is one as well; what is given twice is refused."""
    put_letters(workspace)
    workspace.do("tag", mode="live", TASK=TASK, yes=True)
    workspace.do("export", to="x.csv")
    assert (workspace.home / "x.csv").is_file()
    assert "the same option" in workspace.do("export", "y.csv", to="z.csv", code=2).err
    found = workspace.read("items", find="bridge L-4", rpm=9)["items"]
    assert [one["id"] for one in found] == ["L-4"]
    assert "--rpm" in workspace.do("settings", rpm=9, refresh=True).out
