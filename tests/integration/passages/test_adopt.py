"""Tables of passages and concepts that other programs made: taken over as they are, or refused before anything."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import ConfigurationError
from pipeline.core.settings import Settings
from pipeline.passages import import_, table
from pipeline.passages import table as adoption
from pipeline.store.database import Store
from tests.integration.many_passages import text_of
from tests.integration.passages.workspaces import (
    NOW,
    add_concepts,
    concept,
    lines_of,
    passages_file,
    rows,
    shape,
    url_of,
    workspace,
)
from tests.lab import ON_POSTGRESQL, Workspace

ONE, TWO, THREE = (f"0b0e7a52-8f4e-4c1d-9f6a-00000000000{number}" for number in (1, 2, 3))
CONCEPTS = (
    "id INTEGER PRIMARY KEY, passage_id TEXT, concept_name TEXT, extractor_version TEXT, extractor_model TEXT, "
    "weight REAL"
)


def _made(directory: Path, *statements: str) -> Path:
    """Make a database in which another program ran these statements, and return its directory."""
    store = Store(url_of(directory))
    with store.write() as tx:
        for statement in statements:
            tx.exec_driver_sql(statement)
    store.close()
    return directory


def _dump(directory: Path, *names: str) -> Any:
    """Return the rows of some tables as they are, and the names of every column."""
    store = Store(url_of(directory))
    with store.read() as tx:
        results = [tx.exec_driver_sql(f"SELECT * FROM {name}") for name in names]  # noqa: S608 - names of ours
        found = [(tuple(one.keys()), sorted(map(repr, one.all()))) for one in results]
    store.close()
    return found


def test_uuids_are_the_same_however_they_are_written(tmp_path: Path) -> None:
    """On PostgreSQL, which folds them, one in capitals is the row that is there, and a duplicate of one in small."""
    if not ON_POSTGRESQL:
        pytest.skip("SQLite keeps text as it is")
    data = _made(tmp_path / "data", "CREATE TABLE passages (id UUID PRIMARY KEY, text TEXT)")
    with workspace(data) as ws:
        lines = [{"id": ONE.upper(), "text": "x"}, {"id": ONE, "text": "y"}]
        done = import_.run(ws, passages_file(tmp_path / "p.jsonl", *lines))
        assert (done.added, done.duplicates, rows(ws)) == (1, 1, {ONE: ("x", None, None)})


def test_concepts_of_other_versions_are_adopted(tmp_path: Path) -> None:
    """Columns that are missing are added; rows stay as they are and count as concepts, unless only one version does."""
    json_type, time = ("JSON", "TIMESTAMP") if ON_POSTGRESQL else ("TEXT", "TEXT")
    data = _made(
        tmp_path / "data",
        "CREATE TABLE passages (id VARCHAR(40) PRIMARY KEY, text TEXT NOT NULL, metadata TEXT NOT NULL)",
        "INSERT INTO passages VALUES ('a', 'Bees.', '{}'), ('b', 'Soil.', '{}')",
        f"CREATE TABLE passage_concepts (id INTEGER PRIMARY KEY, passage_id TEXT, concept_name TEXT NOT NULL, "
        f"aliases {json_type}, created_at {time}, extractor_version VARCHAR(80), weight REAL DEFAULT 1)",
        "INSERT INTO passage_concepts VALUES (5, 'a', 'bees', '[\"bee\"]', '2020-01-02 03:04:05', 'theirs@3', 0.5)",
    )
    if ON_POSTGRESQL:
        _made(
            data,
            "CREATE SEQUENCE numbers START 6",
            "ALTER TABLE passage_concepts ALTER id SET DEFAULT nextval('numbers')",
        )
    with workspace(data) as ws:
        told = " ".join(lines_of(ws))
        here = shape(ws)
        add_concepts(ws, [concept("b")])
        with ws.store.read() as tx:
            assert list(tx.execute(table.item_table(here).pending()).scalars()) == []
            mine = table.item_table(here, skip=("passage-concepts@1",)).pending()
            assert list(tx.execute(mine).scalars()) == ["a"]
            found = tx.execute(here.concepts.select().order_by(here.concepts.c.id)).mappings().all()
        new = passages_file(tmp_path / "p.jsonl", {"id": "c", "text": "x"})
        assert import_.run(ws, new).added == 1
        assert rows(ws)["c"] == ("x", None, {})
    assert "adopted the passages table (2 rows)" in told
    assert (
        "adopted the passage_concepts table (1 row): added concept_type, confidence, extractor_model, evidence" in told
    )
    assert [(row["id"], row["passage_id"], row["concept_name"], row["extractor_version"]) for row in found] == [
        (5, "a", "bees", "theirs@3"),
        (6, "b", "beekeeping", "passage-concepts@1"),
    ]
    assert found[0]["created_at"] == NOW.replace(year=2020, month=1, day=2, hour=3, minute=4, second=5)
    assert (found[1]["created_at"], found[1]["confidence"]) == (NOW, 0.75)
    (columns, kept), _ = _dump(data, "passage_concepts", "passages")
    assert columns[:7] == (
        "id", "passage_id", "concept_name", "aliases", "created_at", "extractor_version", "weight"
    )  # fmt: skip
    assert len(kept) == 2


@pytest.mark.parametrize("kind", ["UUID PRIMARY KEY", "INTEGER NOT NULL"])
def test_concepts_get_ids_where_the_database_gives_none(tmp_path: Path, kind: str) -> None:
    """UUIDs, or the numbers behind the highest."""
    data = _made(tmp_path / "data", f"CREATE TABLE passage_concepts (id {kind}, passage_id TEXT, concept_name TEXT)")
    with workspace(data) as ws:
        for _ in range(2):
            add_concepts(ws, [concept("a"), concept("b")])
        with ws.store.read() as tx:
            found = [str(one) for one in tx.execute(shape(ws).concepts.select()).scalars()]
    assert len(set(found)) == 4
    assert (sorted(found) == ["1", "2", "3", "4"]) == (kind == "INTEGER NOT NULL")


def test_keys_that_no_two_concepts_of_ours_share_are_adopted(tmp_path: Path) -> None:
    """Those that hold the version, an id or a column of theirs, or hold for a version of theirs alone."""
    keys = (
        "id, passage_id",
        "passage_id, lower(concept_name), extractor_version",
        "passage_id, extractor_version, concept_name, extractor_model",
        "passage_id, concept_name, weight",
        "passage_id, concept_name) WHERE (extractor_version = 'theirs@3'",
    )
    indexes = (f"CREATE UNIQUE INDEX theirs_{at} ON passage_concepts ({key})" for at, key in enumerate(keys))
    data = _made(tmp_path / "data", f"CREATE TABLE passage_concepts ({CONCEPTS})", *indexes)
    with workspace(data) as ws:
        add_concepts(ws, [concept("a"), concept("b"), concept("a", version="passage-concepts@2")])


@pytest.mark.sqlite_only(reason="names of any case")
def test_names_of_any_case_are_found(tmp_path: Path) -> None:
    """SQLite's names know no case, neither those of tables nor those of columns."""
    data = _made(
        tmp_path / "data",
        "CREATE TABLE Passages (ID INTEGER PRIMARY KEY, Text TEXT, SOURCE TEXT)",
        "INSERT INTO Passages VALUES (3, 'Bees.', 'hive')",
        "CREATE TABLE Passage_Concepts (ID INTEGER PRIMARY KEY, Passage_ID INT, Concept_Name TEXT)",
    )
    with workspace(data) as ws:
        assert rows(ws) == {"3": ("Bees.", "hive", None)}
        add_concepts(ws, [concept("3")])
        with ws.store.read() as tx:
            assert table.item_table(shape(ws)).counts(tx)["with_concepts"] == 1
    with workspace(data) as ws:
        assert lines_of(ws) == []


