"""Open a database on a PostgreSQL server.

- A write begins with our advisory lock and keeps it to its end, so it is the only write of this
  workspace.
- A read is one snapshot (REPEATABLE READ).
- A lost connection ends its transaction and releases its lock.
"""

import contextlib
import re
import sys
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import ArgumentError

from askrows.pipeline.core.command_hint import CommandHint, format_install_command
from askrows.pipeline.core.errors import (
    AskrowsError,
    ConfigurationError,
    InconsistentError,
    UnavailableError,
)
from askrows.pipeline.core.redact import PASSWORD_OPTIONS, Secret
from askrows.pipeline.store.sqlite import BUSY_S

DRIVER = "postgresql+psycopg"
# The advisory lock of writers: a random number, the same in every version of askrows.
WRITER_LOCK_KEY = 7298122611063778412
# The longest wait for the server's reply to a connection.
CONNECT_TIMEOUT_S = 10

# These options reveal a vanished server within about a minute. The operating system alone
# would wait up to two hours.
_CONNECTION_OPTIONS = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
}
# PostgreSQL 13, the first version that normalizes texts.
MIN_SERVER_VERSION = 130000

# The settings of each connection, whatever the server's defaults are:
# - Keepalives: a vanished client must not keep its lock for hours.
# - A commit is on disk when it returns.
# - A write sees everything that was committed while it waited for its turn.
# - Times, numbers and the names of types are returned as they were written.
_CONNECTION_SETTINGS = """
SELECT set_config('TimeZone', 'UTC', false),
       set_config('DateStyle', 'ISO', false),
       set_config('extra_float_digits', '1', false),
       set_config('quote_all_identifiers', 'off', false),
       set_config('tcp_keepalives_idle', '30', false),
       set_config('tcp_keepalives_interval', '10', false),
       set_config('tcp_keepalives_count', '3', false),
       set_config('default_transaction_isolation', 'read committed', false),
       set_config(
           'synchronous_commit',
           replace(current_setting('synchronous_commit'), 'off', 'on'),
           false
       )
"""

