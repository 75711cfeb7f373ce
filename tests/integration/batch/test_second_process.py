"""`batch-ingest` with a second process: each batch is ingested once, by either, and no process is left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.batch import ingest, ingest_batch
from pipeline.batch.account import IngestSummary
from pipeline.core import second_process
from pipeline.store import claims
from tests import ledger
from tests.delivery import deliver, error, line, prepare, put_people, result, workspace_at
from tests.integration.looks import states
from tests.lab import ROOT, Workspace
from tests.postgresql import lives

BATCHES, PEOPLE = 3, 4
NEWEST_FIRST = ingest._newest_first

# begins a second process that says its number and then yields for ever
ENDLESS = """
import sys, time
from pipeline.core.second_process import second_process
from tests.integration.batch.test_second_process import endless
with second_process(endless) as told:
    while not told.so_far:
        time.sleep(0.01)
    print(told.so_far[0], flush=True)
    sys.stdin.read()
"""


def endless() -> Iterator[int]:
    """Yield this process's number, and then work on something that tells nothing."""
    yield os.getpid()
    while True:
        time.sleep(1)


def dies(*_: object) -> Iterator[IngestSummary]:
    """Be killed in place of ingesting."""
    os.kill(os.getpid(), signal.SIGKILL)
    yield from ()


def takes_part(*how: Any) -> Iterator[Any]:
    """Work in small chunks."""
    ingest_batch.CHUNK = 2
    yield from NEWEST_FIRST(*how)


def waits_for_a_part(*how: Any) -> Iterator[Any]:
    """Work in small chunks, and after each wait until the last line is accounted for, which the first process does."""
    ingest._Process._lines_beside = lambda this, number: waits_for(this, number, -1)  # type: ignore[assignment, method-assign]
    yield from takes_part(*how)


def waits_for(this: Any, number: int, place: int) -> bool:
    """Return when the request at a place in a batch is accounted for."""
    while True:
        with this.ws.store.read() as tx:
            if claims.request_page(tx, number, after=None, limit=100)[place].outcome is not None:
                return True
        time.sleep(0.01)


def dies_in_a_part(*how: Any) -> Iterator[Any]:
    """Be killed when a part of a batch is done."""
    for said in takes_part(*how):
        yield said
        if isinstance(said, ingest._Part):
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty workspace, for whose batches a second process is begun."""
    monkeypatch.setattr(ingest, "SECOND_FROM", 0)
    monkeypatch.setattr(ingest, "can_begin", lambda: True)
    made = workspace_at(tmp_path / "data")
    made.begin()
    return made


@pytest.fixture
def downloaded(workspace: Workspace) -> Workspace:
    """Three downloaded batches, of which the second has odd lines."""
    for number in range(BATCHES):
        put_people(workspace, PEOPLE, first=number * PEOPLE)
        keys = prepare(workspace)
        spoil = (lambda key: [error(key, 13), line("unknown")]) if number == 1 else None
        deliver(workspace, result(keys, spoil=spoil))
    return workspace


def ingested(workspace: Workspace) -> dict[int, Any]:
    """Run `batch-ingest`, hold that all is accounted for and no process left, and return its document by batch."""
    document = json.loads(workspace.ran("batch-ingest", "--json").stdout)
    ledger.check(workspace)
    assert states(workspace) == ["ingested"] * BATCHES
    found = {one["batch"]: one for one in document}
    assert len(found) == len(document) == BATCHES
    assert [one["answered"] for _, one in sorted(found.items())] == [PEOPLE, PEOPLE - 1, PEOPLE]
    assert found[2]["unknown"] == 1
    return found


def ingest_one_batch(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, second: Callable[..., Any]) -> None:
    """Ingest a batch of many small chunks with a second process, and hold that all is accounted for."""
    monkeypatch.setattr(ingest, "_newest_first", second)
    monkeypatch.setattr(ingest_batch, "CHUNK", 2)
    put_people(workspace, 40)
    deliver(workspace, result(prepare(workspace)))
    (account,) = json.loads(workspace.ran("batch-ingest", "--json").stdout)
    ledger.check(workspace)
    assert (account["answered"], states(workspace)) == (40, ["ingested"])


def leaves(monkeypatch: pytest.MonkeyPatch, which: Callable[[Any, int], bool]) -> list[int]:
    """Let this process leave batches in its first turn, as if another were at them; return the ones that it takes."""
    once, taken = ingest._Process.ingest, list[int]()

    def some(this: Any, number: int, *, waits: bool) -> IngestSummary | None:
        """Take a batch, or leave it."""
        if not waits and which(this, number):
            return None
        taken.append(number)
        return once(this, number, waits=waits)

    monkeypatch.setattr(ingest._Process, "ingest", some)
    return taken


def test_the_second_process_ingests_and_tells_what_it_found(
    downloaded: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where this process is at no batch, the other one does them all, and its accounts are told here."""
    by_this = leaves(monkeypatch, lambda *_: True)
    ingested(downloaded)
    assert by_this == []


