"""Write the words of a build as its entries come, at flat memory, where bm25s would hold all texts.

What comes is sorted in runs, which are spooled and merged. Scores are made of all of them then, because they follow
from how many entries there are.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.core import files
from pipeline.core.ranking import K1, B, Entry, Ranking
from pipeline.index import terms
from pipeline.index.postings import GROUP, ROWS, SCORES, STARTS, TERMS, TYPES, Codes, checksums, term_code

PAGE = 128  # entries that are taken in at once: what fits into a processor's cache is quicker; 255 at most
SPOOL = "words.runs"  # of postings, sorted by terms, and then of terms; gone when the build is written
RUN = 1 << 18  # postings that are sorted at once
MARK = 256  # of so many postings of a run one is remembered, to tell where all runs can be cut
MOST = 65_535  # times that a term counts in one entry
PIECES = 1 << 17  # pieces of texts whose terms are remembered
YEAR = 4  # digits of numbers that come again; longer ones are each another

_ROW_BITS, _ROW_MASK = np.uint64(8), np.uint64(255)  # they tell the entries of a page apart


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
        self._lengths: list[NDArray[np.float32]] = []  # of each page: terms of each entry, by group
        self._count = 0  # entries so far
        self._pages: list[Run] = []  # that are in no run yet
        self._waiting = 0  # postings of those
        self._runs: list[int] = []  # the lengths of those that are spooled
        self._marks: list[Codes] = [np.zeros(1, np.uint64)]  # terms of some postings of each run

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what was spooled."""
        self._spool.close()
        Path(self._spool.name).unlink(missing_ok=True)

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
        self._pages.append(
            Run(codes, (rows + self._count).astype(np.int32), np.minimum(counts, MOST).astype(np.uint32))
        )
        self._lengths.append(lengths)
        self._count += len(entries)
        self._waiting += len(codes)
        if self._waiting >= RUN:
            self._spool_run()
        return [int(one) for one in checksums(codes, rows, len(entries))]

    def seal(self) -> dict[str, files.Sealed]:
        """Write the words of all entries; on disk when this returns, by file name."""
        self._spool_run()
        total, first = sum(self._runs), self._spool.tell()
        with contextlib.ExitStack() as opened:
            rows, scores = (opened.enter_context(files.SealedWriter(self._directory / name)) for name in (ROWS, SCORES))
            for writer in (rows, scores):
                _write_header(writer, writer.path.name, total)
            spooled = self._write_postings(rows, scores)
            sealed = {writer.path.name: writer.seal() for writer in (rows, scores)}
        found = list(self._read(first, spooled, np.uint64, np.int64))
        sealed[TERMS] = self._sealed(TERMS, [codes for codes, _ in found])
        sealed[STARTS] = self._sealed(STARTS, [np.zeros(1), *(ends for _, ends in found)])
        return sealed

    def _spool_run(self) -> None:
        """Sort what came since the last run, and write it as one."""
        if not self._waiting:
            return
        run = Run.of(self._pages)
        self._pages.clear()
        self._waiting = 0
        for each in run:
            self._spool.write(each.data)
        self._runs.append(len(run.codes))
        self._marks.append(run.codes[::MARK].copy())

    def _write_postings(self, rows: files.SealedWriter, scores: files.SealedWriter) -> list[int]:
        """Write all postings in the order of terms, some at a time; spool the terms, and where those of each end.

        Return how many terms were spooled at a time.
        """
        lengths = np.concatenate(self._lengths)
        scale = K1 * B / np.maximum(lengths.mean(axis=0, dtype=np.float64), 1e-9)
        runs = [Run(*arrays) for arrays in self._read(0, self._runs, np.uint64, np.int32, np.uint32)]
        end, spooled = 0, list[int]()
        for parts in _merged(runs, self._marks):
            codes, held, which = _terms_of(parts)
            groups = (codes >> np.uint64(GROUP)).astype(np.uint8)
            weights = np.array([group.weight for group in self._ranking.groups])[groups]
            weights *= np.log1p((self._count - held + 0.5) / (held + 0.5))
            for part, here in zip(parts, which, strict=True):
                rows.write(_bytes_of(ROWS, part.rows))
                norms = lengths[part.rows, groups[here]]  # what BM25 adds to how often a term is in an entry
                norms *= scale[groups[here]]
                norms += K1 * (1 - B)
                scores.write(_bytes_of(SCORES, weights[here] * part.counts / (part.counts + norms)))
            ends = end + np.cumsum(held)
            self._spool.write(codes.data)
            self._spool.write(ends.data)
            end = int(ends[-1])
            spooled.append(len(codes))
        return spooled

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


def _merged(runs: Sequence[Run], marks: Sequence[Codes]) -> Iterator[list[Run]]:
    """Yield the postings in the order of terms: those of several terms as one run, or those of one as several.

    About RUN at a time are sorted; those of a term that most entries hold are more, and need not be.
    """
    some = np.sort(np.concatenate(marks))[:: max(1, RUN // MARK)]
    edges = np.unique(np.concatenate((some, some + np.uint64(1), [~np.uint64(0)])))
    for low, high in pairwise(edges):
        if parts := [part for run in runs if len((part := run.between(low, high)).codes)]:
            yield parts if high - low == 1 else [Run.of(parts)]


def _terms_of(parts: Sequence[Run]) -> tuple[Codes, NDArray[np.int64], list[NDArray[np.int64]]]:
    """Return the terms of some postings, ascending, how many entries hold each, and by part which term each is of.

    They are those of several terms in one part, or those of one in several.
    """
    codes = parts[0].codes
    begins = np.concatenate(([True], codes[1:] != codes[:-1]))
    which = np.cumsum(begins) - 1
    held = np.bincount(which) if len(parts) == 1 else np.array([sum(len(part.codes) for part in parts)])
    return codes[begins], held, [which, *(np.zeros(len(part.codes), np.int64) for part in parts[1:])]


def _bytes_of(name: str, array: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array, TYPES[name]).view(np.uint8).data


def _write_header(writer: files.SealedWriter, name: str, length: int) -> None:
    header: Any = {"descr": TYPES[name], "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(cast("Any", writer), header)
