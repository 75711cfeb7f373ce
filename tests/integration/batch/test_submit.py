"""`make batch-submit`: at a terminal, and at moments that only a seam shows."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.batch import create, prepare, submit
from pipeline.batch.prepare import BatchPlan
from pipeline.core import files
from pipeline.cost import queue_quota
from pipeline.engine import questions
from pipeline.experts import table
from pipeline.store import claims
from tests.integration.looks import (
    batch_row,
    claimed,
    creates,
    states,
    tries,
    uploads,
)
from tests.lab import ROOT, Api, Workspace
from tests.progress import NullProgress

People = Callable[..., list[str]]


@pytest.mark.full
@pytest.mark.parametrize("typed", ["\x04", "y\n"])
def test_at_a_terminal_it_asks(typed: str, workspace: Workspace, api: Api, people: People) -> None:
    """Yes goes on, the end of the input is exit 130; without a yes nothing is written or sent."""
    people(1)
    ours, theirs = pty.openpty()
    environ = os.environ | workspace.environ | {"FINDABLE_CONFIRM_ABOVE": "0", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "jobs", "batch-submit"]
    process = subprocess.Popen(
        command, env=environ, stdin=theirs, stderr=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    os.close(theirs)
    assert process.stderr is not None
    said = b""
    while b"Go on?" not in said:
        piece = os.read(process.stderr.fileno(), 1000)
        assert piece, said
        said += piece
    os.write(ours, typed.encode())
    _, rest = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == {"\x04": 130, "y\n": 0}[typed], said + rest
    assert b"Traceback" not in rest
    assert (states(workspace), creates(api)) == ((["submitted"], 1) if typed == "y\n" else ([], 0))


def test_no_more_is_sent_than_was_announced(workspace: Workspace, people: People) -> None:
    """Who is imported between the plan and the writing goes out with the next run, after a plan that counts them."""
    people(3)
    with workspace.open() as ws:

        def import_one(_plan: BatchPlan) -> None:
            """Be another command that brings a person in at this moment."""
            with ws.store.write() as tx:
                table.insert_person(tx, "late", {"bio": "I arrived in between."})

        report = submit.run(ws, limit=None, dry=False, announce=import_one, confirm=lambda _plan: False)
    assert (report.plan.requests, report.items) == (3, 3)
    assert claimed(workspace) == ["1", "2", "3"]


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
    real = claims.take_claims

    def watched(*args: Any, **values: Any) -> None:
        """Look at the disk, then claim."""
        there = [path for path in folder.glob("*jsonl*") if path.suffix != ".part"]
        seen.append(([path.name[:21] for path in there], sum(len(path.read_bytes().splitlines()) for path in there)))
        real(*args, **values)

    monkeypatch.setattr(claims, "take_claims", watched)
    assert workspace.run("batch-submit").exit_code == 0
    assert seen == [(["000001-requests.jsonl"], 3)]
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


def _quota(workspace: Workspace, folder: Path) -> int:
    """Let three quarters of all people's tokens wait at the API at once; return how many those are."""
    models = folder / "models.toml"
    limit: int = json.loads(workspace.run("batch-submit", "--dry", "--json").stdout)["tokens_in"] * 3 // 4
    models.write_text(
        '[models."gemini-3.5-flash-lite"]\nprice_in = 0.3\nprice_out = 2.5\n'
        f'priced_on = 2026-10-07\nsource = "a page"\nkind = "generate"\nenqueued_tokens = {limit}\n'
    )
    workspace.environ["FINDABLE_MODELS_FILE"] = str(models)
    return limit


def test_the_quota_is_looked_at_again_when_the_create_is_committed(
    workspace: Workspace, api: Api, people: People, tmp_path: Path
) -> None:
    """A batch that was sent while this one's file was uploaded took the room: this one waits, uploaded, uncreated."""
    people(4)
    limit = _quota(workspace, tmp_path)
    with workspace.open() as ws:
        [first] = prepare.prepare_batches(ws, prepare.Selection(2), bar=_bar())
        [second] = prepare.prepare_batches(ws, prepare.Selection(2), bar=_bar())
        workspace.change("UPDATE findable_batches SET estimated_in = :most WHERE number = 1", most=limit)
        upload = ws.client.upload

        def meanwhile(*args: Any, **named: Any) -> Any:
            """Upload, and let another process send the first batch."""
            ws.client.upload = upload
            assert create.send_batch(ws, first) is create.SendOutcome.CREATED
            return upload(*args, **named)

        ws.client.upload = meanwhile
        with pytest.raises(queue_quota.QuotaFullError, match="tokens would wait"):
            create.send_batch(ws, second)
    assert (states(workspace), creates(api), tries(workspace)) == (["submitted", "prepared"], 1, ["created"])
    assert batch_row(workspace, 2)["upload"]


def test_no_more_bytes_are_uploaded_than_the_api_keeps(
    workspace: Workspace, api: Api, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uploads of batches that are not over count together; the one that would be too much waits as prepared."""
    people(4)
    api.configure(paused=True)
    assert workspace.run("batch-submit", "--limit", "2").exit_code == 0
    monkeypatch.setattr(queue_quota, "MAX_STORED_BYTES", int(batch_row(workspace)["request_size"] * 1.5))
    result = workspace.ran("batch-submit", code=4)
    assert "bytes would be uploaded" in result.stderr
    assert (states(workspace), uploads(api)) == (["submitted", "prepared"], 1)


def _bar() -> Any:
    """Return progress that is not looked at."""
    return NullProgress().bar("", None).__enter__()
