"""`tag-live` on a clock of its own: the limits are used and kept, a stall is lived through, the day begins anew."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import ThrottledError, UnavailableError
from pipeline.live import tag
from tests import ledger
from tests.integration.live.asking import People, asked, attempts, ends
from tests.integration.swift import LIVE, Counts, Swift, by_time, engine, most_in_a_minute, opened
from tests.lab import Workspace
from tests.ledger import COUNTED

pytestmark = pytest.mark.sampled(4)

QUOTA, HALF = 60, 30
PACED = {"RPM": "1"}  # one call a minute: each is over before the next begins
FIXED, SLIDING = {"quota_window": "fixed"}, {"quota_window": "sliding"}


def limited(rpm: int = QUOTA, **more: int) -> dict[str, Any]:
    """Return the engine's setting for a quota."""
    return {"*": {"requests_per_minute": rpm, **more}}


def used(counts: list[Counts], quota: int) -> float:
    """Return the share of a quota that was used over some minutes."""
    return sum(one.served for one in counts) / (quota * len(counts))


@pytest.mark.parametrize("window", [pytest.param(SLIDING, marks=pytest.mark.full), FIXED], ids=["sliding", "fixed"])
def test_nine_tenths_of_a_limit_are_used_and_it_is_never_passed(
    workspace: Workspace, people: People, tmp_path: Path, window: Mapping[str, Any]
) -> None:
    """Three minutes at thirty a minute: not one refusal, each asked once, no minute with more than the limit."""
    people(90, without_bio=3)
    clock = Swift()
    with engine(tmp_path / "engine", clock, quotas=limited(HALF), **window) as api:
        with opened(workspace, clock, RPM=str(HALF)) as ws:
            report = tag.run(ws, limit=None)
        assert (report.asked.answered, report.asked.calls, report.asked.throttled) == (90, 90, 0)
        assert used(by_time(api)[1:], HALF) >= 0.9
        assert most_in_a_minute(api) <= HALF
        assert set(asked(api).values()) == {1}
    assert ledger.people(workspace) == {"total": 93, "tagged": 90, "no_bio": 3}


@pytest.mark.full
@pytest.mark.parametrize("rpm", ["70", "1000"])
def test_a_limit_that_is_set_too_high_is_found_out(
    workspace: Workspace, people: People, tmp_path: Path, rpm: str
) -> None:
    """A little or far above what the server gives: it says when to go on, and nobody is charged or lost."""
    people(220)
    clock = Swift()
    with engine(tmp_path / "engine", clock, quotas=limited()) as api:
        with opened(workspace, clock, RPM=rpm) as ws:
            report = tag.run(ws, limit=None)
        assert (report.asked.answered, report.asked.stopped) == (220, None)
        assert set(asked(api).values()) == {1}
        refused = sum(one.refused for one in by_time(api, seconds=1))
    assert report.asked.throttled >= refused > 0
    assert attempts(workspace) == []
    assert workspace.scalar(COUNTED) == 220


@pytest.mark.full
def test_tokens_by_the_minute_are_kept(workspace: Workspace, people: People, tmp_path: Path) -> None:
    """Where tokens are the tighter limit, these are used and not passed."""
    people(25)
    clock = Swift()
    with engine(tmp_path / "engine", clock, quotas=limited(1000, input_tokens_per_minute=3000)) as api:
        with opened(workspace, clock, RPM="1000", TPM="3000") as ws:
            report = tag.run(ws, limit=None)
        assert (report.asked.answered, report.asked.throttled) == (25, 0)
        tokens = [entry["tokens"] for entry in api.seen("POST", LIVE)]
        assert 0.8 * 3000 * clock.seconds / 61 <= sum(tokens) <= 3000 * (clock.seconds / 60 + 1)


@pytest.mark.full
def test_an_absurd_count_of_tokens_does_not_stop_the_run(workspace: Workspace, people: People, tmp_path: Path) -> None:
    """A reply that says it used a billion tokens: a minute is lost, not the hours that the limit would give them."""
    people(12)
    clock = Swift()
    answer = {"content": {"parts": [{"text": '{"tags":["bees","water law","teaching"]}'}]}, "finishReason": "STOP"}
    reply = {"candidates": [answer], "usageMetadata": {"promptTokenCount": 10**9}}
    with engine(tmp_path / "engine", clock) as api:
        api.fault("wrong_shape", path=LIVE, args={"document": reply})
        with opened(workspace, clock, RPM="1000", TPM="100000") as ws:
            report = tag.run(ws, limit=None)
    assert (report.asked.answered, report.asked.stopped) == (12, None)
    assert clock.seconds < 180


