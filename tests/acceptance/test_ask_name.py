"""Rows that a named question asks belong to its task and are never asked or paid again."""

import pytest

from tests.acceptance.database import run_sql
from tests.acceptance.engine import Engine
from tests.acceptance.product import Workspace
from tests.acceptance.test_ask import write_table
from tests.acceptance.test_live import HANGS, LIVE, kill_after_calls, live_calls


def test_rows_of_a_named_question_are_answered_once(workspace: Workspace, api: Engine) -> None:
    """`ask NAME=` asks five rows and `tag` the sixth; a repeated `ask` costs nothing."""
    file_name = write_table(workspace)
    named_run = workspace.run_command("ask", file_name, q="Tone?", name="kinds", json=True)
    assert [answer["No."] for answer in named_run.json["answers"]] == [
        "k-1",
        "k-2",
        "k-3",
        "k-5",
        "k-6",
    ]
    assert workspace.state_counts("kinds") == {"answered": 5, "open": 1, "empty": 1}
    assert [(batch["way"], batch["requests"]) for batch in workspace.batches()] == [("live", 5)]
    cost = workspace.spending()["actual"]
    assert cost == pytest.approx(named_run.json["tried"]["cost"], abs=1e-6)

    ask_run = workspace.run_command("ask", file_name, q="Tone?", name="kinds")
    assert (live_calls(api), workspace.spending()["actual"]) == (5, cost)
    assert "5 of 6 rows asked" in ask_run.stdout
    assert ask_run.stderr.endswith("next: findable tag --task kinds\n")

    workspace.run_command("tag", TASK="kinds", mode="live")
    assert live_calls(api) == 6
    stored = {row["No."]: row["answer"] for row in workspace.exported_rows("kinds")}
    assert workspace.state_counts("kinds") == {"answered": 6, "empty": 1}
    assert {
        row["No."]: row["answer"] for row in named_run.json["answers"]
    }.items() <= stored.items()
    extractors = {
        request["extractor"].partition("/")[0] for request in workspace.logged_requests("kinds")
    }
    assert extractors == {"kinds@1"}


def test_equal_rows_of_a_named_question_are_counted(workspace: Workspace) -> None:
    """`ask` names the rows that got the answer of an equal row, as `status` counts them."""
    workspace.write_file("notes.csv", "id,text\n1,It hums.\n2,It broke.\n3,It hums.\n4,It hums.\n")
    ask_run = workspace.run_command("ask", "notes.csv", q="Tone?", name="notes", n=2)
    assert "2 of 4 rows asked and 2 equal ones answered with them" in ask_run.stdout
    assert workspace.state_counts("notes") == {"answered": 4}
    repeated_run = workspace.run_command("ask", "notes.csv", q="Tone?", name="notes", n=2)
    assert "2 of 4 rows asked, $" in repeated_run.stdout


def test_killed_named_question_is_continued(workspace: Workspace, api: Engine) -> None:
    """After a kill at the third call the same command asks only the rows without an answer."""
    file_name = write_table(workspace)
    api.script_fault("hang", nth=3, times=99, path=LIVE, args=HANGS)
    kill_after_calls(
        workspace, api, "ask", file_name, call_count=3, q="Tone?", name="kinds", CONCURRENCY=1
    )
    api.clear_faults()
    assert (workspace.home / "tasks/kinds.py").is_file()

    # The killed call counts as a call of the server.
    calls_before = live_calls(api)
    ask_run = workspace.run_command("ask", file_name, q="Tone?", name="kinds")
    assert "5 of 6 rows asked" in ask_run.stdout
    assert live_calls(api) == calls_before + 3
    assert workspace.state_counts("kinds") == {"answered": 5, "open": 1, "empty": 1}


def test_named_question_confirms_views_in_another_database(
    workspace: Workspace,
) -> None:
    """The views of the task are added to the database of another program after a yes."""
    run_sql(workspace, "CREATE TABLE tickets (nr INTEGER, note TEXT)")
    run_sql(workspace, "INSERT INTO tickets VALUES (7, 'the lid is broken'), (8, 'a kettle sings')")
    query = "SELECT nr, note FROM tickets ORDER BY nr"

    refused_run = workspace.run_command("ask", query, q="What is it about?", name="tickets", code=3)
    assert "--yes adds them" in refused_run.stderr
    ask_run = workspace.run_command(
        "ask", query, q="What is it about?", name="tickets", yes=True, json=True
    )
    assert [answer["nr"] for answer in ask_run.json["answers"]] == ["7", "8"]
    assert workspace.state_counts("tickets") == {"answered": 2}
