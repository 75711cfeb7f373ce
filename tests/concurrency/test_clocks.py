"""Clocks that are set while commands run: none is asked twice, nothing waits for a day, no lease is lost for it."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from pipeline.batch import ingest
from pipeline.index import build
from pipeline.store import leases
from tests import ledger
from tests.concurrency.conftest import Life
from tests.integration.looks import alter, creates, states

Live = Callable[[str], Life]


@pytest.mark.full
def test_a_create_of_the_future_is_waited_for_no_longer_than_any_other(live: Live) -> None:
    """A clock that was set back since the create began, or ended, does not keep the next look waiting until then."""
    life = live("data")
    life.api.fault("drop", method="POST", path=":batchGenerateContent", times=3)
    assert life.workspace.run("batch-submit", LIST_LAG="0.2").exit_code == 4
    assert states(life.workspace)[3] == "submitting"
    alter(life.workspace, "UPDATE findable_batches SET create_sent_at = '2099-01-01', create_ended_at = '2099-01-01'")
    before = creates(life.api)
    life.workspace.ran("batch-submit", LIST_LAG="0.2")
    assert creates(life.api) == before + 2  # this one, and the batch of those who were never asked


@pytest.mark.sampled(2, sqlite=2)
@pytest.mark.parametrize("hours", [-24, 24])
def test_an_owner_whose_clock_is_set_goes_on(hours: int, live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its leases are over at once, or last for long; where no process took them it finishes its work."""
    life = live("data")

    class Jumping(leases.datetime):  # type: ignore[name-defined,misc]  # the module's own name for it
        looks = 0

        @classmethod
        def now(cls, tz: object = None) -> "Jumping":
            cls.looks += 1
            moved = timedelta(hours=hours) if cls.looks >= 3 else timedelta()
            return super().now(tz) + moved  # type: ignore[no-any-return]  # see above

    monkeypatch.setattr(leases, "datetime", Jumping)
    with life.workspace.open() as ws:
        assert [account.batch.number for account in ingest.run(ws)] == [2]
        assert build.run(ws).count == 4
    assert Jumping.looks > 3
    ledger.check(life.workspace)
