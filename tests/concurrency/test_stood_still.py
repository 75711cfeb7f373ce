"""A process that stands still at the worst moments: while its lease lasts it is left alone, afterwards it is overtaken.

It is stopped right before one of the product's own calls: where it holds a lease and no transaction.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from pipeline.index.builds import Builds
from tests.concurrency import rounds
from tests.concurrency.conftest import Life
from tests.concurrency.rounds import Part, Round
from tests.integration.hands import Ended
from tests.lab import ROOT, slowness

pytestmark = pytest.mark.sampled(2)

Live = Callable[[str], Life]
Process = subprocess.Popen[str]

LEASE_S = 0.65
STOPPING = """
import functools, os, pydoc, signal, sys, threading
from pipeline.store.leases import Lease
name, left = sys.argv.pop(1), [int(sys.argv.pop(1))]
owner, _, attribute = name.rpartition(".")
real, renew, still = pydoc.locate(name), Lease.renew, threading.Lock()
def renewing(*arguments, **options):  # who stands still while its lease is being renewed holds the database
    with still:
        return renew(*arguments, **options)
Lease.renew = renewing
@functools.wraps(real)
def stopping(*arguments, **options):
    left[0] -= 1
    if left[0] == 0:
        with still:
            os.kill(os.getpid(), signal.SIGSTOP)
    return real(*arguments, **options)
