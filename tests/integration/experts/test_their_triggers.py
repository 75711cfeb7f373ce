"""Triggers of another application on the table of people: what it keeps from being written is told, not passed over."""

import json
from pathlib import Path

import pytest

from tests.lab import ON_POSTGRESQL, Workspace, ran

KEY = "SERIAL PRIMARY KEY" if ON_POSTGRESQL else "INTEGER PRIMARY KEY"
SILENT = ["CREATE TRIGGER silent BEFORE UPDATE ON experts WHEN old.locked = 1 BEGIN SELECT RAISE(IGNORE); END"]
if ON_POSTGRESQL:
    SILENT = [
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
        "CREATE TRIGGER silent BEFORE UPDATE ON experts FOR EACH ROW WHEN (old.locked = 1) EXECUTE FUNCTION nothing()",
    ]


@pytest.fixture
def theirs(workspace: Workspace) -> Workspace:
    """A workspace on the table of another application, which keeps one of two rows from being written."""
    workspace.data.mkdir(parents=True, exist_ok=True)
    workspace.change(f"CREATE TABLE experts (id {KEY}, username TEXT, bio TEXT, locked INTEGER)")
    workspace.change(
        "INSERT INTO experts (username, bio, locked) VALUES"
        " ('free', 'I teach water law.', 0), ('locked', 'I keep bees.', 1)"
    )
    assert workspace.run("status").exit_code == 0
    for statement in SILENT:
        workspace.change(statement)
    return workspace


def test_whose_row_does_not_take_the_tags_is_parked(theirs: Workspace) -> None:
    """The answer does not count as applied, `parked` says why, and nobody pays for a second one."""
    for command in ("batch-submit", "batch-poll", "batch-ingest"):
        theirs.ran(command)
    counts = json.loads(ran(theirs, "status", "--json"))["experts"]
    assert (counts["tagged"], counts["parked"], counts["untagged"]) == (1, 1, 0)
    assert theirs.query("SELECT applied FROM findable_answers ORDER BY item_id") == [(True,), (False,)]
    assert "a trigger or a rule of the database" in ran(theirs, "parked")
    assert "nothing to submit" in ran(theirs, "batch-submit")
    assert json.loads(theirs.run("doctor", "--json").stdout)["findings"] == []
    theirs.change("DROP TRIGGER silent" + (" ON experts" if ON_POSTGRESQL else ""))
    ran(theirs, "unpark", "--all", "--yes")
    theirs.ran("tag-live")
    assert theirs.scalar("SELECT count(*) FROM experts WHERE tags LIKE '[%'") == 2


def test_whose_row_does_not_take_a_file_is_told(theirs: Workspace, tmp_path: Path) -> None:
    """Nobody counts as updated who is not; the others are."""
    people = tmp_path / "people.csv"
    people.write_text("Username,Company,Hourly Rate\nfree,Farm,80\nlocked,,90\n")
    for said in ("1 updated, 1 unchanged", "0 updated, 2 unchanged"):
        told = ran(theirs, "import", str(people))
        assert said in told
        assert "not changed: a trigger or a rule" in told
    assert theirs.query("SELECT username, hourly_rate FROM experts ORDER BY id") == [("free", 80.0), ("locked", None)]
