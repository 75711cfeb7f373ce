"""Times, ids, the database's transactions, and the settings."""

from pathlib import Path

import pytest

from emulator.clock import SECOND_NS, Clock
from emulator.database import Database
from emulator.errors import ApiError
from emulator.settings import Settings


def test_the_clock_of_every_host_moves_together(tmp_path: Path) -> None:
    """What one host adds to the clock another host on the same state sees."""
    first, second = Database(tmp_path), Database(tmp_path)
    one, two = Clock(first, read_ns=lambda: 5), Clock(second, read_ns=lambda: 7)
    one.advance(seconds=3)
    two.advance(seconds=0.5)
    assert (one.now_ns(), two.now_ns()) == (5 + 35 * SECOND_NS // 10, 7 + 35 * SECOND_NS // 10)
    first.close()
    second.close()


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """An exception takes back all that its transaction wrote, inner blocks included."""
    database = Database(tmp_path)

    def write_and_fail() -> None:
        with database.transaction():
            with database.transaction():
                database.set_fact("a", "1")
            raise LookupError("enough")

    with pytest.raises(LookupError):
        write_and_fail()
    assert database.fact("a", default="none") == "none"
    with database.transaction():
        database.set_fact("a", "2")
    assert database.fact("a", default="none") == "2"
    database.close()


def test_settings_change_by_name_and_what_makes_no_sense_is_refused() -> None:
    """What is named changes, the rest stays; unknown names, other types, wrong limits and times are a 400."""
    changed = Settings(seed=3).changed({"batch_looks": 2, "batch_seconds": 5})
    assert (changed.seed, changed.batch_looks, changed.batch_seconds) == (3, 2, 5)
    wrong: list[dict[str, object]] = [{"nonsense": 1}, {"paused": 1}, {"seed": "7"}, {"seed": True}]
    wrong += [{"enqueued_tokens": 5}, {"quota_window": "weekly"}, {"latencies": {"(": {"kind": "constant"}}}]
    limits: list[object] = [[], {"rpm": 3}, {"requests_per_minute": -1}, {"requests_per_day": True}]
    wrong += [{"quotas": {"*": limit}} for limit in limits]
    times: list[dict[str, object]] = [{}, {"kind": "slow"}, {"kind": "constant"}]
    times += [{"kind": "constant", "seconds": seconds} for seconds in (-1, True, 3601, float("nan"))]
    times += [{"kind": "constant", "seconds": 1, "median": 1}, {"kind": "uniform", "least": 2, "most": 1}]
    times += [{"kind": "lognormal", "median": 2, "p95": 1}, {"kind": "lognormal", "median": 0, "p95": 0}]
    wrong += [{"latencies": {"x": time}} for time in times]
    for document in wrong:
        with pytest.raises(ApiError) as refusal:
            Settings().changed(document)
        assert refusal.value.code == 400, document
