"""Postings in order, some at a time: runs of them that are sorted, and those of a build before, which are copied."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.index.postings import Codes

BLOCK = 1 << 18  # postings that are looked at at once


class Run(NamedTuple):
    """Postings sorted by terms, and by rows where terms are equal: numbers of terms, rows, how often each is there."""

    codes: Codes
    rows: NDArray[np.int32]
    counts: NDArray[np.uint32]

    @classmethod
    def of(cls, parts: "Sequence[Self]") -> "Self":
        """Return parts whose rows follow one another, as one run."""
        whole: Any = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
        order = np.argsort(whole[0], kind="stable")
        return cls(*(array[order] for array in whole))

    def between(self, low: np.uint64, high: np.uint64) -> "Run":
        """Return the postings of the terms from `low` up to `high`."""
        first, last = np.searchsorted(self.codes, [low, high]).tolist()
        return Run(self.codes[first:last], self.rows[first:last], self.counts[first:last])

    def taking_in(self, other: "Run") -> "Run":
        """Return both as one run; the other is the shorter one, and has other rows."""
        if not len(self.codes) or not len(other.codes):
            return self if len(self.codes) else other
        begins = np.concatenate(([True], self.codes[1:] != self.codes[:-1]))
        terms, ranks = self.codes[begins], np.cumsum(begins)
        near = np.searchsorted(terms, other.codes)
        is_known = terms[np.minimum(near, len(terms) - 1)] == other.codes
        rows = 1 + max(int(self.rows.max()), int(other.rows.max()))
        own = (2 * ranks - 1) * rows + self.rows  # a term that is not known stands between two that are
        places = np.searchsorted(own, (2 * near + is_known) * rows + other.rows)
        return Run(
            np.insert(self.codes, places, other.codes),
            np.insert(self.rows, places, other.rows),
            np.insert(self.counts, places, other.counts),
        )


class CopiedWords:
    """The words of a build, of which those of some entries are copied into the next one."""

    def __init__(self, arrays: Sequence[NDArray[Any]], *, entries: int) -> None:
        """Keep the arrays of terms, starts, rows, counts and lengths, of so many entries, none of which is copied."""
        self._codes, self._starts, self._rows, self._counts, lengths = arrays
        self.lengths: NDArray[np.float32] = lengths.reshape(entries, -1)
        self._becomes: NDArray[np.int32] = np.full(entries, -1, np.int32)

    def copy(self, entries: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """Note that some entries, ascending, are copied, and their rows in the next build, ascending, too."""
        self._becomes[entries] = rows

    def count(self) -> int:
        """Return how many postings are copied."""
        starts = range(0, len(self._rows), BLOCK)
        return sum(int(np.count_nonzero(self._becomes[self._rows[at : at + BLOCK]] >= 0)) for at in starts)

    def marks(self, step: int) -> Codes:
        """Return the term of every so manieth posting."""
        at = np.arange(0, len(self._rows), step)
        found: Codes = self._codes[np.searchsorted(self._starts, at, side="right") - 1]
        return found

    def between(self, low: np.uint64, high: np.uint64) -> Run:
        """Return the postings of the terms from `low` up to `high` that are copied."""
        first, last = np.searchsorted(self._codes, [low, high]).tolist()
        held = np.diff(self._starts[first : last + 1])
        here = slice(int(self._starts[first]), int(self._starts[last]))
        rows = self._becomes[self._rows[here]]
        is_copied = rows >= 0
        codes = np.repeat(self._codes[first:last], held)
        return Run(codes[is_copied], rows[is_copied], self._counts[here][is_copied].astype(np.uint32))
