"""A file of vectors, open for looking up: which record holds a key, and the vectors of many keys at once.

Nothing is read before it is needed, and what is read is checked: the first look at a record holds it against its
checksum. There are eight bytes a record in memory: four bytes of the key and the record's number in one sorted array;
the rest of the key is compared on disk.

The bytes of a file of vectors: a header of 256 bytes and records of equal length, numbers little-endian.

    header   magic (8) | version u32 | width u32 | crc32 of the model u32 | length of the model u16 | model, UTF-8
    record   key (32) | width x float32 | crc32 of key and vector u32

The one thing to know: records are found by their number alone, so a file is never changed but at its end.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.files import ReadHandle

MAGIC = b"findvec\n"
VERSION = 1
HEADER_BYTES = 256
KEY_BYTES = 32
_HEADER = struct.Struct("<8sIIIH")
_CRC_BYTES = 4
_RESIDUE = 0x2144DF1C  # the crc32 of anything that is followed by its own crc32, little-endian

BLOCK = 320  # records read at a time: 1 MB at 768 wide, which a processor's cache holds while they are looked at
GAP = 16  # records that were not asked for, read along where they lie between two that were
_NUMBER_BITS = np.uint64(32)
_NUMBER_MASK = np.uint64(0xFFFFFFFF)

Vectors = NDArray[np.float32]
Numbers = NDArray[np.int64]
Records = NDArray[np.void]


def read_header(raw: bytes) -> tuple[str, int] | None:
    """Return (model, width) of a file of vectors from its first bytes; None where they are no header of ours."""
    if len(raw) < HEADER_BYTES:
        return None
    magic, version, dim, crc, length = _HEADER.unpack_from(raw)
    encoded = raw[_HEADER.size : _HEADER.size + length]
    if (magic, version) != (MAGIC, VERSION) or zlib.crc32(encoded) != crc:
        return None
    return encoded.decode("utf-8", "replace"), dim


class RecordFormat:
    """The header and the records of one model's vectors at one width."""

    def __init__(self, model: str, dim: int) -> None:
        """Lay out the file.

        Raises:
            ValueError: the width is not positive or the model's name is longer than the header has room for.
        """
        encoded = model.encode()
        if dim < 1 or len(encoded) > HEADER_BYTES - _HEADER.size:
            raise ValueError(f"no vectors of width {dim} of model {model!r}")
        start = _HEADER.pack(MAGIC, VERSION, dim, zlib.crc32(encoded), len(encoded))
        self.header = (start + encoded).ljust(HEADER_BYTES, b"\0")
        self.record = np.dtype([("key", "u1", (KEY_BYTES,)), ("vector", "<f4", (dim,)), ("crc", "<u4")])
        self.size = self.record.itemsize

    def offset(self, number: int) -> int:
        """Return where record `number`, counted from 0, begins, in bytes."""
        return HEADER_BYTES + number * self.size

    def whole_records(self, file_size: int) -> int:
        """Return how many whole records a file of so many bytes has."""
        return (file_size - HEADER_BYTES) // self.size

    def pack(self, records: NDArray[np.void], keys: Sequence[bytes], rows: Vectors) -> memoryview:
        """Fill `records` with keys, rows, float32 (len(records), dim), and checksums; return their bytes."""
        records["key"] = rows_of_records(keys)
        records["vector"] = rows
        raw = records.view(np.uint8).data
        ends = range(self.size, len(raw) + 1, self.size)
        records["crc"] = [zlib.crc32(raw[end - self.size : end - _CRC_BYTES]) for end in ends]
        return raw

    def unsound(self, raw: memoryview) -> list[int]:
        """Return which of the whole records in `raw`, counted from 0, have a wrong checksum."""
        starts = range(0, len(raw) // self.size * self.size, self.size)
        return [at for at, start in enumerate(starts) if zlib.crc32(raw[start : start + self.size]) != _RESIDUE]


def rows_of_records(keys: Sequence[bytes]) -> NDArray[np.uint8]:
    """Return keys as rows of bytes, uint8 (len(keys), 32).

    Raises:
        ValueError: a key is not 32 bytes.
    """
    if set(map(len, keys)) - {KEY_BYTES}:
        raise ValueError(f"a key has {KEY_BYTES} bytes: use vector_key()")
    return np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES)


