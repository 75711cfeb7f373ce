"""The index of what people's rows say: counts by it are those of every row, whichever program writes."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from pipeline.experts import adopt, table
from pipeline.experts.collection import ExpertsCollection
from pipeline.store import answers, claims, schema
from pipeline.store.database import Connection, Store

NOW = datetime.now(UTC)
TAGS = (None, "", "[]", " null ", '["law"]', '["law", 3]', "[]\n", "law", "[law", '{"a": 1}')
BIOS = (None, "", "\u3000\t", "I keep bees.")


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Iterator[Store]:
    """A database with a table of our own."""
    store = Store(f"sqlite:///{tmp_path / 'findable.db'}")
    schema.ensure_schema(store, [adopt.adopt])
    yield store
    store.close()


def _by_reading(tx: Connection, now: datetime) -> tuple[dict[str, int], int]:
    """Return the counts, and how many are tagged, without the index."""
    tx.exec_driver_sql(f"DROP INDEX {table.INDEX.name}")
    found = table.people(tx).counts(tx, now=now), table.people(tx).count_done(tx)
    table.INDEX.ensure(tx)
    return found


def _check(tx: Connection) -> dict[str, int]:
    """Hold the counts by the index against those by reading, at two moments, and return the first."""
    assert table.INDEX.is_there(tx)
    for now in (NOW, NOW + timedelta(days=1)):
        found = table.people(tx).counts(tx, now=now), table.people(tx).count_done(tx)
        assert found == _by_reading(tx, now)
        assert found[0]["tagged"] == found[1] == ExpertsCollection().count(tx)
    return table.people(tx).counts(tx, now=NOW)


def test_counts_by_the_index_are_those_of_every_row(store: Store) -> None:
    """Every tags cell beside every biography, once open, asked, parked, and both; then changed by another program."""
    marks = ("", "asked", "parked", "asked parked")
    people = list(itertools.product(TAGS, BIOS, marks))
    with store.write() as tx:
        assert _check(tx)["total"] == 0
        for number, (tags, bio, _) in enumerate(people, start=1):
            values = {"id": number, "name": f"p{number}", "bio": bio, "tags": tags}
            tx.execute(text("INSERT INTO experts (id, username, bio, tags) VALUES (:id, :name, :bio, :tags)"), values)
        table.SCORES.refresh(tx)
        counts = _check(tx)
        assert (counts["total"], counts["claimed"]) == (len(people), 0)
        for number, (_, _, mark) in enumerate(people, start=1):
            if "asked" in mark:
                claims.take_live(tx, table.TASK, str(number), input_hash="", lasts_s=60, at=NOW)
            if "parked" in mark:
                answers.park(tx, table.TASK, {str(number): "why"}, at=NOW)
        _check(tx)
        adopt.settle_foreign(tx, every_row=True)
        claims.take_live(tx, table.TASK, "9999", input_hash="", lasts_s=60, at=NOW)  # of a row that is gone
        counts = _check(tx)
        assert all(counts.values()), counts
        tx.execute(text("UPDATE experts SET tags = '[\"bees\"]' WHERE id % 3 = 0"))
        tx.execute(text("DELETE FROM experts WHERE id % 5 = 0"))
        assert _check(tx)["total"] == len(people) - len(people) // 5


def test_a_table_of_another_program_gets_no_index(tmp_path: Path) -> None:
    """Neither when it is adopted nor later; its counts are by reading."""
    store = Store(f"sqlite:///{tmp_path / 'theirs.db'}")
    with store.write() as tx:
        tx.exec_driver_sql("CREATE TABLE experts (id INTEGER PRIMARY KEY, username TEXT, bio TEXT)")
        tx.exec_driver_sql("INSERT INTO experts (username, bio) VALUES ('a', 'Bees.'), ('b', NULL)")
    schema.ensure_schema(store, [adopt.adopt])
    with store.read() as tx:
        assert (table.INDEX.is_there(tx), table.INDEX.is_on_ours(tx), adopt.is_adopted(tx)) == (False, False, True)
        assert table.people(tx).counts(tx, now=NOW)["untagged"] == 1
    store.close()


def test_a_table_of_an_older_version_gets_the_index(store: Store) -> None:
    """Where it is missing, or was made otherwise, the table counts as not adopted, and the next command mends that."""
    for sql in (f"DROP INDEX {table.INDEX.name}", f"CREATE INDEX {table.INDEX.name} ON experts (tags)"):
        with store.write() as tx:
            tx.exec_driver_sql(sql)
            assert not adopt.is_adopted(tx)
        assert schema.ensure_schema(store, [adopt.adopt]) == []
        with store.write() as tx:
            assert adopt.is_adopted(tx)
            assert _check(tx)["total"] == 0
            tx.exec_driver_sql(f"DROP INDEX {table.INDEX.name}")