setattr(pydoc.locate(owner), attribute, stopping)
from jobs.cli import main
main()
"""
CHECK = "pipeline.store.leases.Lease.check"
MOMENTS = {  # what stands still before which call of it, the how manieth
    "a submit before its last look at the lease and its create": ("batch-submit", CHECK, 2),
    "a submit before its upload": ("batch-submit", CHECK, 5),
    "a submit before the create of what it wrote": ("batch-submit", CHECK, 8),
    "a submit before it writes a request file": ("batch-submit", "pipeline.batch.prepare._Preparation._write", 1),
    "a submit before it claims what it wrote": ("batch-submit", "pipeline.core.files.SealedWriter.seal", 1),
    "a poll before it seals what it fetched": ("batch-poll", "pipeline.core.files.sync_part", 1),
    "an ingest before the account": ("batch-ingest", "pipeline.batch.ingest._Ingest._finish", 1),
    "an index before it verifies": ("index", "pipeline.index.builds.Builds.verify", 1),
    "an index before it promotes": ("index", "pipeline.index.builds.Builds.promote", 1),
}
FENCED = {  # the same in the middle of the transaction that was found to hold the lease
    "a poll before it names what it fetched": ("batch-poll", "pipeline.core.files.rename", 1),
    "a submit before it names what it claims": ("batch-submit", "pipeline.core.files.rename", 1),
    "an index before its flip": ("index", "pipeline.index.builds.Builds._flip", 1),
}
LEFT_ALONE = [
    "a submit before its upload",
    "a submit before it writes a request file",
    "a poll before it seals what it fetched",
    "an ingest before the account",
    "an index before it verifies",
]


@contextlib.contextmanager
def started(life: Life, *words: str, **values: str) -> Iterator[Process]:
    """Start Python on a workspace; it is gone at the end of the block."""
    process = subprocess.Popen(
        [sys.executable, *words],
        env=os.environ | life.workspace.environ | {f"FINDABLE_{name}": value for name, value in values.items()},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


@contextlib.contextmanager
def standing_still(life: Life, moment: str, **values: str) -> Iterator[Process]:
    """Run the command of a moment until it stands still."""
    command, call, count = (MOMENTS | FENCED)[moment]
    with started(life, "-c", STOPPING, call, str(count), command, **values) as process:
        until = time.monotonic() + 60
        while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until, "it never stood still"
            time.sleep(0.01)
        yield process


def ended(process: Process) -> Ended:
    """Wait for a process and return what became of it."""
    out, err = process.communicate(timeout=60)
    return Ended(process.returncode, out, err, [])


@pytest.mark.sampled(3, sqlite=3)
@pytest.mark.parametrize("moment", MOMENTS)
def test_who_is_overtaken_finds_out_before_it_does_harm(moment: str, live: Live) -> None:
    """Another one does all the work meanwhile; what the first does afterwards changes nothing and asks nobody."""
    life = live("data")
    command = MOMENTS[moment][0]
    if command == "index":
        assert life.workspace.run("batch-ingest").exit_code == 0
    if command == "batch-poll":
        life.api.fault("cut_without_length", times=3, method="GET", path=":download", args={"fraction": 0.5})
    with standing_still(life, moment) as process:
        time.sleep(LEASE_S)
        began = time.monotonic()
        with started(life, "-m", "jobs", command) as other:
            second = ended(other)
        assert time.monotonic() - began < 15 * slowness(), "nobody waits for who stands still for longer than its lease"
        process.send_signal(signal.SIGCONT)
        first = ended(process)
    one = Round((Part(command), Part(command)), [first, second])
    assert (first.code, second.code) == (0, 0), one
    rounds.finish(life, one)
    rounds.check(life, one)
    assert life.workspace.query("SELECT * FROM findable_twins") == []
    assert life.workspace.query("SELECT batch FROM findable_batch_accounts WHERE missing > 0") == [], (
        "what was cut was taken"
    )


@pytest.mark.sampled(2, sqlite=2)
@pytest.mark.parametrize("moment", FENCED)
def test_who_stands_still_behind_the_fence_is_not_overtaken(moment: str, live: Live) -> None:
    """What others see changes in one transaction with the look at the lease: nobody comes between the two."""
    life = live("data")
    command = FENCED[moment][0]
    if command == "index":
        assert life.workspace.run("batch-ingest").exit_code == 0
    if command == "batch-poll":
        life.api.fault("cut_without_length", times=3, method="GET", path=":download", args={"fraction": 0.5})
    with standing_still(life, moment) as process:
        time.sleep(LEASE_S)
        with started(life, "-m", "jobs", command) as other:
            with contextlib.suppress(subprocess.TimeoutExpired):
                other.wait(timeout=2.5)
            process.send_signal(signal.SIGCONT)
            both = [ended(process), ended(other)]
    one = Round((Part(command), Part(command)), both)
    assert [end.code for end in both] == [0, 0], one
    if command == "index":
        with life.workspace.open() as ws:
            current = Builds(ws.data).current()
            assert current is not None
            assert current.number == max(Builds(ws.data).numbers()), "an older build was put back"
    rounds.finish(life, one)
    rounds.check(life, one)


@pytest.mark.sampled(2, sqlite=2)
@pytest.mark.parametrize("moment", LEFT_ALONE)
def test_who_stands_still_within_its_lease_is_left_alone(moment: str, live: Live) -> None:
    """Another one waits, or leaves the batch to it; when it goes on, both end well, and all was done once."""
    life = live("data")
    command = MOMENTS[moment][0]
    if command == "index":
        assert life.workspace.run("batch-ingest").exit_code == 0
    with standing_still(life, moment, LEASE="3600") as process:
        seen = _effects(life, command)
        with started(life, "-m", "jobs", command, "--no-wait" if command == "batch-poll" else "--json") as other:
            with contextlib.suppress(subprocess.TimeoutExpired):
                other.wait(timeout=2.5)
            assert _effects(life, command) == seen, (other.poll(), seen)
            process.send_signal(signal.SIGCONT)
            both = [ended(process), ended(other)]
    one = Round((Part(command), Part(command)), both)
    assert [end.code for end in both] == [0, 0], one
    rounds.finish(life, one)
    rounds.check(life, one)
    assert life.workspace.query("SELECT * FROM findable_twins") == []


def _effects(life: Life, command: str) -> object:
    """Return what a second command of this kind could have done to what the first one holds."""
    files = {path.relative_to(life.workspace.data) for path in life.workspace.data.rglob("*.*") if path.is_file()}
    mine = {path for path in files if "local" not in path.name and "findable.db" not in path.name}
    asked = sorted(one["displayName"] for one in life.api.batches()["batches"] if "-4-" in one["displayName"])
    downloads = len(life.api.seen("GET", ":download"))
    states = life.workspace.query("SELECT number, state FROM findable_batches WHERE number <= 3")
    return (mine if command != "batch-submit" else None), asked, downloads, states
