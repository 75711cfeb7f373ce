"""`tag WHERE=` asks only the rows of a condition, answered rows under a new version."""

from collections import Counter
from typing import Any

import pytest

from tests.acceptance.database import run_sql
from tests.acceptance.product import Workspace, write_declaration
from tests.acceptance.steps import Fate
from tests.outside.answers import Json, user_text
from tests.outside.server import Outside

FIELDS = {"topic": "Literal['price', 'speed', 'other']"}
ROW_COUNT = 9
# Rows that get the topic `other` from the first version.
OTHER_IDS = {"1", "4", "7"}
CONDITION = "topic = 'other'"


@pytest.fixture(name="notes_workspace")
def _notes_workspace(workspace: Workspace, outside_server: Outside) -> Workspace:
    """A workspace with nine answered rows, of which three have the topic `other`."""
    outside_server.answerer = first_answer
    workspace.task = "notes"
    workspace.url = outside_server.url
    lines = "".join(f"{number},note {number}\n" for number in range(1, ROW_COUNT + 1))
    workspace.write_file("tasks/notes.csv", f"id,text\n{lines}")
    declare(workspace)
    workspace.run_command("tag", mode="live", yes=True)
    outside_server.answerer = later_answer
    return workspace


def declare(workspace: Workspace, *arguments: str) -> None:
    """Write the task's file."""
    text = write_declaration(FIELDS, prompt="{text}", items="notes.csv", extra_arguments=arguments)
    workspace.write_file("tasks/notes.py", text)


def first_answer(request: Json) -> Json:
    """Return the topic `other` for the notes 1, 4 and 7."""
    number = user_text(request).partition("note ")[2][:1]
    return {"topic": "other" if number in OTHER_IDS else "speed"}


def later_answer(request: Json) -> Json:
    """Return the same topic for every note."""
    assert "note" in user_text(request)
    return {"topic": "price"}


def answers_by_version(workspace: Workspace) -> dict[str, set[str]]:
    """Return the ids of the answered rows of each prompt version."""
    ids: dict[str, set[str]] = {}
    for version, row_id in run_sql(workspace, "SELECT extractor, id FROM notes_answers"):
        ids.setdefault(version.partition("/")[0], set()).add(str(row_id))
    return ids


def topics(workspace: Workspace) -> Counter[str]:
    """Return how many rows have each topic in the list, which equals the export and the view."""
    rows = workspace.read_json("items", fields="topic", limit=ROW_COUNT)["items"]
    listed = Counter(row["topic"] for row in rows)
    assert Counter(row["topic"] for row in workspace.exported_rows()) == listed
    in_view = Counter(topic for (topic,) in run_sql(workspace, "SELECT topic FROM notes_answered"))
    assert in_view == listed
    return listed


@pytest.mark.same_sql
def test_malformed_condition_shows_one_about_a_column_of_the_task(
    notes_workspace: Workspace,
) -> None:
    """The example can be typed as it is."""
    refusal = notes_workspace.run_command("items", where="text LIKE '%note%'", code=2).stderr
    assert "WHERE cannot be read" in refusal
    assert "text CONTAINS 'word'" in refusal


def test_answered_rows_of_a_condition_are_asked_under_a_new_version(
    notes_workspace: Workspace,
) -> None:
    """Only these rows get new answers, which count; a later `tag` asks nothing."""
    workspace = notes_workspace
    refused = workspace.run_command("tag", where=CONDITION, mode="live", code=2)
    assert "3 rows of" in refused.stderr
    assert "not confirmed; nothing was started" in refused.stderr
    estimate = workspace.read_json("tag", where=CONDITION, dry=True)
    assert estimate["items"] == 3
    assert "notes@2" not in answers_by_version(workspace)

    workspace.run_command("correct", "7", set="topic=speed", who="ada")
    ended = workspace.run_command("tag", where=CONDITION, mode="live", yes=True)
    assert "2 rows of" in ended.stderr
    assert "under notes@2" in ended.stderr
    all_ids = {str(number) for number in range(1, ROW_COUNT + 1)}
    assert answers_by_version(workspace) == {
        "notes@1": all_ids,
        "notes@2": {"1", "4"},
        "person": {"7"},
    }
    assert topics(workspace) == {"price": 2, "speed": 7}

    conditions = {row["version"]: row["where"] for row in workspace.read_json("versions")}
    assert conditions == {"notes@1": None, "notes@2": CONDITION, "person": None}
    assert CONDITION in workspace.run_command("versions").stdout

    for options in ({}, {"mode": "batch"}):
        assert "nothing to tag" in workspace.run_command("tag", **options).stdout
    assert workspace.state_counts() == {"answered": ROW_COUNT}
    assert len(workspace.logged_requests()) == ROW_COUNT + 2

    # The next condition continues both versions, and VERSION= names its version.
    for version in ("1", "2", "x"):
        workspace.run_command("tag", where="id = 1", VERSION=version, code=2)
    workspace.run_command("tag", where="id <= 2", VERSION="5", mode="live", yes=True)
    assert answers_by_version(workspace)["notes@5"] == {"1", "2"}
    assert topics(workspace) == {"price": 3, "speed": 6}

    # A higher version of the file asks all other rows again.
    declare(workspace, "version=6")
    again = workspace.run_command("tag", where="id <= 2", mode="live", yes=True).stderr
    assert "under notes@6, 2 of them again; the old answers stay" in again
    workspace.run_command("tag", mode="live")
    assert answers_by_version(workspace)["notes@6"] == all_ids - {"7"}
    again = workspace.run_command("tag", where="id = 1", mode="live", yes=True).stderr
    assert "1 row of 'id = 1' will be asked again under notes@7; the old answer stays" in again


