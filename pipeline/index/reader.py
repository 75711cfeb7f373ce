"""Answer searches from one build.

An `Index` opens the four files of its build at once and holds on to them, so whatever is promoted or removed
meanwhile, vectors and metadata are of the same build. Nothing is read before it is asked for: faiss maps its file, and
of the metadata only the hits are read, by their offsets. That keeps one search quick at any size.

The faiss file: written in blocks at flat memory, read back in blocks, opened for search.

The bytes are those of `faiss.write_index` for an IndexFlatIP, without ever holding all vectors: 45 bytes of header and
the rows. Before that is relied on, the header is compared with the one the installed faiss writes; where it differs,
faiss writes the file itself, at the price of memory.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import faiss
import numpy as np

from pipeline.core import files
from pipeline.core.errors import InconsistentError
from pipeline.core.links import ReadHandle
from pipeline.index import manifest
from pipeline.index.manifest import Manifest
from pipeline.index.vector_file import BLOCK, Vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_HEADER = struct.Struct("<4siqqqBiQ")  # name, width, rows, two unused, trained, metric, floats that follow
_UNUSED = 1 << 20
_QUERIES = 16  # below the 20 from which on faiss multiplies matrices (faiss 1.15, distance_compute_blas_threshold)
HEADER_BYTES = _HEADER.size


def flat_header(*, count: int, dim: int) -> bytes:
    """Return the first bytes of the file of an IndexFlatIP with `count` rows of width `dim`."""
    return _HEADER.pack(b"IxFI", dim, count, _UNUSED, _UNUSED, 1, faiss.METRIC_INNER_PRODUCT, count * dim)


def write_flat(path: Path, blocks: Iterable[Vectors], *, count: int, dim: int) -> files.Sealed:
    """Seal an index of the rows of all blocks, float32 (n, dim), `count` in all."""
    if flat_header(count=0, dim=dim) != faiss.serialize_index(faiss.IndexFlatIP(dim)).tobytes():
        return _write_by_faiss(path, blocks, dim=dim)
    with files.SealedWriter(path) as writer:
        writer.write(flat_header(count=count, dim=dim))
        for block in blocks:
            if block.size:
                writer.write(np.ascontiguousarray(block, dtype="<f4").reshape(-1).view(np.uint8).data)
        return writer.seal()


def _write_by_faiss(path: Path, blocks: Iterable[Vectors], *, dim: int) -> files.Sealed:
    """Seal the index with faiss's own writer, which needs all vectors in memory."""
    index = faiss.IndexFlatIP(dim)
    for block in blocks:
        index.add(block)
    part = path.with_name(path.name + files.PART)
    faiss.write_index(index, str(part))
    return files.seal_part(part, path)


