"""One batch that two processes ingest, from its beginning and from its end: each request is accounted for once."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.batch import ingest_batch
from pipeline.batch.account import IngestSummary
from pipeline.batch.ingest_batch import begin_ingest
from pipeline.engine.workspace import OpenWorkspace
from pipeline.store.leases import Lease, LeaseLostError, drop_leases
from tests import ledger
from tests.delivery import USAGE, deliver, error, line, prepare, put_people, response, workspace_at
from tests.lab import Workspace

PEOPLE = 7
CHUNK = 2  # so that chunks from the end are none of those from the beginning
Act = Callable[[], object]


class StoppedError(Exception):
    """Raised to stop an ingest after some chunks, as a kill would."""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty workspace, of whose batches two requests are taken at a time."""
    monkeypatch.setattr(ingest_batch, "CHUNK", CHUNK)
    made = workspace_at(tmp_path / "data")
    made.begin()
    return made


def delivered(workspace: Workspace) -> int:
    """Put people, and return the number of their downloaded batch, which has lines of every kind and of many costs."""
    put_people(workspace, PEOPLE, first=workspace.scalar("SELECT count(*) FROM experts"))
    keys = prepare(workspace)
    lines = [
        line(key, response(usageMetadata={**USAGE, "promptTokenCount": 10**at})) if at in {1, 3, 5} else error(key, 3)
        for at, key in enumerate(keys)
    ]
    return deliver(workspace, b"\n".join([*lines, line("unknown"), line(keys[3]), b""]))


@contextlib.contextmanager
def interrupted(monkeypatch: pytest.MonkeyPatch, at: int, act: Act) -> Iterator[None]:
    """Do something else when a chunk, counted from 1, is judged and not yet written."""
    write, made = ingest_batch.BatchIngest._write, 0

    def acting(work: ingest_batch.BatchIngest, *what: Any) -> None:
        nonlocal made
        made += 1
        if made == at:
            act()
        write(work, *what)

    with monkeypatch.context() as patch:
        patch.setattr(ingest_batch.BatchIngest, "_write", acting)
        yield


def begin(ws: OpenWorkspace, number: int) -> ingest_batch.BatchIngest:
    """Return the work on a batch, under its lease, which the caller holds."""
    work = begin_ingest(ws, number, Lease(ws.store, f"batch:{number}", 60))
    assert work is not None
    return work


def run(ws: OpenWorkspace, number: int, *, chunks: int | None = None) -> IngestSummary | None:
    """Ingest a batch from its beginning, or so many chunks of it."""
    left = iter(range(chunks - 1)) if chunks is not None else None

    def count() -> int:
        """Stop after the last one."""
        if left is not None and next(left, None) is None:
            raise StoppedError
        return 0

    with contextlib.suppress(StoppedError):
        return begin(ws, number).run(count)
    return None


def told(summary: IngestSummary | None) -> dict[str, Any]:
    """Return what is told of a batch, less what differs between two that were alike."""
    assert summary is not None
    counts = ("answered", "refused", "invalid", "missing", "unknown", "duplicates", "unreadable")
    used = ("tokens_in", "tokens_out", "cost")
    odd = [
        (one.outcome, one.reason, one.count, [int(name[7:]) % PEOPLE for name, _ in one.examples if "person" in name])
        for one in summary.anomalies
    ]
    return {name: getattr(summary.batch, name) for name in (*counts, *used)} | {"anomalies": odd}


def test_each_request_is_accounted_for_once_wherever_the_two_meet(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Either has judged a chunk, any one, when the other does some: of all, of a part of it, or of none of it."""
    alone = delivered(workspace)
    with workspace.open() as ws, ws.lease(f"batch:{alone}"):
        expected = told(run(ws, alone))
    for at in range(1, 5):
        for chunks in (1, 2, 4):
            from_end, from_start = delivered(workspace), delivered(workspace)
            with workspace.open() as ws, ws.lease(f"batch:{from_end}"), ws.lease(f"batch:{from_start}"):
                beside = begin(ws, from_end).run_from_end()
                with interrupted(monkeypatch, at, lambda: [next(beside, 0) for _ in range(chunks)]):  # noqa: B023
                    assert told(run(ws, from_end)) == expected, (at, chunks)
                with interrupted(monkeypatch, at, lambda: run(ws, from_start, chunks=chunks)):  # noqa: B023
                    done = list(begin(ws, from_start).run_from_end())
                assert done[0] == CHUNK <= done[-1] <= PEOPLE - CHUNK
                assert told(run(ws, from_start)) == expected, (at, chunks)
    ledger.check(workspace)


@pytest.mark.parametrize(("is_file", "done", "left"), [(True, [2, 4, 5], 2), (False, [2, 3], 4)])
def test_a_part_is_left_to_the_process_that_has_the_lease(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, *, is_file: bool, done: list[int], left: int
) -> None:
    """From the end all is done but what that process may be at: a chunk, on a server one that is written, too."""
    monkeypatch.setattr(ingest_batch.BatchIngest, "_is_file", is_file)
    number = delivered(workspace)
    with workspace.open() as ws, ws.lease(f"batch:{number}"):
        assert list(begin(ws, number).run_from_end()) == done
        open_left = "SELECT line FROM findable_requests WHERE outcome IS NULL ORDER BY 1"
        assert workspace.query(open_left) == [(one + 1,) for one in range(left)]
        assert list(begin(ws, number).run_from_end()) == []
    assert workspace.scalar("SELECT state FROM findable_batches") == "downloaded"
    workspace.ran("batch-ingest")
    ledger.check(workspace)


def test_nothing_is_written_when_the_lease_went_to_another_process(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose part it was is no matter: what was judged under it is dropped."""
    number = delivered(workspace)

    def lose() -> None:
        """Let another process have the batch."""
        with ws.store.write() as tx:
            drop_leases(tx)

    losing = interrupted(monkeypatch, 2, lose)
    with workspace.open() as ws, ws.lease(f"batch:{number}"), losing, pytest.raises(LeaseLostError):
        list(begin(ws, number).run_from_end())
    assert workspace.scalar("SELECT count(*) FROM findable_requests WHERE outcome IS NOT NULL") == CHUNK
