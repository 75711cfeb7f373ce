"""The schema: made by whichever command comes first, once, beside whatever is there; and the workspace's one row."""

import hashlib
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import inspect, text

from pipeline.core.errors import ConfigurationError, InconsistentError
from pipeline.store import answers, clear, schema, tables, workspace
from pipeline.store.database import Connection, Store

NOW = datetime(2026, 11, 20, tzinfo=UTC)
OLD_PROBES = """
INSERT INTO findable_batches (number, task, extractor, model, state, requests, request_file, request_sha256,
 request_size, estimated_in, estimated_out, estimated_cost, priced_on, created_at)
SELECT value, 'tags', 'tags@1/m', 'm', 'prepared', 1, 'f', 'h', 1, 1, 1, 0.1, '2026-11-01', '2026-11-20'
FROM json_each('[1, 2]');
INSERT INTO findable_requests (task, item_id, batch, line, input_hash, open, at)
VALUES ('tags', '7', 2, 1, 'x', 1, '2026-11-20');
INSERT INTO findable_probes (batch, extractor, verdict, live, at, ended_at)
VALUES (1, 'tags@1/m', 'failed', '{}', '2026-11-20', '2026-11-20'), (2, 'tags@1/m', NULL, '{}', '2026-11-20', NULL);
INSERT INTO findable_leases VALUES ('probe:2', 'somewhere', '2026-11-20'), ('batch:2', 'somewhere', '2026-11-20');
INSERT INTO findable_calls (task, item_id, extractor, model, purpose, owner, asked_at, day, counted_in, estimated_in,
 estimated_out, estimated_cost, outcome, cost)
VALUES ('tags', '7', 'tags@1/m', 'm', 'probe', 'o', '2026-11-20', '2026-11-20', 1, 1, 1, 0.1, 'answered', 0.003)
"""

# of what each version made; one that is out stays as it is, for databases of it are there
SHAPES = {
    "0001": "2ebb5b2bf9376996",
    "0002": "d6b86ae346bc60d4",
    "0003": "69d14390bbb22de5",
    "0004": "c9379fe6a4ed8fb9",
    "0005": "a8cceb9ff32c742f",
    "0006": "4f068e78784d2617",
}


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


def made_by(store: Store, version: str) -> Store:
    """Return the store with the schema that an older version made."""
    with store.write() as tx:
        config = Config()
        config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
        config.attributes["connection"] = tx
        command.upgrade(config, version)
        workspace.create_workspace(tx)
    return store


@pytest.mark.parametrize("version", SHAPES)
def test_a_version_that_is_out_makes_what_it_always_made(version: str, store: Store) -> None:
    """Columns, defaults, keys and indexes, although migrations make tables from what the code says of them now."""
    with made_by(store, version).read() as tx:
        there, facts = inspect(tx), []
        for name in sorted(there.get_table_names()):
            columns = [
                (one["name"], str(one["type"]), one["nullable"], one["default"]) for one in there.get_columns(name)
            ]
            others = [(one["constrained_columns"], one["referred_table"]) for one in there.get_foreign_keys(name)]
            indexes = sorted((one["name"], one["column_names"], one["unique"]) for one in there.get_indexes(name))
            facts.append((name, columns, there.get_pk_constraint(name)["constrained_columns"], others, indexes))
    assert hashlib.sha256(repr(facts).encode()).hexdigest()[:16] == SHAPES[version]


@pytest.mark.parametrize("version", ["0003", "0004"])
def test_a_database_of_an_older_version_is_brought_up_to_date(version: str, store: Store, tmp_path: Path) -> None:
    """Its rows stay, and it has the tables and indexes of one that was made anew."""
    whole = shape(made(Store(f"sqlite:///{tmp_path / 'other.db'}")))
    with made_by(store, version).write() as tx:
        workspace.touch_revision(tx)
        before = workspace.get_workspace(tx)
    assert shape(made(store)) == whole
    with store.read() as tx:
        assert schema.has_index(tx, "findable_calls", "findable_calls_under_way")
        assert (schema.is_schema_current(tx), workspace.get_workspace(tx)) == (True, before)


