"""A database on a PostgreSQL server: one writer, snapshots, what a lost connection leaves, and what is refused."""

import gc
import re
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Integer, Select, column, select, text

from pipeline.core.errors import ConfigurationError, FindableError, InconsistentError, UnavailableError
from pipeline.store import integrity, schema
from pipeline.store.database import Store, streamed
from tests import postgresql

SERIES = {
    "server": "generate_series(1, 100) AS s(n)",
    "file": "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 100) SELECT n FROM s)",
}
HIDDEN = "a-password/that-nobody-may-see"


@pytest.fixture(name="url")
def _url(tmp_path: Path) -> str:
    """The URL of an empty database."""
    return postgresql.database_of(tmp_path / "data")


@pytest.fixture(name="store")
def _store(url: str) -> Iterator[Store]:
    """A database of one table with one row."""
    made = Store(url)
    with made.write() as tx:
        tx.execute(text("CREATE TABLE notes (note TEXT UNIQUE)"))
        tx.execute(text("INSERT INTO notes VALUES ('one')"))
    yield made
    made.close()


def notes(store: Store) -> list[str]:
    """Return every note."""
    with store.read() as tx:
        return [row[0] for row in tx.execute(text("SELECT note FROM notes ORDER BY note"))]


def _add(tx: Connection, note: str) -> None:
    tx.execute(text("INSERT INTO notes VALUES (:note)"), {"note": note})


def _cut_off(url: str) -> None:
    """End every other connection to the database, as a server that is stopped does."""
    postgresql.rows(
        url,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )


def test_an_error_takes_everything_back_tables_included(store: Store) -> None:
    """What raises inside a write leaves no row and no table behind."""

    def fail() -> None:
        """Write a row and a table, then fail."""
        with store.write() as tx:
            _add(tx, "two")
            tx.execute(text("CREATE TABLE more (note TEXT)"))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert notes(store) == ["one"]
    with store.read() as tx:
        assert tx.execute(text("SELECT to_regclass('more')")).scalar() is None


def test_each_part_of_a_transaction_that_was_cut_off_says_so(store: Store, url: str) -> None:
    """Many write together, each in a part of its own: the second one fails as the first one does, with our words."""
    failed = []

    def write_together() -> None:
        """Write two notes on a connection that is gone."""
        with store.write() as tx:
            _cut_off(url)
            for note in ("two", "three"):
                try:
                    with store.part(tx):
                        _add(tx, note)
                except UnavailableError as error:
                    failed.append(error.message)
            _add(tx, "four")

    with pytest.raises(UnavailableError):
        write_together()
    assert len(failed) == 2
    assert notes(store) == ["one"]


