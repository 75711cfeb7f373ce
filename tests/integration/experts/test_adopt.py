"""Databases that other applications made: taken over as they are, run through the chain, and left to their owners."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipeline.experts import adopt as adoption
from pipeline.experts.schema import experts
from pipeline.store.database import Store
from tests.lab import Workspace

pytestmark = pytest.mark.sqlite_only(reason="the databases are made by hand; PostgreSQL has its own such tests")

OUR_COLUMNS = {column.name for column in experts.columns}


SCORED = "INSERT INTO experts (username, findability_score, tags) VALUES"


def _made(path: Path, *statements: str) -> Path:
    """Make a small database from statements."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
    return path


def _rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query; text that is no UTF-8 as bytes."""
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = bytes
        return connection.execute(query).fetchall()


def _dump(path: Path) -> list[str]:
    """Return everything in a database but counts that took long, as the statements that would make it again."""
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = lambda cell: cell.decode("utf-8", "backslashreplace")
        return [one for one in connection.iterdump() if not one.startswith('INSERT INTO "findable_counts"')]


def _adopted(path: Path) -> list[str]:
    """Adopt a database's experts twice over the store alone; return the lines of the first time."""
    from pipeline.store import schema

    store = Store(f"sqlite:///{path}")
    try:
        lines = schema.ensure_schema(store, [adoption.adopt])
        with store.read() as tx:
            assert adoption.is_adopted(tx)
        once = _dump(path)
        assert schema.ensure_schema(store, [adoption.adopt]) == []
        assert _dump(path) == once
    finally:
        store.close()
    return lines


def _status(workspace: Workspace, *args: str) -> dict[str, Any]:
    """Return the document of `status --json`."""
    result = workspace.ran("status", "--json", *args)
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_foreign_text_in_a_row_with_a_score_is_recorded(workspace: Workspace) -> None:
    """It is found by an index in our own table, and recorded once."""
    workspace.begin().change(f"{SCORED} ('odd', 1, 'bees'), ('even', 1, '[\"bees\"]')")
    workspace.ran_each("score", "score")
    assert workspace.query("SELECT reason, foreign_text FROM findable_parked") == [(adoption.FOREIGN_TAGS, True)]


ODD_TABLES = {
    "strict": ("CREATE TABLE experts (id INTEGER PRIMARY KEY, username TEXT, bio TEXT) STRICT", ["11", "12", "13"]),
    "without rowid or id": (
        'CREATE TABLE experts ("a key" TEXT, username TEXT, bio TEXT, PRIMARY KEY ("a key", username)) WITHOUT ROWID',
        ["1", "2", "3"],
    ),
}


@pytest.fixture(params=sorted(ODD_TABLES))
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, list[str]]:
    """A database whose people have ids of an unusual kind, and those ids as text."""
    make, ids = ODD_TABLES[request.param]
    path = _made(tmp_path / "odd.db", make)
    with closing(sqlite3.connect(path)) as connection, connection:
        names = [row[1] for row in connection.execute("PRAGMA table_info(experts)")]
        for number in range(1, 4):
            row = {"id": number + 10, "a key": f"k{number}", "username": f"p{number}", "bio": "I teach water law."}
            places = ", ".join(f":{name.replace(' ', '_')}" for name in names)
            cells = {name.replace(" ", "_"): cell for name, cell in row.items()}
            connection.execute(f"INSERT INTO experts VALUES ({places})", cells)  # noqa: S608 - names of this module
    return path, ids


