"""`experts` tables that other applications made on PostgreSQL: taken over as they are, or refused before anything."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests import postgresql
from tests.lab import Workspace

CHAIN = ("batch-submit", "batch-poll", "batch-ingest", "index", "doctor")
LEGACY = """
CREATE TABLE alembic_version (version_num TEXT PRIMARY KEY);
INSERT INTO alembic_version VALUES ('c0ffee');
CREATE TYPE mood AS ENUM ('calm', 'wild');
CREATE TABLE experts (
    bio TEXT, feeling mood NOT NULL DEFAULT 'calm', username VARCHAR(80), hourly_rate NUMERIC(10, 2),
    id {id}, job_title CHARACTER VARYING, tags TEXT, photo BYTEA
);
CREATE VIEW wild AS SELECT username FROM experts WHERE feeling = 'wild';
INSERT INTO experts (username, bio, hourly_rate, tags, photo) VALUES
    ('null', 'I keep bees and teach water law.', 95.50, NULL, '\\x00ff'), ('list', 'I sing.', NULL, '["song"]', NULL),
    ('words', 'I bind books.', 5, 'books, glue', NULL);
"""
IDS = {  # how another application counts -> how its first ids begin
    "identity": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "serial": "SERIAL PRIMARY KEY",
    "sequence, no key": "INTEGER DEFAULT nextval('numbers')",
    "uuid": "UUID PRIMARY KEY DEFAULT gen_random_uuid()",
    "text": "VARCHAR(40) PRIMARY KEY DEFAULT gen_random_uuid()::text",
}


@pytest.fixture
def theirs(workspace: Workspace, tmp_path: Path) -> Workspace:
    """A workspace on a PostgreSQL database in which nothing of ours stands yet."""
    workspace.environ["FINDABLE_DATABASE_URL"] = postgresql.database_of(tmp_path / "theirs")
    return workspace


def _dump(workspace: Workspace) -> dict[str, Any]:
    """Return the columns and rows of every table, and the indexes."""
    found: dict[str, Any] = {
        name: (workspace.columns(name), sorted(map(repr, workspace.query(f"SELECT * FROM {name}"))))  # noqa: S608
        for name in workspace.tables()
    }
    return found | {
        "indexes": workspace.query("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1")
    }


@pytest.mark.parametrize("kind", IDS)
def test_ids_of_any_kind_run_through_the_chain(theirs: Workspace, tmp_path: Path, kind: str) -> None:
    """Everybody is tagged, indexed and found, foreign columns stay, new people get ids, and doctor is content."""
    theirs.change("CREATE SEQUENCE numbers START 70")
    theirs.change(LEGACY.format(id=IDS[kind]))
    before = theirs.query("SELECT id, username, bio, feeling, photo FROM experts ORDER BY username")
    said = theirs.run("status").stderr
    assert "adopted the experts table (3 rows): added first_name" in said
    assert "parked 1 whose tags are no JSON list" in said
    assert "WAL" not in said
    once = _dump(theirs)
    assert theirs.run("status").stderr == ""
    assert _dump(theirs) == once
    for command in CHAIN:
        ran = theirs.run(command)
        assert ran.exit_code == 0, (command, ran.output)
    assert theirs.query("SELECT id, username, bio, feeling, photo FROM experts ORDER BY username") == before
    assert theirs.scalar("SELECT tags FROM experts WHERE username = 'words'") == "books, glue"
    assert theirs.scalar("SELECT tags LIKE '[%' FROM experts WHERE username = 'null'")
    for name, command in (("one", "add-expert"), ("two", "import")):
        (tmp_path / f"{name}.json").write_text(json.dumps({"username": name, "bio": "I teach water law."}))
        ran = theirs.run(command, str(tmp_path / f"{name}.json"))
        assert ran.exit_code == 0, ran.output
    everyone = [str(row[0]) for row in theirs.query("SELECT id FROM experts")]
    assert len(set(everyone)) == 5
    if kind in {"uuid", "text"}:
        assert [str(uuid.UUID(one)) for one in everyone] == everyone
    assert theirs.run("doctor").exit_code == 0
    ran = theirs.run("forget", "null", "--yes")
    assert ran.exit_code == 0, ran.output
    assert theirs.scalar("SELECT count(*) FROM experts WHERE username = 'null'") == 0


def test_rows_without_an_id_are_numbered_by_the_database(theirs: Workspace) -> None:
    """A table without ids gets a column that counts by itself, also for what the other application adds later."""
    theirs.change("CREATE TABLE experts (username TEXT, bio TEXT)")
    theirs.change("INSERT INTO experts VALUES ('a', 'I teach water law.'), ('b', 'I sing.')")
    assert theirs.run("status").exit_code == 0
    theirs.change("INSERT INTO experts VALUES ('c', 'I keep bees.')")
    for command in CHAIN:
        ran = theirs.run(command)
        assert ran.exit_code == 0, (command, ran.output)
    assert theirs.query("SELECT id, username FROM experts WHERE tags IS NOT NULL ORDER BY 1") == [
        (1, "a"),
        (2, "b"),
        (3, "c"),
    ]


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (["CREATE TABLE people (username TEXT)", "CREATE VIEW experts AS SELECT * FROM people"], "view"),
        (["CREATE TABLE p (username TEXT)", "CREATE MATERIALIZED VIEW experts AS SELECT * FROM p"], "nothing"),
        (["CREATE TABLE experts (name TEXT)"], "username"),
        (['CREATE TABLE experts (id INT, "Username" TEXT)'], "username"),
        (["CREATE TABLE experts (id INT, username TEXT)", "INSERT INTO experts VALUES (1, 'a'), (1, 'b')"], "`id`"),
        (["CREATE TABLE experts (id INT, username TEXT)", "INSERT INTO experts VALUES (NULL, 'a')"], "`id`"),
        (["CREATE TABLE experts (id BYTEA, username TEXT)"], "`id BYTEA`, which must hold whole numbers"),
        (["CREATE TABLE experts (id NUMERIC(9, 2), username TEXT)"], "`id NUMERIC(9, 2)`"),
        (["CREATE TABLE experts (id INT, username TEXT, tags JSONB)"], "`tags JSONB`, which must hold text"),
        (["CREATE TABLE experts (id INT, username TEXT, tags TEXT[])"], "`tags"),
        (["CREATE TABLE experts (id INT, username TEXT, findability_score REAL)"], "double precision"),
        (["CREATE TYPE kind AS ENUM ('x')", "CREATE TABLE experts (id INT, username TEXT, category kind)"], "category"),
        (
            ["CREATE TABLE experts (id INT, username TEXT, bio TEXT GENERATED ALWAYS AS (username) STORED)"],
            "`bio`, which must hold values of its own",
        ),
    ],
)
def test_what_cannot_be_adopted_is_refused_unchanged(theirs: Workspace, statements: list[str], said: str) -> None:
    """Exit code 3, a reason, and not one table of ours in somebody else's database."""
    for statement in statements:
        theirs.change(statement)
    before = _dump(theirs)
    result = theirs.run("status")
    assert result.exit_code == 3, result.output
    assert said in result.stderr
    assert "nothing was changed" in result.stderr
    assert _dump(theirs) == before


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("id SERIAL PRIMARY KEY, username TEXT, bio TEXT, team TEXT NOT NULL", "team"),
        ("id SERIAL PRIMARY KEY, username VARCHAR(3), bio TEXT, team TEXT", "too long"),
        ("id INT PRIMARY KEY DEFAULT nextval('stuck'), username TEXT, bio TEXT, team TEXT", "experts_pkey"),
    ],
)
def test_a_row_that_the_table_refuses_is_told_without_its_text(
    theirs: Workspace, tmp_path: Path, columns: str, said: str
) -> None:
    """A new person whom their rules refuse ends with exit code 3; nothing is written, and nobody's words are shown."""
    theirs.change("CREATE SEQUENCE stuck CYCLE INCREMENT 2 MAXVALUE 2")
    theirs.change(f"CREATE TABLE experts ({columns})")
    theirs.change("INSERT INTO experts (username, bio, team) VALUES ('a', 'I teach water law.', 'red')")
    assert theirs.run("status").exit_code == 0
    before = _dump(theirs)
    (tmp_path / "new.json").write_text('{"username": "new-one", "bio": "I mend secret clocks."}')
    for command in ("add-expert", "import"):
        result = theirs.run(command, str(tmp_path / "new.json"))
        assert result.exit_code == 3, result.output
        assert said in result.stderr
        assert "secret" not in result.output
    after = _dump(theirs)
    assert after["experts"] == before["experts"]
