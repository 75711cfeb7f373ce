"""Open a database on a PostgreSQL server.

A write begins with an advisory lock of ours, which it holds to its end, so that it is the only one of this workspace;
a read is one snapshot (REPEATABLE READ). A lost connection ends its transaction and its lock.
"""

import contextlib
import re
import sys
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import ArgumentError

from pipeline.core.command_hint import CommandHint
from pipeline.core.errors import (
    ConfigurationError,
    FindableError,
    InconsistentError,
    UnavailableError,
)
from pipeline.core.redact import PASSWORDS, Secret
from pipeline.store.sqlite import BUSY_S

DRIVER = "postgresql+psycopg"
WRITING = 7298122611063778412  # the advisory lock of writers; random, and the same in every version
CONNECT_S = 10  # how long the server may take to answer, in seconds

# A server that vanished is found out about within a minute or so; the system itself would wait up to two hours.
_PATIENCE = {
    "connect_timeout": CONNECT_S,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
}
OLDEST = 120000  # PostgreSQL 12

# A client that vanished must not hold the lock for hours, so the server asks after 30 s of silence. A commit is on disk
# when it returns, a write sees what was committed while it waited for its turn, and times, numbers and the names of
# types come back as they were written, however the server is set up.
_PREPARE = """
SELECT set_config('TimeZone', 'UTC', false),
       set_config('DateStyle', 'ISO', false),
       set_config('extra_float_digits', '1', false),
       set_config('quote_all_identifiers', 'off', false),
       set_config('tcp_keepalives_idle', '30', false),
       set_config('tcp_keepalives_interval', '10', false),
       set_config('tcp_keepalives_count', '3', false),
       set_config('default_transaction_isolation', 'read committed', false),
       set_config('synchronous_commit', replace(current_setting('synchronous_commit'), 'off', 'on'), false)
"""

