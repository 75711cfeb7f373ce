"""The arithmetic behind the figures: percentiles of a histogram, how two distributions differ, and a seeded choice."""

import hashlib
import heapq
import math
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


def mean(histogram: Mapping[int, int]) -> float | None:
    """Return the mean of {value: how often}; None where there is nothing."""
    count = sum(histogram.values())
    return sum(value * times for value, times in histogram.items()) / count if count else None


def percentile(histogram: Mapping[int, int], share: float) -> int | None:
    """Return the smallest value that at least this share of {value: how often} does not exceed; None without any."""
    wanted = share * sum(histogram.values())
    seen = 0
    for value in sorted(histogram):
        seen += histogram[value]
        if seen >= wanted:
            return value
    return None


def divergence(one: Mapping[str, float], other: Mapping[str, float]) -> float | None:
    """Return the Jensen-Shannon divergence of two distributions, base 2: 0 where they are alike, 1 where all differs.

    The weights need not add up to 1; None where one of them has none.
    """
    whole, whole_other = sum(one.values()), sum(other.values())
    if not whole or not whole_other:
        return None
    found = 0.0
    for name in sorted(one.keys() | other.keys()):
        share, share_other = one.get(name, 0) / whole, other.get(name, 0) / whole_other
        middle = (share + share_other) / 2
        found += sum(part * math.log2(part / middle) for part in (share, share_other) if part) / 2
    return min(1.0, max(0.0, found))


class Choice(Generic[T]):
    """At most `size` of all that is offered, each as likely as any other; the same ones for one seed, in any order.

    What is kept are those whose keys have the smallest hashes, so that neither the order of a database nor how many
    are offered needs to be known.
    """

    def __init__(self, size: int, *, seed: int) -> None:
        """Choose nothing yet."""
        self._size = size
        self._salt = str(seed).encode()
        self._heap: list[tuple[int, str, T]] = []  # the largest hash first: hashes are negative

    def wants(self, key: str) -> bool:
        """Return whether this key would be kept now, before what stands for it is worked out."""
        return len(self._heap) < self._size or -self._hash(key) > self._heap[0][0]

    def offer(self, key: str, value: T) -> None:
        """Keep a value under its key, which nothing else has, if it is among the chosen."""
        if not self._size:
            return
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, (-self._hash(key), key, value))
        elif self.wants(key):
            heapq.heapreplace(self._heap, (-self._hash(key), key, value))

    def __iter__(self) -> Iterator[T]:
        """Yield the chosen ones, in an order that the seed gives."""
        return (value for _, _, value in sorted(self._heap, key=lambda entry: (-entry[0], entry[1])))

    def __len__(self) -> int:
        """Return how many were chosen."""
        return len(self._heap)

    def _hash(self, key: str) -> int:
        digest = hashlib.blake2b(key.encode("utf-8", "replace"), digest_size=8, key=self._salt)
        return int.from_bytes(digest.digest(), "big")
