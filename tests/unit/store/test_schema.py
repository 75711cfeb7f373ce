"""The first command creates the schema, and an older schema is migrated."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import select, text

from pipeline.store import schema
from pipeline.store.database import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A database that does not exist yet."""
    return Store(f"sqlite:///{tmp_path / 'findable.db'}")


def test_concurrent_first_commands_create_the_schema_once(store: Store) -> None:
    """Concurrent threads create a single schema without errors."""
    errors: list[BaseException] = []

    def create_schema() -> None:
        """Create the schema, as the first command does."""
        own_store = Store(store.address)
        try:
            schema.ensure_schema(own_store, [])
        except BaseException as error:  # noqa: BLE001 - handed to the test, which shows it
            errors.append(error)
        own_store.close()

    threads = [threading.Thread(target=create_schema) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with store.read() as tx:
        assert tx.execute(text("SELECT count(*) FROM findable_workspace")).scalar() == 1


@pytest.mark.parametrize("number", ["0022", "0023"])
def test_tables_of_an_earlier_schema_are_migrated(store: Store, number: str) -> None:
    """A migration keeps the rows, and a second migration does nothing."""
    schema.ensure_schema(store, [])
    added_columns = [("answers", name) for name in ("bulk_edit", "reviewed_by", "reviewed_at")]
    if number == "0022":
        added_columns += [("answers", "tier"), ("attempts", "tier")]
    with store.write() as tx:
        for table, name in added_columns:
            tx.execute(text(f"ALTER TABLE findable_{table} DROP COLUMN {name}"))
        change = "UPDATE findable_workspace SET schema = :number, backend = 'local'"
        tx.execute(text(change), {"number": number})
    for _ in "12":
        schema.ensure_schema(store, [])
    with store.read() as tx:
        assert schema.is_schema_current(tx)
        assert tx.execute(text("SELECT backend FROM findable_workspace")).scalar() == "local"
        for table, name in added_columns:
            column = schema.metadata.tables[f"findable_{table}"].c[name]
            assert [*tx.execute(select(column))] == []
