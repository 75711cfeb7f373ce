"""Dump and load a PostgreSQL database with the server's own programs `pg_dump` and `pg_restore`.

A dump is loaded in one transaction, but for the one row with the schema's version: until that is written, every command
takes the database for half restored.
"""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sqlalchemy import URL

from pipeline.core.errors import ConfigurationError

LOCK_WAIT = "60s"  # for a table that another program changes the columns of
VERSION_ROWS = "findable_version"  # the table whose rows are written last
NOT_OURS = " COMMENT - SCHEMA public "  # only the schema's owner may write it
KEY_PASSWORD = "sslpassword"  # noqa: S105 - the name of an option, which no variable of the environment stands for
TOO_OLD = re.compile("server version|version mismatch|unsupported version|unrecognized configuration parameter")


def write_dump(url: URL, target: Path, *, snapshot: str, programs: Path | None) -> None:
    """Write the database into one file, as the snapshot stands that the caller holds open.

    Raises:
        ConfigurationError: the program is missing, or failed.
    """
    arguments = ["--format=custom", "--encoding=UTF8", "--no-password", f"--snapshot={snapshot}"]
    arguments += [f"--lock-wait-timeout={LOCK_WAIT}", f"--file={target}"]
    with _connection(url) as (conninfo, environ):
        _run("pg_dump", [*arguments, f"--dbname={conninfo}"], environ, programs=programs)


def load_dump(url: URL, dump: Path, *, programs: Path | None, again: bool) -> None:
    """Load a dump into a database in one transaction, all but the schema's version; `again` drops an earlier dump.

    Raises:
        ConfigurationError: the program is missing, or failed; nothing was loaded.
    """
    entries = _run("pg_restore", ["--list", str(dump)], {}, programs=programs).splitlines()
    with (
        tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".list") as wanted,
        _connection(url) as (conninfo, environ),
    ):
        wanted.writelines(f"{line}\n" for line in entries if not _is_version(line) and NOT_OURS not in line)
        wanted.flush()
        arguments = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", "--no-password"]
        arguments += ["--clean", "--if-exists"] if again else []
        arguments += [f"--use-list={wanted.name}", f"--dbname={conninfo}", str(dump)]
        _run("pg_restore", arguments, environ, programs=programs)


def _is_version(line: str) -> bool:
    """Return whether a line of a dump's list stands for the rows of the version table."""
    return " TABLE DATA " in line and f" {VERSION_ROWS} " in line


def _run(name: str, arguments: Sequence[str], environ: Mapping[str, str], *, programs: Path | None) -> str:
    """Run one of the programs with `environ` added to the environment, and return what it printed."""
    found = shutil.which(name, path=str(programs) if programs else None)
    if found is None:
        raise ConfigurationError(
            f"{name} is not to be found{f' in {programs}' if programs else ''}; nothing was changed",
            hint="install PostgreSQL's client programs, or set FINDABLE_PG_BIN to the folder that holds them",
        )
    done = subprocess.run(  # noqa: S603 - a program of PostgreSQL's, with arguments of ours
        [found, *arguments],
        env={**os.environ, "LC_ALL": "C", **environ},  # its words are read below
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = _reason(done.stderr)
        hint = "mend what it says, then run the same command again"
        if TOO_OLD.search(said):
            hint = f"{name} must be as new as the server; FINDABLE_PG_BIN names the folder of another one"
        raise ConfigurationError(f"{said or f'{name} failed'}; nothing was kept of it", hint=hint)
    return done.stdout


def _reason(said: str) -> str:
    """Return why a program failed, with the server's words but without statements and quoted rows."""
    lines = said.strip().splitlines()
    error = next((line for line in lines if "error:" in line), lines[0] if lines else "")
    details = [line.partition(": detail: ")[2] for line in lines]
    return "; ".join([error.removesuffix("."), *(one for one in details if one and " was: " not in one)])


@contextlib.contextmanager
def _connection(url: URL) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield a URL as the programs take it, and the environment that holds the rest.

    They do not read a URL as SQLAlchemy does: `+` for a blank, and several hosts. Passwords go where no list of
    processes shows them: that of a key into a temporary file.
    """
    from psycopg.conninfo import make_conninfo

    meant = dict(url.get_dialect()().create_connect_args(url)[1])
    password, of_key = meant.pop("password", None), meant.pop(KEY_PASSWORD, None)
    environ = {"PGPASSWORD": str(password)} if password else {}
    if of_key is None:
        yield make_conninfo(**meant), environ
        return
    if "service" in meant or "PGSERVICE" in os.environ:
        raise ConfigurationError(
            f"{KEY_PASSWORD} in FINDABLE_DATABASE_URL cannot be handed over beside a service; nothing was changed",
            hint=f"write {KEY_PASSWORD} into the service",
        )
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".service") as file:  # which only its owner reads
        file.write(f"[findable]\n{KEY_PASSWORD}={of_key}\n")
        file.flush()
        yield make_conninfo(**meant, service="findable"), environ | {"PGSERVICEFILE": file.name}
