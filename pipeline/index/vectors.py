"""The vector cache: one SQLite file, in which each vector stands by what it is of, and what a vector must be.

Several processes share the file. What is added is on disk when that returns. It has no write-ahead log, which does not
work in a folder that several machines mount. A vector whose checksum is wrong counts as absent.
"""

import contextlib
import functools
import hashlib
import json
import sqlite3
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ConfigurationError, InconsistentError
from pipeline.core.step import Step
from pipeline.index.manifest import ascii_json

Vectors = NDArray[np.float32]
FILE = "vectors.sqlite"  # below DATA/index
UNIT_TOLERANCE = 1e-3  # how far from 1 the length of a float32 vector may be; rounding alone stays below 1e-6
PATIENCE_S = 60.0  # in which another process must have written what it writes
PAGE = 500  # keys that are asked for at once
_TABLE = """
CREATE TABLE IF NOT EXISTS vectors (
  n INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, model TEXT NOT NULL, vector BLOB NOT NULL, crc INTEGER NOT NULL
)"""


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
    with np.errstate(over="ignore", invalid="ignore"):
        lengths: Vectors = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        wrong = np.flatnonzero(~(np.abs(lengths - 1.0) <= UNIT_TOLERANCE))
    if len(wrong):
        raise InconsistentError(
            f"{what}: {len(wrong)} of {len(vectors)} vectors are not finite and of length 1, "
            f"first row {wrong[0]} (length {lengths[wrong[0]]:.6g})"
        )


class MissingVectorError(InconsistentError):
    """A vector is not in the cache."""


class VectorCache:
    """The vectors of one model at one width, float32 rows of unit length."""

    def __init__(self, data: Path, *, model: str, dim: int) -> None:
        """Name the file of a workspace; nothing is read or made yet."""
        self.path, self.model, self.dim = data / "index" / FILE, model, dim

    def missing(self, keys: Sequence[bytes]) -> list[int]:
        """Return the positions in `keys`, ascending, whose vector is not there; of equal keys only the first."""
        known = {key for key, _ in self._records("key, n", keys)}
        first: dict[bytes, int] = {}
        for position, key in enumerate(keys):
            if key not in known:
                first.setdefault(key, position)
        return list(first.values())

    def add(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        """Keep the vectors, float32 (len(keys), dim), whose key is not there yet; on disk when this returns.

        Raises:
            InconsistentError: the width is wrong, or a row is not finite and of length 1; nothing was written.
        """
        rows = np.ascontiguousarray(vectors, dtype="<f4")
        if rows.shape != (len(keys), self.dim):
            raise InconsistentError(
                f"vectors of {self.model!r} have shape {rows.shape}, expected ({len(keys)}, {self.dim})"
            )
        check_unit_rows(rows, what=f"what {self.model!r} returned")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._opened("BEGIN IMMEDIATE") as db:
            db.execute(_TABLE)
            put = "INSERT OR IGNORE INTO vectors (key, model, vector, crc) VALUES (?, ?, ?, ?)"
            db.executemany(
                put, ((key, self.model, raw, _crc(key, raw)) for key, raw in zip(keys, map(bytes, rows), strict=True))
            )

    def fetch(self, keys: Sequence[bytes]) -> Vectors:
        """Return the vectors of `keys`, float32 (len(keys), dim), in their order.

        Raises:
            MissingVectorError: a vector is not there, or is damaged, and is dropped then.
        """
        found = {key: (raw, crc) for key, raw, crc in self._records("key, vector, crc", keys)}
        if any(_crc(key, raw) != crc for key, (raw, crc) in found.items()):
            self._drop(damaged := self.damaged())
            found = {key: one for key, one in found.items() if key not in damaged}
        for position, key in enumerate(keys):
            if key not in found:
                raise MissingVectorError(
                    f"no vector is cached under {key.hex()[:12]}… (position {position}) in {self.path}",
                    hint=f"run `{Step('index')}` again: it embeds what is missing",
                )
        return np.frombuffer(b"".join(found[key][0] for key in keys), "<f4").reshape(len(keys), self.dim)

    def damaged(self) -> list[bytes]:
        """Return the keys of vectors that have another checksum than when they were written; all are read."""
        with self.reading() as db:
            read = db.execute("SELECT key, vector, crc FROM vectors WHERE model = ?", (self.model,)) if db else ()
            return [key for key, raw, crc in read if _crc(key, raw) != crc]

    def retain(self, keys: Collection[bytes]) -> int:
        """Remove the bytes of all other vectors of this model and width; return how many those were."""
        with self.reading() as db:
            mine = "SELECT key FROM vectors WHERE model = ? AND length(vector) = ?"
            there = [key for (key,) in db.execute(mine, (self.model, 4 * self.dim))] if db else []
        others = [key for key in there if key not in keys]
        return self._drop(others) if others else 0

    def _drop(self, keys: Sequence[bytes]) -> int:
        with self._opened("BEGIN IMMEDIATE") as db:
            return int(db.executemany("DELETE FROM vectors WHERE key = ?", ((key,) for key in keys)).rowcount)

    def _records(self, columns: str, keys: Sequence[bytes]) -> Iterator[tuple[Any, ...]]:
        with self.reading() as db:
            for at in range(0, len(keys), PAGE):
                if db is None:
                    return
                some = keys[at : at + PAGE]
                marks = ", ".join("?" * len(some))
                yield from db.execute(f"SELECT {columns} FROM vectors WHERE key IN ({marks})", some)  # noqa: S608

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """Open the file, for the length of a block; None where nothing was ever added."""
        with self._opened("BEGIN") if self.path.exists() else contextlib.nullcontext() as db:
            is_made = db and db.execute("SELECT 1 FROM sqlite_master WHERE name = 'vectors'").fetchone()
            yield db if is_made else None

    @contextlib.contextmanager
    def _opened(self, begin: str) -> Iterator[sqlite3.Connection]:
        """Open the file for a block, all or nothing of what that changes; another process that writes is waited for.

        Raises:
            InconsistentError: it is no such file.
        """
        try:
            with contextlib.closing(sqlite3.connect(self.path, isolation_level=None, timeout=PATIENCE_S)) as db:
                db.execute("PRAGMA synchronous = FULL")
                db.execute("PRAGMA secure_delete = ON")  # what is removed is overwritten, too
                db.execute(begin)
                with db:
                    yield db
        except sqlite3.OperationalError as error:  # locked for too long, a full disk, no right to write
            hint = "check the disk and its permissions, then run it again"
            raise ConfigurationError(f"{self.path}: {error}; what was embedded before is kept", hint=hint) from error
        except sqlite3.DatabaseError as error:
            hint = f"move the file away and run `{Step('index')}`: it embeds again what is needed"
            raise InconsistentError(f"{self.path} cannot be read as a cache of vectors: {error}", hint=hint) from error


def _crc(key: bytes, vector: bytes) -> int:
    return zlib.crc32(vector, zlib.crc32(key))


def caches(data: Path) -> list[VectorCache]:
    """Return the caches of a workspace, of whatever model and width."""
    with VectorCache(data, model="", dim=0).reading() as db:
        kinds = db.execute("SELECT DISTINCT model, length(vector) / 4 FROM vectors").fetchall() if db else []
    return [VectorCache(data, model=model, dim=dim) for model, dim in sorted(kinds)]
