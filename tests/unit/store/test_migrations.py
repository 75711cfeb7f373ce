"""A database of an older version is brought up to date with its rows, all in one transaction, whatever dies."""

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import event, inspect, text

from pipeline.store import answers, batches, schema, workspace
from pipeline.store.database import Store
from pipeline.store.spending import sum_spent
from tests import postgresql
from tests.unit.store import facts

FOLDER = Path(schema.__file__).parent / "migrations"
VERSIONS = sorted(path.name[:4] for path in (FOLDER / "versions").glob("[0-9]*.py"))
STRIDE = 1 if os.environ.get("FAULTS") == "all" else 7  # between two statements at which a migration dies
ENDED = datetime(2026, 11, 19, 8, 30, tzinfo=UTC)
NAMES = "answered refused invalid missing not_applied unknown duplicates unreadable tokens_in tokens_out cost"
ACCOUNT: dict[str, Any] = dict(zip(NAMES.split(), (4, 1, 2, 3, 1, 5, 6, 7, 5_000_000_000, 40, 0.25), strict=True))
BATCH = {**facts.BATCH, "created_at": "2026-11-19 08:00:00.000000", "counted_in": 9}
OLD = (
    BATCH | ACCOUNT | {"number": 1, "state": "ingested", "ended_at": "2026-11-19 08:30:00.000000"},
    BATCH | {"number": 2, "state": "failed", "ended_at": "2026-11-19 08:30:00.000000"},
    BATCH | {"number": 3, "state": "submitted"},
)
# of what each version makes; one that is out stays as it is, for databases of it are there
SHAPES = {
    "0001": "2ebb5b2bf9376996",
    "0002": "d6b86ae346bc60d4",
    "0003": "69d14390bbb22de5",
    "0004": "c9379fe6a4ed8fb9",
    "0005": "a8cceb9ff32c742f",
    "0006": "4f068e78784d2617",
    "0007": "7763fa0047812ad0",
    "0008": "b2d150383b70d50a",
    "0009": "d5ab0b2a848067ea",
    "0010": "e40ee4c38930e73c",
    "0011": "6171c81a296d48fb",
    "0012": "4e512049e3e00ec7",
    "0014": "7df0a59d69a2cf02",
    "0015": "764e030aee4451b9",
    "0016": "7daf082022282376",
}
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


@pytest.fixture(name="url", params=["sqlite", "postgresql"])
def _url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of either kind."""
    return f"sqlite:///{tmp_path / 'findable.db'}" if request.param == "sqlite" else postgresql.database_of(tmp_path)


def migrate(store: Store, version: str) -> None:
    """Bring a database to a version as it was."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    with store.write() as tx:
        config.attributes["connection"] = tx
        command.upgrade(config, version)


def fill(store: Store) -> None:
    """Make the database that the version before the accounts' table left, with three batches."""
    migrate(store, "0004")
    with store.write() as tx:
        workspace.create_workspace(tx)
        for row in OLD:
            names = ", ".join(row)
            tx.execute(
                text(f"INSERT INTO findable_batches ({names}) VALUES ({', '.join(f':{name}' for name in row)})"),  # noqa: S608 - ours
                row,
            )


def shape(store: Store) -> dict[str, list[str]]:
    """Return the columns of every table."""
    with store.read() as tx:
        there = inspect(tx)
        return {name: [one["name"] for one in there.get_columns(name)] for name in there.get_table_names()}


def told(store: Store) -> list[dict[str, Any]]:
    """Return the accounts of all batches."""
    with store.read() as tx:
        return [
            {name: getattr(one, name) for name in (*ACCOUNT, "ended_at")} | {"number": one.number}
            for one in batches.batches_in_states(tx)
        ]


def check(store: Store) -> None:
    """Hold what stands in a database now against what stood in it before."""
    nothing = dict.fromkeys(ACCOUNT)
    assert told(store) == [
        {**ACCOUNT, "ended_at": ENDED, "number": 1},
        {**nothing, "ended_at": ENDED, "number": 2},
        {**nothing, "ended_at": None, "number": 3},
    ]
    with store.read() as tx:
        assert batches.get_batch(tx, 1).counted_in == 9
        assert sum_spent(tx) == (0.25, 0.0, 1.0)
        assert tx.execute(text("SELECT batch FROM findable_batch_accounts ORDER BY 1")).scalars().all() == [1, 2]


