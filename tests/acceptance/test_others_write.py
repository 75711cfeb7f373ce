"""Values that another program or a person writes stay, and only open rows are asked about."""

import signal
from typing import Any

import pytest

from tests.acceptance.database import count_rows, run_sql
from tests.acceptance.engine import Engine
from tests.acceptance.product import BATCH_COMMANDS, Workspace
from tests.acceptance.steps import Fate

FOREIGN_TAGS = '["mine"]'
FIRST_PERSON = "person-0000"


def row_ids_of_batch(workspace: Workspace, number: int) -> list[str]:
    """Return the ids of the rows in the sealed request file of a batch."""
    return sorted(
        request["key"].rpartition("/")[2] for request in workspace.sealed_requests(number)
    )


def states_without_writes(workspace: Workspace) -> dict[str, int]:
    """Return the states of all rows, and assert that `status` writes nothing."""
    counts_before = count_rows(workspace)
    states = workspace.state_counts()
    assert count_rows(workspace) == counts_before
    return states


def test_rows_that_change_between_request_and_answer(workspace: Workspace) -> None:
    """Answers to rows that were tagged elsewhere or deleted are counted and not applied.

    A person with a changed bio gets the answer to the old bio.
    """
    workspace.import_people(6)
    workspace.run_commands("submit", "poll")
    run_sql(workspace, "UPDATE experts SET tags = :tags WHERE id = 1", tags=FOREIGN_TAGS)
    run_sql(workspace, "UPDATE experts SET bio = 'I mend clocks.' WHERE id = 2")
    run_sql(workspace, "DELETE FROM experts WHERE id = 3")
    workspace.run_command("ingest")
    # The rows are read again by a command that asks or computes.
    workspace.run_command("score")
    assert states_without_writes(workspace) == {"tagged": 4, "stale": 1}
    [batch] = workspace.batches()
    assert (batch["state"], batch["answered"], batch["not_applied"]) == ("ingested", 6, 1)
    requests = workspace.logged_requests()
    answered_ids = [request["row"] for request in requests if request["outcome"] == "answered"]
    assert sorted(answered_ids) == list("123456")
    tags = workspace.exported_tags()
    assert (tags[FIRST_PERSON], len(tags)) == (["mine"], 5)
    assert workspace.exported_tags()["person-0001"]

    workspace.run_commands(*BATCH_COMMANDS)
    assert len(workspace.batches()) == 1, "somebody was asked again"
    assert workspace.exported_tags() == tags


@pytest.mark.promise("foreign", postgresql=True)
def test_tagged_while_the_request_file_is_written(workspace: Workspace) -> None:
    """Tags that came while the request file was written stay, and the answer does not count."""
    workspace.import_people(5)
    trails = [workspace.run_command("submit", limit=1).trail for _ in range(2)]
    steps = enumerate(trails[1], start=1)
    step_number = next(number for number, step in steps if step.startswith("write "))

    with workspace.start_command(
        "submit", fate=Fate(step=step_number, side="after", event="STOP")
    ) as running:
        assert running.wait_until_stopped(), running.wait()
        run_sql(workspace, "UPDATE experts SET tags = :tags WHERE id = 4", tags=FOREIGN_TAGS)
        running.signal(signal.SIGCONT)
        assert running.wait().code == 0
    workspace.run_commands("submit", "poll", "ingest")
    # The answer to row 4 is paid, and does not count.
    assert row_ids_of_batch(workspace, 3) == ["3", "4", "5"]
    assert states_without_writes(workspace) == {"tagged": 5}
    assert workspace.exported_tags()["person-0003"] == ["mine"]


