"""Copy into a new build what did not change since the one in service was made.

What an entry is made from has a mark. An entry whose mark stands in the build before, in the same order, is copied from
there: its metadata, its line, its postings and its vector. All others are made anew; so a mark that is not found costs
time and nothing else. Marks follow from how entries are made, too, so that another version copies nothing.

Each file is read once, from its beginning to its end, and held against the hash that it was sealed with: what was
damaged since is found and not copied. A few copied entries, others each time, are made anew all the same and compared.
"""

import hashlib
import io
import random
import weakref
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from pipeline.core import files
from pipeline.core.errors import InconsistentError
from pipeline.core.links import ReadHandle
from pipeline.core.ranking import Ranking
from pipeline.core.task import Entry
from pipeline.index import manifest, terms
from pipeline.index.manifest import Manifest
from pipeline.index.posting_runs import CopiedWords
from pipeline.index.postings import ROWS, STARTS, TERMS, mapped_array
from pipeline.index.vector_file import BLOCK, Vectors, runs_of

PAGE = 128  # entries that are made at once: what fits into a processor's cache is quicker
MANY = 1024  # that are looked for at once in the build before
SAMPLE = 64  # copied entries that are made anew and compared

Marks = NDArray[np.uint64]
Rows = NDArray[np.int64]


class DamagedBuildError(InconsistentError):
    """The build in service is not as it was sealed, or its entries are made otherwise now, so nothing is copied."""


class Page(NamedTuple):
    """Some entries of a new build, in order: their marks, and which rows of the build before they are, or -1.

    `made` are the entries in the places of -1, each with the key of its vector; `compared` are entries that are copied,
    by their places in the page.
    """

    marks: Marks
    copies: Rows
    made: Sequence[tuple[Entry, bytes]]
    compared: Sequence[tuple[int, Entry, bytes]] = ()

    def runs(self) -> list[tuple[int, int]]:
        """Return the first and the last row of those that are copied as they stand side by side; -1 for what is made.

        In the order of the page.
        """
        before, after = self.copies[:-1], self.copies[1:]
        ends = np.flatnonzero((before < 0) | (after != before + 1)) + 1
        bounds = pairwise([0, *ends.tolist(), len(self.copies)])
        return [(int(self.copies[first]), int(self.copies[end - 1])) for first, end in bounds]


class Stretch(NamedTuple):
    """Rows of the build before that stand side by side in a file: the first, the bytes, and where in them each is."""

    first: int
    raw: memoryview
    begins: Rows
    ends: Rows

    def run(self, first: int, last: int) -> memoryview:
        """Return the bytes of some of the rows, with what stands between them."""
        return self.raw[self.begins[first - self.first] : self.ends[last - self.first]]


def marks_of(sources: Sequence[Sequence[Any]], recipe: bytes) -> Marks:
    """Return the marks of entries, by what they are made from, and how."""
    try:
        told = [orjson.dumps(tuple(one), default=repr) for one in sources]
    except TypeError:  # what orjson cannot say is in one of them
        told = [_as_bytes(tuple(one)) for one in sources]
    digests = b"".join([hashlib.sha256(recipe + one).digest() for one in told])
    return np.frombuffer(digests, "<u8")[::4].copy()


def pages_of(entries: Iterable[tuple[Entry, bytes]], before: "Before | None" = None) -> Iterator[Page]:
    """Yield entries with the keys of their vectors in pages, those that stand in the build before as copies."""
    pairs = iter(entries)
    while some := list(islice(pairs, PAGE)):
        facts = [(one.id, one.text, dict(one.metadata), one.facts, one.fields, key.hex()) for one, key in some]
        marks = marks_of(facts, b"")
        copies = np.full(len(some), -1) if before is None else before.rows_of(marks)
        made = [pair for pair, row in zip(some, copies.tolist(), strict=True) if row < 0]
        yield Page(marks, copies, made)


def _as_bytes(cells: tuple[Any, ...]) -> bytes:
    try:
        return orjson.dumps(cells, default=repr)
    except TypeError:  # a lone surrogate, or a number that is too large
        return repr(cells).encode("utf-8", "surrogatepass")


def can_be_copied(found: Manifest, *, model: str, dim: int, ranking: Ranking) -> bool:
    """Return whether a build has all that is copied, and its vectors and words are made as those of the next one."""
    words = {"terms": terms.NAME, **ranking.as_json()}
    return (found.parts, found.model, found.dim, found.words) == (manifest.PARTS, model, dim, words)