def test_a_reader_keeps_its_snapshot_and_writes_nothing(store: Store) -> None:
    """What is written meanwhile is not seen, a reader stops no writer, and cannot write itself."""
    with store.read() as tx:
        before = tx.execute(text("SELECT count(*) FROM notes")).scalar()
        with store.write() as other:
            _add(other, "two")
        assert tx.execute(text("SELECT count(*) FROM notes")).scalar() == before
    assert notes(store) == ["one", "two"]
    with pytest.raises(ConfigurationError, match="read-only"), store.read() as tx:
        _add(tx, "three")


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


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_write_sees_what_was_committed_while_it_waited(store: Store, url: str, level: str) -> None:
    """Also where the server was told to give every transaction one snapshot, from before the wait."""
    name = url.partition("@/")[2].partition("?")[0]
    postgresql.rows(url, f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = '{level}'")
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
        _add(tx, "two")
        thread = threading.Thread(target=count)
        thread.start()
        while not postgresql.rows(url, waiting):
            pass
    thread.join()
    assert seen == [2]


def test_a_writer_that_waits_too_long_gives_up(store: Store, url: str) -> None:
    """Whether another of our writes is under way or another program holds a row: an error, and nothing changed."""
    other = Store(url)
    with (
        other.write(),
        pytest.raises(UnavailableError, match=r"has held .* for more than 0.1 s"),
        store.write(patience_s=0.1),
    ):
        pass
    other.close()
    import psycopg

    with psycopg.connect(url.replace("+psycopg", "")) as theirs:
        theirs.execute("UPDATE notes SET note = 'theirs'")
        with pytest.raises(UnavailableError, match="has held"), store.write(patience_s=0.1) as tx:
            tx.execute(text("UPDATE notes SET note = 'ours'"))
    assert notes(store) == ["theirs"]


def test_commits_are_on_disk_before_anything_is_built_on_them(url: str) -> None:
    """A server that was told to answer before it has written is told otherwise for our connections."""
    name = url.partition("@/")[2].partition("?")[0]
    postgresql.rows(url, f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    store = Store(url)
    with store.write() as tx:
        assert tx.execute(text("SHOW synchronous_commit")).scalar() == "on"
        assert tx.execute(text("SHOW TimeZone")).scalar() == "UTC"
    store.close()


def test_a_lost_connection_leaves_nothing_and_the_next_one_works(store: Store, url: str) -> None:
    """A server that goes away in mid-transaction: exit code 4, nothing half done, and all works once it is back."""

    def write() -> None:
        """Write two rows, and lose the server between them."""
        with store.write() as tx:
            _add(tx, "two")
            _cut_off(url)
            _add(tx, "three")

    with pytest.raises(UnavailableError, match="went away") as caught:
        write()
    assert caught.value.exit_code == 4
    assert notes(store) == ["one"]
    with store.write() as tx:
        _add(tx, "two")
    _cut_off(url)  # what was open and idle is found dead before anything is begun on it
    assert notes(store) == ["one", "two"]


def test_a_server_that_crashes_and_comes_back() -> None:
    """While a server is down every use ends with exit code 4; what was committed is there once it runs again."""
    with postgresql.Server(Path(tempfile.mkdtemp(prefix="findable-pg-"))) as server:
        store = Store(server.make("people"))
        with store.write() as tx:
            tx.execute(text("CREATE TABLE notes (note TEXT UNIQUE)"))
            _add(tx, "one")

        def write() -> None:
            """Write a row, and lose the server before it is committed."""
            with store.write() as tx:
                _add(tx, "two")
                server.crash()

        with pytest.raises(UnavailableError):
            write()
        with pytest.raises(UnavailableError, match="cannot be reached"), store.read():
            pass
        server.start()
        assert notes(store) == ["one"]
        store.close()


def test_a_broken_rule_names_the_rule_and_not_the_value(store: Store) -> None:
    """A value that the database refuses does not appear in the message."""
    with pytest.raises(InconsistentError) as caught, store.write() as tx:
        _add(tx, "one")
    assert "notes_note_key" in caught.value.message
    assert "(one)" not in caught.value.message


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
    ("words", "kind"),
    [
        ("the database system is starting up", UnavailableError),
        ("das Datenbanksystem startet", UnavailableError),
        ("désolé, trop de clients sont déjà connectés", UnavailableError),
        ("server login has been failing, cached error: connect failed", UnavailableError),
        ('password authentication failed for user "ada"', ConfigurationError),
        ("no such database: people", ConfigurationError),
        ("SSL connection is required. Please specify SSL options and retry.", ConfigurationError),
        ("unsupported startup parameter: extra_float_digits", ConfigurationError),
        ('unrecognized configuration parameter "statement_time"', ConfigurationError),
        ('no pg_hba.conf entry for host "10.0.0.1", user "ada"', ConfigurationError),
    ],
)
def test_who_is_not_let_in_for_now_may_come_again(words: str, kind: type[FindableError]) -> None:
    """What a server says before anybody is let in has no code: but for what is known to last, it may pass, exit 4."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        answering = threading.Thread(target=_turn_away, args=(door, words))
        answering.start()
        port = door.getsockname()[1]
        store = Store(f"postgresql+psycopg://ada@127.0.0.1:{port}/people?sslmode=disable&gssencmode=disable")
        with pytest.raises(kind, match=re.escape(words)), store.read():
            pass
        answering.join()


def _turn_away(door: socket.socket, words: str) -> None:
    """Be a server, or a pooler, that says no to whoever knocks first."""
    client, _ = door.accept()
    with client:
        client.recv(4096)
        fields = b"".join(
            kind + text.encode() + b"\0" for kind, text in ((b"S", "FATAL"), (b"C", "57P03"), (b"M", words))
        )
        client.sendall(b"E" + (len(fields) + 5).to_bytes(4, "big") + fields + b"\0")


def test_a_server_that_vanished_is_not_waited_for(url: str) -> None:
    """The system would wait for hours; what the URL says of it holds."""
    for more, wanted in (("", ["30", "10", "3", "60000"]), ("&keepalives_idle=7", ["7", "10", "3", "60000"])):
        store = Store(url + more)
        with store.read() as tx:
            told = tx.connection.driver_connection.info.get_parameters()  # type: ignore[union-attr]  # psycopg's own
        store.close()
        names = ("keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout")
        assert [told[name] for name in names] == wanted


def test_a_database_that_holds_no_utf8_is_refused(url: str) -> None:
    """Where a server keeps text otherwise, not every name fits: exit code 3 before anything is made."""
    name = url.partition("@/")[2].partition("?")[0]
    server = postgresql.shared()
    server.drop(name + "_latin")
    server.execute(f"CREATE DATABASE \"{name}_latin\" ENCODING LATIN1 LOCALE 'C' TEMPLATE template0")
    with pytest.raises(ConfigurationError, match="LATIN1"), Store(url.replace(name, name + "_latin")).read():
        pass
    server.drop(name + "_latin")


@pytest.mark.parametrize(
    "url",
    ["postgresql+asyncpg://h/d", "postgresql://", f"postgresql+psycopg2://ada:{HIDDEN}@h/d", "postgresql://h:x/d"],
)
def test_other_drivers_and_no_database_are_refused(url: str) -> None:
    """Exit code 3, with an example, before anything is connected."""
    with pytest.raises(ConfigurationError) as caught:
        Store(url)
    assert "postgresql+psycopg://" in caught.value.hint
    assert HIDDEN not in caught.value.message + caught.value.hint


def test_a_missing_driver_says_what_to_install(url: str) -> None:
    """Without the extra: exit code 3 and the line to type."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "psycopg", None)
        with pytest.raises(ConfigurationError, match="driver") as caught, Store(url).read():
            pass
    assert "findable[postgresql]" in caught.value.hint


def test_the_short_names_of_the_url_mean_the_same(url: str) -> None:
    """`postgresql://` and `postgres://` are what other programs are given."""
    for name in ("postgresql://", "postgres://"):
        store = Store(url.replace("postgresql+psycopg://", name))
        with store.read() as tx:
            assert tx.execute(text("SELECT 1")).scalar() == 1
        store.close()


def test_damage_names_indexes_that_are_not_trusted(url: str) -> None:
    """An index that a broken REINDEX left behind is told; a sound database tells nothing, nor do other's tables."""
    store = Store(url)
    schema.ensure_schema(store, [])
    with store.read() as tx:
        assert integrity.damage(tx) == []
        assert integrity.foreign_tables(tx, besides=[]) == []
    postgresql.rows(url, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'findable_claims'::regclass")
    with store.read() as tx:
        assert integrity.damage(tx) == [
            "the index findable_claims is invalid; REINDEX INDEX findable_claims makes it anew"
        ]
    assert store.compact()
    store.close()


@pytest.mark.parametrize(
    ("query", "given"),
    [
        ("", {"connect_timeout": 10, "client_encoding": "utf8"}),
        ("&connect_timeout=45&client_encoding=latin1", {"connect_timeout": "45", "client_encoding": "utf8"}),
        ("&prepare_threshold=0", {"prepare_threshold": 0}),
        ("&prepare_threshold=none", {"prepare_threshold": None}),
    ],
)
def test_what_the_url_says_of_a_connection_holds(
    url: str, query: str, given: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """How long the server may take, and whether statements are prepared; text is UTF-8 whatever it says."""
    import psycopg

    asked: dict[str, object] = {}
    connect = psycopg.connect

    def watched(**arguments: Any) -> object:
        """Note what a connection is asked for."""
        asked.update(arguments)
        return connect(**arguments)

    monkeypatch.setattr(psycopg, "connect", watched)
    store = Store(url + query)
    with store.read() as tx:
        assert tx.execute(text("SHOW client_encoding")).scalar() == "UTF8"
    store.close()
    assert {name: asked.get(name, "nothing") for name in given} == given


@pytest.mark.parametrize(("threshold", "prepared"), [("none", {0}), ("0", {1, 2, 3})])
def test_a_server_behind_a_pooler_gets_no_prepared_statements(
    url: str, tmp_path: Path, threshold: str, prepared: set[int]
) -> None:
    """With `none` in the URL nothing is prepared, however often it is asked; a dump takes the same URL."""
    store = Store(f"{url}&prepare_threshold={threshold}")
    with store.read() as tx:
        for _ in range(8):
            tx.execute(text("SELECT 1"))
        assert tx.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar() in prepared
    with store.copied_to(tmp_path / "copy", programs=postgresql.shared().programs):
        pass
    store.close()


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("prepare_threshold=often", "prepare_threshold"),
        ("prepare_threshold=-1", "prepare_threshold"),
        ("autocommit=1", "autocommit"),
        ("row_factory=x", "row_factory"),
        ("foo=bar", "foo"),
        ("sslmode=requre", "requre"),
        ("port=x", "port"),
        ("port=99999", "port"),
        ("service=nobody", "nobody"),
        ("connect_timeout=x", "connect_timeout"),
    ],
)
def test_options_that_nobody_knows_are_refused(url: str, query: str, said: str) -> None:
    """What stands in the URL is wrong and not the server: exit code 3 and where to look."""
    with pytest.raises(ConfigurationError, match=said) as caught, Store(f"{url}&{query}").read():
        pass
    assert "FINDABLE_DATABASE_URL" in caught.value.message + caught.value.hint


@pytest.mark.parametrize("url", ["p@ss/w@h/d", "p@ss@h/d", "p:w@ss@h/d", "@ss@h/d", "pw@h/d?host=ss@h"])
def test_a_password_that_is_not_written_as_a_url_wants_it_is_not_shown(url: str) -> None:
    """With `@` in it a URL means another host or database: exit code 3, how to write it, and no part of it."""
    with pytest.raises(ConfigurationError) as caught:
        Store(f"postgresql://ada:{url}")
    assert "%40" in caught.value.hint
    assert "ss" not in (caught.value.message + caught.value.hint).replace("password", "")


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        (f"SELECT ARRAY[{', '.join(f':a{n}' for n in range(70_000))}]", {f"a{n}": n for n in range(70_000)}),
        ("SELECT :a", {"a": "\0"}),
    ],
)
def test_what_the_driver_cannot_send_is_no_outage(url: str, statement: str, values: dict[str, object]) -> None:
    """A statement of ours that cannot be sent is a bug and told as one: running it again helps nobody."""
    store = Store(url)
    with pytest.raises(InconsistentError, match="nothing was changed"), store.read() as tx:
        tx.execute(text(statement), values)
    store.close()


