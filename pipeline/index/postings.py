"""The words of a build: which entries hold which term, and what BM25 gives each of them for it.

    words.terms.npy    u64, ascending: the number of each term, which follows from its group of fields and its letters
    words.starts.npy   i64: where the postings of each term begin, and last where those of all end
    words.rows.npy     i32: the entries that hold a term, in vector order, for one term behind the other
    words.scores.npy   f32: what the term gives each of them, times the weight of its group
    words.counts.npy   u16: how often the term is in each of them
    words.lengths.npy  f32: how many terms each entry has in each group, one entry behind the other

Starts, rows and scores are the matrix of bm25s, which maps it and adds up; counts and lengths are what scores are made
of, for the next build, which copies them. A term is known by 53 bits of its BLAKE2 hash: that any two of a million
share theirs has a chance of 1 in 18,000, and two rare words would find each other's entries then.
"""

import hashlib
import io
import math
import mmap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import InconsistentError
from pipeline.core.links import ReadHandle
from pipeline.core.ranking import ranking_from_json
from pipeline.index import terms
from pipeline.index.manifest import COUNTS, LENGTHS, WORDS

Scores = NDArray[np.float32]
Codes = NDArray[np.uint64]
TERMS, STARTS, ROWS, SCORES = WORDS
TYPES = {TERMS: "<u8", STARTS: "<i8", ROWS: "<i4", SCORES: "<f4", COUNTS: "<u2", LENGTHS: "<f4"}
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


class WordPart(NamedTuple):
    """What one term of a question gives one entry: `score` = `times` x `weight` x `idf` x `tf`.

    It comes so many `times` in the question, and `held` entries have it in these fields.
    """

    term: str
    times: int
    fields: tuple[str, ...]
    held: int
    idf: float
    tf: float
    weight: float
    score: float


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

    def scores(self, question: Sequence[str]) -> Scores:
        """Return what BM25 gives each entry for the terms of a question, float32 (entries,); zero where it has none."""
        return self.add_up(self._numbers(question))

    def holding(self, wanted: Iterable[str]) -> NDArray[np.int64]:
        """Return the rows of the entries that have every one of some terms, in whatever group, ascending."""
        found: NDArray[np.int64] = np.arange(self._count)
        for term in wanted:
            rows = [self._postings(number)[0] for number in self._numbers([term]).tolist()]
            found = np.intersect1d(found, np.concatenate(rows or [np.empty(0, np.int32)]))
        return found

    def parts(self, row: int, question: Iterable[str]) -> list[WordPart]:
        """Return what each term of a question gives one entry, in every group that has it there."""
        found = []
        for term, times in Counter(question).items():
            for number in self._numbers([term]).tolist():
                rows, scores = self._postings(number)
                at = int(np.searchsorted(rows, row))
                if at < len(rows) and rows[at] == row:
                    group = self.ranking.groups[int(self._terms[number]) >> GROUP]
                    idf = _idf(self._count, len(rows))
                    given = float(scores[at])
                    tf, score = given / (group.weight * idf), times * given
                    found.append(WordPart(term, times, group.fields, len(rows), idf, tf, group.weight, score))
        return found

    @property
    def rarest(self) -> float:
        """How much a term tells that one entry has."""
        return _idf(self._count, 1)

    def idf(self, term: str) -> float:
        """Return how much a term tells, by the group in which most entries have it; 0 where none has it."""
        held = int(self.held([term])[0])
        return _idf(self._count, held) if held else 0.0

    def held(self, wanted: Sequence[str]) -> NDArray[np.int64]:
        """Return how many entries have each of some terms, in the group in which most have it, int64 (terms,)."""
        places, is_there = self._places(wanted)
        there, starts, counts = places[is_there], self._matrix.scores["indptr"], np.zeros(places.shape, np.int64)
        counts[is_there] = starts[there + 1] - starts[there]
        most: NDArray[np.int64] = counts.max(axis=1, initial=0)
        return most

    def told(self, question: Iterable[str]) -> float:
        """Return how much all terms of a question tell; what no entry has tells as much as what one has."""
        return sum(self.idf(term) or self.rarest for term in question)

    def _postings(self, number: int) -> tuple[NDArray[np.int32], Scores]:
        """Return the rows that hold a term, ascending, and what it gives each."""
        held = self._matrix.scores
        here = slice(*held["indptr"][number : number + 2].tolist())
        return held["indices"][here], held["data"][here]

    def add_up(self, found: NDArray[np.int64]) -> Scores:
        """Return the same for terms by their places in the file of terms."""
        if not len(found):
            return np.zeros(self._count, np.float32)
        given: Scores = self._matrix.get_scores_from_ids(found)
        return given

    def array(self, name: str) -> NDArray[Any]:
        """Return the array in one of the files, mapped.

        Raises:
            InconsistentError: it is no such array.
        """
        return mapped_array(self._handles[name])

    def _numbers(self, question: Sequence[str]) -> NDArray[np.int64]:
        """Return the places of a question's terms among those of the build, in every group that has them."""
        places, is_there = self._places(question)
        return places[is_there]

    def _places(self, wanted: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return a place in the file of terms for each term and group, and whether it is one; both (terms, groups)."""
        groups = range(len(self.ranking.groups))
        codes = np.array([[term_code(term, group) for group in groups] for term in wanted], np.uint64)
        codes = codes.reshape(len(wanted), len(groups))  # also of no terms
        places = np.searchsorted(self._terms, codes)
        if not len(self._terms):
            return places, np.zeros(codes.shape, bool)
        places[places == len(self._terms)] = 0
        return places, self._terms[places] == codes

    @cached_property
    def _terms(self) -> Codes:
        return self.array(TERMS)

    @cached_property
    def _matrix(self) -> Any:
        """The matrix, as bm25s adds it up."""
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