def test_ids_of_any_kind_run_through_the_chain(
    odd: tuple[Path, list[str]], workspace: Workspace, tmp_path: Path
) -> None:
    """People are asked about under their own ids, tagged, indexed; new ones get an id, an import finds them."""
    path, ids = odd
    _adopted(path)
    workspace.environ["FINDABLE_DATABASE_URL"] = f"sqlite:///{path}"
    workspace.data.mkdir()
    for command in ("batch-submit", "batch-poll", "batch-ingest", "index"):
        result = workspace.ran(command)
    assert [row[0].decode() for row in _rows(path, "SELECT item_id FROM findable_requests ORDER BY line")] == ids
    assert len(json.loads(workspace.run("search", "water law", "--json").stdout)) == 3
    people = tmp_path / "people.csv"
    people.write_text("username,bio\np1,I teach river law.\nnew-1,I keep bees.\nnew-2,I keep bees.\n")
    result = workspace.run("import", str(people))
    if "NOT NULL constraint" in result.output:  # their key has a column that only they can fill
        assert result.exit_code == 3
        return
    assert result.exit_code == 0, result.output
    file = tmp_path / "new.json"
    file.write_text('{"username": "new-3", "bio": "I teach water law."}')
    result = workspace.ran("add-expert", str(file), "--json")
    assert json.loads(result.stdout)[0]["tags"]
    counts = _status(workspace)["experts"]
    assert (counts["total"], counts["tagged"], counts["untagged"]) == (6, 4, 2)
    assert _rows(path, "SELECT count(DISTINCT id) FROM experts WHERE id IS NOT NULL") == [(6,)]


@pytest.mark.full
def test_a_table_with_all_our_columns_is_adopted_too(tmp_path: Path) -> None:
    """Nothing is added; wrong scores of another program are put right once, and it is said."""
    columns = ", ".join(f"{name} TEXT" for name in sorted(OUR_COLUMNS - {"id"}))
    path = _made(
        tmp_path / "x.db",
        f"CREATE TABLE experts (id INTEGER PRIMARY KEY, {columns})",
        "INSERT INTO experts (username, job_title, findability_score) VALUES ('a', 'Judge', '0.99')",
    )
    lines = _adopted(path)
    assert lines[:2] == ["adopted the experts table (1 row)", "scored 1"]
    assert _rows(path, "SELECT findability_score FROM experts") == [(b"10.0",)]


def test_rows_without_an_id_of_ours_are_numbered_later_too(tmp_path: Path) -> None:
    """Where the ids are ours, rows that the owner adds get theirs from the next command, and none is given twice."""
    path = _made(
        tmp_path / "x.db", "CREATE TABLE experts (username TEXT)", "INSERT INTO experts VALUES ('a'), ('b'), ('c')"
    )
    _adopted(path)
    _made(
        path,
        "DELETE FROM experts WHERE username = 'b'",
        "INSERT INTO experts (username) VALUES ('d'), ('e')",
    )
    _adopted(path)
    found = _rows(path, "SELECT id, username, findability_score FROM experts ORDER BY id")
    assert found == [(1, b"a", 0.0), (3, b"c", 0.0), (4, b"d", 0.0), (5, b"e", 0.0)]
    plan = _rows(path, "EXPLAIN QUERY PLAN SELECT 1 FROM experts WHERE findability_score IS NULL LIMIT 1")
    assert b"findable_experts_unscored" in plan[0][3]  # whether a table is adopted is known without reading it


@pytest.mark.full
def test_our_columns_may_be_not_null_there(workspace: Workspace, tmp_path: Path) -> None:
    """Where their table takes no NULL, nothing is written as empty text or 0: by import and add-expert."""
    path = _made(
        tmp_path / "x.db",
        "CREATE TABLE experts (id INTEGER PRIMARY KEY, username TEXT NOT NULL, first_name TEXT NOT NULL,"
        " bio TEXT NOT NULL, hourly_rate REAL NOT NULL, tags TEXT NOT NULL)",
        "INSERT INTO experts VALUES (1, 'a', '', 'I teach water law.', 0, '')",
    )
    workspace.environ["FINDABLE_DATABASE_URL"] = f"sqlite:///{path}"
    workspace.environ["FINDABLE_BACKEND"] = "local"
    people = tmp_path / "people.csv"
    people.write_text("username,bio,company\na,,Farm\nb,I keep bees.,\nc,,\n")
    assert workspace.run("import", str(people), "--yes").exit_code == 0
    file = tmp_path / "new.json"
    file.write_text('{"username": "d", "bio": "I sing."}')
    assert workspace.run("add-expert", str(file)).exit_code == 0
    assert _rows(path, "SELECT username, first_name, bio, hourly_rate, tags, company FROM experts ORDER BY id") == [
        (b"a", b"", b"", 0.0, b"", b"Farm"),
        (b"b", b"", b"I keep bees.", 0.0, b"", None),
        (b"c", b"", b"", 0.0, b"", None),
        (b"d", b"", b"I sing.", 0.0, b"", None),
    ]
