"""`make clean` removes unneeded files, keeps the accounts, and nothing is missing afterwards."""

import json
import os
from collections.abc import Callable

import pytest

from tests import ledger
from tests.lab import Workspace, ran
from tests.people import insert_person

CHAIN = ("batch-submit", "batch-poll", "batch-ingest", "index")


def list_batch_files(workspace: Workspace) -> list[str]:
    """Return the names of the files of batches."""
    return sorted(path.name for path in (workspace.data / "batches").iterdir())


@pytest.fixture
def used_workspace(
    workspace: Workspace, people: Callable[..., list[str]], begun: Callable[..., None]
) -> Workspace:
    """Prepare a finished batch, two builds, and a batch at the API."""

    def prepare() -> None:
        """Run the chain, and start it again."""
        people(4)
        workspace.ran_each(*CHAIN, "index")
        with workspace.open() as ws, ws.workspace.store.write() as tx:
            insert_person(ws, tx, "late", {"bio": "I mend clocks."})
        ran(workspace, "batch-submit")

    begun(prepare)
    return workspace


@pytest.mark.full
def test_old_files_and_builds_are_removed_and_accounts_stay(used_workspace: Workspace) -> None:
    """KEEP_DAYS=0 removes the files of the finished batch and the older build.

    A run within KEEP_DAYS, with DRY=1, with invalid days, or for a second time removes nothing.
    """
    before = ledger.snapshot(used_workspace)
    files_before = list_batch_files(used_workspace)
    for days in ("-1", "nan", "soon"):
        ran(used_workspace, "clean", KEEP_DAYS=days, code=2)
    assert "removed nothing" in ran(used_workspace, "clean")
    assert "would remove 2 files, " in ran(used_workspace, "clean", KEEP_DAYS="0", DRY="1")
    assert list_batch_files(used_workspace) == files_before
    assert ledger.snapshot(used_workspace) == before

    spent = ledger.status(used_workspace)["spent"]
    assert "removed 2 files, " in ran(used_workspace, "clean", KEEP_DAYS="0")
    assert "removed nothing" in ran(used_workspace, "clean", KEEP_DAYS="0")
    assert used_workspace.scalar("SELECT count(*) FROM askrows_events WHERE kind = 'clean'") == 1
    assert list_batch_files(used_workspace) == ["000002-requests.jsonl"]

    assert [path.name for path in (used_workspace.data / "index" / "builds").iterdir()] == ["2"]

    after = ledger.snapshot(used_workspace)
    assert {**after, "askrows_events": []} == {**before, "askrows_events": []}
    assert ledger.status(used_workspace)["spent"] == spent
    assert ledger.findings(used_workspace) == []
    assert len(json.loads(used_workspace.run("search", "bees", "--json").stdout)) == 4


def test_files_of_dead_runs_are_removed(used_workspace: Workspace) -> None:
    """`clean` removes half builds and part files anywhere, except those of live processes."""
    dead_file = used_workspace.data / "batches" / "000009-requests.jsonl.7fffffff-abcdefabcd.part"
    live_file = (
        used_workspace.data / "batches" / f"000001-results.jsonl.{os.getpid():x}-abcdefabcd.part"
    )
    dead_upload = used_workspace.data / "sources" / "page.7fffffff-abcdefabcd.part" / "people.csv"
    dead_draft = used_workspace.data / "tasks" / "reviews.py.7fffffff-abcdefabcd.part"
    user_file = used_workspace.data / "tasks" / "cup.part"
    for path in (dead_file, live_file, dead_upload, dead_draft, user_file):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    (used_workspace.data / "index" / "builds" / "9.staging").mkdir()
    clean_run = ran(used_workspace, "clean")
    assert "4 leftovers" in clean_run
    assert not dead_upload.parent.exists()
    assert (dead_draft.exists(), user_file.exists()) == (False, True)
    assert (dead_file.exists(), live_file.exists()) == (False, True)
    assert not (used_workspace.data / "index" / "builds" / "9.staging").exists()
