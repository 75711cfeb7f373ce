"""The schema: made by whichever command comes first, once, beside whatever is there; and the workspace's one row."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from pipeline.core.errors import ConfigurationError
from pipeline.store import schema, workspace
from pipeline.store.database import Connection, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A database that does not exist yet."""
    return Store(f"sqlite:///{tmp_path / 'findable.db'}")


def made(store: Store) -> Store:
    """Return the store with the schema made."""
    schema.ensure_schema(store, [])
    return store


def shape(store: Store) -> dict[str, list[tuple[str, str, bool]]]:
    """Return (name, type, nullable) of every column of every table."""
    with store.read() as tx:
        there = inspect(tx)
        return {
            name: [(one["name"], str(one["type"]), bool(one["nullable"])) for one in there.get_columns(name)]
            for name in sorted(there.get_table_names())
        }


def test_doing_it_twice_changes_nothing(store: Store) -> None:
    """The second time the schema is current, the workspace keeps its id, and subjects tell what they did, in order."""
    made(store)
    with store.read() as tx:
        before = workspace.get_workspace(tx)
        assert schema.is_schema_current(tx)
    assert schema.ensure_schema(store, [lambda _: ["a", "b"], lambda _: [], lambda _: ["c"]]) == ["a", "b", "c"]
    with store.read() as tx:
        assert workspace.get_workspace(tx) == before


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


def test_a_subject_that_refuses_leaves_no_table(store: Store) -> None:
    """Schema and adoption are one transaction: where the second fails, the first did not happen."""

    def refuse(_tx: Connection) -> list[str]:
        """Refuse."""
        raise ConfigurationError("not this table")

    with pytest.raises(ConfigurationError):
        schema.ensure_schema(store, [refuse])
    assert shape(store) == {}
