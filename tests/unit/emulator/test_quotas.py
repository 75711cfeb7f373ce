"""What the engine's quotas let through: minutes, tokens, Pacific days, and what a refusal says."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.catalogue import MODELS
from emulator.clock import MINUTE_NS, SECOND_NS, Clock, next_pacific_midnight_ns
from emulator.database import Database
from emulator.errors import ApiError
from emulator.quotas import Quotas
from emulator.settings import Settings

FLASH, LITE, VECTORS = (MODELS[name] for name in ("gemini-3.5-flash", "gemini-3.5-flash-lite", "gemini-embedding-2"))
NOON_NS = int(datetime(2026, 11, 20, 20, tzinfo=UTC).timestamp()) * SECOND_NS
"""Noon in Los Angeles."""


class Time:
    """A clock that a test moves by hand."""

    def __init__(self, now_ns: int) -> None:
        """Show this time, in nanoseconds."""
        self.now_ns = now_ns

    def read(self) -> int:
        """Return the time."""
        return self.now_ns


class Gauge:
    """The quotas of one state, and the calls that were let through."""

    def __init__(self, database: Database, time: Time, **chosen: Any) -> None:
        """Count in `database` by `time`."""
        self.time = time
        limits = Settings().changed(chosen)
        clock = Clock(database, read_ns=time.read)
        self.quotas = Quotas(database, clock=clock, settings=lambda: limits)
        self.served: list[tuple[int, int, int]] = []
        """When, requests, tokens."""

    def ask(self, *, owner: str = "a", model: Any = LITE, requests: int = 1, tokens: int = 1) -> ApiError | None:
        """Ask once; None where it was let through, else the refusal."""
        try:
            at_ns = self.quotas.admit(owner, model, requests=requests, tokens=tokens)
        except ApiError as refusal:
            return refusal
        self.served.append((at_ns, requests, tokens))
        return None


@contextmanager
def gauge(root: Path, *, now_ns: int = NOON_NS, **chosen: Any) -> Iterator[Gauge]:
    """Open the state under `root` with quotas."""
    database = Database(root)
    try:
        yield Gauge(database, Time(now_ns), **chosen)
    finally:
        database.close()


def delay_of(refusal: ApiError) -> tuple[int, float]:
    """Return the seconds of RetryInfo, and those of the message."""
    [info] = [detail for detail in refusal.details if detail["@type"].endswith("RetryInfo")]
    told = re.search(r"Please retry in ([0-9.]+)s\.$", refusal.message)
    assert told is not None
    return int(info["retryDelay"].removesuffix("s")), float(told.group(1))


GAPS = st.lists(
    st.tuples(st.integers(0, 30 * SECOND_NS), st.integers(1, 3), st.integers(0, 50)), min_size=1, max_size=40
)


@settings(max_examples=25)
@given(GAPS, st.integers(0, 8), st.integers(0, 120))
def test_no_window_ever_holds_more_than_the_limits(gaps: list[tuple[int, int, int]], rpm: int, tpm: int) -> None:
    """Whatever is asked and when, the sixty seconds up to any call hold at most the limit, and refusals none of it."""
    quotas = {"*": {"requests_per_minute": rpm, "input_tokens_per_minute": tpm}}
    with TemporaryDirectory() as root, gauge(Path(root), quotas=quotas) as meter:
        for gap, requests, tokens in gaps:
            meter.time.now_ns += gap
            fits = all(
                sum(call[column] for call in meter.served if call[0] > meter.time.now_ns - MINUTE_NS) + more <= limit
                for column, more, limit in ((1, requests, rpm), (2, tokens, tpm))
            )
            assert (meter.ask(requests=requests, tokens=tokens) is None) == fits
        for end, _, _ in meter.served:
            window = [call for call in meter.served if end - MINUTE_NS < call[0] <= end]
            assert sum(call[1] for call in window) <= rpm
            assert sum(call[2] for call in window) <= tpm


@settings(max_examples=15)
@given(st.lists(st.integers(0, 20 * SECOND_NS), min_size=5, max_size=15), st.integers(1, 4))
def test_who_waits_as_told_is_let_through_and_who_is_early_is_not(gaps: list[int], rpm: int) -> None:
    """The message names the first moment at which the call fits; the details cut its fraction off."""
    with TemporaryDirectory() as root, gauge(Path(root), quotas={"*": {"requests_per_minute": rpm}}) as meter:
        for gap in gaps:
            meter.time.now_ns += gap
            refusal = meter.ask()
            if refusal is None:
                continue
            shown, exact = delay_of(refusal)
            assert shown == int(exact)
            wait_ns = round(exact * SECOND_NS)
            meter.time.now_ns += wait_ns - 1
            assert meter.ask() is not None
            meter.time.now_ns += 1
            assert meter.ask() is None


def test_a_fixed_minute_begins_on_the_clock(tmp_path: Path) -> None:
    """With `fixed` the count begins anew at the full minute: twice the limit may fall within two seconds."""
    quotas = {"*": {"requests_per_minute": 3}}
    with gauge(tmp_path, now_ns=NOON_NS + 59 * SECOND_NS, quotas=quotas, quota_window="fixed") as meter:
        assert [meter.ask() is None for _ in range(4)] == [True, True, True, False]
        refusal = meter.ask()
        assert refusal is not None
        assert delay_of(refusal) == (1, 1.0)
        meter.time.now_ns += SECOND_NS
        assert [meter.ask() is None for _ in range(4)] == [True, True, True, False]


def test_tokens_are_waited_for_until_enough_are_out_of_the_window(tmp_path: Path) -> None:
    """A call of many tokens waits for as many old calls as it takes; one that can never fit is told a minute."""
    with gauge(tmp_path, quotas={"*": {"input_tokens_per_minute": 100}}) as meter:
        for _ in range(4):
            assert meter.ask(tokens=25) is None
            meter.time.now_ns += 5 * SECOND_NS
        waits = [delay_of(refusal)[0] for tokens in (1, 25, 26, 100, 101) if (refusal := meter.ask(tokens=tokens))]
        assert waits == [40, 40, 45, 55, 60]


def test_keys_and_models_have_quotas_of_their_own(tmp_path: Path) -> None:
    """What one key asks of one model takes nothing from another key or model; a model's own limits go before `*`."""
    quotas = {"*": {"requests_per_minute": 1}, LITE.name: {"requests_per_minute": 2}}
    with gauge(tmp_path, quotas=quotas) as meter:
        assert [meter.ask(model=LITE) is None for _ in range(3)] == [True, True, False]
        assert [meter.ask(model=FLASH) is None for _ in range(2)] == [True, False]
        assert [meter.ask(owner="b", model=LITE) is None for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("day", [(2026, 3, 8), (2026, 11, 1), (2026, 11, 20)])
def test_a_day_ends_at_midnight_in_california(tmp_path: Path, day: tuple[int, int, int]) -> None:
    """The day's count outlasts minutes and begins anew at midnight Pacific, be the day of 23, 24 or 25 hours."""
    midnight = int(datetime(*day, tzinfo=ZoneInfo("America/Los_Angeles")).timestamp()) * SECOND_NS
    with gauge(tmp_path, now_ns=midnight, quotas={"*": {"requests_per_day": 2}}) as meter:
        assert [meter.ask() is None for _ in range(3)] == [True, True, False]
        meter.time.now_ns = next_pacific_midnight_ns(midnight) - 1
        assert meter.ask() is not None
        meter.time.now_ns += 1
        assert [meter.ask() is None for _ in range(3)] == [True, True, False]


def test_a_refusal_is_written_as_google_writes_it(tmp_path: Path) -> None:
    """Status, message, Help, every quota that is passed with its dimensions, and RetryInfo."""
    quotas = {"*": {"requests_per_minute": 1, "input_tokens_per_minute": 10, "requests_per_day": 1}}
    with gauge(tmp_path, now_ns=NOON_NS + 250_000_000, quotas=quotas) as meter:
        assert meter.ask(tokens=9) is None
        meter.time.now_ns += 43 * SECOND_NS + 500_000_000
        refusal = meter.ask(tokens=9)
    assert refusal is not None
    body = refusal.body()["error"]
    assert (body["code"], body["status"]) == (429, "RESOURCE_EXHAUSTED")
    service = "generativelanguage.googleapis.com/generate_content_free_tier_"
    assert body["message"] == (
        "You exceeded your current quota, please check your plan and billing details.\n"
        f"* Quota exceeded for metric: {service}requests, limit: 1, model: gemini-3.5-flash-lite\n"
        f"* Quota exceeded for metric: {service}input_token_count, limit: 10, model: gemini-3.5-flash-lite\n"
        f"* Quota exceeded for metric: {service}requests, limit: 1, model: gemini-3.5-flash-lite\n"
        "Please retry in 16.500000000s."
    )
    help_, failure, retry = body["details"]
    assert help_["@type"] == "type.googleapis.com/google.rpc.Help"
    assert failure["@type"] == "type.googleapis.com/google.rpc.QuotaFailure"
    assert failure["violations"][0] == {
        "quotaMetric": f"{service}requests",
        "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
        "quotaDimensions": {"location": "global", "model": "gemini-3.5-flash-lite"},
        "quotaValue": "1",
    }
    assert [one["quotaId"] for one in failure["violations"][1:]] == [
        "GenerateContentInputTokensPerModelPerMinute-FreeTier",
        "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
    ]
    assert retry == {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "16s"}


def test_counts_survive_the_host_and_are_shared(tmp_path: Path) -> None:
    """Another host on the same state, at once or later, goes on counting where the first one was."""
    quotas = {"*": {"requests_per_minute": 3, "requests_per_day": 5}}
    with gauge(tmp_path, quotas=quotas) as first, gauge(tmp_path, quotas=quotas) as second:
        assert [meter.ask() is None for meter in (first, second, first, second)] == [True, True, True, False]
    with gauge(tmp_path, now_ns=NOON_NS + MINUTE_NS, quotas=quotas) as third:
        assert [third.ask() is None for _ in range(3)] == [True, True, False]


def test_what_was_used_is_told_and_can_be_forgotten(tmp_path: Path) -> None:
    """Per key and model the last minute and the day, the limits, and when the day is over."""
    quotas = {LITE.name: {"requests_per_minute": 3}}
    with gauge(tmp_path, quotas=quotas) as meter:
        meter.ask(tokens=7)
        meter.time.now_ns += MINUTE_NS
        meter.ask(tokens=5)
        shown = meter.quotas.document()
        assert (shown["day"], shown["resetsAt"]) == ("2026-11-20", "2026-11-21T08:00:00.000000000Z")
        assert shown["used"] == [
            {
                "owner": "a",
                "model": LITE.name,
                "limits": {"requests_per_minute": 3},
                "minute": {"requests": 1, "tokens": 5},
                "day": {"requests": 2, "tokens": 12},
            }
        ]
        meter.quotas.clear()
        assert [meter.ask() is None for _ in range(4)] == [True, True, True, False]


def test_a_light_transaction_stays_out_of_others(tmp_path: Path) -> None:
    """It is refused inside another transaction, which it would make less durable than promised."""
    database = Database(tmp_path)
    with pytest.raises(sqlite3.OperationalError), database.transaction(), database.light_transaction():
        raise AssertionError("unreachable")
    assert database.rows("PRAGMA synchronous") == [{"synchronous": 2}]
    database.close()