# Types with values that Python cannot hold: infinity, years before 1 and after 9999, and 24:00.
_TIME_TYPES = ("date", "time", "timetz", "timestamp", "timestamptz", "interval")
_SELECT_PID = "SELECT pg_backend_pid()"
_SELECT_LOCK_HOLDER = """
SELECT max(a.application_name) FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
AND (l.classid::bigint << 32) | l.objid::bigint = %s
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

# Beginnings of SQLSTATEs: another transaction keeps the lock.
_LOCK_TIMEOUT_STATE = "55P03"
# The connection, a time limit, another transaction, too many clients.
_TRANSIENT_STATES = ("08", "57", "40", "25P", "533")
# The server's statement_timeout, or a person who cancelled a statement.
_CANCELLED_STATE = "57014"
_MISSING_RIGHT_STATE = "42501"
_MISSING_RIGHT_HINT = (
    "GRANT this user the missing right, for a new workspace CREATE ON SCHEMA public, then run the "
    "same command again; it stores replies that arrived without asking again"
)
# No space left, no permission, a read-only replica.
_SETUP_STATES = ("53", _MISSING_RIGHT_STATE, "25006")
# Errors that are never a query's fault: connection, shutdown, resources, damage.
_SERVER_STATES = ("08", "57P", "53", "XX")
# A refused connection has no SQLSTATE. A refusal without one of these texts may be transient.
_PERMANENT_REFUSAL = re.compile(
    r"authentication failed|does not exist|no pg_hba|not permitted|password supplied|invalid|SSL",
)
# The driver's errors about statements that it cannot send.
_STATEMENT_ERRORS = ("ProgrammingError", "DataError", "NotSupportedError")


class PostgresqlServer:
    """The store's access to a database on a PostgreSQL server."""

    path: Path | None = None

    def __init__(self, url: URL) -> None:
        """Check the URL of a database; nothing is connected yet.

        The password is kept as a secret apart from the URL. Sets `display_name` for messages. An
        encoding in the URL is ignored, because text is sent as UTF-8.

        Raises:
            ConfigurationError: The URL has another driver, no database or unknown options.
        """
        if url.drivername not in {"postgres", "postgresql", DRIVER} or not url.database:
            raise ConfigurationError(
                "the URL of a PostgreSQL database must begin with postgresql+psycopg://"
                " and name the database",
                hint="for example ASKROWS_DATABASE_URL=postgresql+psycopg://user@host/database",
            )
        _check_driver_accepts_url(url)
        # Text is sent as UTF-8, whatever the URL says.
        full_url = url.set(drivername=DRIVER).difference_update_query(["client_encoding"])
        self._secret = Secret.from_url(full_url.render_as_string(hide_password=False))
        # The engine's messages show this URL, so it has no password.
        self._url = full_url._replace(password=None).difference_update_query(PASSWORD_OPTIONS)
        host = url.host or url.query.get("host") or "this machine"
        host_names = host if isinstance(host, str) else ", ".join(host)
        self.display_name = f"the PostgreSQL database {url.database!r} at {host_names}"

    def make_engine(self) -> Engine:
        """Return a new engine for the server; nothing is connected yet.

        Each connection gets the password, is checked and set up when it is made, and begins its
        transactions by `_lock_writers_or_make_snapshot`. Options in the URL override ours.

        Raises:
            ConfigurationError: The driver is not installed.
        """
        options = {
            "client_encoding": "utf8",
            "fallback_application_name": "askrows",
            **_CONNECTION_OPTIONS,
        }
        connect_args = {
            name: option for name, option in options.items() if name not in self._url.query
        }
        # - A pre-ping finds a dead connection before a transaction begins on it.
        # - Hidden parameters keep the content of rows out of tracebacks and logs.
        # - With native hstore each first connection would look that type up on the server.
        try:
            engine = create_engine(
                self._url,
                connect_args=connect_args,
                pool_pre_ping=True,
                hide_parameters=True,
                use_native_hstore=False,
            )
        except ImportError as error:
            raise ConfigurationError(
                f"PostgreSQL needs a driver that is not installed: {error}",
                hint=format_install_command("postgresql"),
            ) from error
        event.listen(engine, "do_connect", self._add_passwords)
        event.listen(engine, "connect", self._check_server_and_prepare_connection)
        event.listen(engine, "begin", _lock_writers_or_make_snapshot)
        return engine

    def vacuum_if_possible(self, engine: Engine, *, extra_tables: Collection[str]) -> bool:
        """Vacuum our tables (`askrows_…`) on the server; wait at most BUSY_S seconds for a lock.

        If a table stays locked for that time, the driver's error is raised, and later tables are
        not vacuumed.

        Args:
            extra_tables: More tables, of other programs, to vacuum.

        Returns:
            True, because nothing prevents it on a server.
        """
        quote_name = engine.dialect.identifier_preparer.quote
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"SET lock_timeout = {_to_milliseconds(BUSY_S)}")
            try:
                for name in inspect(connection).get_table_names():
                    if name.startswith("askrows_") or name in extra_tables:
                        connection.exec_driver_sql(f"VACUUM {quote_name(name)}")
            finally:
                connection.exec_driver_sql("RESET lock_timeout")
        return True

    def is_driver_error(self, error: Exception) -> bool:
        """Return whether an error is the driver's own."""
        return hasattr(error, "sqlstate") and hasattr(error, "diag")

    def is_query_fault(self, error: BaseException) -> bool:
        """Return whether a query caused an error, not the server."""
        state = str(getattr(error, "sqlstate", None) or "")
        if not state:
            return type(error).__name__ in _STATEMENT_ERRORS
        return not state.startswith(_SERVER_STATES)

    def translate_error(self, driver_error: BaseException, max_write_wait_s: float) -> AskrowsError:
        """Return an AskrowsError for an error of the server, without the rows that it quotes.

        A lock timeout, a lost connection or another transient failure is an UnavailableError. A
        wrong setup or a permanent refusal is a ConfigurationError. Anything else is an
        InconsistentError.

        Args:
            max_write_wait_s: The longest wait for another writer, for the message.
        """
        state = str(getattr(driver_error, "sqlstate", None) or "")
        message = read_main_message(driver_error)
        # libpq puts the severity before the server's message.
        reason = message.partition("FATAL:")[2].strip() or message
        is_statement_error = (
            type(driver_error).__name__ in _STATEMENT_ERRORS or "number of parameters" in reason
        )
        is_transient = state.startswith(_TRANSIENT_STATES)
        is_setup_error = state.startswith(_SETUP_STATES) and not is_transient
        is_refused_for_good = not state and _PERMANENT_REFUSAL.search(reason)
        is_connection_error = is_transient or not (state or is_statement_error)

        if state == _LOCK_TIMEOUT_STATE:
            return UnavailableError(
                f"another program has locked {self.display_name} "
                f"for more than {max_write_wait_s:g} s; nothing was changed",
                hint="wait until the other program ends, then run the same command again",
            )
        if is_setup_error or is_refused_for_good:
            hint = "check ASKROWS_DATABASE_URL, the disk of the server, and the rights of the user"
            if state == _MISSING_RIGHT_STATE:
                hint = _MISSING_RIGHT_HINT
            return ConfigurationError(
                f"{self.display_name} cannot be used: {reason}; nothing was changed",
                hint=hint,
            )
        if is_connection_error:
            problem = "cannot be reached, or the connection was lost"
            remedy = "check that the server runs and accepts this user"
            if state == _CANCELLED_STATE:
                problem = "ended a command"
                remedy = "raise the statement_timeout of this user"
            return UnavailableError(
                f"{self.display_name} {problem}: {reason}; what was stored before is unchanged",
                hint=f"{remedy}, then run the same command again",
            )
        return InconsistentError(
            f"{self.display_name}: {reason}; nothing was changed",
            hint=f"run `{CommandHint('doctor')}`",
        )

    def _add_passwords(
        self,
        dialect: Any,
        record: Any,  # noqa: ARG002 - the event passes it
        arguments: Any,  # noqa: ARG002 - the event passes it
        options: dict[str, Any],
    ) -> None:
        """Add the URL's passwords to the options of a connection that is about to open."""
        url = make_url(self._secret.reveal())
        url_options: dict[str, Any] = dialect.create_connect_args(url)[1]
        options.update(
            {name: url_options[name] for name in PASSWORD_OPTIONS if name in url_options},
        )

    def _check_server_and_prepare_connection(
        self,
        connection: Any,
        record: Any,  # noqa: ARG002 - the event passes it
    ) -> None:
        """Check the server of a new connection, and apply `_CONNECTION_SETTINGS` to it.

        Raises:
            ConfigurationError: The server is too old, or stores text in another encoding than
                UTF-8.
        """
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise ConfigurationError(
                f"{self.display_name} has the encoding {encoding}, but must have UTF8;"
                " nothing was changed",
                hint="create a database with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
            )
        if connection.info.server_version < MIN_SERVER_VERSION:
            raise ConfigurationError(
                f"{self.display_name} is on a server older than"
                f" PostgreSQL {MIN_SERVER_VERSION // 10000}; nothing was changed",
                hint="use a newer server",
            )
        connection.execute(_CONNECTION_SETTINGS)
        connection.commit()
        _load_unrepresentable_times_as_text(connection)