_PID = "SELECT pg_backend_pid()"
_LOCKED_BY = """
SELECT max(a.application_name) FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND (l.classid::bigint << 32) | l.objid::bigint = %s
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

# the first signs of SQLSTATEs
_BUSY = "55P03"  # another transaction holds the lock
_MAY_PASS = (
    "08",
    "57",
    "40",
    "25P",
    "533",
)  # the connection, a time limit, another transaction, too many clients
_DAMAGED = ("XX001", "XX002")
_SET_UP = ("53", "42501", "25006")  # no room; not allowed; a copy that is only read
# A connection is refused without an SQLSTATE; what is not known to be for good may pass
_FOR_GOOD = re.compile(
    r"authentication failed|does not exist|no pg_hba|not permitted|password supplied|invalid|SSL"
)
_OURS = (
    "ProgrammingError",
    "DataError",
    "NotSupportedError",
)  # mistakes in a statement, which cannot be sent


class PostgresqlServer:
    """What the store needs to know of a database on a PostgreSQL server."""

    path: Path | None = None

    def __init__(self, url: URL) -> None:
        """Take the URL of a database; one with another driver, no database or unknown options is an error."""
        if url.drivername not in {"postgres", "postgresql", DRIVER} or not url.database:
            raise ConfigurationError(
                "the URL of a PostgreSQL database begins with postgresql+psycopg:// and names the database",
                hint="for example FINDABLE_DATABASE_URL=postgresql+psycopg://user@host/database",
            )
        _check_address(url)
        # text goes over the wire as UTF-8, whatever the URL says
        whole = url.set(drivername=DRIVER).difference_update_query(["client_encoding"])
        self._secret = Secret.url(whole.render_as_string(hide_password=False))
        self._url = whole._replace(password=None).difference_update_query(
            PASSWORDS
        )  # which the engine shows
        host = url.host or url.query.get("host") or "this machine"
        self.shown = f"the PostgreSQL database {url.database!r} at {host if isinstance(host, str) else ', '.join(host)}"

    def open(self) -> Engine:
        """Return an engine; nothing is connected yet, but the driver must be installed."""
        own = {"client_encoding": "utf8", "fallback_application_name": "findable", **_PATIENCE}
        arguments = {name: value for name, value in own.items() if name not in self._url.query}
        try:
            # a connection of hours ago may be dead by now, which a look at it shows before anything is begun on it;
            # what people wrote is shown in no traceback and no log
            engine = create_engine(
                self._url,
                connect_args=arguments,
                pool_pre_ping=True,
                hide_parameters=True,
                use_native_hstore=False,  # or each first connection asks whether the server has that type
            )
        except ImportError as error:
            raise ConfigurationError(
                f"PostgreSQL needs a driver that is not installed: {error}",
                hint="make setup EXTRAS=postgresql, or pip install -e '.[postgresql]'",
            ) from error
        event.listen(engine, "do_connect", self._give_passwords)
        event.listen(engine, "connect", self._prepare_connection)
        event.listen(engine, "begin", _begin)
        return engine

    def read_any_time(self, connection: Connection) -> None:
        """Let a connection return dates and times that Python does not have as their texts."""
        import psycopg
        from psycopg.types import datetime as types

        def loader_of(base: Any) -> Any:
            class OrText(base):  # type: ignore[misc]
                def load(self, data: Any) -> Any:
                    try:
                        return super().load(data)
                    except psycopg.DataError:
                        return bytes(data).decode()

            return OrText

        adapters = connection.connection.dbapi_connection.adapters  # type: ignore[union-attr]
        for name in ("Date", "Timestamp", "Timestamptz"):
            adapters.register_loader(name.lower(), loader_of(getattr(types, f"{name}Loader")))

    def compact(self, engine: Engine, *, besides: Collection[str]) -> bool:
        """Have the server clear up our tables and those `besides`; always true."""
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"SET lock_timeout = {_milliseconds(BUSY_S)}")
            try:
                for name in inspect(connection).get_table_names():
                    if name.startswith("findable_") or name in besides:
                        connection.exec_driver_sql(
                            f"VACUUM {engine.dialect.identifier_preparer.quote(name)}"
                        )
            finally:
                connection.exec_driver_sql("RESET lock_timeout")
        return True

    def says(self, error: Exception) -> bool:
        """Return whether an error is the driver's own."""
        return hasattr(error, "sqlstate") and hasattr(error, "diag")

    def is_of_query(self, error: BaseException) -> bool:
        """Return whether an error is the fault of what was asked, and not of the server."""
        state = str(getattr(error, "sqlstate", None) or "")
        return not state.startswith(("08", "57P", "53", "XX")) and bool(
            state or type(error).__name__ in _OURS
        )

    def error(self, said: BaseException, patience_s: float) -> FindableError:
        """Return our error for the server's words, without what they quote of rows."""
        state = str(getattr(said, "sqlstate", None) or "")
        words = getattr(getattr(said, "diag", None), "message_primary", None) or first_line(said)
        words = words.partition("FATAL:")[2].strip() or words
        is_ours = type(said).__name__ in _OURS or "number of parameters" in words
        if state == _BUSY:
            return UnavailableError(
                f"another program has held {self.shown} for more than {patience_s:g} s; nothing was changed",
                hint="try again",
            )
        if (state.startswith(_SET_UP) and not state.startswith(_MAY_PASS)) or (
            not state and _FOR_GOOD.search(words)
        ):
            return ConfigurationError(
                f"{self.shown} cannot be used: {words}; nothing was changed",
                hint="check FINDABLE_DATABASE_URL, its disk, and what its user may do",
            )
        if state.startswith(_MAY_PASS) or not (state or is_ours):
            return UnavailableError(
                f"{self.shown} cannot be reached, or went away: {words}; what was not committed was undone",
                hint="check that the server runs and lets this user in, then run the same command again",
            )
        if state in _DAMAGED:
            return InconsistentError(
                f"{self.shown} is damaged: {words}",
                hint="restore it from a copy; nothing was changed",
            )
        return InconsistentError(
            f"{self.shown}: {words}; nothing was changed", hint=f"run `{CommandHint('doctor')}`"
        )

    def _give_passwords(
        self,
        dialect: Any,
        record: Any,  # noqa: ARG002 - the event passes it
        arguments: Any,  # noqa: ARG002 - the event passes it
        options: dict[str, Any],
    ) -> None:
        found: dict[str, Any] = dialect.create_connect_args(make_url(self._secret.reveal()))[1]
        options.update({name: found[name] for name in PASSWORDS if name in found})

    def _prepare_connection(self, connection: Any, record: Any) -> None:  # noqa: ARG002 - the shape of the event
        """Make commits durable, and refuse a server that is too old or keeps text in another encoding than UTF-8."""
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise ConfigurationError(
                f"{self.shown} keeps text as {encoding}, which cannot hold every name; nothing was changed",
                hint="make one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
            )
        if connection.info.server_version < OLDEST:
            raise ConfigurationError(
                f"{self.shown} is on a server older than PostgreSQL {OLDEST // 10000}; nothing was changed",
                hint="use a newer server",
            )
        connection.execute(_PREPARE)
        connection.commit()


