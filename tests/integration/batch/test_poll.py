"""`batch-poll` beside another process that sends a batch."""

import pytest

from askrows.pipeline.batch import poll
from askrows.pipeline.batch.run_result import RunResult
from askrows.pipeline.store import batches
from askrows.pipeline.store.locks import Locks
from tests.delivery import prepare, workspace_at
from tests.lab import put_people


def test_a_batch_that_is_created_meanwhile_is_not_unclear(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A create that ends between reading the batch and looking at its lock was clear."""
    workspace = workspace_at(tmp_path_factory.mktemp("here") / "data")
    put_people(workspace, 2)
    prepare(workspace)
    with workspace.open() as ws:
        with ws.workspace.store.write() as tx:
            batch = batches.get_batch(tx, 1)
            batches.record_submitting(tx, batch, display_name="try-1", now=ws.workspace.now())

        def end_create(_locks: Locks, _name: str) -> bool:
            """End the create of another process, which then frees the lock."""
            with ws.workspace.store.write() as tx:
                batches.record_submitted(
                    tx,
                    batches.get_batch(tx, 1),
                    remote_name="batches/remote-1",
                    display_name="try-1",
                    outcome="created",
                    now=ws.workspace.now(),
                )
            return True

        monkeypatch.setattr(Locks, "is_free", end_create)
        monkeypatch.setattr(poll, "record_and_cancel_duplicates_of_all_tasks", lambda _ws: None)
        monkeypatch.setattr(poll._Poll, "poll_until_end", lambda _poll, **_options: None)
        result = RunResult()
        poll.poll_and_download_batches(ws, result, should_wait=False)
    assert result.unclear_batches == []
