"""Rules of others on their table of people: types, defaults for what is nothing, triggers that keep rows out."""

import json
from pathlib import Path

import pytest

from tests.lab import ON_POSTGRESQL, Workspace, ran

KEY = "SERIAL PRIMARY KEY" if ON_POSTGRESQL else "INTEGER PRIMARY KEY"
IS_LIST = "tags::json IS NOT NULL" if ON_POSTGRESQL else "json_valid(tags)"
TABLE = f"""
CREATE TABLE experts (
    id {KEY}, username TEXT NOT NULL, bio TEXT, currency VARCHAR(9) NOT NULL DEFAULT 'EUR: 1',
    hourly_rate FLOAT NOT NULL DEFAULT 50, tags TEXT NOT NULL DEFAULT '[]' CHECK ({IS_LIST})
)"""


@pytest.fixture
def theirs(workspace: Workspace) -> Workspace:
    """A workspace on the table of another application, with one person in it."""
    workspace.data.mkdir(parents=True, exist_ok=True)
    workspace.change(TABLE)
    workspace.change("INSERT INTO experts (username, bio) VALUES ('a', 'I teach water law.')")
    return workspace.begin()


def test_new_people_get_the_defaults_of_the_table(theirs: Workspace, tmp_path: Path) -> None:
    """By import and add-expert, the score counts them, and the same file again changes nothing."""
    people = tmp_path / "people.csv"
    people.write_text("Username,Bio,Hourly Rate,Currency\nb,I keep bees.,,\nc,I sing.,80,USD\n")
    ran(theirs, "import", str(people))
    (tmp_path / "new.json").write_text(json.dumps({"username": "d", "bio": "I mend clocks."}))
    ran(theirs, "add-expert", str(tmp_path / "new.json"))
    found = theirs.query("SELECT username, hourly_rate, currency FROM experts ORDER BY id")
    assert found[1:] == [("b", 50.0, "EUR: 1"), ("c", 80.0, "USD"), ("d", 50.0, "EUR: 1")]
    assert theirs.query("SELECT tags, findability_score >= 10 FROM experts WHERE username = 'b'") == [("[]", True)]
    assert "2 unchanged" in ran(theirs, "import", str(people))
    people.write_text("Username,Bio,Hourly Rate,Currency\nc,I sing.,,\n")
    ran(theirs, "import", str(people))
    assert theirs.query("SELECT hourly_rate, currency FROM experts WHERE username = 'c'") == [(50.0, "EUR: 1")]


@pytest.mark.skipif(ON_POSTGRESQL, reason="has no such collation by itself")
def test_a_username_that_their_table_compares_without_case_is_one_person(workspace: Workspace, tmp_path: Path) -> None:
    """An import brings the row up to date that stands there, in whatever case; a name that is null is emptied."""
    workspace.data.mkdir(parents=True, exist_ok=True)
    columns = "username TEXT COLLATE NOCASE UNIQUE, bio TEXT, first_name TEXT"
    workspace.change(f"CREATE TABLE experts (id {KEY}, {columns})")
    workspace.change("INSERT INTO experts (username, bio, first_name) VALUES ('Ann', 'I keep bees.', 'Anna')")
    workspace.begin()
    (tmp_path / "people.json").write_text(json.dumps([{"username": "ann", "bio": "I sing.", "full_name": None}]))
    assert "1 updated" in ran(workspace, "import", str(tmp_path / "people.json"))
    assert workspace.query("SELECT username, bio, first_name FROM experts") == [("Ann", "I sing.", None)]


SILENT = ["CREATE TRIGGER silent BEFORE UPDATE ON experts WHEN old.locked = 1 BEGIN SELECT RAISE(IGNORE); END"]
if ON_POSTGRESQL:
    SILENT = [
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
        "CREATE TRIGGER silent BEFORE UPDATE ON experts FOR EACH ROW WHEN (old.locked = 1) EXECUTE FUNCTION nothing()",
    ]


def _put_free_and_locked(workspace: Workspace, rule: list[str]) -> None:
    """Put two people into an adopted table, with a rule for the one that is locked."""
    workspace.data.mkdir(parents=True, exist_ok=True)
    workspace.change(f"CREATE TABLE experts (id {KEY}, username TEXT, bio TEXT, locked INTEGER)")
    workspace.change(
        "INSERT INTO experts (username, bio, locked) VALUES"
        " ('free', 'I teach water law.', 0), ('locked', 'I keep bees.', 1)"
    )
    workspace.begin()
    for statement in rule:
        workspace.change(statement)


def test_a_row_that_takes_nothing_is_told_or_parked(workspace: Workspace, tmp_path: Path) -> None:
    """An answer to it does not count as applied, and is paid for once."""
    _put_free_and_locked(workspace, SILENT)
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
    assert (counts["tagged"], counts["parked"], counts["untagged"]) == (1, 1, 0)
    assert workspace.query("SELECT applied FROM findable_answers ORDER BY item_id") == [(True,), (False,)]
    assert "a trigger or a rule of the database" in ran(workspace, "parked")
    assert "nothing to submit" in ran(workspace, "batch-submit")
    assert json.loads(workspace.run("doctor", "--json").stdout)["findings"] == []
    workspace.change("DROP TRIGGER silent" + (" ON experts" if ON_POSTGRESQL else ""))
    ran(workspace, "unpark", "--all", "--yes")
    workspace.ran("tag-live")
    assert workspace.scalar("SELECT count(*) FROM experts WHERE tags LIKE '[%'") == 2


BACK = """
CREATE TRIGGER back AFTER UPDATE OF tags ON experts WHEN new.locked = 1 AND new.tags IS NOT NULL
BEGIN UPDATE experts SET tags = NULL WHERE id = new.id; END
"""
GIVEN_BACK = {"trigger": [BACK]}
if ON_POSTGRESQL:
    GIVEN_BACK = {
        "trigger": [
            "CREATE FUNCTION back() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN old; END $$",
            "CREATE TRIGGER back BEFORE UPDATE ON experts FOR EACH ROW WHEN (new.locked = 1) EXECUTE FUNCTION back()",
        ],
        "parts": [
            "CREATE TABLE more () INHERITS (experts)",
            "WITH them AS (DELETE FROM experts WHERE locked = 1 RETURNING *) INSERT INTO more SELECT * FROM them",
            "CREATE FUNCTION back() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN old; END $$",
            "CREATE TRIGGER back BEFORE UPDATE ON more FOR EACH ROW EXECUTE FUNCTION back()",
        ],
    }


@pytest.mark.parametrize("how", GIVEN_BACK)
def test_a_row_that_gives_its_answer_back_is_parked(how: str, workspace: Workspace) -> None:
    """The database counts the row as changed, or says nothing: what stands in it tells."""
    _put_free_and_locked(workspace, GIVEN_BACK[how])
    workspace.ran_each("batch-submit", "batch-poll", "batch-ingest")
    assert workspace.query("SELECT applied FROM findable_answers ORDER BY item_id") == [(True,), (False,)]
    assert "a trigger or a rule of the database" in ran(workspace, "parked")
