"""Write the faiss file of a build in constant memory, and search it.

An index of up to MAX_EXACT_ROWS rows is an IndexFlatIP. In a larger index each number has 8 bits,
between the least and the greatest number of its dimension, so the file is a quarter of the size.

To seal a file is to write it under a temporary name, sync it to disk, rename it, and return its
hash and size.

The bytes are those of `faiss.write_index`, but all vectors are never in memory at once: the file is
the header of an empty index with two counts replaced, followed by the rows.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from askrows.pipeline.core import files
from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.errors import InconsistentError

Vectors = NDArray[np.float32]

# The type hints of faiss describe its C++ interface, but its Python wrappers take arrays.
untyped_faiss: Any = faiss

# Exact vectors of more rows would take too much memory (docs/decisions.md, 7).
MAX_EXACT_ROWS = 200_000
# Rows that are in memory at once.
BLOCK_ROWS = 4096

# Bytes of a faiss header: the number of rows, and the number of values that follow.
_ROW_COUNT_BYTES = slice(8, 16)
_VALUE_COUNT_BYTES = slice(-8, None)


def stores_exact_vectors(row_count: int) -> bool:
    """Return whether an index of this many rows stores float32 vectors instead of 8-bit numbers."""
    return row_count <= MAX_EXACT_ROWS


def write_faiss_index(
    path: Path,
    blocks: Iterable[Vectors],
    *,
    row_count: int,
    dim: int,
) -> files.SealedFile:
    """Write and seal a faiss file: exact, or with 8-bit numbers above MAX_EXACT_ROWS rows.

    The 8-bit index needs two passes. The first pass copies the blocks to a temporary file next to
    `path`.

    Args:
        path: The file to write.
        blocks: Arrays float32 (rows, dim) in row order, `row_count` rows in all.
        row_count: Number of all rows.
        dim: Width of the vectors.

    Returns:
        The hash and the size of the file, which is on disk.
    """
    if stores_exact_vectors(row_count):
        return _write_and_seal_index(
            path,
            untyped_faiss.IndexFlatIP(dim),
            blocks,
            row_count,
        )

    index = untyped_faiss.IndexScalarQuantizer(
        dim,
        untyped_faiss.ScalarQuantizer.QT_8bit,
        untyped_faiss.METRIC_INNER_PRODUCT,
    )
    # The bounds of each dimension are known only after all rows have been seen.
    minimum = np.full(dim, np.inf, np.float32)
    maximum = -minimum
    with TemporaryFile(dir=path.parent) as exact_rows:
        for block in blocks:
            exact_rows.write(np.ascontiguousarray(block, np.float32).data)
            minimum = np.minimum(
                minimum,
                block.min(axis=0, initial=np.inf),
            )
            maximum = np.maximum(
                maximum,
                block.max(axis=0, initial=-np.inf),
            )

        exact_rows.seek(0)
        index.train(np.stack([minimum, maximum]))
        return _write_and_seal_index(
            path,
            index,
            _read_blocks(exact_rows, row_count, dim),
            row_count,
        )


def _read_blocks(
    file: IO[bytes],
    row_count: int,
    dim: int,
) -> Iterator[Vectors]:
    """Yield the rows of an open file of float32 numbers, from its current position."""
    for _ in range(0, row_count, BLOCK_ROWS):
        yield np.fromfile(
            file,
            np.float32,
            BLOCK_ROWS * dim,
        ).reshape(-1, dim)


def _write_and_seal_index(
    path: Path,
    empty_index: Any,
    blocks: Iterable[Vectors],
    row_count: int,
) -> files.SealedFile:
    """Write a faiss file: the header with its counts set, then the rows encoded by the index.

    The file is on disk when this returns.

    Args:
        path: The file to write.
        empty_index: A faiss index without rows, already trained. It makes the header, and encodes
            the rows.
        blocks: Arrays float32 (rows, dim) in row order.
        row_count: Number of all rows, which is not checked.

    Returns:
        The hash and the size of the file.
    """
    header = bytearray(untyped_faiss.serialize_index(empty_index))
    header[_ROW_COUNT_BYTES] = row_count.to_bytes(8, "little")
    header[_VALUE_COUNT_BYTES] = (row_count * empty_index.d).to_bytes(
        8,
        "little",
    )

    with files.SealedWriter(path) as writer:
        writer.write(bytes(header))
        for block in blocks:
            if len(block):
                rows = np.ascontiguousarray(block, np.float32)
                writer.write(empty_index.sa_encode(rows).reshape(-1).data)
        return writer.seal()


def open_faiss_index(path: Path, descriptor: int) -> Any:
    """Map the faiss index of an open file into memory; nothing is read yet.

    Args:
        path: Name of the file, for the error message.
        descriptor: File descriptor of the open file.

    Raises:
        InconsistentError: faiss cannot read the file.
    """
    try:
        return faiss.read_index(
            f"/dev/fd/{descriptor}",
            faiss.IO_FLAG_MMAP_IFC,
        )
    except RuntimeError as error:
        raise InconsistentError(
            f"faiss cannot read {path}: {error}",
            hint=f"run `{CommandHint('index')}`",
        ) from None


class NearestRows(NamedTuple):
    """Rows of an index by their similarity to a query, best first."""

    similarities: Vectors
    # Row numbers.
    rows: NDArray[np.int64]


def find_nearest_rows(
    index: Any,
    query: Vectors,
    k: int,
    mask: NDArray[np.bool_] | None,
) -> NearestRows:
    """Return similarities and row numbers of the `k` rows nearest to a query, best first.

    Equal similarities are in row order. Fewer than `k` are returned if fewer rows pass. From then
    on, faiss uses a single thread for searches of the calling thread.

    Args:
        index: The faiss index.
        query: Array float32 (1, dim).
        k: Maximum number of rows.
        mask: Array bool (rows,) of the rows that may be returned, or None for all rows.
    """
    passing_count = index.ntotal if mask is None else int(np.count_nonzero(mask))
    k = min(k, passing_count)
    if not k:
        return NearestRows(np.empty(0, np.float32), np.empty(0, np.int64))

    parameters = None
    if mask is not None:
        bitmap = np.packbits(mask, bitorder="little")
        selector = untyped_faiss.IDSelectorBitmap(bitmap)
        parameters = untyped_faiss.SearchParameters(sel=selector)

    # This sets the number of threads of the calling thread. A second thread never made a single
    # query faster; it only spins.
    faiss.omp_set_num_threads(1)
    found = index.search(
        query,
        min(k + 1, passing_count),
        params=parameters,
    )
    similarities = found[0][0]
    rows = found[1][0]

    # faiss may return any of several equally similar rows. If the last place is shared, request all
    # rows that share it.
    if len(rows) > k and similarities[k] == similarities[k - 1]:
        radius = float(
            np.nextafter(
                similarities[k],
                np.float32(-np.inf),
            ),
        )
        _, similarities, rows = index.range_search(
            query,
            radius,
            params=parameters,
        )

    order = np.lexsort((rows, -similarities))[:k]
    return NearestRows(similarities[order], rows[order])
