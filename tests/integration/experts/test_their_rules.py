"""Foreign rules on the table of people: types, defaults, and triggers that reject rows."""

import json
from pathlib import Path

import pytest

from tests.lab import ON_POSTGRESQL, Workspace, ran

KEY = "SERIAL PRIMARY KEY" if ON_POSTGRESQL else "INTEGER PRIMARY KEY"
# Ignore updates of locked rows.
SILENT_RULE = [
    (
        "CREATE TRIGGER silent BEFORE UPDATE ON experts WHEN old.locked = 1 "
        "BEGIN SELECT RAISE(IGNORE); END"
    )
]
if ON_POSTGRESQL:
    SILENT_RULE = [
        (
            "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql "
            "AS $$ BEGIN RETURN NULL; END $$"
        ),
        (
            "CREATE TRIGGER silent BEFORE UPDATE ON experts "
            "FOR EACH ROW WHEN (old.locked = 1) EXECUTE FUNCTION nothing()"
        ),
    ]


@pytest.mark.full
def test_a_row_that_rejects_updates_is_parked(workspace: Workspace, tmp_path: Path) -> None:
    """An answer that the row rejects counts as not applied, and is paid once."""
    workspace.data.mkdir(parents=True, exist_ok=True)
    workspace.change(f"CREATE TABLE experts (id {KEY}, username TEXT, bio TEXT, locked INTEGER)")
    workspace.change(
        "INSERT INTO experts (username, bio, locked) VALUES"
        " ('free', 'I teach water law.', 0), ('locked', 'I keep bees.', 1)"
    )
    workspace.begin()
    for statement in SILENT_RULE:
        workspace.change(statement)
    people = tmp_path / "people.csv"
    people.write_text("Username,Company,Hourly Rate\nfree,Farm,80\nlocked,,90\n")
    ran(workspace, "import", str(people))
    assert workspace.query("SELECT username, hourly_rate FROM experts ORDER BY id") == [
        ("free", 80.0),
        ("locked", None),
    ]

    for command in ("batch-submit", "batch-poll", "batch-ingest"):
        workspace.ran(command)
    counts = json.loads(ran(workspace, "status", "--json"))["experts"]
    assert (counts["tagged"], counts["parked"], counts["open"]) == (1, 1, 0)
    assert workspace.query("SELECT applied FROM askrows_answers ORDER BY row_id") == [
        (True,),
        (False,),
    ]
    assert "a trigger or a rule of the database" in ran(workspace, "parked")
    assert "nothing to submit" in ran(workspace, "batch-submit")
    [finding] = json.loads(workspace.run("doctor", "--json").stdout)["findings"]
    assert "derived values that do not match their rows, of locked" in finding["said"]

    workspace.change("DROP TRIGGER silent" + (" ON experts" if ON_POSTGRESQL else ""))
    ran(workspace, "unpark", "--all", "--yes")
    workspace.ran("tag-live")
    assert workspace.scalar("SELECT count(*) FROM experts WHERE tags LIKE '[%'") == 2
