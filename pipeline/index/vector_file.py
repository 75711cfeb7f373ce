"""The faiss file: written in blocks at flat memory, and opened for search.

Up to LARGE rows it is an IndexFlatIP; beyond them each number has 8 bits, between the least and the greatest of its
place, and the file a quarter of the size. The bytes are those of `faiss.write_index`, without ever holding all vectors:
the header of an empty index, in which two counts are set, and the rows.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from pipeline.core import files
from pipeline.core.command_hint import CommandHint
from pipeline.core.errors import InconsistentError

Vectors = NDArray[np.float32]
untyped: Any = faiss  # its types are those of C++, and its wrappers take arrays
LARGE = 200_000  # rows, beyond which exact ones would take too much memory (docs/decisions.md, 7)
BLOCK = 4096  # rows that are looked at at once
_COUNT = slice(8, 16)  # of a header: rows, and the numbers that follow
_NUMBERS = slice(-8, None)


def is_exact(count: int) -> bool:
    """Return whether the index of so many rows holds them as they are."""
    return count <= LARGE


def write_vectors(
    path: Path, blocks: Iterable[Vectors], *, count: int, dim: int
) -> files.SealedFile:
    """Seal an index of the rows of all blocks, float32 (n, dim), `count` in all."""
    if is_exact(count):
        return _seal(path, untyped.IndexFlatIP(dim), blocks, count)
    index = untyped.IndexScalarQuantizer(
        dim, untyped.ScalarQuantizer.QT_8bit, untyped.METRIC_INNER_PRODUCT
    )
    low = np.full(dim, np.inf, np.float32)
    high = -low
    with TemporaryFile(
        dir=path.parent
    ) as exact:  # the bounds of all are known once all have been seen

        def again() -> Iterator[Vectors]:
            for _ in range(0, count, BLOCK):
                yield np.fromfile(exact, np.float32, BLOCK * dim).reshape(-1, dim)

        for block in blocks:
            exact.write(np.ascontiguousarray(block, np.float32).data)
            low = np.minimum(low, block.min(axis=0, initial=np.inf))
            high = np.maximum(high, block.max(axis=0, initial=-np.inf))
        exact.seek(0)
        index.train(np.stack([low, high]))
        return _seal(path, index, again(), count)


def _seal(path: Path, empty: Any, blocks: Iterable[Vectors], count: int) -> files.SealedFile:
    header = bytearray(untyped.serialize_index(empty))
    header[_COUNT], header[_NUMBERS] = (
        count.to_bytes(8, "little"),
        (count * empty.d).to_bytes(8, "little"),
    )
    with files.SealedWriter(path) as writer:
        writer.write(bytes(header))
        for block in blocks:
            if len(block):
                writer.write(
                    empty.sa_encode(np.ascontiguousarray(block, np.float32)).reshape(-1).data
                )
        return writer.seal()


def open_vectors(path: Path, descriptor: int) -> Any:
    """Return the faiss index in an open file, mapped and not read, so that opening costs nothing."""
    try:
        return faiss.read_index(f"/dev/fd/{descriptor}", faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise InconsistentError(
            f"{path} is no index that faiss can read: {error}", hint=f"run `{CommandHint('index')}`"
        ) from None


def nearest(
    index: Any, query: Vectors, k: int, mask: NDArray[np.bool_] | None
) -> tuple[Vectors, NDArray[np.int64]]:
    """Return similarities and rows of the `k` nearest to a query, (1, dim), descending, equal ones in vector order.

    With a mask, bool (rows,), of those that pass. faiss may keep any of equally similar rows: where the last place is
    shared, all who share it are asked for.
    """
    passing = index.ntotal if mask is None else int(np.count_nonzero(mask))
    k = min(k, passing)
    among = None
    if not k:
        return np.empty(0, np.float32), np.empty(0, np.int64)
    if mask is not None:
        among = untyped.SearchParameters(
            sel=untyped.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
        )
    faiss.omp_set_num_threads(
        1
    )  # of this thread: a single query never gained from a second one, which then spins
    similarities, rows = (
        found[0] for found in index.search(query, min(k + 1, passing), params=among)
    )
    if len(rows) > k and similarities[k] == similarities[k - 1]:
        below = float(np.nextafter(similarities[k], np.float32(-np.inf)))
        _, similarities, rows = index.range_search(query, below, params=among)
    order = np.lexsort((rows, -similarities))[:k]
    return similarities[order], rows[order]


def nearest_in(
    queries: Vectors, blocks: Iterable[Vectors], k: int
) -> tuple[Vectors, NDArray[np.int64]]:
    """Return similarities and rows of the `k` nearest to each query among all rows of blocks, (queries, k), descending.

    As quick for a thousand queries as for some dozens one by one: faiss multiplies matrices.
    """
    best = np.full((len(queries), k), -np.inf, np.float32)
    rows = np.zeros((len(queries), k), np.int64)
    first = 0
    for block in blocks:
        similarities, near = faiss.knn(queries, block, k, faiss.METRIC_INNER_PRODUCT)
        both = np.hstack([best, similarities])
        order = np.argsort(-both, axis=1)[:, :k]
        best = np.take_along_axis(both, order, axis=1)
        rows = np.take_along_axis(np.hstack([rows, near + first]), order, axis=1)
        first = first + len(block)
    return best, rows
