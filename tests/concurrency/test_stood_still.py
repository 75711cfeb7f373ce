"""A process that stands still at the worst moments: while its lease lasts it is left alone, afterwards it is overtaken.

It is stopped right before one of the product's own calls: where it holds a lease and no transaction.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from pipeline.index.builds import Builds
from tests.concurrency import rounds
from tests.concurrency.conftest import Life
from tests.concurrency.rounds import Part, Round
from tests.integration.hands import Hand

Live = Callable[[str], Life]

LEASE_S = 0.65
LONG_ENOUGH_S = 1.2  # for the other one to do its work, if nothing keeps it from that
CHECK = "pipeline.store.leases.Lease.check"
MOMENTS = {  # what stands still before which call of it, the how manieth
    "a submit before its upload": ("batch-submit", CHECK, 5),
    "a submit before it writes a request file": ("batch-submit", "pipeline.batch.prepare._Preparation._write", 1),
    "a poll before it seals what it fetched": ("batch-poll", "pipeline.core.files.sync_part", 1),
    "an ingest before the account": ("batch-ingest", "pipeline.batch.ingest_batch.BatchIngest._finish", 1),
    "an index before it verifies": ("index", "pipeline.index.builds.Builds.verify", 1),
}
FENCED = {  # the same in the middle of the transaction that was found to hold the lease
    "a poll before it names what it fetched": ("batch-poll", "pipeline.core.files.rename", 1),
    "a submit before it names what it claims": ("batch-submit", "pipeline.core.files.rename", 1),
    "an index before its flip": ("index", "pipeline.index.builds.Builds._flip", 1),
}


@contextlib.contextmanager
def started(life: Life, *words: str, values: Mapping[str, str] | None = None, **more: Any) -> Iterator[Hand]:
    """Start a command on a workspace; it is gone at the end of the block."""
    hand = Hand("tests.concurrency.standing")
    hand.start(life.workspace, *words, values=values, **more)
    try:
        yield hand
    finally:
        hand.close()


@contextlib.contextmanager
def standing_still(life: Life, moment: str, **values: str) -> Iterator[Hand]:
    """Run the command of a moment until it stands still."""
    command, call, count = (MOMENTS | FENCED)[moment]
    with started(life, command, values=values, call=call, count=count) as hand:
        assert hand.wait_until_stopped(), hand.ended()
        yield hand


@pytest.mark.full
@pytest.mark.sampled(3, sqlite=3)
@pytest.mark.parametrize("moment", FENCED)
def test_who_stands_still_behind_the_fence_is_not_overtaken(moment: str, live: Live) -> None:
    """What others see changes in one transaction with the look at the lease: nothing comes between the two."""
    life = live("data")
    command = FENCED[moment][0]
    if command == "index":
        assert life.workspace.run("batch-ingest").exit_code == 0
    if command == "batch-poll":
        life.api.fault("cut_without_length", times=3, method="GET", path=":download", args={"fraction": 0.5})
    with standing_still(life, moment) as first:
        time.sleep(LEASE_S)
        with started(life, command) as other:
            other.wait_until_ended(LONG_ENOUGH_S)
            first.go_on()
            both = [first.ended(), other.ended()]
    one = Round((Part(command), Part(command)), both)
    assert [end.code for end in both] == [0, 0], one
    if command == "index":
        with life.workspace.open() as ws:
            current = Builds(ws.data).current()
            assert current is not None
            assert current.number == max(Builds(ws.data).numbers()), "an older build was put back"
    rounds.finish(life, one)
    rounds.check(life, one)


@pytest.mark.full
@pytest.mark.sampled(5, sqlite=5)
@pytest.mark.parametrize("moment", MOMENTS)
def test_who_stands_still_within_its_lease_is_left_alone(moment: str, live: Live) -> None:
    """Another one waits, or leaves the batch to it; when it goes on, both end well, and all was done once."""
    life = live("data")
    command = MOMENTS[moment][0]
    if command == "index":
        assert life.workspace.run("batch-ingest").exit_code == 0
    with standing_still(life, moment, LEASE="3600") as first:
        seen = _effects(life, command)
        with started(life, command, "--no-wait" if command == "batch-poll" else "--json") as other:
            other.wait_until_ended(LONG_ENOUGH_S)
            assert _effects(life, command) == seen, seen
            first.go_on()
            both = [first.ended(), other.ended()]
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
