"""Foreign tables of every task are adopted as they are, or refused before any change."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import inspect

from askrows.pipeline.core.errors import ConfigurationError
from askrows.pipeline.passages import table as passages
from askrows.pipeline.rows.reflection import read_key_and_index_columns
from askrows.pipeline.rows.task_tables import TaskTables, make_task_tables
from askrows.pipeline.store import schema
from askrows.pipeline.store.database import Connection, Store
from askrows.pipeline.workflows.row_importers import load_default_record
from tests.integration.passages.workspaces import url_of
from tests.lab import ON_POSTGRESQL

KEY = "SERIAL PRIMARY KEY" if ON_POSTGRESQL else "INTEGER PRIMARY KEY"
EXPERTS = f"id {KEY}, username TEXT, bio TEXT"
CONCEPTS = (
    f"id {KEY}, passage_id TEXT, concept_name TEXT, "
    "extractor_version TEXT, extractor_model TEXT, weight REAL"
)
NUMBERED_CONCEPTS = CONCEPTS.replace("passage_id TEXT", "passage_id INTEGER")

PEOPLE_TABLES = cast("TaskTables", make_task_tables(load_default_record()))


@dataclass(frozen=True)
class Kind:
    """A kind of table: its name, and the functions that adopt it."""

    table: str
    adopt: Callable[[Connection], list[str]]
    is_complete: Callable[[Connection], bool]


KINDS = {
    "experts": Kind("experts", PEOPLE_TABLES.create_or_adopt, PEOPLE_TABLES.is_complete),
    "passages": Kind("passages", passages.TABLES.create_or_adopt, passages.TABLES.is_complete),
    "concepts": Kind(
        "passage_concepts", passages.TABLES.create_or_adopt, passages.TABLES.is_complete
    ),
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Open an empty database."""
    store = Store(url_of(tmp_path / "data"))
    yield store
    store.close()


def _run(store: Store, *statements: str) -> None:
    """Run statements of another program."""
    with store.write() as tx:
        for statement in statements:
            tx.exec_driver_sql(statement)


def _dump(store: Store) -> list[str]:
    """Return every column, index and view of a database, and every row of the tasks' tables."""
    shapes = (
        (
            "SELECT table_name, column_name, data_type FROM information_schema.columns "
            "WHERE table_schema = 'public'"
        ),
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
    )
    with store.read() as tx:
        queries = list(shapes) if ON_POSTGRESQL else ["SELECT sql FROM sqlite_master"]
        table_names = {name.lower() for name in inspect(tx).get_table_names()}
        names = {kind.table for kind in KINDS.values()} & table_names
        queries += [f"SELECT * FROM {name}" for name in sorted(names)]  # noqa: S608 - ours

        rows: list[str] = []
        for query in queries:
            rows += map(repr, tx.exec_driver_sql(query).all())
    return sorted(rows)


