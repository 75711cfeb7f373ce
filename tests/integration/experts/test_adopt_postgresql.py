"""`experts` tables that other applications made on PostgreSQL: taken over as they are, or refused before anything."""

from pathlib import Path
from typing import Any

import pytest

from tests import postgresql
from tests.lab import ON_POSTGRESQL, Workspace

pytestmark = pytest.mark.skipif(not ON_POSTGRESQL, reason="types that only PostgreSQL holds to")

CHAIN = ("batch-submit", "batch-poll", "batch-ingest", "index", "doctor")


@pytest.fixture
def theirs(workspace: Workspace, tmp_path: Path) -> Workspace:
    """A workspace on a PostgreSQL database in which nothing of ours stands yet."""
    workspace.environ["FINDABLE_DATABASE_URL"] = postgresql.database_of(tmp_path / "theirs")
    return workspace


def _dump(workspace: Workspace) -> dict[str, Any]:
    """Return the columns and rows of every table but that of counts which took long, and the indexes."""
    found: dict[str, Any] = {
        name: (workspace.columns(name), sorted(map(repr, workspace.query(f"SELECT * FROM {name}"))))  # noqa: S608
        for name in workspace.tables()
        if name != "findable_counts"
    }
    return found | {
        "indexes": workspace.query("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1")
    }


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("id SERIAL PRIMARY KEY, username VARCHAR(3), bio TEXT, team TEXT", "too long"),
        ("id INT PRIMARY KEY DEFAULT nextval('stuck'), username TEXT, bio TEXT, team TEXT", "experts_pkey"),
    ],
)
def test_a_row_that_the_table_refuses_is_told_without_its_text(
    theirs: Workspace, tmp_path: Path, columns: str, said: str
) -> None:
    """A new person whom their rules refuse ends with exit code 3; nothing is written, and no words are shown."""
    theirs.change("CREATE SEQUENCE stuck CYCLE INCREMENT 2 MAXVALUE 2")
    theirs.change(f"CREATE TABLE experts ({columns})")
    theirs.change("INSERT INTO experts (username, bio, team) VALUES ('a', 'I teach water law.', 'red')")
    theirs.begin()
    before = _dump(theirs)
    (tmp_path / "new.json").write_text('{"username": "new-one", "bio": "I mend secret clocks."}')
    for command in ("add-expert", "import"):
        result = theirs.ran(command, str(tmp_path / "new.json"), code=3)
        assert said in result.stderr
        assert "secret" not in result.output
    after = _dump(theirs)
    assert after["experts"] == before["experts"]


def test_tags_that_the_table_refuses_wait_until_it_takes_them(theirs: Workspace) -> None:
    """Too narrow a column parks the person and says so; once it is wide the same answers are written, paid for once."""
    theirs.change("CREATE TABLE experts (id SERIAL PRIMARY KEY, username TEXT, bio TEXT, tags VARCHAR(5))")
    theirs.change("INSERT INTO experts (username, bio) VALUES ('a', 'I teach water law and keep bees.')")
    theirs.begin().ran_each(*CHAIN[:2])
    assert "1 answer not applied (a)" in theirs.ran("batch-ingest").stderr
    assert "value too long for type character varying(5)" in theirs.ran("parked").stdout
    theirs.change("ALTER TABLE experts ALTER tags TYPE TEXT")
    theirs.ran("unpark", "--all", "--yes")
    theirs.ran(CHAIN[0])
    assert theirs.query("SELECT count(*) FROM experts WHERE tags LIKE '[%'") == [(1,)]
    assert theirs.query("SELECT state FROM findable_batches") == [("ingested",)]
    assert theirs.query("SELECT count(*) FROM findable_answers WHERE cost > 0") == [(1,)]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", ["NUMERIC(6, 1)", "REAL", "TEXT"])
def test_rates_of_any_type_are_read_and_come_back_as_given(theirs: Workspace, tmp_path: Path, kind: str) -> None:
    """A rate counts where it parses and the same file again changes nothing; one that would be rounded is refused."""
    theirs.change(f"CREATE TABLE experts (id SERIAL PRIMARY KEY, username TEXT, bio TEXT, hourly_rate {kind})")
    theirs.change(
        "INSERT INTO experts (username, bio, hourly_rate) VALUES ('a', 'I teach water law.', 95), ('b', '', 7)"
    )
    if kind == "TEXT":
        theirs.change("INSERT INTO experts (username, bio, hourly_rate) VALUES ('c', 'I sing.', 'a song')")
    theirs.begin().ran_each(*CHAIN[:-1], "score", "doctor")
    people = tmp_path / "people.csv"
    people.write_text("Username,Bio,Hourly Rate\na,I teach water law.,80\nd,I keep bees.,120\n")
    for said in ("1 added, 1 updated, 0 unchanged", "0 added, 0 updated, 2 unchanged"):
        ran = theirs.run("import", str(people))
        assert (ran.exit_code, said in ran.output) == (0, True), ran.output
    assert theirs.run("show", "d", "--json").exit_code == 0
    for name in ("a", "e"):
        people.write_text(f"Username,Bio,Hourly Rate\n{name},I teach water law.,80.25\n")
        ran = theirs.run("import", str(people))
        if kind == "NUMERIC(6, 1)":
            assert (ran.exit_code, "would round an hourly_rate of 80.25" in ran.stderr) == (3, True), ran.output
        else:
            assert ran.exit_code == 0, ran.output
            assert "1 unchanged" in theirs.run("import", str(people)).output
