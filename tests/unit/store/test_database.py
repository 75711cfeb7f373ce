"""A database's transactions on both kinds: snapshots to read from, one writer at a time, errors to act on."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from pipeline.core.errors import ConfigurationError, InconsistentError, UnavailableError
from pipeline.store.database import Store
from tests import postgresql
from tests.unit.store.facts import noted, notes

THERE = {
    "sqlite": "SELECT name FROM sqlite_master WHERE name = 'more'",
    "postgresql": "SELECT to_regclass('more')",
}


@pytest.fixture(name="url", params=["file", "server"])
def _url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of either kind."""
    path = tmp_path / "deep" / "people.db"
    return (
        f"sqlite:///{path}"
        if request.param == "file"
        else postgresql.database_of(tmp_path / "data")
    )


@pytest.fixture(name="store")
def _store(url: str) -> Iterator[Store]:
    """A database of one table with one row."""
    with noted(url) as made:
        yield made


def test_an_error_takes_everything_back_tables_included(store: Store) -> None:
    """What raises inside a write leaves no row and no table; a broken rule is named without the value."""
    with pytest.raises(KeyError), store.write() as tx:
        tx.execute(text("INSERT INTO notes VALUES ('two')"))
        tx.execute(text("CREATE TABLE more (note TEXT)"))
        raise KeyError
    assert notes(store) == ["one"]
    with store.read() as tx:
        assert tx.execute(text(THERE[tx.dialect.name])).scalar() is None
    with (
        pytest.raises(InconsistentError, match=r"notes_note_key|UNIQUE .*: notes\.note") as caught,
        store.write() as tx,
    ):
        tx.execute(text("INSERT INTO notes VALUES (:note)"), {"note": "one"})
    assert "(one)" not in caught.value.message
    assert "'one'" not in caught.value.message


def test_a_reader_keeps_its_snapshot(store: Store) -> None:
    """What is written meanwhile is not seen, and a reader stops no writer; on a server it cannot write itself."""
    with store.read() as tx:
        before = tx.execute(text("SELECT count(*) FROM notes")).scalar()
        with store.write() as other:
            other.execute(text("INSERT INTO notes VALUES ('two')"))
        assert tx.execute(text("SELECT count(*) FROM notes")).scalar() == before
    assert notes(store) == ["one", "two"]
    if store.path is None:
        with pytest.raises(ConfigurationError, match="read-only"), store.read() as tx:
            tx.execute(text("DELETE FROM notes"))


def test_what_a_write_reads_is_what_it_changes(store: Store, url: str) -> None:
    """Writers take turns from their first statement on: forty concurrent increments are forty."""
    with store.write() as tx:
        tx.execute(text("CREATE TABLE counter (n INTEGER)"))
        tx.execute(text("INSERT INTO counter VALUES (0)"))

    def count() -> None:
        """Read, then write what was read, ten times."""
        mine = Store(url)
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


def test_a_writer_that_waits_too_long_gives_up(store: Store, url: str) -> None:
    """Whether another of our writes or another program stands in the way: an error, and nothing changed."""
    other = Store(url)
    late = pytest.raises(UnavailableError, match=r"has held .* for more than 0.1 s")
    with other.write(), late, store.write(patience_s=0.1):
        pass
    other.close()
    if store.path is None:
        import psycopg

        with psycopg.connect(url.replace("+psycopg", "")) as theirs:
            theirs.execute("UPDATE notes SET note = 'theirs'")
            with (
                pytest.raises(UnavailableError, match="has held"),
                store.write(patience_s=0.1) as tx,
            ):
                tx.execute(text("UPDATE notes SET note = 'ours'"))
            theirs.rollback()
    assert notes(store) == ["one"]


def test_a_file_is_made_when_it_is_used_and_its_commits_are_durable(tmp_path: Path) -> None:
    """WAL, synchronous FULL and foreign keys are on; bytes that are no UTF-8 are read as replacement characters."""
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
    ("url", "said"),
    [
        ("", "no database URL"),
        ("people.db", "no database URL"),
        ("sqlite://", "SQLite file"),
        ("sqlite:///:memory:", "SQLite file"),
        ("oracle://ada:secret@h/d", "not in oracle"),
    ],
)
def test_what_is_no_database_is_refused(url: str, said: str) -> None:
    """The message says what is kept where, and shows no password."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        Store(url)
    assert "secret" not in caught.value.message
