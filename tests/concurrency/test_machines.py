"""Workers on several machines that share a workspace: of a process elsewhere only its time is known.

Another machine is one with another name; what a process leaves there when it dies is freed by nothing but time.
"""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select

from pipeline.store import tables
from tests.concurrency import rounds
from tests.concurrency.conftest import Life
from tests.concurrency.rounds import Part, Round
from tests.integration.hands import Hand

Live = Callable[[str], Life]

MOMENTS = {  # what stands still before which call of it, the how manieth
    "a submit before it writes a request file": ("batch-submit", "pipeline.batch.prepare._Preparation._write", 1),
    "an ingest before the account": ("batch-ingest", "pipeline.batch.ingest._BatchIngest._finish", 1),
    "an index before it verifies": ("index", "pipeline.index.builds.Builds.verify", 1),
}
DEATHS = {  # at which moment who held the lease died, and what waits for it
    "an ingest before the account": "batch-ingest",
    "an index before it verifies": "index",
    "a submit before it writes a request file": "batch-submit",
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
    command, call, count = MOMENTS[moment]
    with started(life, command, values=values, call=call, count=count) as hand:
        assert hand.wait_until_stopped(), hand.ended()
        yield hand


def left_by_the_dead(life: Life, moment: str, *, lease_s: float) -> datetime:
    """Kill a command in the middle of its work, and return until when its lease lasts."""
    if DEATHS[moment] == "index":
        assert life.workspace.run("batch-ingest").exit_code == 0
    with standing_still(life, moment, LEASE=str(lease_s)) as process:
        process.signal(signal.SIGKILL)
        process.ended()
    with life.workspace.open() as ws, ws.store.read() as tx:
        (until,) = tx.execute(select(tables.leases.c.until)).scalars()
        assert isinstance(until, datetime)
        return until


def last_event(life: Life) -> datetime:
    """Return when anything was last moved."""
    with life.workspace.open() as ws, ws.store.read() as tx:
        newest = tx.execute(select(tables.events.c.at).order_by(tables.events.c.id.desc()).limit(1)).scalar_one()
        assert isinstance(newest, datetime)
        return newest


@pytest.mark.full
@pytest.mark.sampled(3, sqlite=3)
@pytest.mark.parametrize("moment", DEATHS)
def test_who_died_on_another_machine_is_waited_out(moment: str, live: Live) -> None:
    """Its work is taken over when its time is over and not before, and everything is done once."""
    life = live("data")
    until = left_by_the_dead(life, moment, lease_s=2)
    before = last_event(life)
    with started(life, DEATHS[moment], machine="elsewhere") as other:
        while datetime.now(UTC) < until and not other.has_ended():
            assert last_event(life) == before or datetime.now(UTC) >= until, "it was taken over too soon"
            time.sleep(0.05)
        one = Round((Part(DEATHS[moment]),) * 2, [other.ended()] * 2)
    assert [end.code for end in one.ended] == [0, 0], one
    assert last_event(life) >= until
    rounds.finish(life, one)
    rounds.check(life, one)
