"""Times, ids, the database's transactions, and the settings."""

from pathlib import Path

import pytest

from emulator.clock import SECOND_NS, Clock, timestamp
from emulator.database import Database
from emulator.errors import ApiError
from emulator.files import new_id
from emulator.settings import Settings


@pytest.mark.parametrize(
    ("moment_ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (1_767_697_751_943_530_657, "2026-01-06T11:09:11.943530657Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
    ],
)
def test_times_have_nine_digits_and_a_z(moment_ns: int, text: str) -> None:
    """A time is written in UTC with all nine fractional digits."""
    assert timestamp(moment_ns) == text


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


def test_ids_are_of_googles_alphabet_and_never_the_same() -> None:
    """An id has the length asked for, lower-case letters and digits only, and is not repeated."""
    ids = {new_id(12) for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(each) == 12 and each.isalnum() and each == each.lower() for each in ids)


def test_settings_change_by_name() -> None:
    """What is named changes, the rest stays; a whole number will do for seconds."""
    changed = Settings(seed=3).changed({"batch_looks": 2, "batch_seconds": 5})
    assert (changed.seed, changed.batch_looks, changed.batch_seconds) == (3, 2, 5)


@pytest.mark.parametrize(
    "document", [{"nonsense": 1}, {"paused": 1}, {"seed": "7"}, {"seed": True}, {"enqueued_tokens": 5}]
)
def test_a_setting_that_makes_no_sense_is_refused(document: dict[str, object]) -> None:
    """An unknown name or a value of another type is a 400."""
    with pytest.raises(ApiError) as refusal:
        Settings().changed(document)
    assert refusal.value.code == 400