@pytest.mark.skipif(not ON_POSTGRESQL, reason="ids that only the database gives")
def test_a_table_that_takes_no_ids_says_so(tmp_path: Path) -> None:
    """It is read in place all the same; an import is refused with what can be done."""
    kind = "INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    data = _made(
        tmp_path / "data", f"CREATE TABLE passages (id {kind}, text TEXT)", "INSERT INTO passages (text) VALUES ('x')"
    )
    with workspace(data) as ws:
        assert rows(ws) == {"1": ("x", None, None)}
        with pytest.raises(ConfigurationError, match="refuses a row"):
            import_.run(ws, passages_file(tmp_path / "p.jsonl", {"id": 2, "text": "x"}))


def test_a_table_of_any_name_is_read(tmp_path: Path) -> None:
    """Also one whose name is a word of SQL, or holds blanks and quotes; another one named later is looked at anew."""
    names = {name: '"' + name.replace('"', '""') + '"' for name in ("order", 'my "own" table', "Dokumente")}
    made = (f"CREATE TABLE {quoted} (id TEXT, text TEXT)" for quoted in names.values())
    rows_of = (f"INSERT INTO {quoted} VALUES ('a', 'x')" for quoted in names.values())  # noqa: S608 - names of ours
    twice = ("CREATE TABLE other (id TEXT, text TEXT)", "INSERT INTO other VALUES ('a', ''), ('a', '')")
    data = _made(tmp_path / "data", *made, *rows_of, *twice)
    for name in names:
        with workspace(data, passages=name) as ws, ws.store.read() as tx:
            assert table.passage_texts(tx, shape(ws), ["a"]) == {"a": "x"}
            assert adoption.is_adopted(tx, Settings(passages_table=name))
    with pytest.raises(ConfigurationError, match="not theirs alone"), workspace(data, passages="other"):
        pass
    with workspace(data, passages="docs") as ws:  # a name that was mistyped is seen
        assert lines_of(ws) == ["made the table docs, which was not there"]


@pytest.mark.full
def test_a_row_whose_id_is_the_empty_text_is_asked_nothing(workspace: Workspace) -> None:
    """It counts as empty, and keeps no other one from being asked; it may be put there at any time."""
    workspace.data.mkdir(exist_ok=True)
    made = (f"INSERT INTO passages VALUES ('{key}', '{text_of(7)}')" for key in ("", "7"))  # noqa: S608 - a text of ours
    kind = "CHAR(3)" if ON_POSTGRESQL else ""
    _made(workspace.data, f"CREATE TABLE passages (id {kind}, text TEXT)", *made)
    workspace.environ["FINDABLE_TASK"] = "passages"
    workspace.begin()
    status = json.loads(workspace.run("passages-status", "--json").stdout)["passages"]
    assert (status["open"], status["empty"], status["total"]) == (1, 1, 2)
    for command in ("batch-submit", "batch-poll", "batch-ingest", "tag-live", "doctor"):
        workspace.ran(command, TASK="passages")
    asked = workspace.query("SELECT DISTINCT passage_id FROM passage_concepts")
    assert [row[0].strip() for row in asked] == ["7"]