def open_flat(handle: ReadHandle) -> Any:
    """Return the faiss index in an open file, mapped and not read, so that opening costs nothing.

    Raises:
        InconsistentError: faiss cannot read it.
    """
    try:
        return faiss.read_index(f"/dev/fd/{handle.descriptor}", faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise InconsistentError(f"{handle.path} is no index that faiss can read: {error}") from None


def read_flat_blocks(handle: ReadHandle, *, count: int, dim: int) -> Iterator[Vectors]:
    """Yield the rows of an index of `count` rows in order, float32 (at most BLOCK, dim), each good until the next."""
    start = _rows_begin(handle, count=count, dim=dim)
    buffer = bytearray(4 * min(BLOCK, count) * dim)
    for first in range(0, count, BLOCK):
        rows = min(BLOCK, count - first)
        raw = memoryview(buffer)[: 4 * rows * dim]
        handle.read_into(raw, start + 4 * first * dim)
        yield np.frombuffer(raw, dtype="<f4").reshape(rows, dim)


def flat_head(handle: ReadHandle, *, count: int, dim: int) -> bytes:
    """Return what stands before the rows of an index of `count` rows."""
    return handle.read(_rows_begin(handle, count=count, dim=dim), 0)


def _rows_begin(handle: ReadHandle, *, count: int, dim: int) -> int:
    """Return where the rows begin, in bytes: they are the end of the file, whatever its header."""
    return handle.size - 4 * count * dim


def highest_similarity(queries: Vectors, rows: Vectors) -> Vectors:
    """Return for each query, float32 (n, dim), the highest inner product with any of `rows`, by faiss itself.

    Few queries at a time: for many, faiss multiplies matrices, which takes several threads and longer in all.
    """
    single_threaded()
    some = range(0, len(queries), _QUERIES)
    best = [faiss.knn(queries[at : at + _QUERIES], rows, 1, faiss.METRIC_INNER_PRODUCT)[0].ravel() for at in some]
    return np.concatenate(best)


def single_threaded() -> None:
    """Let faiss search with one thread: a single query never gained from a second one."""
    faiss.omp_set_num_threads(1)


@dataclass(frozen=True)
class Hit:
    """One entry found: its rank from 1, the inner product with the query, and its row of `metadata.json`."""

    rank: int
    similarity: float
    metadata: Mapping[str, Any]


class Index:
    """One build, open for searching; closing it is allowed and not needed."""

    def __init__(self, directory: Path) -> None:
        """Open the files of the build in `directory`.

        Raises:
            InconsistentError: the directory is no whole build.
            FileNotFoundError: the build was removed while it was opened.
        """
        self.manifest: Manifest = manifest.read_manifest(directory)
        self._vectors = ReadHandle(directory / manifest.INDEX)
        self._metadata = ReadHandle(directory / manifest.METADATA)
        self._offsets = ReadHandle(directory / manifest.OFFSETS)
        self._entries = ReadHandle(directory / manifest.ENTRIES)

    def __len__(self) -> int:
        """Return how many entries the build holds."""
        return self.manifest.count

    def search(self, vector: "NDArray[np.float32]", k: int) -> list[Hit]:
        """Return the `k` entries most similar to `vector`, shape (dim,), fewer where there are fewer.

        Most similar first, equal ones in vector order.

        Raises:
            InconsistentError: the vector is of another width than the build, or not finite.
        """
        import numpy as np

        query = np.asarray(vector, dtype=np.float32).reshape(1, -1)
        if query.shape[1] != self.manifest.dim or not np.isfinite(query).all():
            raise InconsistentError(
                f"the query's vector has {query.shape[1]} numbers, the index has {self.manifest.dim} per entry, "
                "all of them finite",
                hint="run `make index` with the model and width that the query uses",
            )
        if k < 1:
            return []
        similarities, rows = self._nearest(query, min(k, len(self)))
        return [
            Hit(rank, similarity, self.metadata_at(row))
            for rank, (similarity, row) in enumerate(zip(similarities, rows, strict=True), start=1)
        ]

    def metadata_at(self, row: int) -> Mapping[str, Any]:
        """Return the metadata of one row, counted from 0.

        Raises:
            InconsistentError: what stands there is no metadata, or there is no such row.
        """
        import orjson

        from pipeline.index.staging import OFFSET

        start, length = OFFSET.unpack(self._offsets.read(OFFSET.size, row * OFFSET.size))
        try:
            document: dict[str, Any] = orjson.loads(self._metadata.read(length, start))
        except ValueError as error:
            raise InconsistentError(
                f"{self._metadata.path} is damaged at row {row}: {error}", hint="run `make index`, or `make doctor`"
            ) from None
        return document

    def content_hashes(self) -> Mapping[str, str]:
        """Return for each id, in vector order, the `content_hash` its entry had when the build was made."""
        return self._hashes

    def close(self) -> None:
        """Give the files back to the system; nothing can be asked afterwards."""
        for handle in (self._vectors, self._metadata, self._offsets, self._entries):
            handle.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        self.close()

    @cached_property
    def _faiss(self) -> Any:
        """The index, mapped; faiss is imported here, so that counting needs none of it."""
        single_threaded()
        return open_flat(self._vectors)

    @cached_property
    def _hashes(self) -> dict[str, str]:
        """Id -> content hash, in vector order."""
        import orjson

        lines = self._entries.read(self._entries.size, 0).splitlines()
        return {row["id"]: row["content"] for row in map(orjson.loads, lines)}

    def _nearest(self, query: "NDArray[np.float32]", k: int) -> "tuple[list[float], list[int]]":
        """Return similarities and rows of the `k` nearest, descending, equal ones in vector order.

        faiss may keep any of equally similar rows. Where the last place is shared, all who share it are asked for.
        """
        import numpy as np

        similarities, rows = (found[0] for found in self._faiss.search(query, min(k + 1, len(self))))
        if len(rows) > k and similarities[k] == similarities[k - 1]:
            below = float(np.nextafter(similarities[k], np.float32(-np.inf)))
            _, similarities, rows = self._faiss.range_search(query, below)
        order = np.lexsort((rows, -similarities))[:k]
        return similarities[order].tolist(), rows[order].tolist()