@pytest.mark.same_sql
def test_open_rows_of_a_condition_are_asked_under_the_version_of_the_file(
    notes_workspace: Workspace,
) -> None:
    """The run is limited to these rows, and a plain `tag` asks the others."""
    workspace = notes_workspace
    declare(workspace, "version=2")
    workspace.run_command("tag", where=CONDITION, mode="live")
    assert answers_by_version(workspace)["notes@2"] == OTHER_IDS
    assert workspace.state_counts() == {"answered": 3, "open": 6}

    workspace.run_command("tag", mode="live", limit=2, where="id >= 2")
    assert len(answers_by_version(workspace)["notes@2"]) == 5
    workspace.run_command("tag", mode="live")
    assert len(answers_by_version(workspace)["notes@2"]) == ROW_COUNT
    assert len(workspace.logged_requests()) == 2 * ROW_COUNT


@pytest.mark.same_sql
def test_limit_takes_the_first_answered_rows_of_a_condition(notes_workspace: Workspace) -> None:
    """Answered rows are asked again in the order of the source."""
    workspace = notes_workspace
    workspace.run_command("tag", where="topic = 'speed'", limit=3, mode="live", yes=True)
    assert answers_by_version(workspace)["notes@2"] == {"2", "3", "5"}


@pytest.mark.same_sql
def test_version_of_the_file_has_no_condition(notes_workspace: Workspace) -> None:
    """Rows that `try` or another command asked under it may not meet the condition."""
    workspace = notes_workspace
    workspace.task = ""
    question = {"q": "Which topic?", "fields": "topic: price|speed", "name": "topics"}
    workspace.run_command("ask", "tasks/notes.csv", n=2, **question)
    workspace.run_command("tag", where="id = 5", mode="live", TASK="topics")
    (version,) = workspace.read_json("versions", TASK="topics")
    assert (version["items"], version["where"]) == (3, None)


def test_condition_is_asked_by_decisions(notes_workspace: Workspace) -> None:
    """MODE=decide asks the selected rows under a version of the decision model."""
    workspace = notes_workspace
    workspace.run_command("tag", where=CONDITION, mode="decide", yes=True)
    assert answers_by_version(workspace)["notes@2"] == OTHER_IDS
    models = {
        request["extractor"]
        for request in workspace.logged_requests()
        if request["extractor"].startswith("notes@2")
    }
    assert models == {"notes@2/gemini-decision-1"}
    assert "nothing to tag" in workspace.run_command("tag").stdout


def test_condition_without_rows_is_refused(notes_workspace: Workspace) -> None:
    """A wrong condition, or one without rows to ask, changes nothing."""
    workspace = notes_workspace
    workspace.run_command("correct", "1", set="topic=speed", who="ada")
    for condition, message in (
        ("id = 99", "no row of notes matches 'id = 99'"),
        ("nope = 1", "no column 'nope'"),
        ("id = 1", "1 corrected by a person"),
    ):
        assert message in workspace.run_command("tag", where=condition, yes=True, code=2).stderr
    people = workspace.run_command("tag", where="id = 1", TASK="experts", code="any")
    assert people.code in {2, 3}


@pytest.mark.parametrize("mode", ["live", "batch"])
def test_killed_run_continues_with_the_same_rows(notes_workspace: Workspace, mode: str) -> None:
    """After kills at several steps, each selected row is answered once, and no other row."""
    workspace = notes_workspace
    selected_ids = OTHER_IDS
    options: dict[str, Any] = {"mode": mode, "wait": True, "yes": True, "where": CONDITION}
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
    versions = answers_by_version(workspace)
    if "notes@2" not in versions:
        workspace.run_command("tag", **options)
        versions = answers_by_version(workspace)

    assert versions["notes@2"] == selected_ids
    assert set(versions) == {"notes@1", "notes@2"}
    answered_ids = [
        request["item"]
        for request in workspace.logged_requests()
        if request["extractor"].startswith("notes@2") and request["outcome"] == "answered"
    ]
    assert sorted(answered_ids) == sorted(selected_ids)
    assert topics(workspace) == {"price": 3, "speed": 6}


@pytest.mark.same_sql
def test_unfinished_condition_is_finished_first(notes_workspace: Workspace) -> None:
    """Another condition is refused until the first is finished or its version is deleted."""
    workspace = notes_workspace
    workspace.run_command("tag", where=CONDITION, mode="batch", yes=True)
    other = workspace.run_command("tag", where="id = 2", mode="live", yes=True, code=2)
    assert "notes@2 is not finished" in other.stderr
    assert workspace.state_counts() == {"answered": 6, "claimed": 3}

    workspace.run_command("tag", where=CONDITION, wait=True, yes=True)
    assert answers_by_version(workspace)["notes@2"] == OTHER_IDS
    version = next(
        str(row["extractor"])
        for row in workspace.logged_requests()
        if row["extractor"].startswith("notes@2")
    )
    workspace.run_command("rollback", version, yes=True)
    assert topics(workspace) == {"other": 3, "speed": 6}
    assert workspace.state_counts() == {"answered": ROW_COUNT}
