"""The vector cache: one append-only file per model and width, looked up by what the vector is of.

A record is never changed. Half a record at the end belongs to a writer that was killed: it is not read, and the next
writer cuts it off. A record whose checksum is wrong counts as absent and stands in `damaged`. In memory there are
eight bytes a record: four bytes of the key and the record's number in one sorted array; the rest of the key is
compared on disk. The one thing to know: an object of this class belongs to one thread; processes may share the file.
"""

import contextlib
import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from json.encoder import encode_basestring_ascii
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import files
from pipeline.errors import InconsistentError
from pipeline.index.handles import ReadHandle
from pipeline.index.record_format import HEADER_BYTES, KEY_BYTES, RecordFormat, Vectors, read_header

__all__ = ["VectorCache", "Vectors", "caches", "check_unit_rows", "vector_key"]

UNIT_TOLERANCE = 1e-3  # how far from 1 the length of a float32 vector may be; rounding alone stays below 1e-6
BLOCK = 1024  # records read at a time: 3 MiB at 768 wide
_NUMBER_BITS = np.uint64(32)
_NUMBER_MASK = np.uint64(0xFFFFFFFF)


def vector_key(text: str, *, model: str, dim: int, task_type: str) -> bytes:
    """Return the 32 bytes (SHA-256) under which the vector of `text` is cached; any difference gives another key.

    It is the hash of the JSON list of model, width, task type and text, of which all but the text is hashed once.
    """
    digest = _begun(model, dim, task_type).copy()
    digest.update(f"{encode_basestring_ascii(text)}]".encode("ascii"))
    return digest.digest()


@functools.cache
def _begun(model: str, dim: int, task_type: str) -> "hashlib._Hash":
    """Return the hash of what stands before the text."""
    return hashlib.sha256(f"{json.dumps([model, dim, task_type])[:-1]}, ".encode("ascii"))


