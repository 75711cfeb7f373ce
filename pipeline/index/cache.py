"""The vector cache: one append-only file per model and width, looked up by what the vector is of.

A record is never changed. Half a record at the end belongs to a writer that was killed: it is not read, and the next
writer cuts it off. A record whose checksum is wrong counts as absent and stands in `damaged`. The one thing to know:
an object of this class belongs to one thread; processes may share the file.
"""

import contextlib
import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core import files
from pipeline.core.errors import InconsistentError
from pipeline.index.manifest import ascii_json
from pipeline.index.vector_file import (
    BLOCK,
    HEADER_BYTES,
    RecordFormat,
    VectorFile,
    Vectors,
    read_header,
    rows_of_records,
)

UNIT_TOLERANCE = 1e-3  # how far from 1 the length of a float32 vector may be; rounding alone stays below 1e-6


def vector_key(text: str, *, model: str, dim: int, task_type: str) -> bytes:
    """Return the 32 bytes (SHA-256) under which the vector of `text` is cached; any difference gives another key.

    It is the hash of the JSON list of model, width, task type and text, of which all but the text is hashed once.
    """
    digest = _begun(model, dim, task_type).copy()
    digest.update(ascii_json(text) + b"]")
    return digest.digest()


@functools.cache
def _begun(model: str, dim: int, task_type: str) -> "hashlib._Hash":
    return hashlib.sha256(f"{json.dumps([model, dim, task_type])[:-1]}, ".encode("ascii"))


def check_unit_rows(vectors: Vectors, *, what: str) -> None:
    """Pass when every row of `vectors`, float32 (n, dim), is finite and of length 1.

    Raises:
        InconsistentError: a row is not; the message says how many and names the first, counted from 0.
    """
    lengths = _lengths(vectors)
    wrong = np.flatnonzero(~_is_one(lengths))
    if len(wrong):
        raise InconsistentError(
            f"{what}: {len(wrong)} of {len(vectors)} vectors are not finite and of length 1, "
            f"first row {wrong[0]} (length {lengths[wrong[0]]:.6g})"
        )


def _lengths(vectors: Vectors) -> Vectors:
    with np.errstate(over="ignore", invalid="ignore"):
        lengths: Vectors = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return lengths


def _is_one(lengths: Vectors) -> NDArray[np.bool_]:
    """Return for each length whether it is 1; NaN and infinity fail the comparison."""
    with np.errstate(invalid="ignore"):
        found: NDArray[np.bool_] = np.abs(lengths - 1.0) <= UNIT_TOLERANCE
    return found


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


class MissingVectorError(InconsistentError):
    """A vector is not in the cache."""


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
        self._opened: VectorFile | None = None

    @property
    def damaged(self) -> list[int]:
        """The numbers of records whose checksum is wrong, ascending; `forget([])` drops them from the file."""
        file = self._file()
        return file.damaged() if file else []

    def __len__(self) -> int:
        """Return how many readable records there are; a key that two processes added at once counts twice."""
        file = self._file()
        return file.count - len(file.damaged()) if file else 0

    def missing(self, keys: Sequence[bytes]) -> list[int]:
        """Return the positions in `keys`, ascending, whose vector is not there; of equal keys only the first.

        Raises:
            ValueError: a key is not 32 bytes.
        """
        wanted, file = rows_of_records(keys), self._file()
        absent = np.flatnonzero(file.find(wanted) < 0).tolist() if file else range(len(keys))
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
            if len(fresh) < len(keys):
                keys, rows = [keys[position] for position in fresh], rows[fresh]
            self._append(keys, rows)

    def fetch(self, keys: Sequence[bytes]) -> Vectors:
        """Return the vectors of `keys`, float32 (len(keys), dim), in their order.

        Raises:
            MissingVectorError: a vector is not there.
        """
        wanted, file = rows_of_records(keys), self._file()
        rows = np.empty((len(keys), self.dim), dtype=np.float32)
        found = file.find(wanted, rows) if file else np.full(len(keys), -1)
        if len(found) and found.min() < 0:
            position = int(np.argmin(found))
            raise MissingVectorError(
                f"no vector is cached under {keys[position].hex()[:12]}… (position {position}) in {self.path}",
                hint="run `make index` again: it embeds what is missing",
            )
        return rows

    def forget(self, keys: Collection[bytes]) -> int:
        """Rewrite the file without these keys and without damaged records; return how many records went.

        The new file is sealed: it is on disk, whole, when this returns. Readers that have the old one open go on
        reading it until they look again.
        """
        gone = set(keys)
        return self._keep_only(lambda key: key not in gone)

    def retain(self, keys: Collection[bytes]) -> int:
        """Rewrite the file with these keys alone, as `forget` does."""
        return self._keep_only(set(keys).__contains__)

    def unsound(self) -> list[bytes]:
        """Return the keys whose records, their checksums right, hold no vector: not finite, or of another length."""
        file = self._file()
        wrong: list[bytes] = []
        for records, sound in file.blocks() if file else ():
            broken = sound & ~_is_one(_lengths(records["vector"]))
            wrong += _keys(records[broken])
        return wrong

    def _file(self) -> VectorFile | None:
        """Return the file with all that was appended, opened anew where another took its place; None without one."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._opened = None
            return None
        if self._opened is None or not self._opened.is_at(found.st_dev, found.st_ino):
            self._opened = None
            file = VectorFile(self.path, self._format)
            if not file.is_ours:
                raise InconsistentError(
                    f"{self.path} does not hold vectors of {self.model!r}, {self.dim} wide, as we write them",
                    hint="move the file away and run `make index`: it embeds again what is needed",
                )
            self._opened = file
        self._opened.grow()
        return self._opened

    def _append(self, keys: Sequence[bytes], rows: Vectors) -> None:
        """Write records behind the last whole one, durable when this returns; the lock is held.

        What a killed writer left of a record is cut off first. When the disk is full the file is as it was.
        """
        opened = self._file()
        if opened is None:
            raise AssertionError("the file was made before anything is appended")
        end = self._format.offset(opened.count)
        records = np.empty(min(len(keys), BLOCK), dtype=self._format.record)
        with self.path.open("r+b", buffering=0) as file:
            file.truncate(end)
            file.seek(end)
            try:
                for start in range(0, len(keys), BLOCK):
                    some = keys[start : start + BLOCK]
                    raw = self._format.pack(records[: len(some)], some, rows[start : start + BLOCK])
                    while raw:
                        raw = raw[file.write(raw) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise
        opened.append(rows_of_records(keys))

    def _keep_only(self, keep_key: Callable[[bytes], bool]) -> int:
        """Seal a new file with the sound records of the keys to keep, where others are in it; return how many went."""
        with self._locked():
            before = self._file()
            if before is None:
                return 0
            others = any(not keep_key(key) for records, _ in before.blocks() for key in _keys(records))
            if not (before.has_tail or before.damaged() or others):
                return 0
            with files.SealedWriter(self.path) as writer:
                writer.write(self._format.header)
                for records, sound in before.blocks():
                    keep = sound & [keep_key(key) for key in _keys(records)]
                    writer.write(records[keep].tobytes())
                writer.seal()
            after = self._file()
        return before.count - (after.count if after else 0)

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


def _keys(records: NDArray[np.void]) -> list[bytes]:
    return [key.tobytes() for key in records["key"]]
