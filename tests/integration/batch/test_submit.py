"""`make batch-submit`: at a terminal, and at moments that only a seam shows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.batch import budget
from pipeline.core import files
from pipeline.engine import questions
from pipeline.store import asks
from tests.integration.looks import (
    batch_row,
    claimed,
    states,
    uploads,
)
from tests.lab import Api, Workspace

People = Callable[..., list[str]]


def test_a_row_that_cannot_be_sent_is_named_before_anything_is(
    workspace: Workspace, api: Api, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request larger than the API takes stops the run with 2 and the person's name; no file stays behind."""
    names = people(2)
    monkeypatch.setattr(questions, "MAX_FILE_BYTES", 100)
    result = workspace.ran("batch-submit", code=2)
    assert names[0] in result.stderr
    assert (states(workspace), api.journal()) == ([], [])
    assert not list(workspace.data.glob("batches/*"))


def test_claims_are_taken_only_after_the_file_is_sealed(
    workspace: Workspace, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the moment of the claim the whole file is on disk, under a name that a sweep would remove.

    What no batch knows, sealed or half written, is removed by the next run that prepares; other files stay.
    """
    people(3)
    folder = workspace.data / "batches"
    folder.mkdir()
    stale = ["000001-requests.jsonl", "000001-requests.jsonl.0badcafe.part", "000007-requests.jsonl.0badcafe"]
    for name in [*stale, "notes.txt"]:
        (folder / name).write_text("{}\n")
    seen: list[tuple[list[str], int]] = []
    real = asks.claim

    def watched(*args: Any, **values: Any) -> None:
        """Look at the disk, then claim."""
        there = [path for path in folder.glob("*jsonl*") if path.suffix != ".part"]
        seen.append(([path.name[:21] for path in there], sum(len(path.read_bytes().splitlines()) for path in there)))
        real(*args, **values)

    monkeypatch.setattr(asks, "claim", watched)
    assert workspace.run("batch-submit").exit_code == 0
    assert seen == [(["000000-requests.jsonl"], 3)]  # it has no number yet
    assert sorted(path.name for path in folder.iterdir()) == ["000001-requests.jsonl", "notes.txt"]


def test_no_claim_is_committed_before_its_file_has_its_name(
    workspace: Workspace, api: Api, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the sealed file cannot get its final name no person is claimed and no batch exists."""
    people(3)

    def refuse(_sealed: files.Sealed, path: Path) -> files.Sealed:
        """Be a disk that gives no name."""
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(files, "rename", refuse)
    assert workspace.run("batch-submit").exit_code == 3
    assert (states(workspace), claimed(workspace), api.journal()) == ([], [], [])
    assert not list(workspace.data.glob("batches/*"))


def test_no_more_bytes_are_uploaded_than_the_api_keeps(
    workspace: Workspace, api: Api, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uploads of batches that are not over count together; the one that would be too much waits as prepared."""
    people(4)
    api.configure(paused=True)
    assert workspace.run("batch-submit", "--limit", "2").exit_code == 0
    monkeypatch.setattr(budget, "MAX_STORED_BYTES", int(batch_row(workspace)["request_size"] * 1.5))
    result = workspace.ran("batch-submit", code=4)
    assert "bytes would be uploaded" in result.stderr
    assert (states(workspace), uploads(api)) == (["submitted", "prepared"], 1)