def check_unit_rows(vectors: Vectors, *, what: str) -> None:
    """Pass when every row of `vectors`, float32 (n, dim), is finite and of length 1.

    Raises:
        InconsistentError: a row is not; the message says how many and names the first, counted from 0.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    wrong = np.flatnonzero(~(np.abs(lengths - 1.0) <= UNIT_TOLERANCE))  # NaN and infinity fail the comparison
    if len(wrong):
        raise InconsistentError(
            f"{what}: {len(wrong)} of {len(vectors)} vectors are not finite and of length 1, "
            f"first row {wrong[0]} (length {lengths[wrong[0]]:.6g})"
        )


def caches(folder: Path) -> "list[VectorCache]":
    """Return the caches in a folder, of whatever model and width, by the names of their files."""
    found = []
    for path in sorted(folder.glob("*.vectors")):
        with path.open("rb") as file:
            header = read_header(file.read(HEADER_BYTES))
        cache = VectorCache(folder, model=header[0], dim=header[1]) if header else None
        if cache is not None and cache.path == path:
            found.append(cache)
    return found


class VectorCache:
    """The vectors of one model at one width, float32 rows of unit length."""

    def __init__(self, folder: Path, *, model: str, dim: int) -> None:
        """Name the file `<folder>/<model>-<dim>-<hash of the model>.vectors`; nothing is read or made yet.

        Raises:
            ValueError: the width is not positive or the model's name is longer than the header has room for.
        """
        self.model = model
        self.dim = dim
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", model)[:60]  # a model's name never becomes a path
        self.path = folder / f"{slug}-{dim}-{hashlib.sha256(model.encode()).hexdigest()[:8]}.vectors"
        self._format = RecordFormat(model, dim)
        self._reset()

    @property
    def damaged(self) -> list[int]:
        """The numbers of records whose checksum is wrong, ascending; `forget([])` drops them from the file."""
        self._refresh()
        return list(self._damaged)

    def __len__(self) -> int:
        """Return how many readable records there are; a key that two processes added at once counts twice."""
        self._refresh()
        return int(self._sorted.size)

    def missing(self, keys: Sequence[bytes]) -> list[int]:
        """Return the positions in `keys`, ascending, whose vector is not there; of equal keys only the first."""
        self._refresh()
        if self._in_order(keys) is not None:
            return []
        absent = np.flatnonzero(self._find(keys) < 0).tolist()
        first: dict[bytes, int] = {}
        for position in absent:
            first.setdefault(keys[position], position)
        return list(first.values())

    def add(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        """Append the vectors, float32 (len(keys), dim), whose key is not there yet; on disk when this returns.

        Raises:
            ValueError: keys and rows differ in number, or a key is not 32 bytes.
            InconsistentError: the width is wrong, or a row is not finite and of length 1; nothing was written.
        """
        rows = np.asarray(vectors, dtype=np.float32)
        if rows.shape[1:] != (self.dim,):
            raise InconsistentError(f"vectors of {self.model!r} have shape {rows.shape}, expected (n, {self.dim})")
        if len(keys) != len(rows):
            raise ValueError(f"{len(keys)} keys for {len(rows)} vectors")
        check_unit_rows(rows, what=f"what {self.model!r} returned")
        if not keys:
            return
        with self._locked():
            if not self.path.exists():
                files.seal_bytes(self.path, self._format.header)
            fresh = self.missing(keys)
            records = self._format.pack([keys[position] for position in fresh], rows[fresh])
            self._append(records)
            self._take_in(records)

    def fetch(self, keys: Sequence[bytes]) -> Vectors:
        """Return the vectors of `keys`, float32 (len(keys), dim), in their order.

        Raises:
            InconsistentError: a vector is not there.
        """
        self._refresh()
        records = self._in_order(keys)
        if records is not None:
            return np.ascontiguousarray(records["vector"])
        found = self._find(keys)
        if len(found) and found.min() < 0:
            position = int(np.argmin(found))
            raise InconsistentError(
                f"no vector is cached under {keys[position].hex()[:12]}… (position {position}) in {self.path}",
                hint="run `make index` again: it embeds what is missing",
            )
        numbers, where = np.unique(found, return_inverse=True)
        rows = np.empty((len(numbers), self.dim), dtype=np.float32)
        for start, stop in _runs(numbers):
            rows[start:stop] = self._read(int(numbers[start]), stop - start)["vector"]
        in_order = bool(np.array_equal(numbers, found))  # the usual case: no second copy of the block
        return rows if in_order else rows[where]

    def _in_order(self, keys: Sequence[bytes]) -> NDArray[np.void] | None:
        """Return the records of keys that lie one after the other in the file, as they do after a first run, or None.

        The keys are compared with those of the records all at once, and not each by a look of its own.
        """
        if self._handle is None or not 0 < len(keys) <= BLOCK or any(len(key) != KEY_BYTES for key in keys):
            return None
        wanted = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES)
        low = int(np.searchsorted(self._sorted, _prefixes(wanted[:1])[0]))
        first = int(self._sorted[low] & _NUMBER_MASK) if low < self._sorted.size else self._scanned
        last = first + len(keys)
        if last > self._scanned or any(first <= number < last for number in self._damaged):
            return None
        records = self._read(first, len(keys))
        return records if np.array_equal(records["key"], wanted) else None

    def forget(self, keys: Sequence[bytes]) -> int:
        """Rewrite the file without these keys and without damaged records; return how many of the keys were there.

        The new file is sealed: it is on disk, whole, when this returns. Readers that have the old one open go on
        reading it until they look again.
        """
        gone = set(keys)
        with self._locked():
            self._refresh()
            there = int(np.count_nonzero(self._find(list(gone)) >= 0))
            if there or self._damaged:
                self._rewrite(lambda key: key not in gone)
        self._refresh()
        return there

    def retain(self, keys: Collection[bytes]) -> int:
        """Rewrite the file with these keys alone, without damaged records, as `forget` does; return how many went."""
        kept = set(keys)
        with self._locked():
            self._refresh()
            before = self._scanned
            has_tail = self._handle is not None and self._handle.size > self._format.offset(self._scanned)
            if has_tail or self._damaged or any(raw not in kept for raw in self._keys()):
                self._rewrite(lambda key: key in kept)
        self._refresh()
        return before - self._scanned

    def unsound(self) -> list[bytes]:
        """Return the keys whose records, their checksums right, hold no vector: not finite, or of another length."""
        self._refresh()
        wrong: list[bytes] = []
        for start in range(0, self._scanned, BLOCK):
            records = self._read(start, min(BLOCK, self._scanned - start))
            records = records[self._format.sound(records)]
            with np.errstate(over="ignore", invalid="ignore"):
                lengths = np.sqrt(np.einsum("ij,ij->i", records["vector"], records["vector"], dtype=np.float64))
            broken = ~(np.abs(lengths - 1.0) <= UNIT_TOLERANCE)
            wrong += [key.tobytes() for key in records["key"][broken]]
        return wrong

    def _keys(self) -> Iterator[bytes]:
        """Yield the key of every record."""
        for start in range(0, self._scanned, BLOCK):
            for key in self._read(start, min(BLOCK, self._scanned - start))["key"]:
                yield key.tobytes()

    def _reset(self) -> None:
        """Forget all that was read of the file."""
        self._handle: ReadHandle | None = None
        self._scanned = 0
        self._damaged: list[int] = []
        self._sorted: NDArray[np.uint64] = np.empty(0, dtype=np.uint64)

    def _refresh(self) -> None:
        """Read what was appended since the last look, or all of a file that took the old one's place.

        Raises:
            InconsistentError: the file is another program's, or of another version, model or width.
        """
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._reset()
            return
        if self._handle is None or self._handle.identity != (found.st_dev, found.st_ino):
            self._reset()
            handle = ReadHandle(self.path)
            if handle.size < HEADER_BYTES or handle.read(HEADER_BYTES, 0) != self._format.header:
                raise InconsistentError(
                    f"{self.path} does not hold vectors of {self.model!r}, {self.dim} wide, as we write them",
                    hint="move the file away and run `make index`: it embeds again what is needed",
                )
            self._handle = handle
        count = self._format.whole_records(self._handle.size)
        if count > self._scanned:
            self._scan(count)

    def _scan(self, count: int) -> None:
        """Take the records from the last look up to `count` into the sorted numbers, or among the damaged."""
        entries = np.empty(count - self._scanned, dtype=np.uint64)
        used = 0
        for start in range(self._scanned, count, BLOCK):
            records = self._read(start, min(BLOCK, count - start))
            sound = self._format.sound(records)
            numbers = np.arange(start, start + len(records), dtype=np.uint64)
            packed = _prefixes(records["key"]) | numbers
            entries[used : used + int(sound.sum())] = packed[sound]
            used += int(sound.sum())
            self._damaged.extend(numbers[~sound].tolist())
        self._sorted = np.concatenate((self._sorted, entries[:used]))
        self._sorted.sort()
        self._scanned = count

    def _take_in(self, records: NDArray[np.void]) -> None:
        """Take records that were just appended into the sorted numbers, without reading them back; the lock is held."""
        if self._handle is None:  # the first ones of a new file
            self._refresh()
            return
        numbers = np.arange(self._scanned, self._scanned + len(records), dtype=np.uint64)
        new = np.sort(_prefixes(records["key"]) | numbers)
        self._sorted = np.insert(self._sorted, np.searchsorted(self._sorted, new), new)
        self._scanned += len(records)

    def _read(self, number: int, count: int) -> NDArray[np.void]:
        """Return `count` records from `number` on."""
        if self._handle is None:
            raise AssertionError("records are only looked for in a file that was opened")
        raw = self._handle.read(count * self._format.size, self._format.offset(number))
        return np.frombuffer(raw, dtype=self._format.record)

    def _find(self, keys: Sequence[bytes]) -> NDArray[np.int64]:
        """Return the record number of each key, -1 where it is not there; of equal records the oldest."""
        if any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"a key has {KEY_BYTES} bytes: use vector_key()")
        found = np.full(len(keys), -1, dtype=np.int64)
        if self._handle is None or not keys:
            return found
        wanted = _prefixes(np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES))
        low = np.searchsorted(self._sorted, wanted)
        high = np.searchsorted(self._sorted, wanted | _NUMBER_MASK, side="right")
        for position in np.flatnonzero(low < high).tolist():
            for number in (self._sorted[low[position] : high[position]] & _NUMBER_MASK).tolist():
                if self._handle.read(KEY_BYTES, self._format.offset(number)) == keys[position]:
                    found[position] = number
                    break
        return found

    def _append(self, records: NDArray[np.void]) -> None:
        """Write records behind the last whole one, durable when this returns; the lock is held.

        What a killed writer left of a record is cut off first. When the disk is full the file is as it was.
        """
        end = self._format.offset(self._scanned)
        with self.path.open("r+b", buffering=0) as file:
            file.truncate(end)
            file.seek(end)
            try:
                raw = memoryview(records.tobytes())
                while raw:
                    raw = raw[file.write(raw) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise

    def _rewrite(self, keep_key: Callable[[bytes], bool]) -> None:
        """Seal a new file with the sound records of the keys to keep; the lock is held."""
        with files.SealedWriter(self.path) as writer:
            writer.write(self._format.header)
            for start in range(0, self._scanned, BLOCK):
                records = self._read(start, min(BLOCK, self._scanned - start))
                keep = self._format.sound(records) & [keep_key(key.tobytes()) for key in records["key"]]
                writer.write(records[keep].tobytes())
            writer.seal()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Be the only writer among all processes; a lock file beside, because `forget` replaces the file itself."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_name(self.path.name + ".lock").open("ab") as file:
            with contextlib.suppress(ImportError):  # Windows has no fcntl; one process at a time there
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX)
            files.sweep_parts(self.path)
            yield


def _prefixes(keys: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the first four bytes of each key, shape (n, 32), in the upper half of a number; the lower half is 0."""
    first = np.ascontiguousarray(keys[:, :4]).view(">u4").ravel()
    shifted: NDArray[np.uint64] = first.astype(np.uint64) << _NUMBER_BITS
    return shifted


def _runs(numbers: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of each run of neighbours in ascending distinct `numbers`, at most BLOCK long."""
    start = 0
    for stop in [*(np.flatnonzero(np.diff(numbers) != 1) + 1).tolist(), len(numbers)]:
        for first in range(start, stop, BLOCK):
            yield first, min(first + BLOCK, stop)
        start = stop
