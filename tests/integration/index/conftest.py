"""A workspace whose people have tags already, to build indexes in."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from pipeline.experts import table
from pipeline.store import workspace as workspaces
from tests.lab import Workspace


@pytest.fixture
def tagged(workspace: Workspace) -> Callable[[int], None]:
    """A function that puts tagged people into the workspace, after those that are there."""

    def put(count: int) -> None:
        """Insert them through the table."""
        with workspace.open() as ws, ws.store.write() as tx:
            before = tx.exec_driver_sql("SELECT coalesce(max(id), 0) FROM experts").scalar() or 0
            rows = [
                (
                    f"p{number}",
                    {"bio": f"Keeps bee hive {number}.", "tags": f'["bees", "hive {number}"]'},
                )
                for number in range(before, before + count)
            ]
            table.insert_people(tx, rows)
            workspaces.record_row_change(tx, table.TASK)

    return put


@pytest.fixture
def indexed(
    workspace: Workspace,
    request: pytest.FixtureRequest,
    begun: Callable[[Callable[[], None]], None],
) -> Workspace:
    """A workspace whose people, those that a test's module has as PEOPLE, are indexed."""
    people: Mapping[str, Mapping[str, Any]] = request.module.PEOPLE

    def prepare() -> None:
        with workspace.open() as ws, ws.store.write() as tx:
            for username, values in people.items():
                table.insert_person(tx, username, values)
            workspaces.record_row_change(tx, table.TASK)
        workspace.ran("index")

    prepare.__module__ = request.module.__name__  # what is prepared is of that module
    begun(prepare)
    return workspace