class Session:
    """A connection beside the pool, whose locks end with it."""

    def __init__(self, server: "PostgresqlServer", engine: Engine, name: str) -> None:
        """Connect under a name that others see; refuse a pooler that gives each transaction another session."""
        pooled = engine.raw_connection()
        connection: Any = pooled.driver_connection
        pooled.detach()
        connection.autocommit = True
        self.connection = connection
        self._server = server
        self._mutex = threading.RLock()
        self._held = set[int]()  # a session would get what it has a second time
        self.ask("SELECT set_config('application_name', %s, false)", name)
        self.ask(
            "SELECT max(set_config(name, '0', false)) FROM pg_settings WHERE name = 'idle_session_timeout'"
        )
        self._pid = self.ask(_PID)
        with (
            engine.connect() as other
        ):  # a transaction, while this one is idle: nobody else has this session meanwhile
            is_shared = other.exec_driver_sql(_PID).scalar() == self._pid
        if is_shared or not self.goes_on():
            self.close()
            raise ConfigurationError(
                f"a pooler before {server.shown} gives each transaction another session, in which no lock stays; "
                "nothing was changed",
                hint="name the server itself in FINDABLE_DATABASE_URL, or a pooler of whole sessions",
            )

    def ask(self, query: str, *values: Any) -> Any:
        """Return the first value that a query gives."""
        try:
            with interrupts_kept(), self._mutex:
                return self.connection.execute(query, values).fetchone()[0]
        except Exception as error:
            if not self._server.says(error):
                raise
            raise self._server.error(error, 0) from error

    def goes_on(self) -> bool:
        """Return whether it is there still."""
        with contextlib.suppress(FindableError):
            return bool(self.ask(_PID) == self._pid)
        return False

    def lock(self, key: int) -> bool:
        """Lock a key; false where another session, or another thread with this one, has it."""
        with self._mutex:
            if key in self._held or not self.ask("SELECT pg_try_advisory_lock(%s)", key):
                return False
            self._held.add(key)
            return True

    def has(self, key: int) -> bool:
        """Return whether a key is locked still."""
        return key in self._held and self.goes_on()

    def unlock(self, key: int) -> None:
        """Let a key go; of a session that has ended nothing is left to let go."""
        self._held.discard(key)
        with contextlib.suppress(FindableError):
            self.ask("SELECT pg_advisory_unlock(%s)", key)

    def locked_by(self, key: int) -> str:
        """Return the name of the session that has locked a key; empty where none has, or its name is not for us."""
        return str(self.ask(_LOCKED_BY, key) or "")

    def close(self) -> None:
        """End it."""
        self.connection.close()


def _check_address(url: URL) -> None:
    """Refuse a URL with options it cannot have or an unescaped `@`, without quoting what may be a password."""
    if any(
        "@" in part
        for part in (url.host or "", url.database or "", *url.normalized_query.get("host", ()))
    ):
        raise ConfigurationError(
            "the URL of a PostgreSQL database has an @ in the name of the host or the database",
            hint="in a password @ / : ? % are written %40 %2F %3A %3F %25",
        )
    try:
        url.set(drivername=DRIVER).get_dialect()().create_connect_args(url)
    except (ArgumentError, ValueError) as error:
        raise ConfigurationError(
            f"the URL of a PostgreSQL database cannot be used: {error}",
            hint="check FINDABLE_DATABASE_URL",
        ) from error


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if (patience := options.get("findable_patience")) is not None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_milliseconds(patience)}")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITING})")
    elif options.get("findable_reads"):
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


@contextlib.contextmanager
def interrupts_kept() -> Iterator[None]:
    """Raise KeyboardInterrupt in the place of an error that a library made of one that came during the block."""
    before = sys.exception()
    try:
        yield
    except Exception as error:
        cause = error.__context__
        while cause is not None and cause is not before:
            if isinstance(cause, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            cause = cause.__context__
        raise


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def first_line(said: BaseException) -> str:
    """Return the first line of what a driver says; the others quote rows or name other hosts that were tried."""
    return next(iter(str(said).strip().splitlines()), type(said).__name__)