class VectorFile:
    """The records of one file, up to `count`; it belongs to one thread, and may grow while it is open."""

    def __init__(self, path: Path, form: RecordFormat) -> None:
        """Open the file; no record is read yet.

        Raises:
            FileNotFoundError: there is no such file.
        """
        self._handle = ReadHandle(path)
        self._form = form
        self._checked: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)  # of each record, whether it was
        self._damaged: set[int] = set()
        self._listed = 0  # records that stand in the table
        self._table: NDArray[np.uint64] = np.empty(0, dtype=np.uint64)
        self._buffer = bytearray()  # of what is read; a record is looked at before the next ones are read

    @property
    def count(self) -> int:
        """How many whole records there were at the last `grow`."""
        return len(self._checked)

    @property
    def is_ours(self) -> bool:
        """Whether the file begins as one of this model and width does."""
        size = len(self._form.header)
        return self._handle.size >= HEADER_BYTES and self._handle.read(size, 0) == self._form.header

    @property
    def has_tail(self) -> bool:
        """Whether more stands behind the last whole record."""
        return self._handle.size > self._form.offset(self.count)

    def is_at(self, device: int, inode: int) -> bool:
        """Return whether this is the file with that identity."""
        return self._handle.identity == (device, inode)

    def grow(self) -> None:
        """Take in what was appended since the last look."""
        more = self._form.whole_records(self._handle.size) - self.count
        if more > 0:
            self._checked = np.concatenate((self._checked, np.zeros(more, dtype=np.bool_)))

    def append(self, keys: NDArray[np.uint8]) -> None:
        """Take in records that were just written behind the last one, without reading them back."""
        if self._listed == self.count:
            numbers = np.arange(self.count, self.count + len(keys), dtype=np.uint64)
            new = np.sort(_prefixes(keys) | numbers)
            self._table = np.insert(self._table, np.searchsorted(self._table, new), new)
            self._listed += len(keys)
        self._checked = np.concatenate((self._checked, np.ones(len(keys), dtype=np.bool_)))

    def damaged(self) -> list[int]:
        """Return the numbers of records whose checksum is wrong, ascending; every record is looked at."""
        for _ in self.blocks():
            pass
        return sorted(self._damaged)

    def blocks(self) -> Iterator[tuple[Records, NDArray[np.bool_]]]:
        """Yield all records in blocks, each good until the next, and of each record whether it is sound."""
        for first in range(0, self.count, BLOCK):
            records = self._read(first, min(BLOCK, self.count - first))
            sound = np.ones(len(records), dtype=np.bool_)
            sound[[number - first for number in self._damaged if first <= number < first + len(records)]] = False
            yield records, sound

    def find(self, keys: NDArray[np.uint8], into: Vectors | None = None) -> Numbers:
        """Return the record number of each key, uint8 (n, 32); -1 where it is not there; of equal records the oldest.

        Their vectors are put into the rows of `into`, float32 (n, dim), if it is given.
        """
        found = self._first_candidates(keys)
        there = np.flatnonzero(found >= 0)
        same = self._take(found[there], keys, there, into)
        for position in there[~same].tolist():  # keys that begin alike, and records that turned out to be damaged
            found[position] = self._only(keys, position, into)
        return found

    def _first_candidates(self, keys: NDArray[np.uint8]) -> Numbers:
        """Return for each key the oldest record whose key begins as it does, or -1."""
        self._list()
        prefixes = _prefixes(keys)
        if not self._table.size:
            return np.full(len(keys), -1, dtype=np.int64)
        entries = self._table[np.minimum(np.searchsorted(self._table, prefixes), self._table.size - 1)]
        numbers = (entries & _NUMBER_MASK).astype(np.int64)
        return np.where(entries & ~_NUMBER_MASK == prefixes, numbers, -1)

    def _only(self, keys: NDArray[np.uint8], position: int, into: Vectors | None) -> int:
        """Return the oldest sound record of one key, or -1, looking at each whose key begins as it does."""
        here = np.array([position])
        prefix = _prefixes(keys[here])
        low, high = (int(np.searchsorted(self._table, bound)[0]) for bound in (prefix, prefix | _NUMBER_MASK))
        for number in (self._table[low:high] & _NUMBER_MASK).astype(np.int64):
            if self._take(number.reshape(1), keys, here, into)[0]:
                return int(number)
        return -1

    def _list(self) -> None:
        """Bring the table up to date; damaged records are not in it."""
        if self._listed == self.count:
            return
        entries = np.empty(self.count - self._listed, dtype=np.uint64)
        for first in range(self._listed, self.count, BLOCK):
            rows = min(BLOCK, self.count - first)
            keys = self._records(self._raw(first, rows))["key"]
            at = first - self._listed
            entries[at : at + rows] = _prefixes(keys) | np.arange(first, first + rows, dtype=np.uint64)
        self._table = np.concatenate((self._table, entries))
        self._table.sort()
        self._listed = self.count
        self._unlist()

    def _unlist(self) -> None:
        if self._damaged:
            bad = np.isin(self._table & _NUMBER_MASK, np.array(sorted(self._damaged), dtype=np.uint64))
            self._table = self._table[~bad]

    def _take(
        self, numbers: Numbers, keys: NDArray[np.uint8], positions: Numbers, into: Vectors | None
    ) -> NDArray[np.bool_]:
        """Return of each record whether it is sound and has the key at its position; put those vectors in place."""
        same_keys = np.zeros(len(keys), dtype=np.bool_)
        order = np.argsort(numbers, kind="stable")
        for some in _near(numbers, order):
            first = int(numbers[some[0]])
            records = self._read(first, int(numbers[some[-1]]) - first + 1)
            at, place = numbers[some] - first, positions[some]
            same_keys[place] = (records["key"][at] == keys[place]).all(axis=1)
            if into is not None:
                into[place] = records["vector"][at]
        same = same_keys[positions]
        return same & ~np.isin(numbers, list(self._damaged)) if self._damaged else same

    def _read(self, first: int, count: int) -> Records:
        raw = self._raw(first, count)
        if not self._checked[first : first + count].all():
            wrong = self._form.unsound(raw)
            self._checked[first : first + count] = True
            if wrong:
                self._damaged.update(first + number for number in wrong)
                self._unlist()
        return self._records(raw)

    def _raw(self, first: int, count: int) -> memoryview:
        """Return the bytes of `count` records, BLOCK at most, from number `first` on; they last until the next read."""
        size = count * self._form.size
        if len(self._buffer) < size:
            self._buffer = bytearray(size)
        raw = memoryview(self._buffer)[:size]
        self._handle.read_into(raw, self._form.offset(first))
        return raw

    def _records(self, raw: memoryview) -> Records:
        return np.frombuffer(raw, dtype=self._form.record)


def _prefixes(keys: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the first four bytes of each key, shape (n, 32), in the upper half of a number; the lower half is 0."""
    first = np.ascontiguousarray(keys[:, :4]).view(">u4").ravel()
    shifted: NDArray[np.uint64] = first.astype(np.uint64) << _NUMBER_BITS
    return shifted


def _near(numbers: Numbers, order: Numbers) -> Iterator[Numbers]:
    """Yield what sorts `numbers` in pieces whose records are read at once: near one another, within BLOCK."""
    ascending = numbers[order]
    start = 0
    for stop in [*(np.flatnonzero(np.diff(ascending) > GAP) + 1).tolist(), len(ascending)]:
        while start < stop:
            end = int(np.searchsorted(ascending[start:stop], ascending[start] + BLOCK)) + start
            yield order[start:end]
            start = end
