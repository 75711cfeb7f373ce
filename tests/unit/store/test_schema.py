"""The first command creates the schema, and an older schema is migrated."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from pipeline.store import batches, partial_answers, schema, selections
from pipeline.store.database import Store
from tests import postgresql
from tests.unit.store.facts import BATCH, NOW

# The columns that each upgrade adds, by the schema that it upgrades.
ADDED_COLUMNS = {
    "0022": [(schema.answers, "tier"), (schema.attempts, "tier")],
    "0023": [
        (schema.batches, "running_at"),
        (schema.batches, "remote_s"),
        (schema.creates, "key_fingerprint"),
        (schema.batches, "control_requests"),
        (schema.batches, "control_cost"),
        (schema.batches, "held"),
        (schema.answers, "bulk_edit"),
        (schema.answers, "reviewed_by"),
        (schema.answers, "reviewed_at"),
    ],
    "0024": [
        (schema.answers, "confidences"),
        (schema.answers, "set_fields"),
        (schema.runs, "condition"),
    ],
    "0025": [(schema.batches, "uncounted")],
}
# The tables and the indexes that each upgrade adds.
ADDED_TABLES = {"0024": ["findable_partial_answers", "findable_selected_rows"]}
ADDED_INDEXES = {"0024": ["findable_answers_by_confidence"]}


@pytest.fixture(params=["sqlite", "postgresql", "search path"])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    """A database that does not exist yet, or an empty database or schema of a server."""
    url = f"sqlite:///{tmp_path / 'findable.db'}"
    if request.param != "sqlite":
        url = postgresql.database_of(tmp_path / "data")
    if request.param == "search path":
        server = Store(url)
        with server.write() as tx:
            tx.execute(text("CREATE SCHEMA shop"))
        server.close()
        separator = "&" if "?" in url else "?"
        url = f"{url}{separator}options=-csearch_path%3Dshop"
    store = Store(url)
    yield store
    store.close()


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


@pytest.mark.parametrize("number", ADDED_COLUMNS)
def test_tables_of_a_previous_schema_are_migrated(store: Store, number: str) -> None:
    """A migration keeps the rows, and a second migration does nothing."""
    schema.ensure_schema(store, [])
    with store.write() as tx:
        batches.add_batch(tx, now=NOW, number=1, **BATCH)
        for old_number, names in ADDED_TABLES.items():
            for name in names if old_number >= number else ():
                tx.execute(text(f"DROP TABLE {name}"))
        for old_number, names in ADDED_INDEXES.items():
            for name in names if old_number >= number else ():
                tx.execute(text(f"DROP INDEX {name}"))
        for old_number, columns in ADDED_COLUMNS.items():
            for table, column in columns if old_number >= number else ():
                tx.execute(text(f"ALTER TABLE {table.name} DROP COLUMN {column}"))
        tx.execute(
            text("UPDATE findable_workspace SET schema = :number, backend = 'local'"),
            {"number": number},
        )
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
        assert batches.get_batch(tx, 1).running_at is None
        assert batches.find_key_fingerprint(tx, 1) is None
        assert tx.execute(text("SELECT count(*) FROM findable_partial_answers")).scalar() == 0
        assert schema.has_index(tx, "findable_answers", "findable_answers_by_confidence")
        assert selections.count_rows(tx, 1) == 0
        assert not partial_answers.has_partial_answers(tx, "people")

    with store.write() as tx:
        batches.update_batch_columns(tx, 1, running_at=NOW, remote_s=2.5)
    with store.read() as tx:
        batch = batches.get_batch(tx, 1)
    assert (batch.running_at, batch.remote_s) == (NOW, 2.5)
