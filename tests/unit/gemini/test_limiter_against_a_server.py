"""The limiter and a server that counts for itself: how much of the true quota is used, and how often it refuses.

The server counts what arrives, up to a third of a second after it was sent, in a window that slides or in the clock's
minutes; refusals say how long to wait, or nothing. Half an hour of work always waiting, on no clock but a number.
"""

import heapq
import random
from collections import deque
from dataclasses import dataclass, field

import pytest

from pipeline.gemini.rate_limiter import Limiter, RateLimits

MINUTES = 30
AT_ONCE = 40  # calls in flight


@dataclass
class Server:
    """So many requests a minute, counted as they arrive; what is refused does not count."""

    quota: int
    slides: bool
    says_when: bool
    seen: deque[float] = field(default_factory=deque)
    served: int = 0
    refused_at: list[float] = field(default_factory=list)

    def takes(self, at: float) -> tuple[bool, float | None]:
        """Return whether a request is served, and otherwise the delay that the refusal names."""
        since = at - 60 if self.slides else at // 60 * 60
        while self.seen and self.seen[0] <= since:
            self.seen.popleft()
        if len(self.seen) < self.quota:
            self.seen.append(at)
            self.served += 1
            return True, None
        self.refused_at.append(at)
        until = self.seen[0] + 60 if self.slides else since + 60
        return False, until - at if self.says_when else None


def _run(server: Server, limiter: Limiter) -> None:
    """Keep calls in flight for half an hour, telling the limiter what comes back; replies take about a second."""
    luck = random.Random(1)  # noqa: S311 - jitter, not a secret
    at = 0.0
    in_flight: list[tuple[float, bool, float | None]] = []
    while at < MINUTES * 60:
        while in_flight and in_flight[0][0] <= at:
            _, is_served, delay_s = heapq.heappop(in_flight)
            if is_served:
                limiter.succeeded(at=at)
            else:
                limiter.refused(at=at, delay_s=delay_s)
        wait = limiter.wait(1, at=at)
        if wait == 0 and len(in_flight) < AT_ONCE:
            limiter.start(1, at=at)
            is_served, delay_s = server.takes(at + luck.uniform(0, 0.3))
            heapq.heappush(in_flight, (at + (luck.uniform(0.5, 1.5) if is_served else 0.3), is_served, delay_s))
            continue
        ends = in_flight[0][0] if in_flight else at + wait
        at = ends if len(in_flight) >= AT_ONCE else min(at + wait, ends)


def test_one_refusal_out_of_the_blue_costs_little() -> None:
    """A refusal that nothing explains slows a minute or two down; half an hour loses less than a twentieth."""
    server, limiter = Server(300, slides=True, says_when=True), Limiter(RateLimits(300, None, None), at=0.0)
    limiter.refused(at=0.0, delay_s=5.0)
    _run(server, limiter)
    assert server.refused_at == []
    assert server.served >= 0.95 * 300 * MINUTES
    assert limiter._tuning.share == 1.0


@pytest.mark.parametrize("slides", [True, False], ids=["sliding", "fixed"])
@pytest.mark.parametrize(("limit", "quota"), [(4000, 300), (1000, 60), (4000, 150)])
def test_a_refusal_tells_the_true_limit_where_far_less_was_asked(limit: int, quota: int, *, slides: bool) -> None:
    """The pace goes down to what was asked in one step: few refusals after the first half minute."""
    server = Server(quota, slides=slides, says_when=True)
    _run(server, Limiter(RateLimits(limit, None, None), at=0.0))
    assert sum(30 <= at < 300 for at in server.refused_at) <= 10
    assert server.served >= 0.9 * quota * MINUTES
