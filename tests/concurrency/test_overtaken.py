"""A process that stood still past its lease, at whatever step, and that another one overtook: it does no harm."""

import os
import random
import time
from collections.abc import Callable

import pytest

from tests.concurrency import rounds
from tests.concurrency.conftest import Life
from tests.concurrency.rounds import Part, Round
from tests.integration.steps.hands import Ended, Hand

Live = Callable[[str], Life]

SHARE = float(os.environ.get("FINDABLE_SHARE", "0.02"))  # of all steps
SEED = int(os.environ.get("FINDABLE_SEED", "3"))
LONG_ENOUGH_S = 1.5  # for the other one to do its work, unless the first stands in the middle of a transaction
LEASE_S = 0.65
WORK = {  # what stands still, what goes on with its work, and about how many steps the first takes
    "batch-submit": ("batch-submit", 70),
    "batch-poll": ("batch-poll", 25),
    "batch-ingest": ("batch-ingest", 14),
    "index": ("index", 45),
    "index --rollback": ("index", 10),
    "batch-cancel 4": ("batch-submit", 8),
    "batch-cancel 3": ("batch-poll", 10),
}


def sampled() -> list[tuple[str, int]]:
    """Return the steps to stand still at: a share of all, drawn by the seed."""
    dice = random.Random(SEED)  # noqa: S311 - the same steps each time
    steps = [(command, step) for command, (_, count) in WORK.items() for step in range(1, count + 1)]
    return sorted(dice.sample(steps, int(len(steps) * SHARE)))


def overtake(life: Life, hands: tuple[Hand, Hand], command: str, step: int) -> Round:
    """Stop a command before a step until its lease is over, let another do the work, and let the first go on.

    Where the first stands in the middle of a transaction the other must wait for it, so it goes on before that ends.
    """
    first, second = hands
    other = WORK[command][0]
    first.start(life.workspace, *command.split(), stop_at=step)
    ended: list[Ended] = []
    if first.wait_until_stopped():
        time.sleep(LEASE_S)
        second.start(life.workspace, *other.split())
        until = time.monotonic() + LONG_ENOUGH_S
        while time.monotonic() < until and not second.has_ended():
            time.sleep(0.01)
        first.go_on()
        ended = [second.ended()]
    return Round((Part(command, step), Part(other)), [first.ended(), *(ended or [Ended(0, "", "", [])])])


@pytest.mark.parametrize(("command", "step"), sampled())
def test_whoever_was_overtaken_does_no_harm(command: str, step: int, live: Live, hands: tuple[Hand, Hand]) -> None:
    """Whatever it was about to send, write or rename, what its successor did stands, and everything adds up."""
    life = live("data")
    if command.startswith("index"):
        assert life.workspace.run("batch-ingest").exit_code == 0  # so that the builds differ
    one = overtake(life, hands, command, step)
    rounds.finish(life, one)
    rounds.check(life, one)
