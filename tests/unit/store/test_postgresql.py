"""A database on a PostgreSQL server: what its settings change, what a lost connection leaves, and what is refused."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from pipeline.core.errors import ConfigurationError, FindableError, UnavailableError
from pipeline.store.database import Store
from tests import postgresql
from tests.unit.store.facts import add_note, noted, notes

HIDDEN = "a-password/that-nobody-may-see"


@pytest.fixture(name="url")
def _url(tmp_path: Path) -> str:
    """The URL of an empty database."""
    return postgresql.database_of(tmp_path / "data")


@pytest.fixture(name="store")
def _store(url: str) -> Iterator[Store]:
    """A database of one table with one row."""
    with noted(url) as made:
        yield made


def _name(url: str) -> str:
    return url.partition("@/")[2].partition("?")[0]


def _cut_off(url: str) -> None:
    """End every other connection to the database, as a server that is stopped does."""
    postgresql.rows(
        url,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_write_sees_what_was_committed_while_it_waited(
    store: Store, url: str, level: str
) -> None:
    """Also where the server was told to give every transaction one snapshot, from before the wait."""
    postgresql.rows(
        url, f"ALTER DATABASE \"{_name(url)}\" SET default_transaction_isolation = '{level}'"
    )
    seen: list[int | None] = []

    def count() -> None:
        """Count the notes in a write, on a connection that was read on before."""
        mine = Store(url)
        assert notes(mine) == ["one"]
        with mine.write() as tx:
            seen.append(tx.execute(text("SELECT count(*) FROM notes")).scalar())
        mine.close()

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
    assert seen == [2]


@pytest.mark.parametrize(
    ("query", "given"),
    [
        ("", {"keepalives_idle": "30", "connect_timeout": "10"}),
        ("&keepalives_idle=7&connect_timeout=45&client_encoding=latin1", {"keepalives_idle": "7"}),
    ],
)
def test_a_connection_is_as_findable_needs_it(url: str, query: str, given: dict[str, str]) -> None:
    """A vanished server is not waited for, commits are on disk, text is UTF-8; what the URL says of waiting holds."""
    postgresql.rows(url, f'ALTER DATABASE "{_name(url)}" SET synchronous_commit = off')
    store = Store(url.replace("postgresql+psycopg://", "postgres://") + query)
    with store.write() as tx:
        told = tx.connection.driver_connection.info.get_parameters()  # type: ignore[union-attr]  # psycopg's own
        shown = [
            tx.execute(text(f"SHOW {one}")).scalar() for one in ("synchronous_commit", "TimeZone")
        ]
        assert tx.execute(text("SHOW client_encoding")).scalar() == "UTF8"
    store.close()
    assert shown == ["on", "UTC"]
    assert (told["keepalives_interval"], told["keepalives_count"], told["tcp_user_timeout"]) == (
        "10",
        "3",
        "60000",
    )
    assert {name: told.get(name) for name in given} == given


def test_a_lost_connection_leaves_nothing_and_the_next_one_works(store: Store, url: str) -> None:
    """A server that goes away in mid-transaction: exit code 4, nothing half done, and all works once it is back."""
    with pytest.raises(UnavailableError, match="went away") as caught, store.write() as tx:
        add_note(tx, "two")
        _cut_off(url)
        add_note(tx, "three")
    assert caught.value.exit_code == 4
    assert notes(store) == ["one"]
    with store.write() as tx:
        add_note(tx, "two")
    _cut_off(url)  # what was open and idle is found dead before anything is begun on it
    assert notes(store) == ["one", "two"]


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (("/w_", "/no_such_w_"), ConfigurationError, "does not exist"),
        (("postgres@", f"ada:{HIDDEN}@"), ConfigurationError, "ada"),
        (("?host=", f"?password={HIDDEN}&host=/nowhere"), UnavailableError, "cannot be reached"),
    ],
)
def test_a_database_that_cannot_be_had_is_told_without_the_password(
    url: str, change: tuple[str, str], kind: type[FindableError], said: str
) -> None:
    """No such database, user or server: what to check, and no password in it."""
    with pytest.raises(kind, match=said) as caught, Store(url.replace(*change)).read():
        pass
    assert caught.value.hint
    assert HIDDEN not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        *(
            (one, "postgresql+psycopg://")
            for one in ("postgresql+asyncpg://h/d", "postgresql://", "postgresql://h:x/d")
        ),
        (f"postgresql+psycopg2://ada:{HIDDEN}@h/d", "postgresql+psycopg://"),
        *(
            (f"postgresql://ada:{one}", "%40")
            for one in ("p@ss/w@h/d", "p:w@ss@h/d", "@ss@h/d", "pw@h/d?host=ss@h")
        ),
    ],
)
def test_other_drivers_and_passwords_that_are_no_url_are_refused(url: str, hint: str) -> None:
    """Exit code 3 before anything is connected, with how to write it, and no part of a password."""
    with pytest.raises(ConfigurationError) as caught:
        Store(url)
    assert hint in caught.value.hint
    said = caught.value.message + caught.value.hint
    assert HIDDEN not in said
    assert hint != "%40" or "ss" not in said.replace("password", "")