@pytest.mark.parametrize(
    "query", ["", "&options=-c%20search_path%3Dours%20-c%20DateStyle%3DGerman", "&host=/nowhere", "&passfile=a+%2B"]
)
def test_a_dump_is_of_the_database_that_the_url_names(url: str, tmp_path: Path, query: str) -> None:
    """The server's own programs understand by a URL what we do: blanks, options, and several hosts."""
    server = postgresql.shared()
    name = url.partition("@/")[2].partition("?")[0] + " of ours"
    for part in (name, name + " again"):
        server.drop(part)
        server.make(part)
        server.execute("CREATE SCHEMA ours", database=part)
    server.execute("CREATE TABLE ours.notes (note) AS VALUES ('one')", database=name)
    here, there = (Store(server.url(part.replace(" ", "%20")) + query) for part in (name, name + " again"))
    with here.copied_to(tmp_path / "copy", programs=server.programs) as tx:
        assert tx.execute(text("SELECT note FROM ours.notes")).scalar() == "one"
    server.execute("DROP SCHEMA ours", database=name + " again")
    there.load(tmp_path / "copy", programs=server.programs)
    with there.read() as tx:
        assert tx.execute(text("SELECT note FROM ours.notes")).scalar() == "one"
    for store, part in ((here, name), (there, name + " again")):
        store.close()
        server.drop(part)


@pytest.mark.parametrize("kind", ["server", "file"])
def test_a_result_that_nobody_reads_to_its_end_goes_with_its_transaction(
    store: Store, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Who stops in the middle, and lets go of it only later, leaves no cursor open and no word in any log."""
    here = store if kind == "server" else Store(f"sqlite:///{tmp_path / 'notes.db'}")
    numbers: Select[int] = select(column("n", Integer)).select_from(text(SERIES[kind]))
    with here.read() as tx:
        begun = iter(streamed(tx, numbers, page=10))
        assert next(begun)[0] == 1
        rest = streamed(tx, numbers, page=10)
        assert len(rest.all()) == 100
    del begun
    gc.collect()
    here.close()
    assert caplog.text == ""


def test_the_wait_for_another_writer_can_be_interrupted(store: Store, url: str) -> None:
    """Ctrl-C while somebody else writes ends the wait at once, and the connection is good for the next."""
    import _thread

    other = Store(url)
    with other.write() as tx:
        _add(tx, "two")
        timer = threading.Timer(0.3, _thread.interrupt_main)
        timer.start()
        with pytest.raises(KeyboardInterrupt), store.write():
            pass
        timer.join()
    other.close()
    assert notes(store) == ["one", "two"]
