"""`make move` takes passages and their concepts along, ours or adopted, and says what cannot go."""

import json
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from pipeline.store.copy import spelled
from tests import ledger, postgresql
from tests.integration import many_passages as passages
from tests.lab import URL, Workspace

pytestmark = pytest.mark.sqlite_only("begins with an SQLite file")

CHAIN = ("batch-submit", "batch-poll", "batch-ingest")
WHOLE = "SELECT * FROM {} ORDER BY id"


def _run(workspace: Workspace, *args: str, code: int = 0, **values: str) -> str:
    """Run a command that must end with a code, and return all that it said."""
    result = workspace.run(*args, **{"GATES": "concepts=off", **values})  # their texts have few concepts
    assert result.exit_code == code, result.output
    return result.output


def _rows(workspace: Workspace, table: str, *documents: str) -> list[dict[str, Any]]:
    """Return every row of a table by the names of its columns, with documents read and times as text in UTC."""
    names = workspace.columns(table)
    found = [dict(zip(names, row, strict=True)) for row in workspace.query(WHOLE.format(table))]
    for row in found:
        for name in documents:
            row[name] = json.loads(row[name]) if isinstance(row[name], str) else row[name]
        if "created_at" in row:
            row["created_at"] = str(row["created_at"]).replace("T", " ")
    return found


@pytest.fixture(name="to")
def _to(workspace: Workspace) -> str:
    """The URL of an empty database on the server."""
    return postgresql.database_of(workspace.data.with_name("moved"))


@pytest.fixture(name="there")
def _there(workspace: Workspace, to: str) -> Workspace:
    """The workspace as it is once its database is on the server."""
    return Workspace(workspace.data, {**workspace.environ, URL: to, "FINDABLE_TASK": "passages"})


@pytest.mark.full
def test_passages_and_concepts_are_there_and_work_goes_on(workspace: Workspace, there: Workspace, to: str) -> None:
    """Moved by one who works on people: every row is the same, doctor counts as many quotations."""
    passages.put(workspace, 5)
    for words in ((CHAIN[0], "--limit", "3"), *((command,) for command in CHAIN[1:])):
        _run(workspace, *words, TASK="passages")
    before = json.loads(workspace.run("doctor", "--json").stdout)
    said = json.loads(workspace.run("move", to, "--json").stdout)
    concepts = _rows(workspace, "passage_concepts", "aliases", "evidence")
    assert (said["rows"]["passages"], said["rows"]["passage_concepts"]) == (5, len(concepts))
    assert said["left_behind"] == []
    assert _rows(there, "passages", "metadata") == _rows(workspace, "passages", "metadata")
    assert _rows(there, "passage_concepts", "aliases", "evidence") == concepts
    assert passages.check(there) == before["rows"]["passages"]["quotations"]
    after = json.loads(there.run("doctor", "--json").stdout)
    assert (after["findings"], after["rows"]) == ([], before["rows"])
    assert there.scalar("SELECT count(*) FROM best_concepts") > 0
    newest = max(row["id"] for row in concepts)
    for command in CHAIN:
        _run(there, command)
    assert passages.counts(there) == {"total": 5, "with_concepts": 5}
    assert min(row[0] for row in there.query("SELECT id FROM passage_concepts ORDER BY id")[len(concepts) :]) > newest
    assert "was moved" in _run(workspace, "move", to)


def _adopted(workspace: Workspace, *statements: str) -> None:
    """Make the workspace, then tables of another program in it, and take over its passages."""
    workspace.begin()
    with closing(sqlite3.connect(workspace.data / "findable.db")) as database, database:
        for statement in statements:
            database.execute(statement)
    workspace.environ |= {"FINDABLE_TASK": "passages", "FINDABLE_PASSAGES_TABLE": "Docs"}
    workspace.begin()


THEIRS = (
    "CREATE TABLE Docs (ID INTEGER PRIMARY KEY, text TEXT, source TEXT)",
    "INSERT INTO Docs VALUES (7, 'We mend bells.', NULL), (70000000000, 'e\u0301 and \U0001f41d', 'a'), (9, NULL, 'b')",
    """CREATE TABLE passage_concepts (id TEXT PRIMARY KEY, passage_id INTEGER, concept_name TEXT, aliases TEXT,
    evidence TEXT, extractor_version TEXT, created_at TEXT)""",
    """INSERT INTO passage_concepts VALUES ('x-1', 7, 'bells', '[ "b",1.50 ]', '{"b": 1e3, "a": [-0.0]}', 'their@1',
    '2026-01-02T03:04:05+02:00'), ('x-2', 7, NULL, NULL, NULL, NULL, '2026-01-02')""",
)


