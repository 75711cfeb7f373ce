"""Four workers on one workspace, killed at random: no person is asked twice, nothing is lost; a short run of many."""

import sys
from pathlib import Path

import pytest

from tests.concurrency.four import Four, place
from tests.lab import DATABASE, ON_POSTGRESQL

KILLS = 12
SEED = 20261120


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="needs fork and /proc as Linux has them")
def test_four_workers_ask_nobody_twice_however_often_they_are_killed(tmp_path: Path) -> None:
    """Every person is tagged once, each batch has one remote batch, the accounts add up and the index is whole."""
    with place(DATABASE) as where, Four(tmp_path, seed=SEED, where=where) as four:
        figures = four.run(kills=KILLS)
    assert figures.wrong == []
    assert figures.double_asks == 0
    assert figures.kills >= KILLS
    assert bool(figures.crashes) == ON_POSTGRESQL  # fewer where several workers die between two looks
    assert figures.creates > 0
    assert figures.batches == figures.remote - figures.twins > 0
