"""A PostgreSQL database in one file, written and read by the server's own programs `pg_dump` and `pg_restore`.

A dump is put in place in one transaction, but for the one row that says of which version the schema is: until that is
written, with what else has to be set right, every command takes the database for what it is, half restored.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import URL

from pipeline.errors import ConfigurationError

LOCK_WAIT = "60s"  # for a table that another program changes the columns of
VERSION_ROWS = "findable_version"  # the table whose rows are written last


def write(url: URL, target: Path, *, snapshot: str, programs: Path | None) -> None:
    """Write the database as one snapshot of it stands, that somebody holds open, into one file.

    Raises:
        ConfigurationError: the program is missing, or cannot do it; the message has its words.
    """
    arguments = ["--format=custom", f"--snapshot={snapshot}", f"--lock-wait-timeout={LOCK_WAIT}", "--no-password"]
    _run("pg_dump", [*arguments, f"--file={target}", f"--dbname={_conninfo(url)}"], url, programs=programs)


def load(url: URL, dump: Path, *, programs: Path | None, again: bool) -> None:
    """Put a dump into a database that holds nothing of it, in one transaction, all but the schema's version.

    Where it is done `again`, what it holds of such a dump goes first: it may have been another one.

    Raises:
        ConfigurationError: the program is missing, or cannot do it; nothing of it is in the database.
    """
    entries = _run("pg_restore", ["--list", str(dump)], url, programs=programs).splitlines()
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".list") as wanted:
        wanted.writelines(f"{line}\n" for line in entries if not _is_version(line))
        wanted.flush()
        arguments = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", "--no-password"]
        arguments += ["--clean", "--if-exists"] if again else []
        arguments += [f"--use-list={wanted.name}", f"--dbname={_conninfo(url)}", str(dump)]
        _run("pg_restore", arguments, url, programs=programs)


def _is_version(line: str) -> bool:
    """Return whether a line of a dump's list stands for the rows of the version table."""
    return " TABLE DATA " in line and f" {VERSION_ROWS} " in line


def _run(name: str, arguments: Sequence[str], url: URL, *, programs: Path | None) -> str:
    """Run one of the programs and return what it printed; the password goes where no list of processes shows it.

    Raises:
        ConfigurationError: it is missing, or failed.
    """
    found = shutil.which(name, path=str(programs) if programs else None)
    if found is None:
        raise ConfigurationError(
            f"{name} is not to be found{f' in {programs}' if programs else ''}; nothing was changed",
            hint="install PostgreSQL's client programs, or set FINDABLE_PG_BIN to the folder that holds them",
        )
    password = url.password or url.query.get("password")
    environ = os.environ | ({"PGPASSWORD": str(password)} if password else {})
    done = subprocess.run(  # noqa: S603 - a program of PostgreSQL's, with arguments of ours
        [found, *arguments], env=environ, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip())
        raise ConfigurationError(
            f"{said or f'{name} failed'}; nothing was kept of it",
            hint=f"{name} must be as new as the server; FINDABLE_PG_BIN names the folder of another one",
        )
    return done.stdout


def _conninfo(url: URL) -> str:
    """Return what a URL means to the driver, without the password, as the programs take it.

    They do not read a URL as SQLAlchemy does: `+` for a blank, and several hosts.
    """
    from psycopg.conninfo import make_conninfo

    meant = url.get_dialect()().create_connect_args(url)[1]
    return make_conninfo(**{name: value for name, value in meant.items() if name != "password"})
