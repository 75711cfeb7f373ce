"""The words of a build: which entries hold which term, and what BM25 gives each of them for it.

    words.terms.npy    u64, ascending: the number of each term, which follows from its group of fields and its letters
    words.starts.npy   i64: where the postings of each term begin, and last where those of all end
    words.rows.npy     i32: the entries that hold a term, in vector order, for one term behind the other
    words.scores.npy   f32: what the term gives each of them, times the weight of its group

The last three are the matrix of bm25s, which maps it and adds up; it is made here at flat memory, where bm25s would
hold all texts. A term is known by 53 bits of its BLAKE2 hash: that any two of a million share theirs has a chance of
1 in 18,000, and two rare words would find each other's entries then.
"""

import hashlib
import io
import math
import mmap
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.core import files
from pipeline.core.errors import InconsistentError
from pipeline.core.links import ReadHandle
from pipeline.core.ranking import K1, B, Ranking, ranking_from_json
from pipeline.core.task import Entry
from pipeline.index import terms
from pipeline.index.manifest import WORDS

Scores = NDArray[np.float32]
Codes = NDArray[np.uint64]
TERMS, STARTS, ROWS, SCORES = WORDS
TYPES = {TERMS: "<u8", STARTS: "<i8", ROWS: "<i4", SCORES: "<f4"}
SPOOL = "words.runs"  # of postings, sorted by terms, and then of terms; gone when the build is written
PAGE = 256  # entries that are taken in at once: as many as 8 bits tell apart
RUN = 1 << 18  # postings that are sorted at once
MARK = 256  # of so many postings of a run one is remembered, to tell where all runs can be cut
PIECES = 1 << 17  # pieces of texts whose terms are remembered
YEAR = 4  # digits of numbers that come again; longer ones are each another
HEAD = 4096  # bytes of a file among which its header is

_GROUP = 53  # where the number of a term's group begins; the bits below are of its hash
_ROW_BITS, _ROW_MASK, _SUM_MASK = np.uint64(8), np.uint64(PAGE - 1), np.uint64(0xFFFFFFFF)


def term_code(term: str, group: int) -> int:
    """Return the number of a term in a group of fields, 56 bits."""
    digest = hashlib.blake2b(term.encode("utf-8"), digest_size=8).digest()
    return group << _GROUP | int.from_bytes(digest, "little") >> (64 - _GROUP)


