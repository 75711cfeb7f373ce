"""`make clean`: what nothing needs goes, the accounts stay, and it is not missed afterwards."""

import json
import os
from collections.abc import Callable

import pytest

from pipeline.experts import table
from tests import ledger
from tests.lab import Workspace, ran

CHAIN = ("batch-submit", "batch-poll", "batch-ingest", "index")


def sealed(workspace: Workspace) -> list[str]:
    """Return the names of the files of batches."""
    return sorted(path.name for path in (workspace.data / "batches").iterdir())


@pytest.fixture
def used(workspace: Workspace, people: Callable[..., list[str]], begun: Callable[..., None]) -> Workspace:
    """A workspace with one batch that is over, two builds, and one batch that is at the API."""

    def prepare() -> None:
        """Go through the chain, and begin it again."""
        people(4)
        workspace.ran_each(*CHAIN, "index")
        with workspace.open() as ws, ws.store.write() as tx:
            table.insert_person(tx, "late", {"bio": "I mend clocks."})
        ran(workspace, "batch-submit")

    begun(prepare)
    return workspace


def test_old_files_and_builds_go_and_accounts_stay(used: Workspace) -> None:
    """With KEEP_DAYS=0 the files of the batch that is over and the older build go, and doctor misses nothing.

    Within KEEP_DAYS, with DRY=1 and with days that are none nothing does; a second time there is nothing.
    """
    before, files_before = ledger.snapshot(used), sealed(used)
    for days in ("-1", "nan", "soon"):
        ran(used, "clean", KEEP_DAYS=days, code=3)
    assert "nothing to clean" in ran(used, "clean")
    assert "would remove 2 files of 1 batch" in ran(used, "clean", KEEP_DAYS="0", DRY="1")
    assert (sealed(used), ledger.snapshot(used)) == (files_before, before)
    kept = ledger.status(used)["spent"]
    assert "removed 2 files of 1 batch" in ran(used, "clean", KEEP_DAYS="0")
    assert "nothing to clean" in ran(used, "clean", KEEP_DAYS="0")
    assert used.scalar("SELECT count(*) FROM findable_events WHERE kind = 'clean'") == 1
    assert sealed(used) == ["000002-requests.jsonl"]
    assert [path.name for path in (used.data / "index" / "builds").iterdir()] == ["2"]
    after = ledger.snapshot(used)
    assert {**after, "findable_events": []} == {**before, "findable_events": []}
    assert ledger.status(used)["spent"] == kept
    assert ledger.findings(used) == []
    assert len(json.loads(used.run("search", "bees", "--json").stdout)) == 4


def test_what_dead_runs_left_goes(used: Workspace) -> None:
    """Part files of dead processes and half builds; part files of the living stay."""
    dead = used.data / "batches" / "000009-requests.jsonl.7fffffff-abcdefabcd.part"
    alive = used.data / "batches" / f"000001-results.jsonl.{os.getpid():x}-abcdefabcd.part"
    for path in (dead, alive):
        path.write_bytes(b"half")
    (used.data / "index" / "builds" / "9.staging").mkdir()
    said = ran(used, "clean")
    assert "2 left-overs" in said
    assert (dead.exists(), alive.exists()) == (False, True)
    assert not (used.data / "index" / "builds" / "9.staging").exists()
