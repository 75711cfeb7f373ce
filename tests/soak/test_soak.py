"""A short soak is in trouble and violates nothing."""

from contextlib import closing
from pathlib import Path

import pytest

from tests.soak.soak import Soak

pytestmark = [pytest.mark.full, pytest.mark.sqlite_only("the soak looks into an SQLite file")]

SECONDS = 20
SEED = 41


@pytest.mark.timeout(300)
def test_a_short_soak_violates_nothing(tmp_path: Path) -> None:
    """Twenty seconds of faults, kills, two at once and other programs; then all is brought to its end."""
    with closing(Soak(tmp_path / "soak", seed=SEED)) as soak:
        report = soak.run(minutes=SECONDS / 60)
    assert report.violations == [], report.text()
    assert all((report.rounds, report.settled, report.signals, report.batches["ingested"], report.people["tagged"]))
