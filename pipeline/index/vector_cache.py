"""Keep the vectors of texts: one table, in which each vector is found by a hash of its model, width and text.

On PostgreSQL it is a table of the workspace's own database, else one of an SQLite file below DATA/index; whoever adds
the first vector makes it. Several processes share it. What is added is durable when that returns. A vector whose
checksum is wrong counts as absent.
"""

import contextlib
import hashlib
import json
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    LargeBinary,
    MetaData,
    Select,
    Table,
    Text,
    delete,
    func,
    inspect,
    select,
)

from pipeline.core.command_hint import CommandHint
from pipeline.core.errors import InconsistentError
from pipeline.engine.workspace import WorkspaceSession
from pipeline.store.database import PAGE, Store, among, change_among, insert_new, streamed

Vectors = NDArray[np.float32]
UNIT_TOLERANCE = (
    1e-3  # how far from 1 the length of a float32 vector may be; rounding alone stays below 1e-6
)
TASK_TYPE = "RETRIEVAL_DOCUMENT"  # what the vectors of entries are for
LOOKS = 2  # for vectors: where the cache is damaged, what takes one out may lose another


def check_unit_rows(vectors: Vectors, *, what: str, tolerance: float = UNIT_TOLERANCE) -> None:
    """Pass when every row of `vectors`, float32 (n, dim), is finite and of length 1."""
    with np.errstate(over="ignore", invalid="ignore"):
        lengths: Vectors = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        wrong = np.flatnonzero(~(np.abs(lengths - 1.0) <= tolerance))
    if len(wrong):
        raise InconsistentError(
            f"{what}: {len(wrong)} of {len(vectors)} vectors are not finite and of length 1, "
            f"first row {wrong[0]} (length {lengths[wrong[0]]:.6g})"
        )


