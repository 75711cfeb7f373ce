"""The faiss file: written in blocks at flat memory, read back in blocks, opened for search.

The bytes are those of `faiss.write_index` for an IndexFlatIP, without ever holding all vectors: 45 bytes of header and
the rows. The build's verification has faiss read it.
"""

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from pipeline.core import files
from pipeline.core.errors import InconsistentError
from pipeline.core.files import ReadHandle
from pipeline.index.vectors import Vectors

_HEADER = struct.Struct("<4siqqqBiQ")  # name, width, rows, two unused, trained, metric, floats that follow
_UNUSED = 1 << 20
BLOCK = 4096  # rows that are looked at at once
_QUERIES = 16  # below the 20 from which on faiss multiplies matrices (faiss 1.15, distance_compute_blas_threshold)


def flat_header(*, count: int, dim: int) -> bytes:
    """Return the first bytes of the file of an IndexFlatIP with `count` rows of width `dim`."""
    return _HEADER.pack(b"IxFI", dim, count, _UNUSED, _UNUSED, 1, faiss.METRIC_INNER_PRODUCT, count * dim)


def write_flat(path: Path, blocks: Iterable[Vectors], *, count: int, dim: int) -> files.Sealed:
    """Seal an index of the rows of all blocks, float32 (n, dim), `count` in all."""
    with files.SealedWriter(path) as writer:
        writer.write(flat_header(count=count, dim=dim))
        for block in blocks:
            if block.size:
                writer.write(np.ascontiguousarray(block, "<f4").reshape(-1).view(np.uint8).data)
        return writer.seal()


def open_flat(handle: ReadHandle) -> Any:
    """Return the faiss index in an open file, mapped and not read, so that opening costs nothing.

    Raises:
        InconsistentError: faiss cannot read it.
    """
    try:
        return faiss.read_index(f"/dev/fd/{handle.descriptor}", faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise InconsistentError(f"{handle.path} is no index that faiss can read: {error}") from None


def read_flat_blocks(path: Path, *, count: int, dim: int) -> Iterator[Vectors]:
    """Yield the rows of an index of `count` rows in order, float32 (at most BLOCK, dim)."""
    with path.open("rb") as file:
        file.seek(_HEADER.size)
        for first in range(0, count, BLOCK):
            yield np.fromfile(file, "<f4", min(BLOCK, count - first) * dim).reshape(-1, dim)


def among(mask: NDArray[np.bool_] | None) -> Any:
    """Return what lets faiss search among the rows that pass alone, bool (rows,); None for all."""
    if mask is None:
        return None
    untyped: Any = faiss  # its types are those of C++, and its wrappers take arrays
    return untyped.SearchParameters(sel=untyped.IDSelectorBitmap(np.packbits(mask, bitorder="little")))


def similarities_of(index: Any, query: Vectors, rows: NDArray[np.int64]) -> Vectors:
    """Return the inner products of a query, float32 (dim,), with some rows of a faiss index, float32 (len(rows),).

    They are those of a search, and read where a search has read: rows taken out of a mapping of their own take five
    times as long.
    """
    query, rows = np.ascontiguousarray(query, np.float32), np.ascontiguousarray(rows, np.int64)
    found = np.empty(len(rows), dtype=np.float32)
    if not len(rows):
        return found
    pointer: Any = faiss.swig_ptr
    index.compute_distance_subset(1, pointer(query), len(rows), pointer(found), pointer(rows))
    return found


def highest_similarity(queries: Vectors, rows: Vectors) -> Vectors:
    """Return for each query, float32 (n, dim), the highest inner product with any of `rows`, by faiss.

    Few queries at a time: for many, faiss multiplies matrices, which takes several threads and longer in all.
    """
    single_threaded()
    some = range(0, len(queries), _QUERIES)
    best = [faiss.knn(queries[at : at + _QUERIES], rows, 1, faiss.METRIC_INNER_PRODUCT)[0] for at in some]
    highest: Vectors = np.concatenate(best).ravel()
    return highest


def single_threaded() -> None:
    """Let faiss search with one thread in this one: a single query never gained from a second one, which then spins.

    OpenMP keeps the number for each thread that asks.
    """
    faiss.omp_set_num_threads(1)