# Kind of table, statements of another program (or columns), and the error message.
REFUSED_TABLES: list[tuple[str, str, str]] = [
    (
        "experts",
        "CREATE TABLE p (username TEXT); CREATE VIEW experts AS SELECT * FROM p",
        "`experts` .*`id` is missing",
    ),
    (
        "concepts",
        "CREATE VIEW passage_concepts AS SELECT 1 AS id",
        "`passage_concepts` .*`passage_id` is missing",
    ),
    ("experts", "id INTEGER, name TEXT", "`username` is missing"),
    ("experts", "username TEXT", "`id` is missing"),
    (
        "passages",
        "doc TEXT, text TEXT",
        "`passages` in this database does not fit: `id` is missing",
    ),
    ("concepts", "id INTEGER, concept_name TEXT", "`passage_id` is missing"),
    (
        "passages",
        "id INT, text TEXT; INSERT INTO passages VALUES (1, 'a'), (1, 'b'), (NULL, 'c')",
        r"missing, empty or repeated \(2 of 3\)",
    ),
    (
        "experts",
        "id TEXT, username TEXT; INSERT INTO experts VALUES ('', 'a')",
        "missing, empty or repeated",
    ),
    ("passages", "id REAL, text TEXT", "`id` .*must store text, whole numbers or UUIDs"),
    ("concepts", NUMBERED_CONCEPTS, "`passage_id` .*must store text"),
    (
        "concepts",
        f"{CONCEPTS.replace('REAL', 'REAL NOT NULL')}",
        "`weight` needs a value that askrows does not write",
    ),
]
# Tables that only SQLite permits.
REFUSED_ON_SQLITE = [
    (
        "passages",
        "CREATE VIRTUAL TABLE passages USING fts5(id, text)",
        "`id` must store text",
    ),
    ("passages", "id, text", "`id` must store text, whole numbers or UUIDs"),
    (
        "passages",
        "id INT, text; INSERT INTO passages VALUES (7, ''), ('7', '')",
        "missing, empty or repeated",
    ),
    (
        "passages",
        "id TEXT, text TEXT AS (id || '!')",
        "`text` must store text",
    ),
]
# Tables that only PostgreSQL permits.
REFUSED_ON_POSTGRESQL = [
    ("experts", 'id INT, "Username" TEXT', "`username` is missing"),
    (
        "experts",
        "id BYTEA, username TEXT",
        "`id` must store text, whole numbers or UUIDs",
    ),
    (
        "experts",
        "id CHAR(9), username TEXT",
        "`id` must store text, whole numbers or UUIDs",
    ),
    ("experts", f"{EXPERTS}, findability_score INTEGER", "floating-point numbers"),
    ("experts", "id SMALLINT, username TEXT", "`id` must store text, whole numbers or UUIDs"),
    (
        "experts",
        f"CREATE TYPE kind AS ENUM ('x'); CREATE TABLE experts ({EXPERTS}, category kind)",
        "`category`",
    ),
    (
        "experts",
        f"{EXPERTS}, tags TEXT GENERATED ALWAYS AS (bio) STORED",
        "`tags` must store JSON or text",
    ),
    (
        "concepts",
        f"{CONCEPTS}, aliases TEXT[]",
        "`aliases` must store JSON or text",
    ),
    (
        "concepts",
        f"{CONCEPTS}, confidence NUMERIC(3, 3)",
        "`confidence` .*floating-point numbers",
    ),
    (
        "concepts",
        (
            "CREATE TABLE passages (id UUID, text TEXT); "
            f"CREATE TABLE passage_concepts ({NUMBERED_CONCEPTS})"
        ),
        "`passage_id` must store UUIDs like the ids it refers to",
    ),
]


@pytest.mark.parametrize(
    ("kind", "definition", "message"),
    REFUSED_TABLES + (REFUSED_ON_POSTGRESQL if ON_POSTGRESQL else REFUSED_ON_SQLITE),
)
def test_an_unsuitable_table_is_refused_and_unchanged(
    store: Store, kind: str, definition: str, message: str
) -> None:
    """The error names the reason and a hint; the database stays as it was."""
    table_kind = KINDS[kind]
    _run(store, *_statements(table_kind.table, definition))
    before = _dump(store)

    with pytest.raises(ConfigurationError, match=message) as refusal, store.write() as tx:
        table_kind.adopt(tx)

    assert "nothing was changed" in refusal.value.message
    assert refusal.value.hint
    assert _dump(store) == before

    with store.read() as tx:
        assert not table_kind.is_complete(tx)


def test_adoption_is_planned_in_a_workspace_that_never_used_the_task(store: Store) -> None:
    """A person is asked before people are adopted, also after another task made the workspace."""
    _run(store, f"CREATE TABLE experts ({EXPERTS})")
    schema.ensure_schema_and_adopt_tables(store, [])
    with store.read() as tx:
        assert "experts.findability_score" in PEOPLE_TABLES.list_additions(tx)[-1]
    schema.ensure_schema_and_adopt_tables(store, [PEOPLE_TABLES.create_or_adopt])
    with store.read() as tx:
        assert PEOPLE_TABLES.list_additions(tx) == []


def test_rows_are_found_without_reading_the_table(store: Store) -> None:
    """An index is added if no key or index of the owner begins with the column."""
    cases = {
        ("experts", "id", "username"): ("INTEGER", "TEXT UNIQUE"),
        ("passages", "id", "text"): ("TEXT", "TEXT"),
    }
    for (table, *columns), kinds in cases.items():
        definition = ", ".join(f"{name} {kind}" for name, kind in zip(columns, kinds, strict=True))
        _run(store, f"CREATE TABLE {table} ({definition})")
        schema.ensure_schema_and_adopt_tables(store, [KINDS[table].adopt])
        with store.read() as tx:
            assert columns[0] in {
                key[0] for key in read_key_and_index_columns(tx, table, only_unique=False)
            }
            assert schema.has_index(tx, table, f"askrows_{table}_{columns[0]}")
            assert not schema.has_index(tx, table, f"askrows_{table}_{columns[1]}")


def _statements(table: str, definition: str) -> Sequence[str]:
    """Split statements; the first may be only the columns of the table."""
    first_statement, *later_statements = definition.split("; ")
    if not first_statement.startswith("CREATE"):
        first_statement = f"CREATE TABLE {table} ({first_statement})"
    return [first_statement, *later_statements]