class Session:
    """A connection outside of the pool, which keeps advisory locks until it ends."""

    def __init__(self, server: "PostgresqlServer", engine: Engine, name: str) -> None:
        """Connect outside of the pool under a name that others see.

        Checks by a second connection that the session is not shared. The server's timeout of idle
        sessions is switched off.

        Raises:
            ConfigurationError: A pooler gives each transaction another session; this one is closed.
            AskrowsError: The server refused a query.
        """
        pooled = engine.raw_connection()
        connection: Any = pooled.driver_connection
        pooled.detach()
        connection.autocommit = True
        self.connection = connection
        self._server = server
        self._mutex = threading.RLock()
        # PostgreSQL would give a session a lock that it has a second time.
        self._locked_keys = set[int]()
        self.query_value("SELECT set_config('application_name', %s, false)", name)
        self.query_value(
            "SELECT max(set_config(name, '0', false)) FROM pg_settings"
            " WHERE name = 'idle_session_timeout'",
        )
        self._pid = self.query_value(_SELECT_PID)

        # A transaction of another connection, while this connection is idle. It can run in
        # this session only if there is a pooler.
        with engine.connect() as second_connection:
            is_shared = second_connection.exec_driver_sql(_SELECT_PID).scalar() == self._pid
        if is_shared or not self.is_alive():
            self.close()
            raise ConfigurationError(
                f"a pooler before {server.display_name} gives each transaction another session,"
                " in which no lock stays; nothing was changed",
                hint="name the server itself in ASKROWS_DATABASE_URL,"
                " or a pooler of whole sessions",
            )

    def query_value(self, query: str, *parameters: Any) -> Any:
        """Run a query and return the first value of its first row.

        One thread at a time uses the session.

        Raises:
            AskrowsError: The server refused the query, or the session has ended.
            TypeError: The query returned no row.
        """
        handled_before = sys.exception()
        try:
            with self._mutex:
                return self.connection.execute(query, parameters).fetchone()[0]
        except Exception as error:
            raise_hidden_interrupt(error, handled_before)
            if not self._server.is_driver_error(error):
                raise
            raise self._server.translate_error(error, 0) from error

    def is_alive(self) -> bool:
        """Return whether the session still exists on the server."""
        with contextlib.suppress(AskrowsError):
            return bool(self.query_value(_SELECT_PID) == self._pid)
        return False

    def try_lock(self, key: int) -> bool:
        """Try to take the advisory lock of a key without waiting, and remember it.

        Returns:
            False if another session, or another thread with this session, has locked the key.

        Raises:
            AskrowsError: The session has ended.
        """
        with self._mutex:
            is_locked_here = key in self._locked_keys
            if is_locked_here or not self.query_value("SELECT pg_try_advisory_lock(%s)", key):
                return False
            self._locked_keys.add(key)
            return True

    def owns_lock(self, key: int) -> bool:
        """Return whether this session still has locked a key; asks the server."""
        return key in self._locked_keys and self.is_alive()

    def unlock(self, key: int) -> None:
        """Unlock a key. It is no error if the session has ended, as this unlocks it, too."""
        self._locked_keys.discard(key)
        with contextlib.suppress(AskrowsError):
            self.query_value("SELECT pg_advisory_unlock(%s)", key)

    def find_lock_holder(self, key: int) -> str:
        """Return the name of the session that has locked a key; "" if none has, or it is hidden."""
        return str(self.query_value(_SELECT_LOCK_HOLDER, key) or "")

    def close(self) -> None:
        """End the session, which releases its locks."""
        self.connection.close()


