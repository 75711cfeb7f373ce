"""A workspace on the local backend without any call, for the tests of file imports and exports."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from askrows.pipeline.batch.session import WorkspaceSession
from askrows.pipeline.experts import table
from tests.integration.passages import workspaces

HEADER = (
    "Username,First Name,Last Name,Job Title,Company,Bio,Hourly Rate,"
    "Currency,Profile URL,Profile URL with UTM,category"
)


def workspace(directory: Path) -> AbstractContextManager[WorkspaceSession]:
    """Open the workspace in a directory."""
    return workspaces.workspace(directory, task="experts")


def people_file(path: Path, **bios: str) -> Path:
    """Write a CSV file of people with biographies by username, and return its path."""
    # All other cells are equal.
    lines = (
        f'{username},Ann,Lee,CTO,Acme,"{bio}",100,USD,https://x.example,,Speaker'
        for username, bio in bios.items()
    )
    path.write_text("\n".join((HEADER, *lines)) + "\n", encoding="utf-8")
    return path


def rows(ws: WorkspaceSession) -> dict[str, dict[str, Any]]:
    """Return every row of the table by username."""
    with ws.store.read() as tx:
        rows = table.people_table(tx).read_cells(tx, table.COLUMNS)
        people = [dict(zip(table.COLUMNS, row, strict=True)) for row in rows]
    return {str(person["username"]): person for person in people}