def checksums(codes: Codes, rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return for each of `count` rows the sum of the lower halves of the numbers of its terms, one code a posting."""
    return np.bincount(rows, weights=codes & _SUM_MASK, minlength=count).astype(np.int64)  # exact below 2**53


class _Run(NamedTuple):
    """Postings sorted by terms, and by rows where terms are equal: numbers of terms, rows, how often each is there."""

    codes: Codes
    rows: NDArray[np.int32]
    counts: NDArray[np.uint32]

    @classmethod
    def of(cls, parts: "Sequence[_Run]") -> "_Run":
        """Return parts whose rows follow one another, as one run."""
        whole: Any = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
        order = np.argsort(whole[0], kind="stable")
        return cls(*(array[order] for array in whole))

    def cut(self, low: int, high: int) -> "_Run":
        """Return the postings from `low` up to `high`."""
        return _Run(self.codes[low:high], self.rows[low:high], self.counts[low:high])


class _KnownPieces(dict[bytes, bytes]):
    """The numbers of the terms of a piece of text in one group, u64 one behind the other, eight bits further up."""

    def __init__(self, group: int) -> None:
        """Begin with what stands between two texts: zero."""
        super().__init__({terms.END: bytes(8)})
        self._group = group

    def __missing__(self, piece: bytes) -> bytes:
        """Look up a piece that was not met before; the first ones are remembered, which come most often."""
        found_terms = (piece.decode(),) if piece.isdigit() else terms.terms_of_piece(piece)
        found = b"".join([(term_code(term, self._group) << 8).to_bytes(8, "little") for term in found_terms])
        if len(self) < PIECES and (len(piece) <= YEAR or not piece.isdigit()):
            self[piece] = found
        return found


class PostingsWriter:
    """Writes the words of a build as its entries come, in a `with` block; a number of pages of them is in memory."""

    def __init__(self, directory: Path, ranking: Ranking) -> None:
        """Begin without entries."""
        self._directory, self._ranking = directory, ranking
        self._spool = (directory / SPOOL).open("wb")
        self._known = [_KnownPieces(group) for group in range(len(ranking.groups))]
        self._lengths = array("f")  # terms of each entry, by group
        self._count = 0  # entries so far
        self._pages: list[_Run] = []  # that are in no run yet
        self._runs: list[int] = []  # the lengths of those that are spooled
        self._marks: list[Codes] = [np.zeros(1, np.uint64)]  # terms of some postings of each run

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the runs."""
        self._spool.close()
        (self._directory / SPOOL).unlink(missing_ok=True)

    def add(self, entries: Sequence[Entry]) -> list[int]:
        """Take in the next entries, PAGE at most; return the checksum of the terms of each."""
        texts = [self._ranking.texts(entry.fields or {"text": entry.text}) for entry in entries]
        found, lengths = [], np.zeros((len(entries), len(self._known)), np.float32)
        for group, known in enumerate(self._known):
            pieces = terms.pieces([text[group] for text in texts])
            codes = np.frombuffer(b"".join(map(known.__getitem__, pieces)), "<u8")
            is_term = codes != 0
            rows = np.cumsum(~is_term)[is_term]
            lengths[:, group] = np.bincount(rows, minlength=len(entries))
            found.append(codes[is_term] | rows.astype(np.uint64))
        page, counts = np.unique(np.concatenate(found), return_counts=True)
        codes, rows = page >> _ROW_BITS, (page & _ROW_MASK).astype(np.int64)
        self._pages.append(_Run(codes, (rows + self._count).astype(np.int32), counts.astype(np.uint32)))
        self._lengths.frombytes(lengths.tobytes())
        self._count += len(entries)
        if sum(len(one.codes) for one in self._pages) >= RUN:
            self._spool_run()
        return [int(one) for one in checksums(codes, rows, len(entries))]

    def seal(self) -> dict[str, files.Sealed]:
        """Write the words of all entries; on disk when this returns, by file name."""
        self._spool_run()
        total, first = sum(self._runs), self._spool.tell()
        with (
            files.SealedWriter(self._directory / ROWS) as rows,
            files.SealedWriter(self._directory / SCORES) as scores,
        ):
            for writer, name in ((rows, ROWS), (scores, SCORES)):
                _write_header(writer, name, total)
            spooled = self._write_postings(rows, scores)
            sealed = {ROWS: rows.seal(), SCORES: scores.seal()}
        found = list(self._read(first, spooled, np.uint64, np.int64))
        sealed[TERMS] = self._sealed(TERMS, [codes for codes, _ in found])
        sealed[STARTS] = self._sealed(STARTS, [np.zeros(1), *(ends for _, ends in found)])
        return sealed

    def _spool_run(self) -> None:
        """Sort what came since the last run, and write it as one."""
        if not any(len(page.codes) for page in self._pages):
            return
        run = _Run.of(self._pages)
        self._pages.clear()
        for each in run:
            self._spool.write(each.data)
        self._runs.append(len(run.codes))
        self._marks.append(run.codes[::MARK].copy())

    def _write_postings(self, rows: files.SealedWriter, scores: files.SealedWriter) -> list[int]:
        """Write all postings in the order of terms, some at a time; spool the terms, and where those of each end.

        Return how many terms were spooled at a time.
        """
        norms = self._norms()
        runs = [_Run(*arrays) for arrays in self._read(0, self._runs, np.uint64, np.int32, np.uint32)]
        end, lengths = 0, list[int]()
        for parts in self._merged(runs):
            codes, held = _terms_of(parts)
            groups = (codes >> np.uint64(_GROUP)).astype(np.uint8)
            weights = np.array([group.weight for group in self._ranking.groups])[groups]
            weights *= np.log1p((self._count - held + 0.5) / (held + 0.5))
            for part in parts:
                which = np.searchsorted(codes, part.codes)
                rows.write(_bytes_of(ROWS, part.rows))
                given = weights[which] * part.counts / (part.counts + norms[part.rows, groups[which]])
                scores.write(_bytes_of(SCORES, given))
            ends = end + np.cumsum(held)
            self._spool.write(codes.data)
            self._spool.write(ends.data)
            end = int(ends[-1])
            lengths.append(len(codes))
        return lengths

    def _norms(self) -> NDArray[np.float32]:
        """Return what BM25 adds to how often a term is in an entry, by entry and group."""
        norms = np.frombuffer(self._lengths, np.float32).reshape(self._count, -1)
        norms *= K1 * B / np.maximum(norms.mean(axis=0, dtype=np.float64), 1e-9)
        norms += K1 * (1 - B)
        return norms

    def _merged(self, runs: Sequence[_Run]) -> Iterator[list[_Run]]:
        """Yield the postings in the order of terms: those of several terms as one run, or those of one as several.

        About RUN at a time are sorted; those of a term that most entries hold are more, and need not be.
        """
        marks = np.sort(np.concatenate(self._marks))[:: max(1, RUN // MARK)]
        edges = np.unique(np.concatenate((marks, marks + np.uint64(1), [~np.uint64(0)])))
        for low, high in pairwise(edges):
            cuts = (run.cut(*np.searchsorted(run.codes, [low, high]).tolist()) for run in runs)
            if parts := [part for part in cuts if len(part.codes)]:
                yield parts if high - low == 1 else [_Run.of(parts)]

    def _read(self, start: int, lengths: Iterable[int], *kinds: type[np.generic]) -> Iterator[list[NDArray[Any]]]:
        """Yield what was spooled from a place on, arrays of one length together, mapped and not read."""
        self._spool.flush()
        for length in lengths:
            arrays: list[NDArray[Any]] = []
            for kind in kinds:
                arrays.append(np.memmap(self._directory / SPOOL, kind, "r", start, length))
                start += arrays[-1].nbytes
            yield arrays

    def _sealed(self, name: str, blocks: Sequence[NDArray[Any]]) -> files.Sealed:
        with files.SealedWriter(self._directory / name) as writer:
            _write_header(writer, name, sum(map(len, blocks)))
            for block in blocks:
                writer.write(_bytes_of(name, block))
            return writer.seal()


def _terms_of(parts: Sequence[_Run]) -> tuple[Codes, NDArray[np.int64]]:
    """Return the terms of some postings, ascending, and how many entries hold each."""
    counted = [np.unique(part.codes, return_counts=True) for part in parts]
    codes, held = (np.concatenate(one) for one in zip(*counted, strict=True))
    found, which = np.unique(codes, return_inverse=True)
    return found, np.bincount(which, weights=held).astype(np.int64)


def _bytes_of(name: str, array: NDArray[Any]) -> memoryview:
    """Return an array as it stands in a file."""
    return np.ascontiguousarray(array, TYPES[name]).view(np.uint8).data


def _write_header(writer: files.SealedWriter, name: str, length: int) -> None:
    header: Any = {"descr": TYPES[name], "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(cast("Any", writer), header)


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
                    group = self.ranking.groups[int(self._terms[number]) >> _GROUP]
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
        held = [len(self._postings(number)[0]) for number in self._numbers([term]).tolist()]
        return _idf(self._count, max(held)) if held else 0.0

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
        handle = self._handles[name]
        raw = mmap.mmap(handle.descriptor, 0, access=mmap.ACCESS_READ)
        try:
            head = io.BytesIO(raw[:HEAD])
            np.lib.format.read_magic(cast("Any", head))
            (length,), _, kind = np.lib.format.read_array_header_1_0(cast("Any", head))
            if kind != np.dtype(TYPES[name]):
                raise ValueError(f"it holds {kind}")  # noqa: TRY301 - told as the others are
            return np.frombuffer(raw, kind, length, head.tell())
        except ValueError as error:
            raise InconsistentError(f"{handle.path} is no such array: {error}", hint="run `make index`") from None

    def _numbers(self, question: Sequence[str]) -> NDArray[np.int64]:
        """Return the places of a question's terms among those of the build, in every group that has them."""
        groups = range(len(self.ranking.groups))
        codes = np.array([term_code(term, group) for term in question for group in groups], np.uint64)
        found = np.searchsorted(self._terms, codes)
        found[found == len(self._terms)] = 0
        return found[self._terms[found] == codes] if len(self._terms) else found[:0]

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
