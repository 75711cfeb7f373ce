"""The harness on a few hundred rows: every way comes to the same, and what is written down is there. Never a time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.batch import prepare
from tests.bench import driver, grounds
from tests.bench.grounds import Grounds
from tests.bench.trials import MEMORY, TRIALS, USUAL, Trial

pytestmark = pytest.mark.full

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", list(TRIALS))
def test_every_way_comes_to_the_same(name: str, tmp_path: Path) -> None:
    """A trial ends well only where all its ways made the same rows; its table, document and page are written."""
    environ = {**os.environ, "QUICK": "1", "ONLY": name, "BENCH_TO": str(tmp_path / "out")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench"], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "out" / "bench.json").read_text(encoding="utf-8"))
    (measured,) = document["trials"][name].values()
    assert set(measured) == set(TRIALS[name].ways)
    assert all(way in done.stdout for way in TRIALS[name].ways)
    page = (tmp_path / "out" / "performance.md").read_text(encoding="utf-8")
    assert TRIALS[name].title in page


def test_a_way_that_makes_something_else_is_found_out(tmp_path: Path) -> None:
    """Times of ways that did not come to the same are never reported."""
    trial = Trial(
        "scores, and none",
        "tagged",
        {"product": "product:score", "limit": "product:command(-c pass)"},
        outcome="outcomes:score",
    )
    with pytest.raises(driver.DifferentError, match="not the same result"):
        driver.run("wrong", trial, 20, folder=tmp_path, repeats=1, tell=lambda _line: None)


def test_a_way_that_fails_is_not_passed_over(tmp_path: Path) -> None:
    """What ends with an error stops the measurement."""
    trial = Trial("nothing", "untagged", {"product": "product:command(-c raise)"})
    with pytest.raises(subprocess.CalledProcessError):
        driver.run("failing", trial, 20, folder=tmp_path, repeats=1, tell=lambda _line: None)


def test_no_quota_keeps_anybody_of_the_largest_trial_waiting(tmp_path: Path) -> None:
    """Everybody is prepared at every size: what waits for room at the API would be measured as if it were done."""
    data = Grounds(tmp_path / "grounds").copy("untagged", 20, tmp_path / "data")
    with grounds.opened(data) as ws:
        with ws.display.bar("", None) as bar:
            each = prepare.plan_batches(ws, prepare.Selection(), bar=bar).counted_in / 20
        room = ws.model.enqueued(ws.settings.tier)
    assert room is None or room > 2 * each * max(*USUAL, *MEMORY)