class VectorCache:
    """The vectors of one model at one width, float32 rows of unit length."""

    table = Table(
        "findable_vectors",
        MetaData(),
        Column("key", LargeBinary, primary_key=True),
        Column("model", Text, nullable=False),
        Column("vector", LargeBinary, nullable=False),
        Column("crc", BigInteger, nullable=False),
        Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )
    key = table.c.key
    vector = table.c.vector
    record: Select[Any] = select(key, vector, table.c.crc)

    def __init__(self, store: Store, *, model: str, dim: int) -> None:
        """Take the database in which they are; nothing is read or made yet."""
        self.store = store
        self.model = model
        self.dim = dim

    def keys(self, texts: Iterable[str], *, task_type: str = TASK_TYPE) -> list[bytes]:
        """Return the 32 bytes (SHA-256) under which the vector of each text is; any difference gives another key."""
        identities = (json.dumps([self.model, self.dim, task_type, text]) for text in texts)
        return [hashlib.sha256(identity.encode("ascii")).digest() for identity in identities]

    def missing(self, keys: Sequence[bytes]) -> list[int]:
        """Return the positions in `keys`, ascending, whose text was not embedded yet; of equal keys only the first.

        A text that the model refused is not asked again.
        """
        with self.reading() as tx:
            stored_keys = {record.key for record in self._of(tx, select(self.key), keys)}
        first_positions: dict[bytes, int] = {}
        for position, key in enumerate(keys):
            if key not in stored_keys:
                first_positions.setdefault(key, position)
        return list(first_positions.values())

    def add(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        """Keep the vectors, float32 (len(keys), dim), whose key is not there yet; durable when this returns."""
        rows = np.ascontiguousarray(vectors, dtype="<f4")
        if rows.shape != (len(keys), self.dim):
            raise InconsistentError(
                f"vectors of {self.model!r} have shape {rows.shape}, expected ({len(keys)}, {self.dim})"
            )
        check_unit_rows(rows, what=f"what {self.model!r} returned")
        with self.store.write() as tx:
            self.table.create(tx, checkfirst=True)
            new = {key: bytes(row) for key, row in zip(keys, rows, strict=True)}.items()
            values = [
                {"key": key, "model": self.model, "vector": raw, "crc": _crc(key, raw)}
                for key, raw in new
            ]
            insert_new(tx, self.table, values)

    def add_refused(self, keys: Sequence[bytes]) -> None:
        """Note that the model refused the texts of these keys: an empty vector stands for each."""
        with self.store.write() as tx:
            self.table.create(tx, checkfirst=True)
            empty = [
                {"key": key, "model": self.model, "vector": b"", "crc": _crc(key, b"")}
                for key in keys
            ]
            insert_new(tx, self.table, empty)

    def drop_refused(self) -> int:
        """Forget which texts the model refused, so that they are asked again; return how many those were."""
        with self.reading() as tx:
            refused_keys = (
                []
                if tx is None
                else tx.execute(select(self.key).where(self._is_refused)).scalars().all()
            )
        return self._drop(refused_keys) if refused_keys else 0

    @property
    def _is_refused(self) -> ColumnElement[bool]:
        return (self.table.c.model == self.model) & (func.length(self.vector) == 0)

    def fetch(self, keys: Sequence[bytes]) -> Vectors:
        """Return the vectors of `keys`, float32 (len(keys), dim), in their order."""
        with self.reading() as tx:
            stored = {key: (raw, crc) for key, raw, crc in self._of(tx, self.record, keys)}
        sound = {key: raw for key, (raw, crc) in stored.items() if _crc(key, raw) == crc}
        if damaged := [key for key in stored if key not in sound]:
            self._drop(damaged)
        for position, key in enumerate(keys):
            if key not in sound:
                raise InconsistentError(
                    f"no vector is cached under {key.hex()[:12]}… (position {position}) in {self.store.shown}",
                    hint=f"run `{CommandHint('index')}` again: it embeds what is missing",
                )
        return np.frombuffer(b"".join(sound[key] for key in keys), "<f4").reshape(
            len(keys), self.dim
        )

    def filled(self, keys: Sequence[bytes], make: Callable[[list[int]], object]) -> Vectors:
        """Return the vectors of `keys`, as `fetch`, once `make` has added those that are not there, by positions."""
        for _ in range(LOOKS):
            if missing := self.missing(keys):
                make(missing)
            with contextlib.suppress(InconsistentError):
                return self.fetch(keys)
        return self.fetch(keys)

    def damaged(self) -> list[bytes]:
        """Return the keys of vectors that have another checksum than when they were written; all are read."""
        with self.reading() as tx:
            if tx is None:
                return []
            records = streamed(tx, self.record.where(self.table.c.model == self.model), page=PAGE)
            return [
                record.key for record in records if _crc(record.key, record.vector) != record.crc
            ]

    def retain(self, keys: Collection[bytes]) -> int:
        """Remove the bytes of all other vectors of this model and width; return how many those were."""
        mine = (self.table.c.model == self.model) & (func.length(self.vector) == 4 * self.dim)
        with self.reading() as tx:
            stored_keys = (
                [] if tx is None else tx.execute(select(self.key).where(mine)).scalars().all()
            )
        other_keys = [key for key in stored_keys if key not in keys]
        return self._drop(other_keys) if other_keys else 0

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection | None]:
        """Open a snapshot of all vectors for a block; None where nothing was ever added, and nothing is made."""
        if self.store.path is not None and not self.store.path.exists():
            yield None
            return
        try:
            with self.store.read() as tx:
                yield tx if inspect(tx).has_table(self.table.name) else None
        except InconsistentError as error:
            hint = f"move the file away and run `{CommandHint('index')}`: it embeds again what is needed"
            raise InconsistentError(
                error.message, hint=hint if self.store.path else error.hint
            ) from error

    def _of(
        self, tx: Connection | None, query: Select[Any], keys: Sequence[bytes]
    ) -> Iterator[Any]:
        return iter(()) if tx is None else among(tx, query, self.key, keys)

    def _drop(self, keys: Sequence[bytes]) -> int:
        with self.store.write() as tx:
            if tx.dialect.name == "sqlite":
                tx.exec_driver_sql(
                    "PRAGMA secure_delete = ON"
                )  # what is removed is overwritten, too
            return change_among(tx, delete(self.table), self.key, keys)


def _crc(key: bytes, vector: bytes) -> int:
    return zlib.crc32(vector, zlib.crc32(key))


def vector_store(store: Store, data: Path) -> Store:
    """Return where the vectors of a workspace are: on the server that has it, or in a file of their own."""
    return store if store.path is None else Store(data / "index" / "vectors.sqlite")


def vector_cache(ws: WorkspaceSession) -> VectorCache:
    """Return the cache of vectors of the workspace's model and width."""
    return VectorCache(
        vector_store(ws.store, ws.data), model=ws.embedding_model.name, dim=ws.settings.dim
    )


def caches(store: Store) -> list[VectorCache]:
    """Return the caches that are kept in a database, of whatever model and width."""
    kinds = select(VectorCache.table.c.model, func.length(VectorCache.vector) / 4).distinct()
    with VectorCache(store, model="", dim=0).reading() as tx:
        models = [] if tx is None else [*tx.execute(kinds)]
    return [VectorCache(store, model=model, dim=int(dim)) for model, dim in sorted(models)]
