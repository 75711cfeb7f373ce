"""A process that stood still past its lease, at whatever step, and that another one overtook: it does no harm."""

import os
import random
import time
from collections.abc import Callable

import pytest

from tests.concurrency import rounds
from tests.concurrency.conftest import Life
from tests.concurrency.rounds import Part, Round
from tests.integration.hands import Ended, Hand

Live = Callable[[str], Life]

SHARE = float(os.environ.get("FINDABLE_SHARE", "0.005"))  # of all steps
SEED = int(os.environ.get("FINDABLE_SEED", "3"))
LONG_ENOUGH_S = 1.5  # for the other one to do its work, unless the first stands in the middle of a transaction
LEASE_S = 0.65
NOT_OVERTAKEN = {"LEASE": "60"}  # itself, however slow the machine is
WORK = {  # what stands still, what goes on with its work, and about how many steps the first takes
    "batch-submit": ("batch-submit", 36),
    "batch-poll": ("batch-poll", 20),
    "batch-ingest": ("batch-ingest", 4),
    "index": ("index", 49),
    "index --rollback": ("index", 7),
    "batch-cancel 4": ("batch-submit", 3),
    "batch-cancel 3": ("batch-poll", 3),
}


def sampled() -> list[tuple[str, int, str]]:
    """Return the steps to stand still before or after: a share of all, drawn by the seed."""
    dice = random.Random(SEED)  # noqa: S311 - the same steps each time
    steps = [(command, step) for command, (_, count) in WORK.items() for step in range(1, count + 1)]
    moments = [(command, step, side) for command, step in steps for side in ("before", "after")]
    return sorted(dice.sample(moments, int(len(moments) * SHARE)))


def overtake(life: Life, hands: tuple[Hand, Hand], command: str, step: int, side: str) -> Round:
    """Stop a command at a step until its lease is over, let another do the work, and let the first go on.

    Where the first stands in the middle of a transaction the other must wait for it, so it goes on before that ends.
    """
    first, second = hands
    other = WORK[command][0]
    first.start(life.workspace, *command.split(), stop_at=step, side=side)
    ended: list[Ended] = []
    if first.wait_until_stopped():
        time.sleep(LEASE_S)
        second.start(life.workspace, *other.split(), values=NOT_OVERTAKEN)
        second.wait_until_ended(LONG_ENOUGH_S)
        first.go_on()
        ended = [second.ended()]
    return Round((Part(command, step, side), Part(other)), [first.ended(), *(ended or [Ended(0, "", "", [])])])


@pytest.mark.sampled(0)
@pytest.mark.parametrize(("command", "step", "side"), sampled())
def test_whoever_was_overtaken_does_no_harm(
    command: str, step: int, side: str, live: Live, hands: tuple[Hand, Hand]
) -> None:
    """Whatever it was about to send, write or rename, what its successor did stands, and everything adds up."""
    life = live("data")
    if command.startswith("index"):
        assert life.workspace.run("batch-ingest").exit_code == 0  # so that the builds differ
    one = overtake(life, hands, command, step, side)
    rounds.finish(life, one)
    rounds.check(life, one)
