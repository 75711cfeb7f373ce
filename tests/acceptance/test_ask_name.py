"""Rows that a named question asks belong to its task and are never asked or paid again."""

import pytest

from tests.acceptance.engine import LIVE_CALL, Engine
from tests.acceptance.product import Workspace
from tests.acceptance.table_files import write_table


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
    assert [(batch["mode"], batch["requests"]) for batch in workspace.batches()] == [("live", 5)]
    cost = workspace.spending()["actual"]
    assert cost == pytest.approx(named_run.json["tried"]["cost"], abs=1e-6)

    ask_run = workspace.run_command("ask", file_name, q="Tone?", name="kinds")
    assert (api.count_calls("POST", LIVE_CALL), workspace.spending()["actual"]) == (5, cost)
    assert "5 of 6 rows asked" in ask_run.stdout
    assert ask_run.stderr.endswith("next: askrows tag --task kinds\n")

    workspace.run_command("tag", TASK="kinds", mode="live")
    assert api.count_calls("POST", LIVE_CALL) == 6
    stored = {row["No."]: row["answer"] for row in workspace.exported_rows("kinds")}
    assert workspace.state_counts("kinds") == {"answered": 6, "empty": 1}
    assert {
        row["No."]: row["answer"] for row in named_run.json["answers"]
    }.items() <= stored.items()
    versions = {
        request["version"].partition("/")[0] for request in workspace.logged_requests("kinds")
    }
    assert versions == {"kinds@1"}


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
        "from askrows import Task, Vocabulary\n",
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


def test_row_without_a_key_is_called_by_its_place(workspace: Workspace) -> None:
    """Commands and the page call a row without a key "row 2", and commands accept that name.

    A second question of that name leads to `tag`, and `correct` without a row lists all edits.
    """
    workspace.write_file(
        "letters.csv", "id,text\n1,The lamp hums.\n,It leaks.\n3,It glows.\n,It is cold."
    )
    options = {"fields": "reason: text", "key": "id"}
    workspace.run_command("ask", "letters.csv", "Topic?", name="letters", yes=True, **options)
    assert (
        "`askrows tag --task letters` goes on with that task; another --name"
        in workspace.run_command("ask", "letters.csv", "Who?", name="letters", code=2).stderr
    )

    workspace.task = "letters"
    page = workspace.run_command("items", limit=2)
    assert "\nrow 2\tIt leaks." in page.stdout
    assert '--after "row 2"' in page.stderr
    later_rows = workspace.read_json("items", after="row 2")["rows"]
    assert [row["id"] for row in later_rows if row["state"] == "answered"] == ["3"]
    assert workspace.run_command("show", row="row 4").stdout.startswith("row: row 4\n")
    workspace.run_command("show", row="row 1", code=2)
    with workspace.serve_page() as client:
        list_text = " ".join(client.get("/?task=letters").text.split())
    assert "row 4</a>" in list_text
    # A field of the answer keeps its name, also if askrows has a column of that name.
    assert '">reason</a>' in list_text

    workspace.run_command("correct", "3", set="reason=light", who="ada")
    assert [edit["row"] for edit in workspace.read_json("correct")] == ["3"]
