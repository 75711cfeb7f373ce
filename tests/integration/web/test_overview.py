"""The state of a task, its runs and its index on the page, as the commands report them."""

import pytest

from pipeline.batch.batch_files import lock_of
from tests.integration.many_passages import import_passages
from tests.lab import Workspace
from tests.page import Page


@pytest.mark.full
def test_a_live_run_is_running_while_its_process_lives(workspace: Workspace) -> None:
    """A run is shown as running while a process has its lock, and as stopped otherwise."""
    workspace.begin()
    import_passages(workspace, 2)
    workspace.ran("tag", MODE="live", TASK="passages")
    # The state of a run that was interrupted.
    workspace.change("UPDATE findable_batches SET state = 'asking' WHERE number = 1")
    with workspace.open() as ws, Page(workspace) as page:
        is_stopped = []
        with ws.lock(lock_of(1)):
            is_stopped.append("its open rows" in page.get("/runs").text)
        is_stopped.append("its open rows" in page.get("/runs").text)
    assert is_stopped == [False, True]
