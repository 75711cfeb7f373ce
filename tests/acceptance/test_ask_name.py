"""A question with a name: the rows that it asks are rows of its task, and are never asked or paid for again."""

import pytest

from tests.acceptance.database import sql
from tests.acceptance.engine import Engine
from tests.acceptance.product import Workspace
from tests.acceptance.test_ask import table
from tests.acceptance.test_live import HANGS, LIVE, calls, killed


def test_the_rows_of_a_named_question_are_answered_once(workspace: Workspace, api: Engine) -> None:
    """`ask NAME=` asks five rows, `tag` the sixth; the same `ask` again costs nothing and tells the same answers."""
    name = table(workspace)
    asked = workspace.do("ask", name, q="Tone?", name="kinds", json=True)
    assert [one["No."] for one in asked.json["answers"]] == ["k-1", "k-2", "k-3", "k-5", "k-6"]
    assert workspace.states("kinds") == {"answered": 5, "open": 1, "empty": 1}
    assert [(one["way"], one["requests"]) for one in workspace.batches()] == [("live", 5)]
    spent = workspace.spent()["actual"]
    assert spent == pytest.approx(asked.json["tried"]["cost"], abs=1e-6)

    ask_run = workspace.do("ask", name, q="Tone?", name="kinds")
    assert (calls(api), workspace.spent()["actual"]) == (5, spent)
    assert "5 of 6 rows asked" in ask_run.out
    assert ask_run.err.endswith("next: findable tag --task kinds\n")

    workspace.do("tag", TASK="kinds", mode="live")
    assert calls(api) == 6
    stored = {one["No."]: one["answer"] for one in workspace.exported("kinds")}
    assert workspace.states("kinds") == {"answered": 6, "empty": 1}
    assert {one["No."]: one["answer"] for one in asked.json["answers"]}.items() <= stored.items()
    extractors = {one["extractor"].partition("/")[0] for one in workspace.asked("kinds")}
    assert extractors == {"kinds@1"}


def test_a_named_question_that_was_killed_goes_on(workspace: Workspace, api: Engine) -> None:
    """Killed at its third call, the same command asks the three rows without an answer; none is asked twice."""
    name = table(workspace)
    api.fault("hang", nth=3, times=99, path=LIVE, args=HANGS)
    killed(workspace, api, "ask", name, after=3, q="Tone?", name="kinds", CONCURRENCY=1)
    api.clear_faults()
    assert (workspace.home / "tasks/kinds.py").is_file()
    before = calls(api)
    ask_run = workspace.do("ask", name, q="Tone?", name="kinds")
    assert "5 of 6 rows asked" in ask_run.out
    assert calls(api) == before + 3
    assert workspace.states("kinds") == {"answered": 5, "open": 1, "empty": 1}


def test_a_named_question_asks_before_it_adds_views_to_another_database(
    workspace: Workspace,
) -> None:
    """The views of its task are added to another program's database only after a yes."""
    sql(workspace, "CREATE TABLE tickets (nr INTEGER, note TEXT)")
    sql(workspace, "INSERT INTO tickets VALUES (7, 'the lid is broken'), (8, 'a kettle sings')")
    query = "SELECT nr, note FROM tickets ORDER BY nr"
    refused = workspace.do("ask", query, q="What is it about?", name="tickets", code=3)
    assert "--yes agrees" in refused.err
    ask_run = workspace.do("ask", query, q="What is it about?", name="tickets", yes=True, json=True)
    assert [answer["nr"] for answer in ask_run.json["answers"]] == ["7", "8"]
    assert workspace.states("tickets") == {"answered": 2}
