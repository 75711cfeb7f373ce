"""Killed at random ten times while it switches between asking live and by batch, a workspace loses and doubles nothing.

`SWITCHING=n` lives n such lives; otherwise a few by fixed seeds.
"""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from emulator.server import start
from tests import ledger
from tests.acceptance.steps import Fate
from tests.crash import homes
from tests.crash.program import Ended, Mortal
from tests.integration.looks import remote
from tests.lab import Api, Workspace

pytestmark = pytest.mark.sampled(3, sqlite=3)

LIVES = int(os.environ.get("SWITCHING", "3"))
KILLS = 10
PEOPLE = 80
MOST_COMMANDS = 120
LIVE = ":generateContent"
CHAIN = ("batch-submit", "batch-poll", "batch-ingest")
STEPS = {"tag-live": 40, "batch-submit": 30, "batch-poll": 17, "batch-ingest": 6}  # about how many each takes
WAITS = {"CREATE_TIMEOUT": "2", "CALL_TIMEOUT": "5", "RETRY_FOR": "2", "RETRY_WAIT": "0.01", "POLL_MOST": "0.1"}


@dataclass
class Life:
    """A workspace whose commands die, and the engine that sees everything they ask."""

    mortal: Mortal
    workspace: Workspace
    api: Api
    dice: random.Random
    ended: list[Ended] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """Return how many commands were killed."""
        return sum(one.code == -9 for one in self.ended)

    def run(self, *args: str, fate: Fate | None = None) -> Ended:
        """Run one command."""
        self.ended.append(homes.run(self.mortal, self.workspace, *args, fate=fate or Fate()))
        return self.ended[-1]

    def some(self) -> tuple[str, ...]:
        """Return a command and its words: half of the time live, else the one of the batch chain that comes next."""
        limit = ("--limit", str(self.dice.randint(2, 8)))
        if self.dice.random() < 0.5:
            return ("tag-live", *limit)
        states = set(ledger.batches(self.workspace))
        if "downloaded" in states:
            return ("batch-ingest",)
        return ("batch-poll",) if "submitted" in states else ("batch-submit", *limit)


@pytest.fixture
def life(tmp_path: Path, mortal: Mortal, request: pytest.FixtureRequest) -> Iterator[Life]:
    """People who were not asked about yet, of whom some fail for their own sake whichever way they are asked."""
    dice = random.Random(20261120 + request.param)  # noqa: S311 - the same lives each time
    with start(tmp_path / "api", settings={"batch_looks": 1}) as server:
        workspace, api = homes.workspace_at(tmp_path / "data", server.url, BATCH_ROWS="4", **WAITS), Api(server)
        homes.put_people(workspace, PEOPLE)
        api.fault("safety", nth=3, times=6, path=LIVE)
        api.fault("prompt_blocked", times=10_000, path=":batchGenerateContent", key="/[1-9]?3$")
        yield Life(mortal, workspace, api, dice)


@pytest.mark.full
@pytest.mark.parametrize("life", range(LIVES), indirect=True)
def test_ten_deaths_between_live_and_batch_lose_and_double_nothing(life: Life) -> None:
    """Every person ends tagged or parked, no call was made without a mark, none tagged twice, no batch made twice."""
    while life.kills < KILLS:
        words = life.some()
        fate = Fate(life.dice.randint(1, STEPS[words[0]]), life.dice.choice(("before", "after")))
        ended = life.run(*words, fate=fate)
        assert ended.code in {-9, 0}, (words, ended)
        assert len(life.ended) < MOST_COMMANDS, "too few of them die"
        assert len(life.api.seen("POST", LIVE)) <= marks(life)
    for words in (*((word,) for word in CHAIN), ("tag-live",), *((word,) for word in CHAIN)):
        ended = life.run(*words)
        assert ended.code == 0, (words, ended)
    people = ledger.people(life.workspace)
    assert people["total"] == PEOPLE == people["tagged"] + people.get("parked", 0), people
    ledger.check(life.workspace)
    assert len(life.api.seen("POST", LIVE)) <= marks(life)
    assert life.workspace.scalar("SELECT count(*) FROM findable_calls WHERE outcome IS NULL") == 0
    assert len(remote(life.api)) == len(ledger.batches(life.workspace))
    assert life.workspace.scalar("SELECT count(*) FROM findable_calls WHERE outcome = 'answered'") > 0
    assert life.workspace.scalar("SELECT count(*) FROM findable_answers WHERE batch IS NOT NULL") > 0
    doctor = life.run("doctor", "--fix")
    assert doctor.code == 0, doctor


def marks(life: Life) -> int:
    """Return how many live calls were marked."""
    found: int = life.workspace.scalar("SELECT count(*) FROM findable_calls")
    return found
