"""Counts of many rows are kept, and are never those of other rows."""

import json

import pytest

from tests.acceptance.product import ON_POSTGRESQL, PASSAGES, Workspace, write_declaration

TASK = "letters"
# From 20,000 rows on counts are kept.
ROW_COUNT = 20_001


def put_letters(workspace: Workspace, *, version: int) -> None:
    """Write a task file and a file of many rows."""
    rows = "".join(f"L-{number},letter {number}\n" for number in range(ROW_COUNT))
    workspace.write_file(f"tasks/{TASK}.csv", f"id,text\n{rows}")
    declaration = write_declaration(
        {"tone": "Literal['praise', 'blame']"},
        prompt="{text}",
        items=f"{TASK}.csv",
        extra_arguments=[f"{version=}"],
    )
    workspace.write_file(f"tasks/{TASK}.py", declaration)


@pytest.mark.usefixtures("api")
def test_counts_follow_each_change(workspace: Workspace) -> None:
    """Counts are read from a file only as long as neither rows nor the task file changed."""
    put_letters(workspace, version=1)
    workspace.run_command("batch-submit", limit=1, TASK=TASK, yes=True)
    claimed_counts = {"claimed": 1, "open": ROW_COUNT - 1}
    assert workspace.state_counts(TASK) == claimed_counts

    kept_file = workspace.data / "counts" / f"{TASK}.json"
    kept = json.loads(kept_file.read_text())
    kept_file.write_text(json.dumps({**kept, "counts": {"answered": ROW_COUNT}}))
    # Other tests change the server's databases at the same time.
    if not ON_POSTGRESQL:
        assert workspace.state_counts(TASK) == {"answered": ROW_COUNT}

    workspace.run_command("batch-poll", TASK=TASK)
    workspace.run_command("batch-ingest", TASK=TASK)
    answered_counts = {"answered": 1, "open": ROW_COUNT - 1}
    assert workspace.state_counts(TASK) == answered_counts
    put_letters(workspace, version=2)
    assert workspace.state_counts(TASK) == {"open": ROW_COUNT}
    put_letters(workspace, version=1)
    assert workspace.state_counts(TASK) == answered_counts

    kept_file.write_text("[]")
    assert workspace.state_counts(TASK) == answered_counts


def test_rows_of_another_program_are_counted_anew(workspace: Workspace) -> None:
    """Another program may change its table at any time, so no counts are kept."""
    workspace.task = PASSAGES
    lines = [
        json.dumps({"id": f"p{number}", "text": f"Bees, {number}."}) for number in range(ROW_COUNT)
    ]
    workspace.write_file("passages.jsonl", "".join(f"{line}\n" for line in lines))
    workspace.run_command("import_passages", "passages.jsonl")
    assert workspace.state_counts() == {"open": ROW_COUNT}
    assert not (workspace.data / "counts").exists()
