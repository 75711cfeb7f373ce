"""Cache the vectors of texts in a table, under a hash of model, width, task type and text.

The table is in the workspace's PostgreSQL database, or else in an SQLite file below DATA/index.
Adding the first vector creates it. Several processes can share the cache. Added vectors are on disk
when the call returns. A vector with a wrong checksum counts as absent.

The width is the number of dimensions of a vector.
"""

import contextlib
import hashlib
import json
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    BigInteger,
    Column,
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

from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.errors import InconsistentError
from askrows.pipeline.provider.service import Service
from askrows.pipeline.store.database import (
    Store,
    change_matching_rows,
    insert_missing_rows,
    read_matching_rows,
)
from askrows.pipeline.workspace.open_workspace import OpenWorkspace

Vectors = NDArray[np.float32]

# Allowed deviation of a float32 vector's length from 1; rounding alone stays below 1e-6.
UNIT_TOLERANCE = 1e-3
# Gemini's task type for the vectors of entries.
ENTRY_TASK_TYPE = "RETRIEVAL_DOCUMENT"
# If the cache is damaged, another process that deletes a damaged vector can cause a second miss.
FILL_TRIES = 2


def check_unit_length_rows(
    vectors: Vectors,
    *,
    subject: str,
    tolerance: float = UNIT_TOLERANCE,
) -> None:
    """Check that every row of an array float32 (rows, dim) is finite and has length 1.

    Args:
        vectors: The rows to check.
        subject: First words of the error message, which name the origin of the vectors.
        tolerance: Allowed deviation of the length.

    Raises:
        InconsistentError: A row is not of unit length.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        lengths: Vectors = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        # Negated, because a comparison with NaN is false.
        faulty_rows = np.flatnonzero(~(np.abs(lengths - 1.0) <= tolerance))
    if len(faulty_rows):
        raise InconsistentError(
            f"{subject}: {len(faulty_rows)} of {len(vectors)} vectors are not finite and of "
            f"length 1, first row {faulty_rows[0]} (length {lengths[faulty_rows[0]]:.6g})",
        )


class VectorCache:
    """Vectors of an embedding model and width: float32 rows of unit length."""

    table = Table(
        "askrows_vectors",
        MetaData(),
        Column("key", LargeBinary, primary_key=True),
        Column("model", Text, nullable=False),
        Column("vector", LargeBinary, nullable=False),
        Column("crc", BigInteger, nullable=False),
        Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )
    key = table.c.key
    vector = table.c.vector
    select_records: Select[Any] = select(key, vector, table.c.crc)

    def __init__(self, store: Store, *, model: str, dim: int) -> None:
        """Use the table in a database; nothing is read or created yet."""
        self.store = store
        self.model = model
        self.dim = dim

    def make_keys(
        self,
        texts: Iterable[str],
        *,
        task_type: str = ENTRY_TASK_TYPE,
    ) -> list[bytes]:
        """Return the cache key (SHA-256, 32 bytes) of each text for this model and width."""
        identities = (json.dumps([self.model, self.dim, task_type, text]) for text in texts)
        return [hashlib.sha256(identity.encode("ascii")).digest() for identity in identities]

    def find_missing_positions(self, keys: Sequence[bytes]) -> list[int]:
        """Return the ascending positions in `keys` of texts that must still be embedded.

        Only the first position of equal keys is returned. A damaged vector counts as stored.
        """
        with self.open_snapshot() as tx:
            stored_keys = {
                record.key
                for record in self._read_records_by_key(
                    tx,
                    select(self.key),
                    keys,
                )
            }
        first_positions: dict[bytes, int] = {}
        for position, key in enumerate(keys):
            if key not in stored_keys:
                first_positions.setdefault(key, position)
        return list(first_positions.values())

    def store_vectors(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        """Save vectors whose keys are not stored yet; they are on disk when this returns.

        Creates the table on first use.

        Args:
            keys: The key of each row.
            vectors: Array float32 (len(keys), dim) of unit length.

        Raises:
            InconsistentError: The vectors have another shape or are not of unit length.
        """
        rows = np.ascontiguousarray(vectors, dtype="<f4")
        if rows.shape != (len(keys), self.dim):
            raise InconsistentError(
                f"vectors of {self.model!r} have shape {rows.shape}, "
                f"expected ({len(keys)}, {self.dim})",
            )
        check_unit_length_rows(
            rows,
            subject=f"what {self.model!r} returned",
        )
        records = []
        for key, row in zip(keys, rows, strict=True):
            raw = bytes(row)
            records.append(
                {"key": key, "model": self.model, "vector": raw, "crc": _compute_checksum(key, raw)}
            )
        with self.store.write() as tx:
            self.table.create(tx, checkfirst=True)
            insert_missing_rows(tx, self.table, records)

    def require_vectors_and_delete_damaged(self, keys: Sequence[bytes]) -> Vectors:
        """Return the vectors of keys in their order, float32 (len(keys), dim).

        A vector with a wrong checksum is deleted, so that the text can be embedded again, and then
        raises.

        Raises:
            InconsistentError: A vector is missing or was damaged.
        """
        with self.open_snapshot() as tx:
            records = self._read_records_by_key(tx, self.select_records, keys)
            stored = {key: (raw, checksum) for key, raw, checksum in records}

        intact = {
            key: raw
            for key, (raw, checksum) in stored.items()
            if _compute_checksum(key, raw) == checksum
        }
        damaged_keys = list(stored.keys() - intact.keys())
        if damaged_keys:
            self.delete_vectors(damaged_keys)

        for position, key in enumerate(keys):
            if key not in intact:
                raise InconsistentError(
                    f"no vector is cached under {key.hex()[:12]}… (position {position}) "
                    f"in {self.store.display_name}",
                    hint=f"run `{CommandHint('index')}` again: it embeds missing entries",
                )
        raw_rows = b"".join(intact[key] for key in keys)
        return np.frombuffer(raw_rows, "<f4").reshape(len(keys), self.dim)

    def read_or_add_vectors(
        self,
        keys: Sequence[bytes],
        add_vectors: Callable[[list[int]], object],
    ) -> Vectors:
        """Add missing vectors, and return the vectors of keys as float32 (len(keys), dim).

        Damaged vectors are deleted and added again.

        Args:
            keys: Keys in the order of the result.
            add_vectors: Called with the positions of missing keys; must add their vectors.

        Raises:
            InconsistentError: A vector is still missing or damaged after FILL_TRIES tries.
        """
        for _ in range(FILL_TRIES):
            missing_positions = self.find_missing_positions(keys)
            if missing_positions:
                add_vectors(missing_positions)
            with contextlib.suppress(InconsistentError):
                return self.require_vectors_and_delete_damaged(keys)
        return self.require_vectors_and_delete_damaged(keys)

    def list_other_keys(
        self,
        excluded_keys: Collection[bytes],
        *,
        stored_before: datetime | None = None,
    ) -> list[bytes]:
        """Return the keys of all vectors of this model, except the given keys.

        Vectors of any number of dimensions are included.

        Args:
            excluded_keys: The keys to leave out.
            stored_before: Return only keys that were stored before this time.
        """
        condition = self.table.c.model == self.model
        if stored_before is not None:
            condition &= self.table.c.at < stored_before
        query = select(self.key).where(condition)
        with self.open_snapshot() as tx:
            stored_keys = [] if tx is None else tx.execute(query).scalars().all()
        return [key for key in stored_keys if key not in excluded_keys]

    def delete_vectors(self, keys: Sequence[bytes]) -> int:
        """Delete vectors by key, and return how many were deleted.

        On SQLite the bytes of deleted rows are overwritten, because vectors can reveal forgotten
        texts. If there are no keys, nothing is opened, and the result is 0.
        """
        if not keys:
            return 0

        with self.store.write() as tx:
            if tx.dialect.name == "sqlite":
                tx.exec_driver_sql("PRAGMA secure_delete = ON")
            return change_matching_rows(tx, delete(self.table), self.key, keys)

    @contextlib.contextmanager
    def open_snapshot(self) -> Iterator[Connection | None]:
        """Open a snapshot of the cache; creates nothing.

        Yields:
            A connection that only reads; None if the database or the table does not exist.

        Raises:
            InconsistentError: The database is damaged.
        """
        if self.store.path is not None and not self.store.path.exists():
            yield None
            return
        try:
            with self.store.read() as tx:
                yield tx if inspect(tx).has_table(self.table.name) else None
        except InconsistentError as error:
            hint = error.hint
            if self.store.path:
                hint = (
                    f"move the file away and run `{CommandHint('index')}`: it embeds "
                    "the entries again"
                )
            raise InconsistentError(error.message, hint=hint) from error

    def _read_records_by_key(
        self,
        tx: Connection | None,
        query: Select[Any],
        keys: Sequence[bytes],
    ) -> Iterator[Any]:
        """Yield the records of a SELECT that have one of the keys; nothing without a cache."""
        if tx is None:
            return iter(())
        return read_matching_rows(tx, query, self.key, keys)


def _compute_checksum(key: bytes, raw_vector: bytes) -> int:
    return zlib.crc32(raw_vector, zlib.crc32(key))


def open_vector_store(store: Store, data: Path) -> Store:
    """Return the database of a workspace's vectors: its server, or an SQLite file of their own.

    Args:
        store: The workspace's database.
        data: The workspace's folder DATA.
    """
    return store if store.path is None else Store(data / "index" / "vectors.sqlite")


def make_vector_cache(workspace: OpenWorkspace, service: Service) -> VectorCache:
    """Return the vector cache of the embedding model and width in use; nothing is read yet."""
    store = open_vector_store(workspace.store, workspace.data)
    return VectorCache(
        store,
        model=service.embedding_model.name,
        dim=workspace.settings.dim,
    )


def read_stored_widths_by_model(store: Store) -> dict[str, set[int]]:
    """Return the widths of the stored vectors, in numbers per vector, by model name.

    Models are in alphabetical order. Returns {} if nothing is stored; creates nothing.
    """
    width = func.length(VectorCache.vector) / 4
    statement = select(VectorCache.table.c.model, width).distinct()
    with VectorCache(store, model="", dim=0).open_snapshot() as tx:
        pairs = [] if tx is None else list(tx.execute(statement))
    widths = dict[str, set[int]]()
    for model, vector_width in sorted(pairs):
        widths.setdefault(model, set()).add(int(vector_width))
    return widths
