"""Answered rows that changed, or that a person asks for again, are stale until a new answer."""

from collections import Counter
from typing import Any

import pytest

from tests.acceptance.database import run_sql
from tests.acceptance.page_calls import run_job
from tests.acceptance.product import Workspace, write_declaration
from tests.acceptance.steps import Fate
from tests.outside.answers import Json, user_text
from tests.outside.server import Outside

# Rows are asked again, rightly.
pytestmark = pytest.mark.excused("nobody_is_answered_twice")
FIELDS = {"topic": "Literal['price', 'speed', 'other']"}
ROW_COUNT = 6
# Rows that get the topic `other` at first.
OTHER_IDS = ["1", "4"]
CONDITION = "topic = 'other'"


@pytest.fixture(name="notes_workspace")
def _notes_workspace(workspace: Workspace, outside_server: Outside) -> Workspace:
    """A workspace with six answered rows, of which two have the topic `other`."""
    outside_server.answerer = first_answer
    workspace.task = "notes"
    workspace.url = outside_server.url
    workspace.settings["RETRY_FOR"] = "0.1"
    write_rows(workspace, {})
    declare(workspace)
    workspace.run_command("tag", mode="live")
    outside_server.answerer = later_answer
    return workspace


def declare(workspace: Workspace, *arguments: str) -> None:
    """Write the task's file."""
    text = write_declaration(FIELDS, prompt="{text}", items="notes.csv", extra_arguments=arguments)
    workspace.write_file("tasks/notes.py", text)


def write_rows(workspace: Workspace, texts: dict[int, str]) -> None:
    """Write the row file; a row without a text in `texts` has its usual text."""
    lines = [
        f"{number},{texts.get(number, f'note {number}')}\n" for number in range(1, ROW_COUNT + 1)
    ]
    workspace.write_file("tasks/notes.csv", f"id,text\n{''.join(lines)}")


def first_answer(request: Json) -> Json:
    """Return the topic `other` for the notes 1 and 4."""
    number = user_text(request).partition("note ")[2][:1]
    return {"topic": "other" if number in OTHER_IDS else "speed"}


def later_answer(_request: Json) -> Json:
    """Return the same topic for every note."""
    return {"topic": "price"}


def asked_ids(workspace: Workspace) -> list[str]:
    """Return the ids of the rows of all requests after the first of each row, sorted."""
    counts = Counter(request["row"] for request in workspace.logged_requests())
    return sorted((counts - Counter(counts.keys())).elements())


def topics(workspace: Workspace) -> Counter[str]:
    """Return how many rows have each topic in the list, which equals the export and the view."""
    rows = workspace.read_json("items", fields="topic", limit=ROW_COUNT)["rows"]
    listed = Counter(row["topic"] for row in rows)
    assert Counter(row["topic"] for row in workspace.exported_rows()) == listed
    in_view = Counter(topic for (topic,) in run_sql(workspace, "SELECT topic FROM notes_answered"))
    assert in_view == listed
    return listed


@pytest.mark.promise("again", postgresql=True)
def test_changed_row_is_counted_listed_and_exported_as_stale(notes_workspace: Workspace) -> None:
    """The old answer stays beside the new text, and everything says that it is stale."""
    workspace = notes_workspace
    write_rows(workspace, {2: "note 2 changed", 3: ""})
    workspace.run_command("tag")
    assert workspace.state_counts() == {"answered": 4, "stale": 1, "empty": 1}
    listed = workspace.read_json("items", state="stale")
    assert [row["id"] for row in listed["rows"]] == ["2"]
    (row,) = [row for row in workspace.exported_rows() if row["id"] == "2"]
    assert (row["text"], row["topic"]) == ("note 2 changed", "speed")
    assert (row["state"], row["reason"]) == ("stale", "its input changed after the answer")
    states = dict(run_sql(workspace, "SELECT id, state FROM notes_answered"))
    assert {str(key): state for key, state in states.items()} == {
        **dict.fromkeys("1456", "answered"),
        "2": "stale",
        "3": "empty",
    }

    write_rows(workspace, {})
    workspace.run_command("tag")
    assert workspace.state_counts() == {"answered": ROW_COUNT}, "it changed back"
    assert asked_ids(workspace) == []


