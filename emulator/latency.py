"""How long answers take: distributions by endpoint, drawn in an order that follows from the seed.

Waiting holds no thread and holds up no other request, and goes by the engine's clock. Only good answers wait: the work
is done and counted when a request comes in, and its answer is late. Refusals and scripted faults come at once.
"""

import hashlib
import itertools
import math
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from emulator.errors import invalid
from emulator.faults import pattern

LONGEST_S = 3600.0
"""No answer takes longer, however heavy the tail."""

_NORMAL = statistics.NormalDist()
_Z95 = _NORMAL.inv_cdf(0.95)


def _constant(_share: float, *, seconds: float) -> float:
    return seconds


def _uniform(share: float, *, least: float, most: float) -> float:
    return least + share * (most - least)


def _lognormal(share: float, *, median: float, p95: float) -> float:
    """Return what is usual of a service: most times near the median, some several times as long."""
    return median * math.exp(math.log(p95 / median) * _NORMAL.inv_cdf(share) / _Z95)


def _heavy_tail(share: float, *, median: float, p95: float) -> float:
    """Return a Pareto time: the same median and 95th percentile, and now and then very much longer."""
    return median * math.exp(math.log(0.5 / (1 - share)) * math.log10(p95 / median))


KINDS: Mapping[str, tuple[Callable[..., float], tuple[str, ...]]] = {
    "constant": (_constant, ("seconds",)),
    "uniform": (_uniform, ("least", "most")),
    "lognormal": (_lognormal, ("median", "p95")),
    "heavy_tail": (_heavy_tail, ("median", "p95")),
}
"""Every distribution: what draws from it, and the numbers it is given by, the smaller first."""


@dataclass(frozen=True)
class Latency:
    """One distribution, by its kind and the seconds that go with it, the smaller first."""

    kind: str
    seconds: tuple[float, ...]

    @classmethod
    def read(cls, document: object) -> Self:
        """Return the distribution that a setting describes.

        Raises:
            ApiError: 400 for another kind, other members, or seconds that are not in order.
        """
        if not isinstance(document, Mapping) or str(document.get("kind")) not in KINDS:
            raise invalid(f"setting 'latencies': a kind is one of {', '.join(KINDS)}; found {document!r}")
        kind = str(document["kind"])
        names = KINDS[kind][1]
        seconds: tuple[Any, ...] = tuple(document.get(name) for name in names)
        if set(document) != {"kind", *names} or not all(_is_time(each) for each in seconds):
            raise invalid(f"setting 'latencies': {kind} takes {' and '.join(names)}, from 0 to {LONGEST_S:.0f} seconds")
        if list(seconds) != sorted(seconds) or (names == ("median", "p95") and not seconds[0]):
            raise invalid(f"setting 'latencies': {' and '.join(names)} are above 0 and in this order; found {seconds}")
        return cls(kind, seconds)

    def at(self, share: float) -> float:
        """Return the time that this share of all answers, above 0 and below 1, stays under; in seconds."""
        act, names = KINDS[self.kind]
        return min(act(share, **dict(zip(names, self.seconds, strict=True))), LONGEST_S)


def _is_time(value: object) -> bool:
    """Tell whether a value is a number of seconds that an answer may take."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LONGEST_S


class Latencies:
    """Draws how long each answer takes; the first endpoint whose pattern is found in path and query decides."""

    def __init__(self) -> None:
        """Begin every endpoint's row of times at its first."""
        self._numbers: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)

    def draw(self, latencies: Mapping[str, Any], target: str, *, seed: int) -> float:
        """Return the seconds that the next answer to `target` takes; 0 where none were set for it.

        The n-th time of an endpoint follows from the seed alone; the first request gets it.
        """
        for endpoint, document in latencies.items():
            if pattern(endpoint).search(target) is not None:
                facts = f"{seed}:{endpoint}:{next(self._numbers[endpoint])}".encode()
                number = int.from_bytes(hashlib.blake2b(facts, digest_size=6).digest(), "big")
                return Latency.read(document).at((number + 0.5) / 2**48)
        return 0.0


def check(latencies: Mapping[str, Any]) -> None:
    """Refuse latencies that cannot be drawn from.

    Raises:
        ApiError: 400 for a pattern that is no regular expression, or as `Latency.read`.
    """
    for endpoint, document in latencies.items():
        try:
            pattern(endpoint)
        except re.error as error:
            raise invalid(f"setting 'latencies': {endpoint!r} is no regular expression: {error}") from error
        Latency.read(document)
