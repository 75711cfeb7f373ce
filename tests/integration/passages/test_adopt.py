"""Foreign tables of passages and concepts are adopted as they are, or refused."""

from pathlib import Path

import pytest

from askrows.pipeline.core.settings import Settings
from askrows.pipeline.passages import table
from askrows.pipeline.store.database import Store
from tests.integration.passages.workspaces import (
    add_concepts,
    concept,
    shape,
    url_of,
    workspace,
)
from tests.progress import NullProgress


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
        with ws.workspace.store.read() as tx:
            concept_ids = [
                str(scalar) for scalar in tx.execute(shape(ws).concepts.select()).scalars()
            ]
    assert len(set(concept_ids)) == 4
    assert (sorted(concept_ids) == ["1", "2", "3", "4"]) == (kind == "INTEGER NOT NULL")


def test_a_table_of_any_name_is_read(tmp_path: Path) -> None:
    """A table name may contain blanks and quotes; a mistyped name is reported."""
    quoted_name = '"my ""own"" table"'
    create_statement = f"CREATE TABLE {quoted_name} (id TEXT, text TEXT)"
    insert_statement = f"INSERT INTO {quoted_name} VALUES ('a', 'x')"  # noqa: S608 - test name
    data = _create_database(tmp_path / "data", create_statement, insert_statement)
    name = 'my "own" table'
    with workspace(data, passages=name) as ws, ws.workspace.store.read() as tx:
        assert table.read_passage_texts(tx, shape(ws), ["a"]) == {"a": "x"}
        assert table.TABLES.is_complete(tx, Settings(passages_table=name))

    with workspace(data, passages="docs") as ws:
        assert isinstance(ws.workspace.display, NullProgress)
        assert ws.workspace.display.lines == ["created the table docs, which did not exist"]
