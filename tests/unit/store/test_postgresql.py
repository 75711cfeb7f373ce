"""Databases on a PostgreSQL server: settings, lost connections and refused URLs."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from askrows.pipeline.core.errors import AskrowsError, ConfigurationError, UnavailableError
from askrows.pipeline.store import schema
from askrows.pipeline.store.database import Store
from tests import postgresql
from tests.unit.store.facts import add_note, notes, open_notes

HIDDEN = "a-password/that-nobody-may-see"


@pytest.fixture(name="url")
def _empty_database_url(tmp_path: Path) -> str:
    """The URL of an empty database."""
    return postgresql.database_of(tmp_path / "data")


@pytest.fixture(name="store")
def _notes_store(url: str) -> Iterator[Store]:
    """A database with a table of a single row."""
    with open_notes(url) as notes_store:
        yield notes_store


def _database_name(url: str) -> str:
    return url.partition("@/")[2].partition("?")[0]


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_write_sees_commits_during_its_wait(store: Store, url: str, level: str) -> None:
    """The default isolation level of the server does not change this."""
    postgresql.rows(
        url,
        f"ALTER DATABASE \"{_database_name(url)}\" SET default_transaction_isolation = '{level}'",
    )
    counts: list[int | None] = []

    def count() -> None:
        """Count the notes in a write, on a connection with an earlier read."""
        own_store = Store(url)
        assert notes(own_store) == ["one"]
        with own_store.write() as tx:
            counts.append(tx.execute(text("SELECT count(*) FROM notes")).scalar())
        own_store.close()

    waiting = (
        "SELECT 1 FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database "
        "WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted"
    )
    with store.write() as tx:
        add_note(tx, "two")
        thread = threading.Thread(target=count)
        thread.start()
        while not postgresql.rows(url, waiting):
            pass
    thread.join()
    assert counts == [2]


@pytest.mark.parametrize(
    ("query", "expected_parameters"),
    [
        ("", {"keepalives_idle": "30", "connect_timeout": "10"}),
        ("&keepalives_idle=7&connect_timeout=45&client_encoding=latin1", {"keepalives_idle": "7"}),
    ],
)
def test_connection_has_the_settings_of_askrows(
    url: str, query: str, expected_parameters: dict[str, str]
) -> None:
    """Timeouts, durable commits and UTF-8 are set; the URL may override timeouts."""
    postgresql.rows(url, f'ALTER DATABASE "{_database_name(url)}" SET synchronous_commit = off')
    store = Store(url.replace("postgresql+psycopg://", "postgres://") + query)
    with store.write() as tx:
        parameters = tx.connection.driver_connection.info.get_parameters()  # type: ignore[union-attr]  # psycopg's own
        names = ("synchronous_commit", "TimeZone")
        session_settings = [tx.execute(text(f"SHOW {name}")).scalar() for name in names]
        assert tx.execute(text("SHOW client_encoding")).scalar() == "UTF8"
    store.close()
    assert session_settings == ["on", "UTC"]
    assert (
        parameters["keepalives_interval"],
        parameters["keepalives_count"],
        parameters["tcp_user_timeout"],
    ) == (
        "10",
        "3",
        "60000",
    )
    assert {name: parameters.get(name) for name in expected_parameters} == expected_parameters


@pytest.mark.parametrize(
    ("change", "error_type", "message"),
    [
        (("/w_", "/no_such_w_"), ConfigurationError, "does not exist"),
        (("postgres@", f"ada:{HIDDEN}@"), ConfigurationError, "ada"),
        (("?host=", f"?password={HIDDEN}&host=/nowhere"), UnavailableError, "cannot be reached"),
    ],
)
def test_unusable_database_is_reported_without_the_password(
    url: str, change: tuple[str, str], error_type: type[AskrowsError], message: str
) -> None:
    """A missing database, user or server gives a hint and no password."""
    with pytest.raises(error_type, match=message) as caught, Store(url.replace(*change)).read():
        pass
    assert caught.value.hint
    assert HIDDEN not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("postgresql+asyncpg://h/d", "postgresql+psycopg://"),
        ("postgresql://", "postgresql+psycopg://"),
        ("postgresql://h:x/d", "postgresql+psycopg://"),
        (f"postgresql+psycopg2://ada:{HIDDEN}@h/d", "postgresql+psycopg://"),
        ("postgresql://ada:p@ss/w@h/d", "%40"),
        ("postgresql://ada:p:w@ss@h/d", "%40"),
        ("postgresql://ada:@ss@h/d", "%40"),
        ("postgresql://ada:pw@h/d?host=ss@h", "%40"),
    ],
)
def test_invalid_urls_are_refused_without_the_password(url: str, hint: str) -> None:
    """Other drivers and unescaped passwords are refused with a hint, without the password."""
    with pytest.raises(ConfigurationError) as caught:
        Store(url)
    assert hint in caught.value.hint
    error_text = caught.value.message + caught.value.hint
    assert HIDDEN not in error_text
    assert hint != "%40" or "ss" not in error_text.replace("password", "")


def test_tables_of_another_process_are_seen_at_once(url: str) -> None:
    """A transaction that found no workspace finds the one that another process made meanwhile.

    Commands that start at once on an empty database wait for the lock of writers like that.
    """
    with contextlib.closing(Store(url)) as store, store.write() as tx:
        assert not schema.detect_workspace_and_check_schema(tx)
        postgresql.rows(url, "CREATE TABLE askrows_workspace (schema INTEGER)")
        found = tx.exec_driver_sql(schema._SERVER_WORKSPACE).scalar()
    assert found is not None
