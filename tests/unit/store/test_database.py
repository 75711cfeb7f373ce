"""A database's transactions: snapshots to read from, one writer at a time, and errors that a person can act on."""

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from pipeline.core.errors import ConfigurationError, InconsistentError, RemoteError
from pipeline.store import database
from pipeline.store.database import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A database of one table with one row."""
    made = Store(f"sqlite:///{tmp_path / 'deep' / 'people.db'}")
    with made.write() as tx:
        tx.execute(text("CREATE TABLE notes (note TEXT UNIQUE)"))
        tx.execute(text("INSERT INTO notes VALUES ('one')"))
    return made


def notes(store: Store) -> list[str]:
    """Return every note."""
    with store.read() as tx:
        return [row[0] for row in tx.execute(text("SELECT note FROM notes ORDER BY note"))]


def test_nothing_is_made_before_it_is_used(tmp_path: Path) -> None:
    """Naming a database opens nothing."""
    store = Store(f"sqlite:///{tmp_path / 'new' / 'people.db'}")
    assert store.path == tmp_path / "new" / "people.db"
    assert not (tmp_path / "new").exists()


def test_commits_are_durable_and_references_are_held(store: Store) -> None:
    """WAL, synchronous FULL, and foreign keys are on for every connection."""
    with store.read() as tx:
        found = {
            name: tx.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_an_error_takes_everything_back_tables_included(store: Store) -> None:
    """What raises inside a write leaves no row and no table behind."""

    def fail() -> None:
        """Write a row and a table, then fail."""
        with store.write() as tx:
            tx.execute(text("INSERT INTO notes VALUES ('two')"))
            tx.execute(text("CREATE TABLE more (note TEXT)"))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert notes(store) == ["one"]
    with store.read() as tx:
        assert tx.execute(text("SELECT count(*) FROM sqlite_master WHERE name = 'more'")).scalar() == 0


def test_a_reader_keeps_its_snapshot(store: Store) -> None:
    """What is written meanwhile is not seen, and a reader stops no writer."""
    with store.read() as tx:
        before = tx.execute(text("SELECT count(*) FROM notes")).scalar()
        with store.write() as other:
            other.execute(text("INSERT INTO notes VALUES ('two')"))
        assert tx.execute(text("SELECT count(*) FROM notes")).scalar() == before
    assert notes(store) == ["one", "two"]


def test_what_a_write_reads_is_what_it_changes(store: Store) -> None:
    """Writers take turns from their first statement on: forty concurrent increments are forty."""
    with store.write() as tx:
        tx.execute(text("CREATE TABLE counter (n INTEGER)"))
        tx.execute(text("INSERT INTO counter VALUES (0)"))

    def count() -> None:
        """Read, then write what was read, ten times."""
        mine = Store(str(store.url))
        for _ in range(10):
            with mine.write() as tx:
                n = tx.execute(text("SELECT n FROM counter")).scalar() or 0
                tx.execute(text("UPDATE counter SET n = :n"), {"n": n + 1})
        mine.close()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as tx:
        assert tx.execute(text("SELECT n FROM counter")).scalar() == 40


def test_a_writer_that_waits_too_long_gives_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program's write lock: an error to try again after, and nothing changed."""
    monkeypatch.setattr(database, "BUSY_S", 0.1)
    store.close()
    assert store.path is not None
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(RemoteError, match=r"has held .* for more than 0.1 s"), store.write() as tx:
        tx.execute(text("INSERT INTO notes VALUES ('two')"))
    other.execute("ROLLBACK")
    other.close()
    assert notes(store) == ["one"]


def test_text_of_other_programs_is_read_with_gaps(store: Store) -> None:
    """Bytes that are no UTF-8 come as replacement characters instead of an error."""
    with store.write() as tx:
        tx.execute(text("INSERT INTO notes VALUES (CAST(x'48E96C' AS TEXT))"))
    assert notes(store) == ["H\N{REPLACEMENT CHARACTER}l", "one"]


def test_a_broken_rule_names_the_rule_and_not_the_value(store: Store) -> None:
    """A value that the database refuses does not appear in the message."""
    with pytest.raises(InconsistentError) as caught, store.write() as tx:
        tx.execute(text("INSERT INTO notes VALUES (:note)"), {"note": "one"})
    assert "UNIQUE constraint failed: notes.note" in caught.value.message
    assert "'one'" not in caught.value.message


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "no database URL"),
        ("people.db", "no database URL"),
        ("sqlite://", "SQLite file"),
        ("sqlite:///:memory:", "SQLite file"),
        ("oracle://ada:secret@h/d", "not in oracle"),
    ],
)
def test_what_is_no_sqlite_file_is_refused(url: str, said: str) -> None:
    """The message says what is kept where, and shows no password."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        Store(url)
    assert "secret" not in caught.value.message


def test_a_database_below_a_file_is_refused(tmp_path: Path) -> None:
    """A path that leads through a file: what to set instead."""
    (tmp_path / "file").write_text("mine")
    with (
        pytest.raises(ConfigurationError, match="cannot hold a database"),
        Store(f"sqlite:///{tmp_path / 'file' / 'people.db'}").read(),
    ):
        pass


def test_other_bytes_are_no_database_and_stay(tmp_path: Path) -> None:
    """A file that is no database is named, and not written to."""
    path = tmp_path / "letter.db"
    path.write_bytes(b"dear aunt\n" * 500)
    with pytest.raises(InconsistentError, match="no database"), Store(f"sqlite:///{path}").write():
        pass
    assert path.read_bytes() == b"dear aunt\n" * 500


def test_what_the_pool_logs_is_not_printed(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    """An interrupt that strikes while a connection is closed leaves no traceback of SQLAlchemy's on standard error."""
    script = (
        "import logging, sys\n"
        "from pipeline.store.database import Store\n"
        "store = Store(sys.argv[1])\n"
        "with store.read():\n    pass\n"
        "logging.getLogger('sqlalchemy.pool.impl.QueuePool').error('Exception closing connection', exc_info=True)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(store.url)], check=True, cwd=Path(__file__).parents[3])
    assert capfd.readouterr().err == ""
