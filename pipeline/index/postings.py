"""The words of a build: which entries hold which term, and what BM25 gives each of them for it.

    words.terms.npy    u64, ascending: the number of each term, which follows from its group of fields and its letters
    words.starts.npy   i64: where the postings of each term begin, and last where those of all end
    words.rows.npy     i32: the entries that hold a term, in vector order, for one term behind the other
    words.scores.npy   f32: what the term gives each of them, times the weight of its group

Starts, rows and scores are the matrix of bm25s, which maps it and adds up. A term is known by 53 bits of its BLAKE2
hash: that any two of a million share theirs has a chance of 1 in 18,000, and two rare words would find each other's
entries then.
"""

import hashlib
import io
import math
import mmap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import InconsistentError
from pipeline.core.files import ReadHandle
from pipeline.core.ranking import ranking_from_json
from pipeline.index import terms
from pipeline.index.manifest import WORDS

Scores = NDArray[np.float32]
Codes = NDArray[np.uint64]
TERMS, STARTS, ROWS, SCORES = WORDS
TYPES = {TERMS: "<u8", STARTS: "<i8", ROWS: "<i4", SCORES: "<f4"}
HEAD = 4096  # bytes of a file among which its header is

GROUP = 53  # where the number of a term's group begins; the bits below are of its hash
_SUM_MASK = np.uint64(0xFFFFFFFF)


def term_code(term: str, group: int) -> int:
    """Return the number of a term in a group of fields, 56 bits."""
    digest = hashlib.blake2b(term.encode("utf-8"), digest_size=8).digest()
    return group << GROUP | int.from_bytes(digest, "little") >> (64 - GROUP)


def checksums(codes: Codes, rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return for each of `count` rows the sum of the lower halves of the numbers of its terms, one code a posting."""
    sums = np.zeros(count, np.int64)
    np.add.at(sums, rows, halves(codes))
    return sums


def halves(codes: Codes) -> NDArray[np.int64]:
    """Return what each posting adds to the checksum of its entry."""
    return (codes & _SUM_MASK).view(np.int64)


def mapped_array(handle: ReadHandle) -> NDArray[Any]:
    """Return the array in a file of words, by its name, mapped and not read.

    Raises:
        InconsistentError: it is no such array.
    """
    raw = mmap.mmap(handle.descriptor, 0, access=mmap.ACCESS_READ)
    try:
        head = io.BytesIO(raw[:HEAD])
        np.lib.format.read_magic(cast("Any", head))
        (length,), _, kind = np.lib.format.read_array_header_1_0(cast("Any", head))
        if kind != np.dtype(TYPES[handle.path.name]):
            raise ValueError(f"it holds {kind}")  # noqa: TRY301 - told as the others are
        return np.frombuffer(raw, kind, length, head.tell())
    except ValueError as error:
        raise InconsistentError(f"{handle.path} is no such array: {error}", hint="run `make index`") from None


def _idf(count: int, held: int) -> float:
    return math.log1p((count - held + 0.5) / (held + 0.5))


class Postings:
    """The words of one build, open for questions; nothing is read before it is asked for."""

    def __init__(self, handles: Sequence[ReadHandle], words: Mapping[str, Any], count: int) -> None:
        """Keep the open files, in the order of `WORDS`, what the manifest says of the words, and the number of entries.

        Raises:
            InconsistentError: the terms were made in another way than this version makes them.
        """
        if words.get("terms") != terms.NAME:
            raise InconsistentError(
                f"the index has words made by {words.get('terms')}, and this version makes {terms.NAME}",
                hint="run `make index`, or search with RANK=vectors",
            )
        self.ranking = ranking_from_json(words)
        self._handles = dict(zip(WORDS, handles, strict=True))
        self._count = count
        self._arrays: dict[str, NDArray[Any]] = {}

    def scores(self, question: Sequence[str]) -> Scores:
        """Return what BM25 gives each entry for the terms of a question, float32 (entries,); zero where it has none."""
        return self.add_up(self._numbers(question))

    def holding(self, wanted: Iterable[str]) -> NDArray[np.int64]:
        """Return the rows of the entries that have every one of some terms, in whatever group, ascending."""
        found: NDArray[np.int64] = np.arange(self._count)
        for term in wanted:
            rows = [self.array(ROWS)[begin:end] for begin, end in self._places([term])]
            found = np.intersect1d(found, np.concatenate(rows or [np.empty(0, np.int32)]))
        return found

    @property
    def rarest(self) -> float:
        """How much a term tells that one entry has."""
        return _idf(self._count, 1)

    def idf(self, term: str) -> float:
        """Return how much a term tells, by the group in which most entries have it; 0 where none has it."""
        held = max((end - begin for begin, end in self._places([term])), default=0)
        return _idf(self._count, held) if held else 0.0

    def told(self, question: Iterable[str]) -> float:
        """Return how much all terms of a question tell; what no entry has tells as much as what one has."""
        return sum(self.idf(term) or self.rarest for term in question)

    def add_up(self, found: NDArray[np.int64]) -> Scores:
        """Return what BM25 gives each entry for terms by their places in the file of terms."""
        if not len(found):
            return np.zeros(self._count, np.float32)
        given: Scores = self._matrix.get_scores_from_ids(found)
        return given

    def array(self, name: str) -> NDArray[Any]:
        """Return the array in one of the files, mapped.

        Raises:
            InconsistentError: it is no such array.
        """
        if name not in self._arrays:
            self._arrays[name] = mapped_array(self._handles[name])
        return self._arrays[name]

    def _places(self, wanted: Sequence[str]) -> Iterator[tuple[int, int]]:
        starts = self.array(STARTS)
        for number in self._numbers(wanted).tolist():
            yield int(starts[number]), int(starts[number + 1])

    def _numbers(self, question: Sequence[str]) -> NDArray[np.int64]:
        """Return the places of a question's terms among those of the build, in every group that has them."""
        known, groups = self.array(TERMS), range(len(self.ranking.groups))
        codes = np.array([term_code(term, group) for term in question for group in groups], np.uint64)
        places = np.searchsorted(known, codes)
        is_there = places < len(known)
        is_there[is_there] = known[places[is_there]] == codes[is_there]
        found: NDArray[np.int64] = places[is_there]
        return found

    @cached_property
    def _matrix(self) -> Any:
        import bm25s

        matrix = bm25s.BM25()
        matrix.scores = {
            "data": self.array(SCORES),
            "indices": self.array(ROWS),
            "indptr": self.array(STARTS),
            "num_docs": self._count,
        }
        matrix.nonoccurrence_array = None
        return matrix