def test_a_version_that_is_out_makes_what_it_always_made(tmp_path: Path) -> None:
    """Columns, defaults, keys and indexes, although migrations make tables from what the code says of them now."""
    store, made = Store(f"sqlite:///{tmp_path / 'findable.db'}"), {}
    for version in VERSIONS:
        migrate(store, version)
        with store.read() as tx:
            there, found = inspect(tx), []
            for name in sorted(there.get_table_names()):
                columns = [
                    (one["name"], str(one["type"]), one["nullable"], one["default"]) for one in there.get_columns(name)
                ]
                others = [(one["constrained_columns"], one["referred_table"]) for one in there.get_foreign_keys(name)]
                indexes = sorted((one["name"], one["column_names"], one["unique"]) for one in there.get_indexes(name))
                found.append((name, columns, there.get_pk_constraint(name)["constrained_columns"], others, indexes))
        made[version] = hashlib.sha256(repr(found).encode()).hexdigest()[:16]
    assert made == SHAPES


@pytest.mark.sampled(4, sqlite=4)
@pytest.mark.parametrize("version", VERSIONS[:-1])
def test_every_older_version_gets_the_tables_of_the_newest(url: str, version: str, tmp_path: Path) -> None:
    """Columns, and what is known of the workspace; the indexes of a migration are its own affair."""
    store, new = Store(url), Store(f"sqlite:///{tmp_path / 'new.db'}")
    migrate(store, version)
    with store.write() as tx:
        workspace.create_workspace(tx)
        before = workspace.get_workspace(tx)
    for one in (store, new):
        schema.ensure_schema(one, [])
    assert shape(store) == shape(new)
    with store.read() as tx:
        assert (schema.is_schema_current(tx), workspace.get_workspace(tx)) == (True, before)
        assert schema.has_index(tx, "findable_calls", "findable_calls_under_way")
    store.close()


def test_open_probes_are_ended_and_closed_ones_stay(tmp_path: Path) -> None:
    """An open one is waived in the journal; its batch keeps its claims, and its calls their cost."""
    store = Store(f"sqlite:///{tmp_path / 'findable.db'}")
    migrate(store, "0004")
    with store.write() as tx:
        workspace.create_workspace(tx)
        for statement in OLD_PROBES.split(";"):
            tx.execute(text(statement))
    schema.ensure_schema(store, [])
    with store.read() as tx:
        found = tx.execute(text("SELECT batch, verdict, ended_at IS NOT NULL FROM findable_probes ORDER BY batch"))
        assert [tuple(row) for row in found] == [(1, "failed", 1), (2, "waived", 1)]
        journal = tx.execute(text("SELECT name, new FROM findable_events WHERE kind = 'probe'"))
        assert [tuple(row) for row in journal] == [("2", "waived")]
        assert list(tx.execute(text("SELECT name FROM findable_leases")).scalars()) == ["batch:2"]
        assert tx.execute(text("SELECT count(*) FROM findable_requests WHERE open")).scalar() == 1
        assert answers.live_cost(tx) == pytest.approx(0.003)
    store.close()


def _dies(url: str, number: int) -> bool:
    """Migrate in a process of its own that is killed at one of its statements; return whether it came so far."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0
    left = iter(range(number))
    with Store(url).write() as tx:
        event.listen(tx, "before_cursor_execute", lambda *_: next(left, None) is None and os._exit(9))
        schema.make_schema(tx)
    os._exit(0)


def test_a_migration_that_died_anywhere_changed_nothing(url: str) -> None:
    """Killed at any of its statements it leaves the version before, and the next command moves the accounts."""
    store = Store(url)
    fill(store)
    before = shape(store)
    store.close()
    number = 0
    while _dies(url, number):
        assert shape(store) == before
        store.close()
        number += STRIDE
    assert number > len(ACCOUNT)
    check(store)
    store.close()


def test_what_others_keep_in_the_file_stays(tmp_path: Path) -> None:
    """Views and triggers, those too that name what is not there, and a version table of Alembic's, are as they were."""
    store = Store(f"sqlite:///{tmp_path / 'findable.db'}")
    fill(store)
    theirs = (
        "CREATE TABLE notes (note TEXT)",
        "CREATE VIEW broken AS SELECT x FROM nowhere",
        'CREATE VIEW "a ""view" AS SELECT note FROM notes',
        'CREATE TRIGGER "their own" AFTER INSERT ON notes BEGIN UPDATE nowhere SET x = 1; END',
        'CREATE TRIGGER instead INSTEAD OF INSERT ON "a ""view" BEGIN SELECT 1; END',
    )
    with store.write() as tx:
        for one in theirs:
            tx.exec_driver_sql(one)
        tx.exec_driver_sql("CREATE TABLE alembic_version (version_num TEXT)")
        tx.exec_driver_sql("INSERT INTO alembic_version VALUES ('theirs')")
    schema.ensure_schema(store, [])
    check(store)
    with store.read() as tx:
        kept = tx.execute(text("SELECT sql FROM sqlite_master WHERE type IN ('view', 'trigger') ORDER BY type, rowid"))
        assert sorted(kept.scalars()) == sorted(theirs[1:])
        assert tx.execute(text("SELECT version_num FROM alembic_version")).scalar() == "theirs"
    store.close()
