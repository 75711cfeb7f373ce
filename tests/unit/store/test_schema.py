"""The first command creates the schema."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from askrows.pipeline.store import schema
from askrows.pipeline.store.database import Store
from tests import postgresql


@pytest.fixture(params=["sqlite", "postgresql"])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    """A database that does not exist yet, or an empty schema of a server."""
    url = f"sqlite:///{tmp_path / 'askrows.db'}"
    if request.param == "postgresql":
        url = postgresql.database_of(tmp_path / "data")
        postgresql.rows(url, "CREATE SCHEMA shop")
        url += "&options=-csearch_path%3Dshop"
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
            schema.ensure_schema_and_adopt_tables(own_store, [])
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
        assert tx.execute(text("SELECT count(*) FROM askrows_workspace")).scalar() == 1
