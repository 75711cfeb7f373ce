"""A process that stood still past its lease changes nothing of what its successor does."""

from collections.abc import Callable

import pytest

from pipeline.batch import prepare
from pipeline.store.leases import LeaseLostError
from tests.integration.looks import alter
from tests.lab import Workspace

People = Callable[..., list[str]]


def test_a_sweep_that_lost_its_lease_removes_nothing(workspace: Workspace, people: People) -> None:
    """A process that stood still right before its sweep leaves the other one's files alone, and then begins again."""
    people(4)
    folder = workspace.data / "batches"
    folder.mkdir()
    (folder / "000009-requests.jsonl").write_text("{}\n")
    with workspace.open() as ws, ws.lease(prepare.LEASE) as lease:
        alter(workspace, "DELETE FROM findable_leases")
        with pytest.raises(LeaseLostError):
            prepare.sweep_request_files(ws.store, ws.data, lease)
    assert [path.name for path in folder.iterdir()] == ["000009-requests.jsonl"]
