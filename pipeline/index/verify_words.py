"""Verify the words of a staged build: the postings are those of its entries, and entries are found by them."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import InconsistentError
from pipeline.core.links import ReadHandle
from pipeline.index.manifest import COUNTS, LENGTHS, WORDS, Manifest
from pipeline.index.postings import GROUP, ROWS, SCORES, STARTS, TERMS, Postings, halves, mapped_array
from pipeline.index.postings_writer import MOST

STEP = 1 << 16  # postings that are looked at at once: what a processor's cache holds

Numbers = NDArray[np.int64]


def verify_words(directory: Path, manifest: Manifest, *, sums: Numbers, sample: list[int]) -> None:
    """Pass when the words on disk are of terms in order, and of the entries with these checksums.

    Each row of the sample must be found by its rarest term. `sums` is counted down to zero: a second array of all
    entries would be half of what this takes.

    Raises:
        InconsistentError: they are not; the message says what differs.
    """
    postings = Postings([ReadHandle(directory / name) for name in WORDS], manifest.words or {}, manifest.count)
    codes, starts = postings.array(TERMS), postings.array(STARTS)
    if not _is_ascending(codes) or len(starts) != len(codes) + 1:
        raise InconsistentError("the terms of the build do not ascend, or are not as many as have postings")
    if not _is_ascending(starts) or starts[0]:
        raise InconsistentError("the postings of the build's terms do not follow one another")
    counts, lengths = (mapped_array(ReadHandle(directory / name)) for name in (COUNTS, LENGTHS))
    rarest = _verify_postings(postings, sums, np.array(sample))
    _verify_counts(postings, counts, lengths.reshape(manifest.count, -1))
    for row, term in rarest.items():
        if not postings.add_up(np.array([term]))[row] > 0:
            raise InconsistentError(f"row {row} is not found by its rarest term")


def _verify_postings(postings: Postings, sums: Numbers, sample: Numbers) -> dict[int, int]:
    """Pass when the postings are those of entries with these checksums; return the rarest term of rows of a sample."""
    codes, starts = postings.array(TERMS), postings.array(STARTS)
    rows, scores = postings.array(ROWS), postings.array(SCORES)
    if not starts[-1] == len(rows) == len(scores):
        raise InconsistentError(f"the words of the build have {len(rows)} postings, expected {starts[-1]}")
    held, last = np.diff(starts), -1
    rarest: dict[int, tuple[int, int]] = {}
    for low in range(0, len(rows), STEP):
        here = rows[low : low + STEP].astype(np.int64)
        which = np.searchsorted(starts, np.arange(low, low + len(here)), side="right") - 1
        places = which * len(sums) + here
        if here.min() < 0 or here.max() >= len(sums) or not _is_ascending(places) or places[0] <= last:
            raise InconsistentError("the postings of the build are out of order, or of entries that are not there")
        if not (np.isfinite(scores[low : low + STEP]) & (scores[low : low + STEP] > 0)).all():
            raise InconsistentError("a score among the words of the build is no positive number")
        np.subtract.at(sums, here, halves(codes[which]))
        last = int(places[-1])
        for at in np.flatnonzero(np.isin(here, sample)).tolist():
            one = (int(held[which[at]]), int(which[at]))
            rarest[int(here[at])] = min(one, rarest.get(int(here[at]), one))
    if sums.any():
        raise InconsistentError(f"row {np.flatnonzero(sums)[0]} has other words than its entry")
    return {row: term for row, (_, term) in rarest.items()}


def _verify_counts(postings: Postings, counts: NDArray[np.uint16], lengths: NDArray[np.float32]) -> None:
    """Pass when terms are as often in each entry as it is long, by groups, but for those that come too often to count.

    Raises:
        InconsistentError: they are not.
    """
    starts, rows, codes = (postings.array(name) for name in (STARTS, ROWS, TERMS))
    ends = starts[np.searchsorted(codes, np.arange(1 + lengths.shape[1], dtype=np.uint64) << np.uint64(GROUP))]
    if len(counts) != len(rows):
        raise InconsistentError(f"the words of the build have {len(counts)} counts, expected {len(rows)}")
    for group, (first, last) in enumerate(pairwise(ends.tolist())):
        found, most = np.zeros(len(lengths), np.int32), 0
        for low in range(first, last, STEP):
            here = slice(low, min(low + STEP, last))
            np.add.at(found, rows[here], counts[here].astype(np.int32))
            most = max(most, int(counts[here].max()))
        if most < MOST and not np.array_equal(found, lengths[:, group]):
            raise InconsistentError(
                f"row {np.flatnonzero(found != lengths[:, group])[0]} is not as long as its words are"
            )


def _is_ascending(array: NDArray[Any]) -> bool:
    return bool((array[1:] > array[:-1]).all())
