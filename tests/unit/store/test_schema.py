"""The schema: made by whichever command comes first, once, beside whatever is there; and the workspace's one row."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from pipeline.errors import ConfigurationError, InconsistentError
from pipeline.store import clearing, schema, tables, workspace
from pipeline.store.database import Connection, Store

NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A database that does not exist yet."""
    return Store(f"sqlite:///{tmp_path / 'findable.db'}")


def made(store: Store) -> Store:
    """Return the store with the schema made."""
    schema.ensure(store, [])
    return store


def shape(store: Store) -> dict[str, list[tuple[str, str, bool]]]:
    """Return (name, type, nullable) of every column of every table."""
    with store.read() as tx:
        there = inspect(tx)
        return {
            name: [(one["name"], str(one["type"]), bool(one["nullable"])) for one in there.get_columns(name)]
            for name in sorted(there.get_table_names())
        }


def test_migrations_give_the_tables_that_the_code_uses(store: Store, tmp_path: Path) -> None:
    """Every migration applied in turn leaves what `tables.metadata` says, columns and indexes alike."""
    made(store)
    other = Store(f"sqlite:///{tmp_path / 'other.db'}")
    with other.write() as tx:
        tables.metadata.create_all(tx)
    found = shape(store)
    del found[schema.VERSION_TABLE]
    assert found == shape(other)
    query = text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name")
    with store.read() as mine, other.read() as theirs:
        indexes = {name: " ".join(sql.split()) for name, sql in mine.execute(query)}
        claims, going = indexes.pop("findable_claims"), indexes.pop("findable_calls_under_way")
        assert indexes == {name: " ".join(sql.split()) for name, sql in theirs.execute(query)}
    assert claims == "CREATE UNIQUE INDEX findable_claims ON findable_requests (task, item_id) WHERE open"
    assert going == "CREATE INDEX findable_calls_under_way ON findable_calls (id) WHERE outcome IS NULL"


def test_the_newest_migration_is_the_head() -> None:
    """The version that the code asks for is that of the newest file."""
    folder = Path(schema.__file__).parent / "migrations" / "versions"
    assert max(path.name[:4] for path in folder.glob("[0-9]*.py")) == schema.HEAD


def test_doing_it_twice_changes_nothing(store: Store) -> None:
    """The second time the schema is current, and the workspace keeps its id."""
    made(store)
    with store.read() as tx:
        before = workspace.get(tx)
        assert schema.is_current(tx)
    assert schema.ensure(store, []) == []
    with store.read() as tx:
        assert workspace.get(tx) == before


def test_several_first_commands_at_once_make_one_schema(store: Store) -> None:
    """Whoever comes second finds it made."""
    errors: list[BaseException] = []

    def begin() -> None:
        """Be a first command."""
        mine = Store(str(store.url))
        try:
            schema.ensure(mine, [])
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
        schema.ensure(store, [refuse])
    assert shape(store) == {}


def test_what_adoptions_did_is_told_in_order(store: Store) -> None:
    """The lines of each subject come back in the order of the subjects."""
    assert schema.ensure(store, [lambda _: ["a", "b"], lambda _: [], lambda _: ["c"]]) == ["a", "b", "c"]


def test_foreign_tables_are_left_alone(store: Store) -> None:
    """Another application's own version table and its table called events stay as they are."""
    with store.write() as tx:
        tx.execute(text("CREATE TABLE alembic_version (version_num TEXT)"))
        tx.execute(text("INSERT INTO alembic_version VALUES ('theirs')"))
        tx.execute(text("CREATE TABLE events (what TEXT)"))
    made(store)
    with store.read() as tx:
        assert tx.execute(text("SELECT version_num FROM alembic_version")).scalar() == "theirs"
        assert [column["name"] for column in inspect(tx).get_columns("events")] == ["what"]


def test_a_newer_schema_is_refused(store: Store) -> None:
    """A database of a newer version is not touched, by checking or by making."""
    made(store)
    with store.write() as tx:
        tx.execute(text("UPDATE findable_version SET version_num = '9999'"))
    with pytest.raises(InconsistentError, match="newer findable"), store.read() as tx:
        schema.is_current(tx)
    with pytest.raises(InconsistentError, match="newer findable"):
        schema.ensure(store, [])


def test_a_workspace_is_bound_once(store: Store) -> None:
    """The first backend binds, the same one again is no change, the other one is refused."""
    made(store)
    with store.write() as tx:
        workspace.bind(tx, "local", at=NOW)
        workspace.bind(tx, "local", at=NOW)
    with pytest.raises(ConfigurationError, match="bound to the local backend"), store.write() as tx:
        workspace.bind(tx, "gemini", at=NOW)
    with store.read() as tx:
        assert workspace.get(tx).backend == "local"
        assert tx.execute(text("SELECT count(*) FROM findable_events WHERE kind = 'workspace'")).scalar() == 1


def test_clearing_gives_a_new_id_and_lets_the_workspace_be_bound_anew(store: Store) -> None:
    """No name that the old backend knew can come again, and the position goes on."""
    made(store)
    with store.write() as tx:
        workspace.bind(tx, "local", at=NOW)
        workspace.touch(tx)
        before = workspace.get(tx)
        clearing.clear(tx, why="test", at=NOW)
        after = workspace.get(tx)
        workspace.bind(tx, "gemini", at=NOW)
    assert after.backend is None
    assert after.workspace_id != before.workspace_id
    assert after.position > before.position
