"""Transactions on both databases: snapshots for readers, a single writer, clear errors."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from askrows.pipeline.core.errors import ConfigurationError, InconsistentError, UnavailableError
from askrows.pipeline.store.database import Store
from tests import postgresql
from tests.unit.store.facts import notes, open_notes

TABLE_QUERIES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE name = 'more'",
    "postgresql": "SELECT to_regclass('more')",
}


@pytest.fixture(name="url", params=["file", "server"])
def _empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of either kind."""
    path = tmp_path / "deep" / "people.db"
    if request.param == "file":
        return f"sqlite:///{path}"
    return postgresql.database_of(tmp_path / "data")


@pytest.fixture(name="store")
def _notes_store(url: str) -> Iterator[Store]:
    """A database with a table of a single row."""
    with open_notes(url) as notes_store:
        yield notes_store


def test_error_rolls_back_rows_and_tables(store: Store) -> None:
    """An error in a write leaves no row and no table; a constraint is named without the value."""
    with pytest.raises(KeyError), store.write() as tx:
        tx.execute(text("INSERT INTO notes VALUES ('two')"))
        tx.execute(text("CREATE TABLE more (note TEXT)"))
        raise KeyError
    assert notes(store) == ["one"]
    with store.read() as tx:
        assert tx.execute(text(TABLE_QUERIES[tx.dialect.name])).scalar() is None
    with (
        pytest.raises(InconsistentError, match=r"notes_note_key|UNIQUE .*: notes\.note") as caught,
        store.write() as tx,
    ):
        tx.execute(text("INSERT INTO notes VALUES (:note)"), {"note": "one"})
    assert "(one)" not in caught.value.message
    assert "'one'" not in caught.value.message


def test_reader_keeps_its_snapshot(store: Store) -> None:
    """A reader sees no later writes and blocks no writers; it cannot write on a server."""
    with store.read() as tx:
        note_count = tx.execute(text("SELECT count(*) FROM notes")).scalar()
        with store.write() as writer:
            writer.execute(text("INSERT INTO notes VALUES ('two')"))
        assert tx.execute(text("SELECT count(*) FROM notes")).scalar() == note_count
    assert notes(store) == ["one", "two"]
    if store.path is None:
        with pytest.raises(ConfigurationError, match="read-only"), store.read() as tx:
            tx.execute(text("DELETE FROM notes"))


def test_writers_take_turns(store: Store, url: str) -> None:
    """Forty concurrent increments add up to forty."""
    with store.write() as tx:
        tx.execute(text("CREATE TABLE counter (n INTEGER)"))
        tx.execute(text("INSERT INTO counter VALUES (0)"))

    def count() -> None:
        """Read and increment the counter ten times."""
        own_store = Store(url)
        for _ in range(10):
            with own_store.write() as tx:
                counter = tx.execute(text("SELECT n FROM counter")).scalar() or 0
                tx.execute(text("UPDATE counter SET n = :n"), {"n": counter + 1})
        own_store.close()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as tx:
        assert tx.execute(text("SELECT n FROM counter")).scalar() == 40


def test_writer_gives_up_after_its_patience(store: Store, url: str) -> None:
    """A lock of another write or program gives an error and changes nothing."""
    other_store = Store(url)
    expected_error = pytest.raises(UnavailableError, match=r"has locked .* for more than 0.1 s")
    with other_store.write(), expected_error, store.write(max_write_wait_s=0.1):
        pass
    other_store.close()
    if store.path is None:
        import psycopg

        with psycopg.connect(url.replace("+psycopg", "")) as other_connection:
            other_connection.execute("UPDATE notes SET note = 'theirs'")
            with (
                pytest.raises(UnavailableError, match="has locked"),
                store.write(max_write_wait_s=0.1) as tx,
            ):
                tx.execute(text("UPDATE notes SET note = 'ours'"))
            other_connection.rollback()
    assert notes(store) == ["one"]


def test_file_is_created_at_first_use_and_commits_are_durable(tmp_path: Path) -> None:
    """WAL, synchronous FULL and foreign keys are on; invalid UTF-8 is replaced."""
    store = Store(f"sqlite:///{tmp_path / 'new' / 'people.db'}")
    assert store.path == tmp_path / "new" / "people.db"
    assert not (tmp_path / "new").exists()
    with store.write() as tx:
        names = ("journal_mode", "synchronous", "foreign_keys")
        assert [tx.execute(text(f"PRAGMA {name}")).scalar() for name in names] == ["wal", 2, 1]
        assert (
            tx.execute(text("SELECT CAST(x'48E96C' AS TEXT)")).scalar()
            == "H\N{REPLACEMENT CHARACTER}l"
        )
    store.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "is not a database URL"),
        ("people.db", "is not a database URL"),
        ("sqlite://", "SQLite file"),
        ("sqlite:///:memory:", "SQLite file"),
        ("oracle://ada:secret@h/d", "not oracle"),
    ],
)
def test_invalid_database_url_is_refused(url: str, message: str) -> None:
    """The message names the problem and contains no password."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        Store(url)
    assert "secret" not in caught.value.message
