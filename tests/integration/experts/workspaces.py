"""A workspace on the local backend in which nothing is ever asked, for the tests of files in and out."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.display import Silent
from pipeline.experts import table
from pipeline.runtime import Runtime, open_runtime
from pipeline.settings import Settings
from tests import postgresql
from tests.lab import ON_POSTGRESQL

HEADER = (
    "Username,First Name,Last Name,Job Title,Company,Bio,Hourly Rate,Currency,Profile URL,Profile URL with UTM,category"
)


@contextlib.contextmanager
def workspace(directory: Path) -> Iterator[Runtime]:
    """Open the workspace in a directory."""
    url = postgresql.database_of(directory) if ON_POSTGRESQL else None
    with open_runtime(Settings(data=directory, backend="local", database_url=url), Silent()) as rt:
        yield rt


def people_file(path: Path, **bios: str) -> Path:
    """Write a CSV file of people with these biographies by username, and return its path."""
    lines = (
        f'{username},Ann,Lee,CTO,Acme,"{bio}",100,USD,https://x.example,,Speaker' for username, bio in bios.items()
    )
    path.write_text("\n".join((HEADER, *lines)) + "\n", encoding="utf-8")
    return path


def rows(rt: Runtime) -> dict[str, dict[str, Any]]:
    """Return every row of the table by username."""
    with rt.store.read() as tx:
        return {str(row["username"]): dict(row) for row in table.everyone(tx)}


def position(rt: Runtime) -> int:
    """Return how often the rows of this workspace have been changed."""
    from pipeline.store import workspace as stored

    with rt.store.read() as tx:
        return stored.get(tx).position