def test_both_share_the_batches(downloaded: Workspace) -> None:
    """Each is ingested by one of them."""
    ingested(downloaded)


def test_a_second_process_that_is_killed_leaves_its_batches_to_this_one(
    downloaded: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is missing, and nothing is said of it."""
    monkeypatch.setattr(ingest, "_newest_first", dies)
    ingested(downloaded)


@pytest.mark.parametrize("python", ["/bin/false", "/nowhere"])
def test_this_one_does_all_where_no_other_works(
    python: str, downloaded: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it ends before it is told what to do, or cannot be begun."""
    make = second_process.Told.__init__

    def late(this: Any, *stream: Any) -> None:
        """Go on when it has ended."""
        make(this, *stream)
        this.ended()

    monkeypatch.setattr(second_process.Told, "__init__", late)
    monkeypatch.setattr(sys, "executable", python)
    assert "\nNext: " in downloaded.ran("batch-ingest").stdout
    ledger.check(downloaded)
    assert states(downloaded) == ["ingested"] * BATCHES


def test_a_batch_at_another_process_is_waited_for(downloaded: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes last; where that process was ended in the midst of it, it is ingested here."""
    monkeypatch.setattr(ingest, "_newest_first", dies)
    leaves(monkeypatch, lambda _, number: number == 1)
    assert list(ingested(downloaded)) == [2, 3, 1]


def test_a_batch_that_cannot_be_ingested_is_told_once(downloaded: Workspace) -> None:
    """The others are ingested; the error is that of one process."""
    path = next(downloaded.data.rglob("*00002*result*"))
    path.chmod(0o600)
    path.write_bytes(path.read_bytes() + b"\n")
    ran = downloaded.ran("batch-ingest", code=5)
    assert ran.stderr.count("the result of batch 2") == 1, ran.stderr
    assert states(downloaded) == ["ingested", "downloaded", "ingested"]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("second", [takes_part, dies_in_a_part])
def test_both_take_part_in_one_batch(
    second: Callable[..., Iterator[Any]], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second process does some of it from its end; whether it is killed then or not, all is done once."""
    lines_beside, parts = ingest._Process._lines_beside, list[int]()

    def waits(this: Any, number: int) -> int:
        """Wait, after a chunk, for the first part that is done beside."""
        while not (lines := lines_beside(this, number)):
            time.sleep(0.01)
        parts.append(lines)
        return lines

    monkeypatch.setattr(ingest._Process, "_lines_beside", waits)
    ingest_one_batch(workspace, monkeypatch, second)
    assert parts[-1] == 2 if second is dies_in_a_part else parts[-1] >= 2


@pytest.mark.timeout(30)
def test_the_first_takes_part_in_what_the_second_is_at(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no batch is left to it, from the end of that one."""
    leaves(monkeypatch, lambda this, number: waits_for(this, number, 0))
    ingest_one_batch(workspace, monkeypatch, waits_for_a_part)


@pytest.mark.timeout(30)
def test_it_ends_with_the_process_that_began_it() -> None:
    """A killed process leaves none behind that goes on by itself."""
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", ENDLESS]
    with subprocess.Popen(words, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        second = int(first.stdout.readline())
        assert second != first.pid
        assert lives(second)
        first.kill()
    while lives(second):
        time.sleep(0.01)
