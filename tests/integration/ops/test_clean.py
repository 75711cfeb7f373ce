"""`make clean`: what nothing needs goes, the accounts stay, and it is not missed afterwards."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.experts import table
from tests import ledger
from tests.lab import ON_POSTGRESQL, Workspace, ran

CHAIN = ("batch-submit", "batch-poll", "batch-ingest", "index")
SEALED = ("000001-requests.jsonl", "000001-results.jsonl")


def sealed(workspace: Workspace) -> list[str]:
    """Return the names of the files of batches."""
    return sorted(path.name for path in (workspace.data / "batches").iterdir())


@pytest.fixture
def used(
    workspace: Workspace, people: Callable[..., list[str]], begun: Callable[..., None]
) -> Workspace:
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
    before = ledger.snapshot(used)
    files_before = sealed(used)
    for days in ("-1", "nan", "soon"):
        ran(used, "clean", KEEP_DAYS=days, code=3)
    assert "nothing to clean" in ran(used, "clean")
    assert "would remove 2 files of 1 batch" in ran(used, "clean", KEEP_DAYS="0", DRY="1")
    assert (sealed(used), ledger.snapshot(used)) == (files_before, before)
    spent = ledger.status(used)["spent"]
    lines = {name: (used.data / "batches" / name).read_bytes().splitlines() for name in SEALED}
    assert "removed 2 files of 1 batch" in ran(used, "clean", KEEP_DAYS="0")
    assert "nothing to clean" in ran(used, "clean", KEEP_DAYS="0")
    assert used.scalar("SELECT count(*) FROM findable_events WHERE kind = 'clean'") == 1
    assert sealed(used) == ["000001-hashes.jsonl", "000002-requests.jsonl"]
    hashes = [
        json.loads(line)
        for line in (used.data / "batches" / "000001-hashes.jsonl").read_text().splitlines()
    ]
    for kind, name in zip(("request", "reply"), SEALED, strict=True):
        told = [(one["key"], one[kind]) for one in hashes if kind in one]
        assert told == [
            (json.loads(line)["key"], hashlib.sha256(line).hexdigest()) for line in lines[name]
        ]
    assert [path.name for path in (used.data / "index" / "builds").iterdir()] == ["2"]
    after = ledger.snapshot(used)
    assert {**after, "findable_events": []} == {**before, "findable_events": []}
    assert ledger.status(used)["spent"] == spent
    assert ledger.findings(used) == []
    assert len(json.loads(used.run("search", "bees", "--json").stdout)) == 4


def test_hashes_of_lines_are_kept_as_sealed_files_are(used: Workspace, tmp_path: Path) -> None:
    """A backup has them, who is forgotten is in them no more, and doctor finds where they were changed."""
    ran(used, "batch-poll")
    ran(used, "batch-ingest")
    ran(used, "clean", KEEP_DAYS="0")
    path = used.data / "batches" / "000001-hashes.jsonl"
    before = path.read_text().splitlines()
    name = used.scalar("SELECT username FROM experts WHERE id = 2")
    ran(used, "forget", str(name), "--yes")
    left = path.read_text().splitlines()
    assert left == [line for line in before if json.loads(line)["key"] != "expert-tags/2"]
    assert len(left) == len(before) - 2
    assert ledger.findings(used) == []
    assert "nothing to clean" in ran(used, "clean", KEEP_DAYS="0")
    if not ON_POSTGRESQL:
        ran(used, "backup", str(tmp_path / "copy"))
        assert (tmp_path / "copy" / "batches" / path.name).read_bytes() == path.read_bytes()
    path.write_text("\n".join(left[1:]))
    assert [
        "the file of its lines' hashes was changed" in finding["said"]
        for finding in ledger.findings(used)
    ] == [True]


def test_what_dead_runs_left_goes(used: Workspace) -> None:
    """Part files of dead processes and half builds; part files of the living stay."""
    dead = used.data / "batches" / "000009-requests.jsonl.7fffffff-abcdefabcd.part"
    alive = used.data / "batches" / f"000001-results.jsonl.{os.getpid():x}-abcdefabcd.part"
    for path in (dead, alive):
        path.write_bytes(b"half")
    (used.data / "index" / "builds" / "9.staging").mkdir()
    clean_run = ran(used, "clean")
    assert "2 left-overs" in clean_run
    assert (dead.exists(), alive.exists()) == (False, True)
    assert not (used.data / "index" / "builds" / "9.staging").exists()