def test_page_shows_what_changed_since_the_answer(notes_workspace: Workspace) -> None:
    """A row that changed twice is compared with the text that was asked, until a new answer."""
    workspace = notes_workspace
    change = "note<del> 2</del> → <ins> two</ins>"
    for text in ("note 2 changed", "note two"):
        write_rows(workspace, {2: text})
        workspace.run_command("tag")
    with workspace.serve_page() as client:
        assert change in client.get("/", params={"task": "notes"}).text
        address = "/row?task=notes&key=2"
        assert change in client.get(address).text
        run_job(client, "/api/tasks/notes/rows/ask", json={"ids": ["2"]})
        assert "<del>" not in client.get(address).text

    # The text of the second answer is kept when the row changes again.
    write_rows(workspace, {})
    workspace.run_command("tag")
    with workspace.serve_page() as client:
        assert "note<del> two</del> → <ins> 2</ins>" in client.get(address).text


@pytest.mark.promise("again")
def test_answer_stays_while_gemini_is_down(
    notes_workspace: Workspace, outside_server: Outside
) -> None:
    """Neither the page nor `tag` takes a paid answer away before a new one has come."""
    workspace = notes_workspace
    outside_server.die()
    with workspace.serve_page() as client:
        run_job(client, "/api/tasks/notes/rows/ask", json={"ids": ["1"]})
    assert topics(workspace) == {"other": 2, "speed": 4}
    assert workspace.state_counts() == {"answered": 5, "stale": 1}
    workspace.run_command("tag", row="2", again=True, mode="live", yes=True, code="any")
    assert topics(workspace) == {"other": 2, "speed": 4}

    outside_server.come_back()
    workspace.run_command("work", once=True, yes=True)
    workspace.run_command("tag", mode="live", wait=True)
    assert topics(workspace) == {"other": 1, "speed": 3, "price": 2}
    assert workspace.state_counts() == {"answered": ROW_COUNT}


def test_row_of_a_condition_that_changes_is_asked_and_shown_once(
    notes_workspace: Workspace,
) -> None:
    """After `tag WHERE= AGAIN=1`, an edit and REFRESH=1, all lists have the newest answer."""
    workspace = notes_workspace
    workspace.run_command("tag", where=CONDITION, again=True, mode="live", yes=True)
    assert topics(workspace) == {"price": 2, "speed": 4}
    write_rows(workspace, {1: "note 1 changed"})
    workspace.run_command("tag", refresh=True, mode="live")
    assert topics(workspace) == {"price": 2, "speed": 4}
    assert workspace.state_counts() == {"answered": ROW_COUNT}
    assert asked_ids(workspace) == ["1", "1", "4"]


@pytest.mark.parametrize("mode", ["live", "batch"])
def test_row_that_is_asked_again_gets_no_copy_of_an_old_answer(
    notes_workspace: Workspace, mode: str
) -> None:
    """A call is made, also if equal rows have an old answer; equal marked rows share it."""
    workspace = notes_workspace
    write_rows(workspace, {2: "note 9", 3: "note 9", 5: "note 9"})
    workspace.run_command("tag", refresh=True, mode="live")
    assert asked_ids(workspace) == ["2"]
    workspace.run_command(
        "tag", where="id = 2 OR id = 3", again=True, mode=mode, yes=True, wait=True
    )
    assert asked_ids(workspace) == ["2", "2"]
    rows = {row["id"]: row["topic"] for row in workspace.exported_rows()}
    assert (rows["2"], rows["3"], rows["5"]) == ("price", "price", "price")
    assert workspace.state_counts() == {"answered": ROW_COUNT}


def test_status_names_a_source_that_changed_since_it_was_read(notes_workspace: Workspace) -> None:
    """`tag` reads it; a file that was only written again is read without a word."""
    workspace = notes_workspace
    write_rows(workspace, {2: "note 2 changed"})
    assert "notes.csv changed since it was read" in workspace.run_command("status").stdout
    workspace.run_command("tag")
    assert "since it was read" not in workspace.run_command("status").stdout


@pytest.mark.promise("again")
def test_condition_narrows_and_marks_only_with_again(notes_workspace: Workspace) -> None:
    """Without AGAIN=1 only open rows of the condition are asked; estimates mark nothing."""
    workspace = notes_workspace
    workspace.run_command("tag", again=True, code=2)
    workspace.run_command("tag", where=CONDITION)
    refused = workspace.run_command("tag", where=CONDITION, again=True, mode="live", code=2)
    assert "2 answered rows to ask again; the old answers stay" in refused.stderr
    estimate = workspace.read_json("tag", where=CONDITION, again=True, dry=True)
    assert (estimate["rows"], estimate["questions"]) == (2, 2)
    assert workspace.state_counts() == {"answered": ROW_COUNT}

    workspace.run_command("correct", "4", set="topic=speed", who="ada")
    workspace.run_command("correct", "5", reviewed=True, who="ada")
    condition = "id = 1 OR id = 4 OR id = 5"
    output = workspace.run_command(
        "tag", where=condition, again=True, limit=1, mode="live", yes=True
    ).stderr
    assert "1 of them reviewed, whose right values stay" in output
    assert workspace.state_counts() == {"answered": 5, "stale": 1}
    reasons = {row["id"]: row["reason"] for row in workspace.exported_rows()}
    assert reasons["5"] == "asked for again"

    workspace.run_command("tag", AGAIN="0")
    assert workspace.state_counts() == {"answered": ROW_COUNT}
    workspace.run_command("tag", where="id = 4", again=True, yes=True, code=2)
    assert asked_ids(workspace) == ["1"]

    declare(workspace, "version=2")
    workspace.run_command("tag", where="id <= 2", mode="live")
    assert workspace.state_counts() == {"answered": 3, "open": 3}


