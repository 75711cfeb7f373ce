"""The first command creates the schema, and an older schema is migrated."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import text

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


def test_tables_of_the_previous_schema_are_migrated(store: Store) -> None:
    """A migration keeps the rows, and a second migration does nothing."""
    schema.ensure_schema(store, [])
    with store.write() as tx:
        for table in (schema.answers, schema.attempts):
            tx.execute(text(f"ALTER TABLE {table.name} DROP COLUMN tier"))
        for column in ("control_requests", "control_cost", "held"):
            tx.execute(text(f"ALTER TABLE findable_batches DROP COLUMN {column}"))
        tx.execute(text("UPDATE findable_workspace SET schema = '0022', backend = 'local'"))
    for _ in "12":
        schema.ensure_schema(store, [])
    with store.read() as tx:
        assert schema.is_schema_current(tx)
        assert tx.execute(text("SELECT backend FROM findable_workspace")).scalar() == "local"
        assert [
            *tx.execute(
                text("SELECT tier FROM findable_answers UNION SELECT tier FROM findable_attempts")
            )
        ] == []
