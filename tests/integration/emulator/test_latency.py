"""Slow answers over the wire: who waits, by which clock, and who does not."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from emulator.clock import SECOND_NS
from emulator.server import Server, start
from tests.integration.emulator.caller import MODEL, Caller, request_for

GENERATE = f"/v1beta/models/{MODEL}:generateContent"
HOUR = {"kind": "constant", "seconds": 3600}
_LONGEST_S = 20.0


@dataclass
class Time:
    """A clock that stands still until a test moves it."""

    now_ns: int = time.time_ns()

    def read(self) -> int:
        """Return the time."""
        return self.now_ns


@pytest.fixture
def clock() -> Time:
    """Return a clock that stands still."""
    return Time()


@pytest.fixture
def slow(tmp_path: Path, clock: Time) -> Iterator[Server]:
    """Return an engine on that clock whose live answers take an hour."""
    with start(tmp_path, settings={"latencies": {":generateContent": HOUR}}, read_ns=clock.read) as server:
        yield server


def asked(pool: ThreadPoolExecutor, caller: Caller, count: int) -> list[Future[httpx2.Response]]:
    """Make so many calls at once and return them when the engine has counted all of them."""
    calls = [pool.submit(caller.http.post, GENERATE, json=request_for(f"law {number}")) for number in range(count)]
    deadline = time.monotonic() + _LONGEST_S
    while sum(entry["requests"] for entry in caller.journal()) < count:
        assert time.monotonic() < deadline
    return calls


def test_slow_answers_come_when_the_clock_is_there_and_hold_nobody_up(slow: Server, clock: Time) -> None:
    """Sixty calls wait at once, more than there are threads; others are answered, and at the hour all are."""
    with Caller(slow.url) as caller, ThreadPoolExecutor(60) as pool:
        calls = asked(pool, caller, 60)
        assert caller.get("/v1/models")["models"]
        clock.now_ns += 3599 * SECOND_NS
        assert caller.post(f"/v1/models/{MODEL}:countTokens", {"contents": [{"parts": [{"text": "abcd"}]}]})
        assert [call.exception() or call.result().text for call in calls if call.done()] == []
        clock.now_ns += SECOND_NS
        assert {call.result(_LONGEST_S).status_code for call in calls} == {200}


def test_a_quota_counts_when_a_call_comes_in(slow: Server) -> None:
    """Calls whose answers are still under way have used the quota up; the refusal itself comes at once."""
    with Caller(slow.url) as caller, ThreadPoolExecutor(2) as pool:
        caller.settings(quotas={"*": {"requests_per_minute": 2}})
        calls = asked(pool, caller, 2)
        assert caller.refused(GENERATE, request_for("law"))["code"] == 429
        assert not any(call.done() for call in calls)
        caller.post("/_emu/clock", {"advance_seconds": 3600})
        assert [call.result(_LONGEST_S).status_code for call in calls] == [200, 200]