@pytest.mark.full
def test_who_is_refused_first_of_all_is_known_by_the_answers_of_others(
    workspace: Workspace, people: People, tmp_path: Path
) -> None:
    """A 400 before any answer charges no person; after the others were, it is about this one, who is parked."""
    people(4)
    clock = Swift()
    wrong = {"code": 400, "message": "Request contains an invalid argument."}
    with engine(tmp_path / "engine", clock) as api:
        api.fault("status", nth=1, path=LIVE, args=wrong)
        api.fault("status", nth=4, times=2, path=LIVE, args=wrong)  # of those that the first one lets pass
        with opened(workspace, clock, **PACED) as ws:
            report = tag.run(ws, limit=None)
            assert not any("no answer" in one for one in ws.display.lines)  # type: ignore[attr-defined]  # of `Silent`
    assert [item for item, _ in ends(workspace)] == ["1", "2", "3", "4", "1", "1"]
    assert [(item, charged) for item, charged, _ in attempts(workspace)] == [("1", False), ("1", True), ("1", True)]
    assert (report.asked.answered, report.asked.stopped) == (3, None)
    assert ledger.people(workspace) == {"total": 4, "tagged": 3, "parked": 1}


@pytest.mark.full
def test_a_stall_is_lived_through_by_one_call_at_a_time(workspace: Workspace, people: People, tmp_path: Path) -> None:
    """Half a minute without an answer is said; so is that answers come again; every person is tagged in the end.

    Calls that ended in nothing together are no reason to give up, however long they took.
    """
    people(20)
    clock = Swift()
    with engine(tmp_path / "engine", clock, latencies={"nothing": {"kind": "constant", "seconds": 0}}) as api:
        api.fault("hang", times=5, path=LIVE, args={"seconds": 60})
        with opened(workspace, clock, CALL_TIMEOUT="3") as ws:
            report = tag.run(ws, limit=None)
            lines = ws.display.lines  # type: ignore[attr-defined]  # of `Silent`
    assert (report.asked.answered, report.asked.stopped, report.asked.calls) == (20, None, 25)
    assert lines[-2:] == [
        "no answer for 30 s: one call at a time until one comes",
        "answers come again: up to 64 calls at once",
    ]
    assert clock.seconds >= 60
    assert attempts(workspace) == []


@pytest.mark.full
def test_a_service_that_stays_away_is_given_up(workspace: Workspace, people: People, tmp_path: Path) -> None:
    """After a minute without any answer, and not before; each try further from the last one, no person charged."""
    people(60)
    clock = Swift()
    with engine(tmp_path / "engine", clock) as api:
        api.fault("status", times=10_000, path=LIVE, args={"code": 503})
        with opened(workspace, clock) as ws:
            report = tag.run(ws, limit=None)
        calls = len(api.seen("POST", LIVE))
    assert isinstance(report.asked.stopped, UnavailableError)
    assert 60 < clock.seconds < 180
    assert calls < 30
    assert ledger.people(workspace) == {"total": 60, "untagged": 60}
    assert not any(charged for _, charged, _ in attempts(workspace))


@pytest.mark.full
def test_refusals_without_an_end_are_given_up(workspace: Workspace, people: People, tmp_path: Path) -> None:
    """429 after 429 for five minutes: exit code 4, no person charged, nothing counted for the day."""
    people(20)
    clock = Swift()
    with engine(tmp_path / "engine", clock) as api:
        api.fault("quota_minute", times=10_000, path=LIVE, args={"delay": "7s"})
        with opened(workspace, clock, RPM="1000") as ws:
            report = tag.run(ws, limit=None)
    assert isinstance(report.asked.stopped, ThrottledError)
    assert 300 < clock.seconds < 420
    assert attempts(workspace) == []
    assert workspace.scalar(COUNTED) == 0


@pytest.mark.full
def test_the_next_day_has_its_own_requests(workspace: Workspace, people: People, tmp_path: Path) -> None:
    """The day ends at midnight in California, wherever we are: then the same command goes on."""
    people(9)
    clock = Swift()
    with engine(tmp_path / "engine", clock, quotas=limited(1000, requests_per_day=4)) as api:
        for tagged in (4, 8, 9):
            with opened(workspace, clock, RPD="4") as ws:
                report = tag.run(ws, limit=None)
            assert workspace.scalar("SELECT count(*) FROM experts WHERE tags IS NOT NULL") == tagged
            stopped = report.asked.stopped
            assert isinstance(stopped, ThrottledError) == (tagged < 9)
            if isinstance(stopped, ThrottledError):
                assert stopped.resets_at is not None
                clock.go_on((stopped.resets_at - clock.now()).total_seconds())
        assert [entry["status"] for entry in api.seen("POST", LIVE)] == [200] * 9