def _check_driver_accepts_url(url: URL) -> None:
    """Check that the driver can build a connection from a URL; nothing is connected.

    Values of options such as sslmode are not checked. Messages quote nothing that may be a
    password.

    Raises:
        ConfigurationError: The host or the database contains an `@`, as after a password with an
            unescaped `@`, or the driver refuses the URL.
    """
    names = (url.host or "", url.database or "", *url.normalized_query.get("host", ()))
    if any("@" in name for name in names):
        raise ConfigurationError(
            "the URL of a PostgreSQL database has an @ in its host or in its database name",
            hint="in a password write @ / : ? % as %40 %2F %3A %3F %25",
        )
    try:
        url.set(drivername=DRIVER).get_dialect()().create_connect_args(url)
    except (ArgumentError, ValueError) as error:
        raise ConfigurationError(
            f"the URL of a PostgreSQL database cannot be used: {error}",
            hint="check ASKROWS_DATABASE_URL",
        ) from error


def _load_unrepresentable_times_as_text(connection: Any) -> None:
    """Let a connection of psycopg return a date or time that Python cannot hold as text.

    It is the server's text, such as `infinity` or `10001-01-01`. psycopg would refuse all rows.
    """
    from psycopg import DataError
    from psycopg.adapt import Loader

    class TimeLoader(Loader):
        """Loads a date or time by psycopg's own loader if it can, otherwise as text."""

        def __init__(self, oid: int, context: Any = None) -> None:
            super().__init__(oid, context)
            self._loader = own_loaders[oid](oid, context)

        def load(self, data: Any) -> Any:
            try:
                return self._loader.load(data)
            except DataError:
                return bytes(data).decode()

    adapters = connection.adapters
    own_loaders = {}
    for name in _TIME_TYPES:
        oid = adapters.types[name].oid
        own_loaders[oid] = adapters.get_loader(oid, Loader.format)
        adapters.register_loader(oid, TimeLoader)


def _lock_writers_or_make_snapshot(connection: Connection) -> None:
    """Set up a transaction: take the lock of writers, or make it a read-only snapshot.

    A transaction with the option `askrows_patience` (seconds) waits so long for the lock of
    writers. A transaction with `askrows_reads` is a snapshot. Other transactions are left alone.
    """
    options = connection.get_execution_options()
    max_write_wait_s = options.get("askrows_patience")
    if max_write_wait_s is not None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_to_milliseconds(max_write_wait_s)}")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER_LOCK_KEY})")
    elif options.get("askrows_reads"):
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def raise_hidden_interrupt(error: Exception, handled_before: BaseException | None) -> None:
    """Raise KeyboardInterrupt if a library turned it into this error; otherwise do nothing.

    Args:
        error: The error that was raised.
        handled_before: The error that was handled before; an interrupt behind it is ignored.
    """
    cause = error.__context__
    while cause is not None and cause is not handled_before:
        if isinstance(cause, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        cause = cause.__context__


def _to_milliseconds(seconds: float) -> int:
    """Return whole milliseconds, at least 1, because 0 means no limit."""
    return max(1, round(seconds * 1000))


def read_main_message(driver_error: BaseException) -> str:
    """Return the main message of a server's error, or the first line of any other error."""
    diagnosis = getattr(driver_error, "diag", None)
    return getattr(diagnosis, "message_primary", None) or read_first_line(driver_error)


def read_first_line(error: BaseException) -> str:
    """Return the first line of an error's message, else the error's type.

    Further lines quote rows or name other hosts.
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
