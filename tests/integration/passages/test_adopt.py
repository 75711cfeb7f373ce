"""Tables of passages and concepts that other programs made: taken over as they are, or refused before anything."""

from pathlib import Path

import pytest

from pipeline.core.errors import ConfigurationError
from pipeline.core.settings import Settings
from pipeline.passages import import_, table
from pipeline.passages import table as adoption
from pipeline.store.database import Store
from pipeline.tables.findings import FindingKind
from tests.integration.passages.workspaces import (
    add_concepts,
    concept,
    lines_of,
    passages_file,
    rows,
    shape,
    url_of,
    workspace,
)
from tests.lab import ON_POSTGRESQL

ONE = "0b0e7a52-8f4e-4c1d-9f6a-000000000001"
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


def test_uuids_are_the_same_however_they_are_written(tmp_path: Path) -> None:
    """On PostgreSQL, which folds them, one in capitals is the row that is there, and a duplicate of one in small."""
    if not ON_POSTGRESQL:
        pytest.skip("SQLite keeps text as it is")
    data = _made(tmp_path / "data", "CREATE TABLE passages (id UUID PRIMARY KEY, text TEXT)")
    with workspace(data) as ws:
        lines = [{"id": ONE.upper(), "text": "x"}, {"id": ONE, "text": "y"}]
        done = import_.run(ws, passages_file(tmp_path / "p.jsonl", *lines))
        assert (done.added, done.counts[FindingKind.REJECTED], rows(ws)) == (1, 1, {ONE: ("x", None, None)})


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