def test_open_probes_are_ended_and_closed_ones_stay(store: Store) -> None:
    """An open one is waived in the journal; its batch keeps its claims, and its calls their cost."""
    with made_by(store, "0004").write() as tx:
        for statement in OLD_PROBES.split(";"):
            tx.execute(text(statement))
    with made(store).read() as tx:
        found = tx.execute(text("SELECT batch, verdict, ended_at IS NOT NULL FROM findable_probes ORDER BY batch"))
        assert [tuple(row) for row in found] == [(1, "failed", 1), (2, "waived", 1)]
        journal = tx.execute(text("SELECT name, new FROM findable_events WHERE kind = 'probe'"))
        assert [tuple(row) for row in journal] == [("2", "waived")]
        assert list(tx.execute(text("SELECT name FROM findable_leases")).scalars()) == ["batch:2"]
        assert tx.execute(text("SELECT count(*) FROM findable_requests WHERE open")).scalar() == 1
        assert answers.live_cost(tx) == pytest.approx(0.003)


def test_the_newest_migration_is_the_head() -> None:
    """The version that the code asks for is that of the newest file."""
    folder = Path(schema.__file__).parent / "migrations" / "versions"
    assert max(path.name[:4] for path in folder.glob("[0-9]*.py")) == schema.HEAD


def test_doing_it_twice_changes_nothing(store: Store) -> None:
    """The second time the schema is current, and the workspace keeps its id."""
    made(store)
    with store.read() as tx:
        before = workspace.get_workspace(tx)
        assert schema.is_schema_current(tx)
    assert schema.ensure_schema(store, []) == []
    with store.read() as tx:
        assert workspace.get_workspace(tx) == before


def test_several_first_commands_at_once_make_one_schema(store: Store) -> None:
    """Whoever comes second finds it made."""
    errors: list[BaseException] = []

    def begin() -> None:
        """Be a first command."""
        mine = Store(str(store.url))
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


def test_what_adoptions_did_is_told_in_order(store: Store) -> None:
    """The lines of each subject come back in the order of the subjects."""
    assert schema.ensure_schema(store, [lambda _: ["a", "b"], lambda _: [], lambda _: ["c"]]) == ["a", "b", "c"]


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
        schema.is_schema_current(tx)
    with pytest.raises(InconsistentError, match="newer findable"):
        schema.ensure_schema(store, [])


def test_a_workspace_is_bound_once(store: Store) -> None:
    """The first backend binds, the same one again is no change, the other one is refused."""
    made(store)
    with store.write() as tx:
        workspace.bind_workspace(tx, "local", at=NOW)
        workspace.bind_workspace(tx, "local", at=NOW)
    with pytest.raises(ConfigurationError, match="bound to the local backend"), store.write() as tx:
        workspace.bind_workspace(tx, "gemini", at=NOW)
    with store.read() as tx:
        assert workspace.get_workspace(tx).backend == "local"
        assert tx.execute(text("SELECT count(*) FROM findable_events WHERE kind = 'workspace'")).scalar() == 1


def test_clearing_gives_a_new_id_and_lets_the_workspace_be_bound_anew(store: Store) -> None:
    """No name that the old backend knew can come again, and the position goes on."""
    made(store)
    with store.write() as tx:
        workspace.bind_workspace(tx, "local", at=NOW)
        workspace.touch_revision(tx)
        before = workspace.get_workspace(tx)
        clear.clear_answers(tx, why="test", at=NOW)
        after = workspace.get_workspace(tx)
        workspace.bind_workspace(tx, "gemini", at=NOW)
    assert after.backend is None
    assert after.workspace_id != before.workspace_id
    assert after.position > before.position