@pytest.mark.parametrize("dry", [True, False])
def test_dry_run_ends_as_the_real_run(notes_workspace: Workspace, *, dry: bool) -> None:
    """A condition without a match and an empty option end both with an error."""
    options: dict[str, Any] = {"dry": dry, "yes": True, "code": 2}
    run = notes_workspace.run_command("tag", where="id = 99", again=True, **options)
    assert "no row can be asked again" in run.stderr
    run = notes_workspace.run_command("tag", where="", refresh=True, **options)
    assert "'--where': it is empty" in run.stderr
    notes_workspace.run_command("tag", WHERE="", GIVEN="tag : WHERE", **options)
    notes_workspace.run_command("tag", WHERE="", dry=dry)


@pytest.mark.parametrize("mode", ["live", "batch"])
def test_killed_command_asks_each_row_again_once(notes_workspace: Workspace, mode: str) -> None:
    """The same command, killed at several steps, marks the rows once and asks them once."""
    workspace = notes_workspace
    options: dict[str, Any] = {"mode": mode, "wait": True, "yes": True, "again": True}
    options["where"] = "id <= 4"
    workspace.settings["CONCURRENCY"] = "1"
    killed_count = 0
    for step in (5, 25, 45, 65, 85, 105):
        killed = workspace.start_command("tag", fate=Fate(step, "after"), **options).wait()
        assert killed.code in {0, -9}, killed
        if killed.code == 0:
            break
        killed_count += 1
    assert killed_count > 1
    if workspace.state_counts() != {"answered": ROW_COUNT}:
        workspace.run_command("tag", mode=mode, wait=True, yes=True)
    answered_ids = Counter(
        request["row"]
        for request in workspace.logged_requests()
        if request["outcome"] == "answered"
    )
    if not asked_ids(workspace):
        workspace.run_command("tag", **options)
    assert set(answered_ids.values()) <= {1, 2}
    assert topics(workspace) == {"price": 4, "speed": 2}

    workspace.run_command("tag", where="id = 1", again=True, mode=mode, yes=True, wait=True)
    assert asked_ids(workspace).count("1") >= 2, "a second command asks again, rightly"


def test_invalid_answers_park_the_row_and_the_old_answer_counts(
    notes_workspace: Workspace, outside_server: Outside
) -> None:
    """`unpark` makes the row stale; marking and a changed input forgive earlier failures."""
    workspace = notes_workspace
    outside_server.answerer = lambda _: {"topic": "wrong"}
    workspace.run_command("tag", row="1", again=True, mode="live", yes=True, code="any")
    workspace.run_command("tag", mode="live", code="any")
    assert workspace.state_counts() == {"answered": 5, "parked": 1}
    assert topics(workspace) == {"other": 2, "speed": 4}
    workspace.run_command("unpark", "1")
    assert workspace.state_counts() == {"answered": 5, "stale": 1}
    outside_server.answerer = later_answer
    workspace.run_command("tag", mode="live")
    assert topics(workspace) == {"other": 1, "speed": 4, "price": 1}


def test_marks_are_removed_with_their_answers(notes_workspace: Workspace) -> None:
    """A new answer ends a mark, and a rollback removes marks with the answers."""
    workspace = notes_workspace
    workspace.run_command("tag", where="id <= 3", again=True, mode="batch", yes=True, limit=1)
    assert workspace.state_counts() == {"answered": 3, "claimed": 1, "stale": 2}
    workspace.run_command("tag", mode="batch", wait=True)
    assert workspace.state_counts() == {"answered": ROW_COUNT}

    version = workspace.logged_requests()[0]["version"]
    workspace.run_command("rollback", version, yes=True)
    assert workspace.state_counts() == {"open": ROW_COUNT}
    workspace.run_command("tag", mode="live")
    assert workspace.state_counts() == {"answered": ROW_COUNT}, "no mark outlived its answer"