# Another program removed the tags, so that their row is asked about twice.
@pytest.mark.excused("nobody_is_answered_twice")
def test_rows_that_another_program_opened_are_asked_again(
    workspace: Workspace, api: Engine
) -> None:
    """Rows without tags and new rows are open and asked once; a changed bio stays answered."""
    workspace.import_people(4)
    api.script_fault("answer_text", key="/4$", args={"text": '{"tags": []}'})
    workspace.run_commands(*BATCH_COMMANDS)
    tags = workspace.exported_tags()
    # An empty answer is an answer: its row is never asked again.
    assert states_without_writes(workspace) == {"tagged": 3, "parked": 1}

    run_sql(workspace, "UPDATE experts SET tags = NULL WHERE id IN (1, 4)")
    run_sql(workspace, "UPDATE experts SET bio = 'I mend clocks.' WHERE id = 2")
    values = "(9, 'new', 'I teach water law and beekeeping.')"
    run_sql(workspace, f"INSERT INTO experts (id, username, bio) VALUES {values}")  # noqa: S608
    workspace.run_command("score")
    assert states_without_writes(workspace) == {"tagged": 1, "stale": 1, "open": 2, "parked": 1}
    workspace.run_command("submit")
    # The row without tags gets the answer that its input had.
    assert row_ids_of_batch(workspace, 2) == ["9"]
    workspace.run_commands("poll", "ingest")
    assert states_without_writes(workspace) == {"tagged": 3, "stale": 1, "parked": 1}
    workspace.run_commands(*BATCH_COMMANDS)
    assert len(workspace.batches()) == 2

    tags_after = workspace.exported_tags()
    assert tags_after["new"]
    for name in ("person-0001", "person-0002"):
        assert tags_after[name] == tags[name]
    assert tags_after["person-0003"] == []


def correct_tags(workspace: Workspace, person: str = FIRST_PERSON, **options: Any) -> list[str]:
    """Correct the tags of a person as the user ada; return the new tags."""
    answer = workspace.read_json("correct", person, who="ada", **options)["answer"]
    return list(answer.get("tags", []))


# A person changes tags and removes answers.
@pytest.mark.excused("tags_never_change", "nobody_is_answered_twice")
@pytest.mark.promise("corrections", postgresql=True)
def test_a_persons_word_is_above_a_models(workspace: Workspace, api: Engine) -> None:
    """A later answer and a rollback of the model leave a person's corrections in force.

    A correction can be undone by its number.
    """
    api.script_fault("answer_text", times=99, args={"text": '{"tags": ["ml", "beekeeping"]}'})
    workspace.import_people(3, without_bio=1)
    workspace.run_command("submit")
    assert correct_tags(workspace, "person-0001", set="tags=Water  Law") == ["water law"]
    assert correct_tags(workspace, "person-0003", set="tags=law") == ["law"]
    workspace.run_commands("poll", "ingest", "index")

    [batch] = workspace.batches()
    assert (batch["answered"], batch["not_applied"]) == (3, 0)
    assert states_without_writes(workspace) == {"tagged": 4}
    assert correct_tags(workspace, set="tags=ml, beekeeping, law, art") == [
        "ml",
        "beekeeping",
        "law",
        "art",
    ]
    assert correct_tags(workspace, set="tags=ml, law, art") == ["ml", "law", "art"]
    assert correct_tags(workspace, set="tags=law, art, machine learning") == [
        "law",
        "art",
        "machine learning",
    ]

    refused = workspace.run_command("correct", FIRST_PERSON, undo=2, code=2)
    assert "changed again after edit 2" in refused.stderr
    assert correct_tags(workspace, undo=3) == ["ml", "law", "art"]
    assert correct_tags(workspace, undo=2) == ["ml", "beekeeping", "law", "art"]
    history = workspace.read_json("correct", FIRST_PERSON)["edits"]
    assert [(edit["who"], edit["undoes"]) for edit in history] == [("ada", None)] * 3 + [
        ("ada", 3),
        ("ada", 2),
    ]

    # A rollback of the model removes its answers and leaves the corrections.
    assert workspace.status()["index"]["behind"] == 1
    versions = workspace.read_json("versions")
    [model] = {version["prompt_version"] for version in versions} - {"person"}
    workspace.run_command("rollback", model, yes=True)
    tags = workspace.exported_tags()
    assert {name: tags[name] for name in tags if tags[name]} == {
        FIRST_PERSON: ["ml", "beekeeping", "law", "art"],
        "person-0001": ["water law"],
        "person-0003": ["law"],
    }

    workspace.run_command("rollback", "person", yes=True, code=2)
    workspace.run_command("submit")
    assert row_ids_of_batch(workspace, 2) == ["3"]
    assert correct_tags(workspace, "person-0001", undo=1) == []
    workspace.run_commands("poll", *BATCH_COMMANDS, "ingest")
    assert workspace.exported_tags()["person-0001"] == ["ml", "beekeeping"]
    workspace.run_command("doctor")