class Before:
    """A build, open for being copied from once, in the order of its rows."""

    def __init__(self, directory: Path, found: Manifest) -> None:
        """Open its files.

        Raises:
            DamagedBuildError: one has other bytes than it was sealed with.
            FileNotFoundError: it was removed meanwhile.
        """
        handles = {name: ReadHandle(directory / name) for name in (*manifest.COPYING, *manifest.WORDS)}
        for name in (manifest.OFFSETS, *manifest.COPYING, TERMS, STARTS, ROWS):
            _check(files.sha256_of(directory / name), found, directory / name)
        raw = handles[manifest.MARKS]
        marks = np.frombuffer(raw.read(raw.size, 0), "<u8")
        names = (TERMS, STARTS, ROWS, manifest.COUNTS, manifest.LENGTHS)
        self.words = CopiedWords([mapped_array(handles[name]) for name in names], entries=found.count)
        self._order = np.argsort(marks, kind="stable")
        self._marks = marks[self._order]
        self._last = -1
        self.highest = found.highest
        sampled = random.Random(found.number).sample(range(found.count), min(SAMPLE, found.count))  # noqa: S311 - no secret
        self._is_sampled = np.zeros(found.count, np.bool_)
        self._is_sampled[sampled] = True
        self._places = np.memmap(directory / manifest.OFFSETS, "<u8", "r").reshape(-1, 2)
        self._metadata, self._entries, self._vectors = (
            _Checked(directory / name, found) for name in (manifest.METADATA, manifest.ENTRIES, manifest.INDEX)
        )
        self._at = 0  # the row whose line is next
        self._block = _Blocks(self._vectors, found)

    def rows_of(self, marks: Marks) -> Rows:
        """Return for each of the next entries its row, ascending, by its mark; -1 where there is none."""
        places = np.minimum(np.searchsorted(self._marks, marks), len(self._marks) - 1)
        rows: Rows = np.where(self._marks[places] == marks, self._order[places], -1)
        before = np.maximum.accumulate(np.concatenate(([self._last], rows)))
        rows[rows <= before[:-1]] = -1  # the order of rows changed
        self._last = int(before[-1])
        return rows

    def compared(self, rows: Rows) -> list[int]:
        """Return the places of those rows that are made anew as well as copied."""
        return np.flatnonzero(self._is_sampled[rows] & (rows >= 0)).tolist()

    def stretches(self, rows: Rows) -> tuple[Stretch, Stretch]:
        """Return the metadata and the lines up to the last of the next rows, ascending; -1 is none."""
        first, self._at = self._at, max(self._at, int(rows.max()) + 1)
        places = self._places[first : self._at].astype(np.int64)
        begins, ends = places[:, 0] - self._metadata.size, places.sum(axis=1) - self._metadata.size
        documents = Stretch(first, self._metadata.read(int(ends[-1]) if len(ends) else 0), begins, ends)
        raw, lengths = self._entries.lines(self._at - first)
        ends = lengths.cumsum()
        return documents, Stretch(first, raw, ends - lengths, ends - 1)

    def put_vectors(self, rows: Rows, into: Vectors, places: Rows) -> None:
        """Put the vectors of the next rows that are copied, ascending, into some places."""
        self._block.put(rows, into, places)

    def check_entries(self) -> None:
        """Pass when metadata and lines were read as they were sealed.

        Raises:
            DamagedBuildError: they were not.
        """
        self._metadata.check()
        self._entries.check()

    def check_vectors(self) -> None:
        """Pass when the vectors were read as they were sealed.

        Raises:
            DamagedBuildError: they were not.
        """
        self._vectors.check()


class _Checked:
    """A file of a build that is read once, from its beginning to its end."""

    def __init__(self, path: Path, found: Manifest) -> None:
        self._path, self._manifest = path, found
        self._file = io.BufferedReader(io.FileIO(path), 1 << 18)
        weakref.finalize(self, self._file.close)
        self._digest = hashlib.sha256()
        self.size = 0  # bytes that were read

    def read(self, size: int) -> memoryview:
        """Return the next bytes."""
        whole = self._file.read(size)
        if len(whole) < size:
            raise DamagedBuildError(f"{self._path} ends early")
        self._digest.update(whole)
        self.size += size
        return memoryview(whole)

    def lines(self, count: int) -> tuple[memoryview, Rows]:
        """Return the next lines, and the length of each."""
        found = list(islice(self._file, count))
        if len(found) < count:
            raise DamagedBuildError(f"{self._path} ends early")
        whole = b"".join(found)
        self._digest.update(whole)
        return memoryview(whole), np.array(list(map(len, found)), np.int64)

    def fill(self, buffer: memoryview) -> None:
        """Fill a buffer with the next bytes."""
        if self._file.readinto(buffer) < len(buffer):
            raise DamagedBuildError(f"{self._path} ends early")
        self._digest.update(buffer)

    def check(self) -> None:
        """Read the rest, close the file, and pass when it has the bytes that it was sealed with."""
        with self._file as file:
            while piece := file.read(1 << 20):
                self._digest.update(piece)
        _check(self._digest.hexdigest(), self._manifest, self._path)


class _Blocks:
    """The vectors of a build, read some at a time."""

    def __init__(self, file: _Checked, found: Manifest) -> None:
        self._file, self._count, self._dim = file, found.count, found.dim
        self._head = found.sizes[manifest.INDEX] - 4 * found.count * found.dim
        self._rows = np.empty((0, found.dim), np.float32)
        self._first = self._end = 0

    def put(self, rows: Rows, into: Vectors, places: Rows) -> None:
        """Put those of the next rows, ascending, into some places."""
        while len(rows):
            here = slice(0, int(np.searchsorted(rows, self._end)))
            for at, place in runs_of(rows[here] - self._first, places[here]):
                into[place] = self._rows[at]
            rows, places = rows[here.stop :], places[here.stop :]
            if len(rows):
                self._read()

    def _read(self) -> None:
        """Read the next rows."""
        if not self._end:
            self._file.fill(memoryview(bytearray(self._head)))
            self._rows = np.empty((min(BLOCK, self._count), self._dim), "<f4")
        self._first, self._end = self._end, min(self._count, self._end + BLOCK)
        self._rows = self._rows[: self._end - self._first]
        self._file.fill(self._rows.reshape(-1).view(np.uint8).data)


def _check(sha256: str, found: Manifest, path: Path) -> None:
    if sha256 != found.hashes[path.name]:
        raise DamagedBuildError(f"{path} was changed after it was sealed")
