"""A pilot dies anywhere: the next run resumes it, no item stands in two batches, and live calls have their marks.

`KEEPING=all` has it die before and after every step; otherwise a sample by a fixed seed.
"""

import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from emulator.server import start
from tests import ledger
from tests.crash import homes
from tests.crash.program import Ended, Mortal
from tests.crash.steps import Fate
from tests.lab import Api, Workspace

PEOPLE = 7
FEW = 2  # lives of the sample
SEED = 5
ASK = ":generateContent"

Born = Callable[[str], Workspace]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One API for all lives; each has a workspace of its own, and so names of its own there."""
    with start(tmp_path_factory.mktemp("api")) as server:
        yield Api(server)


@pytest.fixture
def born(engine: Api, tmp_path: Path) -> Born:
    """A function that makes a workspace with seven people in it."""

    def make(name: str) -> Workspace:
        made = homes.workspace_at(tmp_path / name, engine.url)
        homes.put_people(made, PEOPLE, name=f"person-{name}")
        return made

    return make


def submitting(mortal: Mortal, workspace: Workspace, fate: Fate) -> Ended:
    """Submit after a pilot of five, and let the fate come true."""
    return homes.run(mortal, workspace, "batch-submit", "--pilot", "5", "--json", fate=fate)


def settle(mortal: Mortal, workspace: Workspace, engine: Api) -> None:
    """Run it again, and hold that the pilot passed, that every batch is one, and that the rest is ingested."""
    ended = submitting(mortal, workspace, Fate())
    assert ended.code == 0, ended
    [(verdict, live)] = workspace.query("SELECT verdict, live FROM findable_pilots")
    assert (verdict, len(json.loads(live))) == ("passed", 5)
    twice = "SELECT item_id FROM findable_requests WHERE batch IS NOT NULL GROUP BY item_id HAVING count(*) > 1"
    assert workspace.query(twice) == []
    workspace_id = workspace.scalar("SELECT workspace_id FROM findable_workspace")
    there = [one["displayName"] for one in engine.batches()["batches"] if workspace_id in one["displayName"]]
    assert len(there) == len(ledger.batches(workspace)), there
    assert workspace.scalar("SELECT count(*) FROM findable_calls WHERE outcome IS NULL") == 0
    for command in ("batch-poll", "batch-ingest"):
        again = homes.run(mortal, workspace, command)
        assert again.code == 0, again
    assert ledger.people(workspace) == {"total": PEOPLE, "tagged": PEOPLE}
    ledger.check(workspace)


def test_a_pilot_that_is_killed_resumes(born: Born, engine: Api, mortal: Mortal) -> None:
    """Killed before or after a step, it is ended by the next run, in the same batch."""
    peace = submitting(mortal, born("peace"), Fate())
    assert peace.code == 0, peace
    lives = [(at, side) for at in range(1, len(peace.trail) + 1) for side in ("before", "after")]
    if os.environ.get("KEEPING") != "all":
        lives = random.Random(SEED).sample(lives, FEW)  # noqa: S311 - always the same
    struck = 0
    for at, side in lives:
        workspace = born(f"{at}-{side}")
        asked = len(engine.seen("POST", ASK))
        ended = submitting(mortal, workspace, Fate(at, side))
        assert ended.code in (0, -signal.SIGKILL), (at, side, ended)
        struck += ended.code != 0
        settle(mortal, workspace, engine)
        calls = len(engine.seen("POST", ASK)) - asked
        assert calls <= workspace.scalar("SELECT count(*) FROM findable_calls"), (at, side)
    assert struck >= 0.5 * len(lives)  # a run that has less to wait for has fewer steps
