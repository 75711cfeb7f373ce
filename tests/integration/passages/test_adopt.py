"""Foreign tables of passages and concepts are adopted as they are, or refused."""

from pathlib import Path

import pytest

from pipeline.core.errors import ConfigurationError
from pipeline.core.settings import Settings
from pipeline.passages import table
from pipeline.passages import table as adoption
from pipeline.store.database import Store
from tests.integration.passages.workspaces import (
    add_concepts,
    concept,
    lines_of,
    shape,
    url_of,
    workspace,
)


def _create_database(directory: Path, *statements: str) -> Path:
    """Create a database with another program's statements, and return its directory."""
    store = Store(url_of(directory))
    with store.write() as tx:
        for statement in statements:
            tx.exec_driver_sql(statement)
    store.close()
    return directory


@pytest.mark.parametrize("kind", ["UUID PRIMARY KEY", "INTEGER NOT NULL"])
def test_concepts_get_ids_if_the_database_has_no_default(tmp_path: Path, kind: str) -> None:
    """New concepts get UUIDs, or the next numbers."""
    data = _create_database(
        tmp_path / "data",
        f"CREATE TABLE passage_concepts (id {kind}, passage_id TEXT, concept_name TEXT)",
    )
    with workspace(data) as ws:
        for _ in range(2):
            add_concepts(ws, [concept("a"), concept("b")])
        with ws.store.read() as tx:
            concept_ids = [
                str(scalar) for scalar in tx.execute(shape(ws).concepts.select()).scalars()
            ]
    assert len(set(concept_ids)) == 4
    assert (sorted(concept_ids) == ["1", "2", "3", "4"]) == (kind == "INTEGER NOT NULL")


def test_a_table_of_any_name_is_read(tmp_path: Path) -> None:
    """A table name may be a word of SQL, or contain blanks and quotes."""
    names = {
        name: '"' + name.replace('"', '""') + '"'
        for name in ("order", 'my "own" table', "Dokumente")
    }
    create_statements = (f"CREATE TABLE {quoted} (id TEXT, text TEXT)" for quoted in names.values())
    insert_statements = (
        f"INSERT INTO {quoted} VALUES ('a', 'x')"  # noqa: S608 - test names
        for quoted in names.values()
    )
    duplicate_statements = (
        "CREATE TABLE other (id TEXT, text TEXT)",
        "INSERT INTO other VALUES ('a', ''), ('a', '')",
    )
    data = _create_database(
        tmp_path / "data", *create_statements, *insert_statements, *duplicate_statements
    )
    for name in names:
        with workspace(data, passages=name) as ws, ws.store.read() as tx:
            assert table.read_passage_texts(tx, shape(ws), ["a"]) == {"a": "x"}
            assert adoption.TABLES.is_adopted(tx, Settings(passages_table=name))

    with (
        pytest.raises(ConfigurationError, match="missing or repeated"),
        workspace(data, passages="other"),
    ):
        pass

    # A mistyped name is reported.
    with workspace(data, passages="docs") as ws:
        assert lines_of(ws) == ["created the table docs, which did not exist"]
