"""The schema: made by whichever command comes first, once, beside whatever is there; and the workspace's one row."""

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


def test_several_first_commands_at_once_make_one_schema(store: Store) -> None:
    """A second process finds it made."""
    errors: list[BaseException] = []

    def begin() -> None:
        """Be a first command."""
        mine = Store(store.address)
        try:
            schema.ensure_schema(mine, [])
        except BaseException as error:  # noqa: BLE001 - handed to the test, which shows it
            errors.append(error)
        mine.close()

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with store.read() as tx:
        assert tx.execute(text("SELECT count(*) FROM findable_workspace")).scalar() == 1


def test_the_tables_of_the_schema_before_are_brought_to_this_one(store: Store) -> None:
    """With what stands in them; once."""
    schema.ensure_schema(store, [])
    with store.write() as tx:
        for table in (schema.answers, schema.attempts):
            tx.execute(text(f"ALTER TABLE {table.name} DROP COLUMN tier"))
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
