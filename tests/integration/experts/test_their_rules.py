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


@pytest.mark.sampled(0)
def test_tags_that_are_taken_back_become_the_default(theirs: Workspace) -> None:
    """A table that demands a list keeps an empty one, and the person is asked again."""
    for command in ("batch-submit", "batch-poll", "batch-ingest"):
        ran(theirs, command)
    assert theirs.scalar("SELECT tags FROM experts") != "[]"
    ran(theirs, "rollback", "expert-tags@2", "--yes")
    assert theirs.scalar("SELECT tags FROM experts") == "[]"
    assert json.loads(ran(theirs, "status", "--json"))["experts"]["untagged"] == 1


@pytest.mark.sampled(0)
def test_a_table_that_refuses_to_lose_tags_is_told(theirs: Workspace) -> None:
    """A default that cannot stand for nothing: exit code 3 says what refuses it, and the tags stay."""
    theirs.change("DROP TABLE experts")
    theirs.change(TABLE.replace("DEFAULT '[]'", """DEFAULT '["new"]'"""))
    theirs.change("INSERT INTO experts (username, bio, tags) VALUES ('a', 'I teach water law.', '[]')")
    theirs.begin().ran_each("batch-submit", "batch-poll", "batch-ingest")
    result = theirs.run("rollback", "expert-tags@2", "--yes")
    assert (result.exit_code, "refuses a row" in result.stderr) == (3, True), result.output
    assert theirs.scalar("SELECT tags FROM experts") not in {"", "[]"}


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


@pytest.mark.sqlite_only(reason="the plan is SQLite's")
def test_rows_without_an_id_of_ours_are_numbered_later_too(workspace: Workspace) -> None:
    """Where the ids are ours, rows that the owner adds get theirs from the next command, and none is given twice."""
    workspace.data.mkdir(parents=True, exist_ok=True)
    workspace.change("CREATE TABLE experts (username TEXT)")
    workspace.change("INSERT INTO experts VALUES ('a'), ('b'), ('c')")
    workspace.begin()
    workspace.change("DELETE FROM experts WHERE username = 'b'")
    workspace.change("INSERT INTO experts (username) VALUES ('d'), ('e')")
    workspace.ran("score")
    found = workspace.query("SELECT id, username, findability_score FROM experts ORDER BY id")
    assert found == [(1, "a", 0.0), (3, "c", 0.0), (4, "d", 0.0), (5, "e", 0.0)]
    [plan] = workspace.query("EXPLAIN QUERY PLAN SELECT 1 FROM experts WHERE findability_score IS NULL LIMIT 1")
    assert "findable_experts_unscored" in plan[3]  # whether a table is adopted is known without reading it


@pytest.mark.sampled(0)
def test_our_columns_may_be_not_null_there(workspace: Workspace, tmp_path: Path) -> None:
    """Where their table takes no NULL, nothing is written as empty text or 0: by import and add-expert."""
    workspace.data.mkdir(parents=True, exist_ok=True)
    workspace.change(
        f"CREATE TABLE experts (id {KEY}, username TEXT NOT NULL, first_name TEXT NOT NULL,"
        " bio TEXT NOT NULL, hourly_rate FLOAT NOT NULL, tags TEXT NOT NULL)"
    )
    workspace.begin()
    (people := tmp_path / "people.csv").write_text("username,bio,company\nb,I keep bees.,\nc,,Farm\n")
    ran(workspace, "import", str(people))
    (tmp_path / "new.json").write_text('{"username": "d", "company": "Choir"}')
    ran(workspace, "add-expert", str(tmp_path / "new.json"))
    assert workspace.query("SELECT username, first_name, bio, hourly_rate, tags, company FROM experts ORDER BY id") == [
        ("b", "", "I keep bees.", 0.0, "", None),
        ("c", "", "", 0.0, "", "Farm"),
        ("d", "", "", 0.0, "", "Choir"),
    ]


@pytest.mark.skipif(not ON_POSTGRESQL, reason="types that only PostgreSQL holds to")
@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", ["NUMERIC(6, 1)", "REAL", "TEXT"])
def test_rates_of_any_type_are_read_and_come_back_as_given(workspace: Workspace, tmp_path: Path, kind: str) -> None:
    """A rate counts where it parses, and the same file again changes nothing."""
    workspace.change(f"CREATE TABLE experts (id SERIAL PRIMARY KEY, username TEXT, bio TEXT, hourly_rate {kind})")
    workspace.change(
        "INSERT INTO experts (username, bio, hourly_rate) VALUES ('a', 'I teach water law.', 95), ('b', '', 7)"
    )
    if kind == "TEXT":
        workspace.change("INSERT INTO experts (username, bio, hourly_rate) VALUES ('c', 'I sing.', 'a song')")
    workspace.begin().ran_each("batch-submit", "batch-poll", "batch-ingest", "index", "score", "doctor")
    people = tmp_path / "people.csv"
    people.write_text("Username,Bio,Hourly Rate\na,I teach water law.,80\nd,I keep bees.,120\n")
    for said in ("1 added, 1 updated, 0 unchanged", "0 added, 0 updated, 2 unchanged"):
        assert said in ran(workspace, "import", str(people))
    ran(workspace, "show", "d", "--json")
