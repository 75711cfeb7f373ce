"""Write the words of a build as its entries come, at flat memory, where bm25s would hold all texts.

What comes is sorted in runs, which are spooled and merged; the postings of entries that are copied are one run more.
Scores are made of all of them then, because they follow from how many entries there are.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.core import files
from pipeline.core.ranking import K1, B, Ranking
from pipeline.core.task import Entry
from pipeline.index import terms
from pipeline.index.manifest import COUNTS, LENGTHS
from pipeline.index.posting_runs import CopiedWords, Run
from pipeline.index.postings import GROUP, ROWS, SCORES, STARTS, TERMS, TYPES, Codes, checksums, term_code

SPOOL = "words.runs"  # of postings, sorted by terms, and then of terms; gone when the build is written
SPOOLED_LENGTHS = "words.lengths"  # terms of each entry, by group, float32; gone then, too
RUN = 1 << 18  # postings that are sorted at once
MARK = 256  # of so many postings of a run one is remembered, to tell where all runs can be cut
MOST = 65_535  # times that a term counts in one entry
PIECES = 1 << 17  # pieces of texts whose terms are remembered
YEAR = 4  # digits of numbers that come again; longer ones are each another

_ROW_BITS, _ROW_MASK = np.uint64(8), np.uint64(255)  # they tell the entries of a page apart


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

    def __init__(self, directory: Path, ranking: Ranking, copied: CopiedWords | None = None) -> None:
        """Begin without entries; some may be copied."""
        self._directory, self._ranking, self._copied = directory, ranking, copied
        self._spool = (directory / SPOOL).open("wb")
        self._known = [_KnownPieces(group) for group in range(len(ranking.groups))]
        self._lengths = (directory / SPOOLED_LENGTHS).open("wb")
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
        for file in (self._spool, self._lengths):
            file.close()
            Path(file.name).unlink(missing_ok=True)

    def add(self, entries: Sequence[Entry], copies: NDArray[np.int64] | None = None) -> list[int]:
        """Take in the next entries, PAGE at most; return the checksum of the terms of each.

        Some others may be copied: `copies` has for each entry of the page its row in the build before, or -1 in the
        places of `entries`.
        """
        codes, rows, counts, lengths = self._terms_of(entries)
        if copies is not None and self._copied is not None:
            made, copied = np.flatnonzero(copies < 0), np.flatnonzero(copies >= 0)
            of_made, lengths = lengths, np.empty((len(copies), lengths.shape[1]), np.float32)
            lengths[made], lengths[copied] = of_made, self._copied.lengths[copies[copied]]
            self._copied.copy(copies[copied], self._count + copied)
            places = made[rows]
        else:
            places = rows
        self._pages.append(Run(codes, (places + self._count).astype(np.int32), counts))
        self._lengths.write(lengths.tobytes())
        self._count += len(lengths)
        self._waiting += len(codes)
        if self._waiting >= RUN:
            self._spool_run()
        return [int(one) for one in checksums(codes, rows, len(entries))]

    def checksums(self, entries: Sequence[Entry]) -> list[int]:
        """Return the checksum of the terms of some entries, PAGE at most, which are not taken in."""
        codes, rows, *_ = self._terms_of(entries)
        return [int(one) for one in checksums(codes, rows, len(entries))]

    def seal(self) -> dict[str, files.Sealed]:
        """Write the words of all entries; on disk when this returns, by file name."""
        self._spool_run()
        total, first = sum(self._runs) + (self._copied.count() if self._copied else 0), self._spool.tell()
        self._lengths.flush()
        lengths = np.memmap(self._directory / SPOOLED_LENGTHS, np.float32, "r")
        sealed = {LENGTHS: self._sealed(LENGTHS, [lengths])}
        with contextlib.ExitStack() as opened:
            names = (ROWS, COUNTS, SCORES)
            writers = [opened.enter_context(files.SealedWriter(self._directory / name)) for name in names]
            for writer, name in zip(writers, names, strict=True):
                _write_header(writer, name, total)
            spooled = self._write_postings(lengths.reshape(self._count, -1), *writers)
            sealed |= {name: writer.seal() for writer, name in zip(writers, names, strict=True)}
        found = list(self._read(first, spooled, np.uint64, np.int64))
        sealed[TERMS] = self._sealed(TERMS, [codes for codes, _ in found])
        sealed[STARTS] = self._sealed(STARTS, [np.zeros(1), *(ends for _, ends in found)])
        return sealed

    def _terms_of(
        self, entries: Sequence[Entry]
    ) -> tuple[Codes, NDArray[np.int64], NDArray[np.uint32], NDArray[np.float32]]:
        """Return the postings of some entries, sorted: terms, places of the entries, how often each is there.

        And how many terms each entry has in each group, float32 (entries, groups).
        """
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
        most = np.minimum(counts, MOST).astype(np.uint32)
        return page >> _ROW_BITS, (page & _ROW_MASK).astype(np.int64), most, lengths

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

    def _write_postings(
        self,
        lengths: NDArray[np.float32],
        rows: files.SealedWriter,
        counts: files.SealedWriter,
        scores: files.SealedWriter,
    ) -> list[int]:
        """Write all postings in the order of terms, some at a time; spool the terms, and where those of each end.

        Return how many terms were spooled at a time.
        """
        scale = K1 * B / np.maximum(lengths.mean(axis=0, dtype=np.float64), 1e-9)
        runs = [Run(*arrays) for arrays in self._read(0, self._runs, np.uint64, np.int32, np.uint32)]
        end, spooled = 0, list[int]()
        for parts in self._merged(runs):
            codes, held, which = _terms_of(parts)
            groups = (codes >> np.uint64(GROUP)).astype(np.uint8)
            weights = np.array([group.weight for group in self._ranking.groups])[groups]
            weights *= np.log1p((self._count - held + 0.5) / (held + 0.5))
            for part, here in zip(parts, which, strict=True):
                rows.write(_bytes_of(ROWS, part.rows))
                counts.write(_bytes_of(COUNTS, part.counts))
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

    def _merged(self, runs: Sequence[Run]) -> Iterator[list[Run]]:
        """Yield the postings in the order of terms: those of several terms as one run, or those of one as several.

        About RUN at a time are sorted; those of a term that most entries hold are more, and need not be.
        """
        copied = [] if self._copied is None else [self._copied.marks(MARK)]
        marks = np.sort(np.concatenate((*self._marks, *copied)))[:: max(1, RUN // MARK)]
        edges = np.unique(np.concatenate((marks, marks + np.uint64(1), [~np.uint64(0)])))
        for low, high in pairwise(edges):
            parts = [part for run in runs if len((part := run.between(low, high)).codes)]
            if self._copied is not None:
                both = (
                    self._copied.between(low, high).taking_in(Run.of(parts))
                    if parts
                    else self._copied.between(low, high)
                )
                if len(both.codes):
                    yield [both]
            elif parts:
                yield parts if high - low == 1 else [Run.of(parts)]

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
    """Return an array as it stands in a file."""
    return np.ascontiguousarray(array, TYPES[name]).view(np.uint8).data


def _write_header(writer: files.SealedWriter, name: str, length: int) -> None:
    header: Any = {"descr": TYPES[name], "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(cast("Any", writer), header)
