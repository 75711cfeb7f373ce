"""A workspace of tagged people, for tests of indexes."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from askrows.pipeline.store import workspace as workspaces
from tests.lab import Workspace
from tests.people import insert_person


@pytest.fixture
def tagged(workspace: Workspace) -> Callable[[int], None]:
    """Return a function that adds tagged people to the workspace."""

    def insert_people(count: int) -> None:
        """Insert people through the table."""
        with workspace.open() as ws, ws.workspace.store.write() as tx:
            last_id = tx.exec_driver_sql("SELECT coalesce(max(id), 0) FROM experts").scalar() or 0
            rows = [
                (
                    f"p{number}",
                    {"bio": f"Keeps bee hive {number}.", "tags": f'["bees", "hive {number}"]'},
                )
                for number in range(last_id, last_id + count)
            ]
            for username, values in rows:
                insert_person(ws, tx, username, values)
            workspaces.record_row_change(tx, "experts")

    return insert_people


@pytest.fixture
def indexed(
    workspace: Workspace,
    request: pytest.FixtureRequest,
    begun: Callable[[Callable[[], None]], None],
) -> Workspace:
    """Prepare an indexed workspace with the `PEOPLE` of the test's module."""
    people: Mapping[str, Mapping[str, Any]] = request.module.PEOPLE

    def prepare() -> None:
        with workspace.open() as ws, ws.workspace.store.write() as tx:
            for username, values in people.items():
                insert_person(ws, tx, username, values)
            workspaces.record_row_change(tx, "experts")
        workspace.ran("index")

    # Prepared workspaces are shared by the tests of that module.
    prepare.__module__ = request.module.__name__
    begun(prepare)
    return workspace