@pytest.mark.full
def test_adopted_tables_go_along_as_they_are(workspace: Workspace, there: Workspace, to: str) -> None:
    """Another name, numbers as ids, no metadata, texts that are missing, concepts with ids of their own."""
    _adopted(workspace, *THEIRS)
    said = json.loads(workspace.run("move", to, "--json").stdout)
    assert (said["rows"]["Docs"], said["rows"]["passage_concepts"]) == (3, 2)
    assert said["left_behind"] == []
    there.environ["FINDABLE_PASSAGES_TABLE"] = "Docs"
    assert there.query('SELECT * FROM "Docs" ORDER BY id') == [
        (7, "We mend bells.", None),
        (9, None, "b"),
        (70000000000, "e\u0301 and \U0001f41d", "a"),
    ]
    one, two = _rows(there, "passage_concepts")
    assert (one["id"], one["passage_id"], one["aliases"], one["evidence"]) == (
        "x-1",
        7,
        ["b", 1.5],
        {"a": [0], "b": 1000},
    )
    assert (one["created_at"], two["created_at"]) == ("2026-01-02 01:04:05+00:00", "2026-01-02 00:00:00+00:00")
    assert ledger.findings(there) == []
    for command in CHAIN:
        _run(there, command)
    assert passages.counts(there) == {"total": 3, "with_concepts": 2, "empty": 1}


LOST = (
    ("UPDATE passage_concepts SET aliases = 'b, c'", "passage_concepts 'x-1': aliases is not JSON"),
    ("UPDATE passage_concepts SET aliases = NULL, evidence = '[\"\\u0000\"]'", "evidence is not JSON"),
    ("UPDATE passage_concepts SET evidence = '[\"\\ud800\"]'", "evidence is not JSON"),
    ("UPDATE passage_concepts SET evidence = '[NaN]'", "evidence is not JSON"),
    ("UPDATE passage_concepts SET evidence = NULL, created_at = 'last May'", "created_at is not a time"),
    ("UPDATE Docs SET text = 'a' || char(0)", "Docs 7: text is not text without NUL"),
    ("ALTER TABLE Docs ADD COLUMN pages INTEGER", "Docs has columns of another program, which would be lost: pages"),
)


@pytest.mark.full
def test_what_cannot_go_ends_the_move(workspace: Workspace, to: str) -> None:
    """The row is named, and nothing is kept on the server.

    Without PASSAGES_TABLE= the concepts would stay behind, so nothing is moved.
    """
    _adopted(workspace, *THEIRS)
    assert "PASSAGES_TABLE=" in _run(workspace, "move", to, code=3, TASK="experts", PASSAGES_TABLE="passages")
    for statement, said in LOST:
        workspace.change(statement)
        assert said in _run(workspace, "move", to, code=3)
        assert Workspace(workspace.data, {**workspace.environ, URL: to}).tables() == []


def test_a_workspace_of_people_takes_no_passages_along(workspace: Workspace, there: Workspace, to: str) -> None:
    """Nothing of passages is made where none were ever asked about."""
    said = json.loads(workspace.begin().run("move", to, "--json").stdout)
    assert {"passages", "passage_concepts"} & {*said["rows"], *there.tables()} == set()


def test_numbers_and_keys_are_one_however_they_are_written() -> None:
    """What a document database keeps of both is the same; kinds and figures are told apart."""
    same = (("1", "1.0"), ("1e2", "100"), ("0", "-0.0"), ("1.50", "15e-1"), ("1E+2", "100.00"))
    for one, other in (*same, ('{"a":1,"b":2}', '{"b":2,"a":1}')):
        assert spelled(one) == spelled(other)
    differing = (("1", '"1"'), ("true", "1"), ("0", "false"), ("-1", "1"), ("null", '"None"'), ("1e400", "1e401"))
    for one, other in differing:
        assert spelled(one) != spelled(other)
    text = json.dumps({"a": ['é🐝\\ "', {"b": [None, True, -1.5e300]}], "": {}})
    assert spelled(text) == spelled(json.dumps(json.loads(text), indent=3, ensure_ascii=False)) != spelled(f"[{text}]")
