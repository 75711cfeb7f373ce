"""Rows that a named question asks belong to its task and are never asked or paid again."""

import pytest

from tests.acceptance.database import run_sql
from tests.acceptance.engine import Engine
from tests.acceptance.killing import kill_after_calls
from tests.acceptance.product import Workspace
from tests.acceptance.test_ask import write_table
from tests.acceptance.test_live import CALLS, HANGS, LIVE


@pytest.mark.alike
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
    assert (api.count_calls("POST", CALLS), workspace.spending()["actual"]) == (5, cost)
    assert "5 of 6 rows asked" in ask_run.stdout
    assert ask_run.stderr.endswith("next: findable tag --task kinds\n")

    workspace.run_command("tag", TASK="kinds", mode="live")
    assert api.count_calls("POST", CALLS) == 6
    stored = {row["No."]: row["answer"] for row in workspace.exported_rows("kinds")}
    assert workspace.state_counts("kinds") == {"answered": 6, "empty": 1}
    assert {
        row["No."]: row["answer"] for row in named_run.json["answers"]
    }.items() <= stored.items()
    extractors = {
        request["extractor"].partition("/")[0] for request in workspace.logged_requests("kinds")
    }
    assert extractors == {"kinds@1"}


@pytest.mark.alike
def test_equal_rows_of_a_named_question_are_counted(workspace: Workspace) -> None:
    """`ask` counts the rows that got the answer of an equal row, as `status` does."""
    workspace.write_file("notes.csv", "id,text\n1,It hums.\n2,It broke.\n3,It hums.\n4,It hums.\n")
    ask_run = workspace.run_command("ask", "notes.csv", q="Tone?", name="notes", n=2)
    assert "2 of 4 rows asked, $" in ask_run.stdout
    assert "; 2 equal rows got the same answers; answers stored" in ask_run.stdout
    assert workspace.state_counts("notes") == {"answered": 4}
    repeated_run = workspace.run_command("ask", "notes.csv", q="Tone?", name="notes", n=2)
    assert "2 of 4 rows asked, $" in repeated_run.stdout
    assert "equal" not in repeated_run.stdout

    workspace.write_file("pair.csv", "id,text\n1,It hums.\n2,It hums.\n3,It broke.\n")
    pair_run = workspace.run_command("ask", "pair.csv", q="Tone?", name="pair", n=1)
    assert "; 1 equal row got the same answer; answers stored" in pair_run.stdout


def test_killed_named_question_is_continued(workspace: Workspace, api: Engine) -> None:
    """After a kill at the third call the same command asks only the rows without an answer."""
    file_name = write_table(workspace)
    api.script_fault("hang", nth=3, times=99, path=LIVE, args=HANGS)
    kill_after_calls(
        workspace,
        api,
        CALLS,
        "ask",
        file_name,
        call_count=3,
        q="Tone?",
        name="kinds",
        CONCURRENCY=1,
    )
    api.clear_faults()
    assert (workspace.home / "tasks/kinds.py").is_file()

    # The killed call counts as a call of the server.
    calls_before = api.count_calls("POST", CALLS)
    ask_run = workspace.run_command("ask", file_name, q="Tone?", name="kinds")
    assert "5 of 6 rows asked" in ask_run.stdout
    assert api.count_calls("POST", CALLS) == calls_before + 3
    assert workspace.state_counts("kinds") == {"answered": 5, "open": 1, "empty": 1}


@pytest.mark.alike
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


@pytest.mark.alike
def test_short_forms_of_bounds_and_vocabularies_become_typed_lines(workspace: Workspace) -> None:
    """`1-5` and the path of a CSV file are fields of the written file, whose answers fit them."""
    file_name = write_table(workspace)
    terms = "term,description,aliases,parent\nSound,,whistle,\nLid,,Deckel|tapa,\n"
    workspace.write_file("lists/topics.csv", terms)
    fields = "stars: 1-5; degrees: -2..2; topic: lists/topics.csv"
    tried = workspace.read_json("ask", file_name, q="Which?", fields=fields)
    assert not (workspace.home / "tasks").exists()

    named = workspace.read_json("ask", file_name, q="Which?", fields=fields, name="kettles")
    text = (workspace.home / "tasks/kettles.py").read_text(encoding="utf-8")
    for line in (
        "from pydantic import BaseModel, Field\n",
        "from findable import Task, Vocabulary\n",
        "    stars: Annotated[int, Field(ge=1, le=5)]  # ",
        "    degrees: Annotated[int, Field(ge=-2, le=2)]  # ",
        '    topic: Annotated[str, Vocabulary("../lists/topics.csv")]  # ',
    ):
        assert line in text
    for answer in (*tried["answers"], *named["answers"]):
        assert 1 <= answer["stars"] <= 5
        assert -2 <= answer["degrees"] <= 2
        assert answer["topic"] in {"Sound", "Lid"}

    decided = workspace.read_json("tag", TASK="kettles", mode="decide")
    assert decided["answered"] == 1


def test_written_files_show_how_bounds_and_vocabularies_are_written(workspace: Workspace) -> None:
    """The comments of a written file can be used as fields."""
    workspace.run_command("ask", write_table(workspace), q="Which?", name="kettles")
    path = workspace.home / "tasks/kettles.py"
    text = path.read_text(encoding="utf-8")
    for name in ("stars", "topic"):
        text = text.replace(f"    # {name}: ", f"    {name}: ")
    text = text.replace("BaseModel\n", "BaseModel, Field\nfrom typing import Annotated\n", 1)
    text = text.replace("import Task\n", "import Task, Vocabulary\n", 1)
    path.write_text(text.replace("    # version=2", "    version=2"), encoding="utf-8")
    workspace.write_file("tasks/topics.csv", "term\nSound\nLid\n")
    workspace.run_command("tag", TASK="kettles", mode="live")
    for row in workspace.exported_rows("kettles"):
        assert row["state"] == "empty" or row["topic"] in {"Sound", "Lid"}


@pytest.mark.alike
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("stars: 5-1", "'stars' has the numbers 5 to 1"),
        ("stars: 1-1", "a range needs two different numbers"),
        ("topic: topics.csv, stars: 1-5, why: quote", "topic: topics.csv; stars: 1-5; why: quote"),
        ("topic: list of topics.csv", "a list of terms is written in the task's file"),
        ("stars: 1-", "'1-' is not a kind of field; did you mean 1-5?"),
        ("topic: none.csv", "the vocabulary 'none.csv' of 'topic' does not exist"),
        (
            "topic: kettle reviews.csv",
            "error: ../kettle reviews.csv, line 1: the header has no column",
        ),
    ],
)
def test_wrong_bounds_and_vocabularies_are_refused(
    workspace: Workspace, fields: str, message: str
) -> None:
    """The message names the field or the file, and no file is written."""
    file_name = write_table(workspace)
    ask_run = workspace.run_command(
        "ask", file_name, q="Which?", fields=fields, name="kettles", code=2
    )
    assert message in ask_run.stderr
    assert "nothing was asked" in ask_run.stderr
    assert not (workspace.home / "tasks").exists()
