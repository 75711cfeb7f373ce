"""How many calls go out at once: never none, never too many, whatever comes back; and enough to use what there is."""

import heapq
import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.live.concurrency import MOST, STALL_S, Concurrency

FIRST = st.integers(1, 40)
TIMES = st.floats(0, 100, allow_nan=False)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("answered"), TIMES, st.booleans()),
        st.tuples(st.just("failed"), TIMES, st.just(0)),
        st.tuples(st.just("look"), TIMES, st.integers(0, 50)),
        st.tuples(st.just("begun"), TIMES, st.integers(0, 50)),
    ),
    max_size=120,
)
Event = tuple[str, float, int]


def lived(width: Concurrency, events: list[Event]) -> Iterator[tuple[Event, float, int, bool]]:
    """Let events happen one after the other; yield each, when it was, the width before, and what it returned."""
    at = 0.0
    for event in events:
        what, seconds, detail = event
        at += seconds / 4
        before = width.now
        told = False
        if what == "answered":
            told = width.answered(took_s=seconds, was_full=bool(detail), at=at)
        elif what == "failed":
            width.failed(at=at)
        elif what == "look":
            told = width.look(in_flight=detail, at=at)
        else:
            width.begun(in_flight=detail, at=at)
        yield event, at, before, told


@given(first=FIRST, events=EVENTS)
def test_there_is_always_room_for_one_and_never_for_too_many(first: int, events: list[Event]) -> None:
    """Between one and the most, or what was asked for where that is more; one alone while nothing comes back."""
    width = Concurrency(first, at=0.0)
    for _ in lived(width, events):
        assert 1 <= width.now <= max(first, MOST)
        assert not width.is_stalled or width.now == 1


@given(first=FIRST, events=EVENTS)
def test_only_an_answer_that_others_waited_for_makes_it_wider(first: int, events: list[Event]) -> None:
    """Failures, looks, and answers while there was room anyway never do; the end of a stall goes back to half."""
    width = Concurrency(first, at=0.0)
    at_stall = first
    for (what, _, detail), _, before, told in lived(width, events):
        if what == "look" and told:
            at_stall = before
        if what == "answered" and told:
            assert width.now == max(1, at_stall // 2)
        elif not (what == "answered" and detail):
            assert width.now <= before


@given(first=FIRST, events=EVENTS)
def test_a_stall_is_told_once_and_only_where_calls_wait_in_vain(first: int, events: list[Event]) -> None:
    """With calls under way and no answer for half a minute; the next answer ends it, and tells so."""
    width, quiet_since, stalled = Concurrency(first, at=0.0), 0.0, False
    for (what, _, detail), at, _, told in lived(width, events):
        if what == "look":
            assert told == (not stalled and detail > 0 and at - quiet_since >= STALL_S)
            stalled = stalled or told
        elif what == "answered":
            assert told == stalled
            stalled, quiet_since = False, at
        elif what == "begun" and detail == 0:
            quiet_since = at
        assert width.is_stalled == stalled


@given(first=FIRST, failures=st.integers(1, 30))
def test_calls_that_fail_together_narrow_it_once(first: int, failures: int) -> None:
    """Half as many after all of them, and not one alone."""
    width = Concurrency(first, at=0.0)
    for _ in range(failures):
        width.failed(at=5.0)
    assert width.now == max(1, first // 2)


def lognormal(luck: random.Random) -> float:
    """Return what an answer takes on an ordinary day: a median of 1.2 seconds, one in twenty above 4."""
    return luck.lognormvariate(0.182, 0.73)


def heavy(luck: random.Random) -> float:
    """Return what an answer takes where now and then one takes very long."""
    return min(60.0, 0.8 * luck.paretovariate(1.5))


def constant(_luck: random.Random) -> float:
    """Return ten seconds."""
    return 10.0


def started(
    draw: Callable[[random.Random], float], *, rpm: int, seconds: float, slots: int = 10_000
) -> list[tuple[float, int]]:
    """Ask as fast as the width lets, at most `rpm` evenly spread; return when each call started, and the width.

    The server works on `slots` calls at once; the others wait there.
    """
    luck = random.Random(7)  # noqa: S311 - latencies, no secret
    width, times, at = Concurrency(5, at=0.0), list[tuple[float, int]](), 0.0
    under_way: list[tuple[float, float]] = []  # (ends, began)
    free_at = [0.0] * slots
    due, was_full = 0.0, False
    while at < seconds:
        while under_way and under_way[0][0] <= at:
            ends, began = heapq.heappop(under_way)
            width.answered(took_s=ends - began, was_full=was_full, at=ends)
        was_full = due <= at and len(under_way) >= width.now
        if due <= at and not was_full:
            ends = max(at, free_at[0]) + draw(luck)
            heapq.heapreplace(free_at, ends)
            heapq.heappush(under_way, (ends, at))
            times.append((at, width.now))
            due = max(due, at - 1) + 60 / rpm
            continue
        at = min([seconds, *[due] * (not was_full), *(one[0] for one in under_way[:1])])
    return times


@pytest.mark.parametrize(
    ("draw", "rpm"),
    [(lognormal, 300), (lognormal, 1000), (heavy, 300), (constant, 120), (constant, 300)],
    ids=["lognormal 300", "lognormal 1000", "heavy 300", "ten seconds 120", "ten seconds 300"],
)
def test_nine_tenths_of_a_limit_are_used_however_slow_answers_are(
    draw: Callable[[random.Random], float], rpm: int
) -> None:
    """In every minute after the first, of ten, that so many calls at once can use it at all."""
    times = started(draw, rpm=rpm, seconds=600)
    for minute in range(1, 10):
        assert sum(minute * 60 <= at < minute * 60 + 60 for at, _ in times) >= 0.9 * rpm, minute


@pytest.mark.parametrize(("draw", "mean_s"), [(lognormal, 1.57), (constant, 10.0)], ids=["lognormal", "ten seconds"])
def test_a_server_that_works_on_ten_at_once_is_given_enough_to_do(
    draw: Callable[[random.Random], float], mean_s: float
) -> None:
    """Where more at once only wait longer there, nothing is lost by it."""
    times = started(draw, rpm=10_000, seconds=600, slots=10)
    assert sum(at >= 60 for at, _ in times) >= 0.9 * 540 * 10 / mean_s


def test_it_stops_to_widen_where_that_only_makes_calls_slower() -> None:
    """Ten at once at the server, ten seconds each: long before the most there may be."""
    assert max(width for _, width in started(constant, rpm=10_000, seconds=600, slots=10)) <= 0.85 * MOST
