"""Vectors at the limit: bytes written as they are read, synced once; in memory, one product of matrix and vector."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from pipeline.index import flat_file
from pipeline.index.cache import VectorCache
from pipeline.index.vector_file import HEADER_BYTES, RecordFormat
from tests.bench import people, product
from tests.bench.grounds import VECTORS
from tests.bench.limit.rows import connected
from tests.bench.measure import Said, Timed

_SELECT = "SELECT * FROM experts WHERE tags IS NOT NULL ORDER BY id"
_BLOCK = 1024
_CHECKED = 320  # records read at a time: what a processor's cache holds while they are looked at


def index(data: Path) -> Timed:
    """Open the database and the vectors."""
    connection = connected(data)
    columns = [row[0] for row in connection.execute(_SELECT).description]
    vectors = np.load(data / VECTORS, mmap_mode="r")

    def run() -> Said:
        with (data / "faiss.index").open("wb", buffering=0) as file:
            file.write(flat_file.flat_header(count=len(vectors), dim=people.DIM))
            for start in range(0, len(vectors), _BLOCK):
                file.write(vectors[start : start + _BLOCK].tobytes())
            os.fsync(file.fileno())
        count, between = 0, b"[\n"
        with (data / "metadata.json").open("wb", buffering=1 << 20) as file:
            for row in connection.execute(_SELECT):
                file.write(between + orjson.dumps(people.described(dict(zip(columns, row, strict=True)), orjson.loads)))
                between = b",\n"
                count += 1
            file.write(b"\n]\n")
            file.flush()
            os.fsync(file.fileno())
        return {"rows": count}

    return run


def search(data: Path) -> Timed:
    """Have all vectors in memory."""
    import faiss

    index = faiss.read_index(str(data / "faiss.index"))
    matrix = index.reconstruct_n(0, index.ntotal)
    del index

    def ask(question: Any) -> list[str]:
        similarities = matrix @ question
        best = np.argpartition(similarities, -10)[-10:]
        return [str(row + 1) for row in best[np.argsort(-similarities[best])]]

    return product.each(product.QUERIES, ask)


def write(data: Path) -> Timed:
    """Have keys and vectors in memory."""
    keys, vectors = product.loaded(data)

    def run() -> Said:
        with (data / "plain.vectors").open("wb", buffering=0) as file:
            for start in range(0, len(keys), _BLOCK):
                file.write(b"".join(keys[start : start + _BLOCK]))
                file.write(vectors[start : start + _BLOCK].tobytes())
            os.fsync(file.fileno())
        return {"rows": len(keys)}

    return run


def scan(data: Path) -> Timed:
    """Have the vectors in a file of nothing else."""
    _, vectors = product.loaded(data)
    vectors.tofile(data / "plain.vectors")
    count = len(vectors)
    del vectors

    def run() -> Said:
        total = 0.0
        with (data / "plain.vectors").open("rb", buffering=0) as file:
            for first in range(0, count, _BLOCK):
                rows = min(_BLOCK, count - first)
                block = np.frombuffer(file.read(4 * rows * people.DIM), dtype=np.float32).reshape(rows, people.DIM)
                total += float(block[:, 0].astype(float).sum())
        return {"sum": round(total, 3)}

    return run


def scan_checked(data: Path) -> Timed:
    """Have the cache hold the vectors as they are asked for; each is held against its key and checksum, and copied."""
    keys, _ = product.loaded(data)
    product.cache_write(data, "10000")()
    path, form = VectorCache(data / "index" / "vectors", model="m", dim=people.DIM).path, RecordFormat("m", people.DIM)

    def run() -> Said:
        total, buffer = 0.0, memoryview(bytearray(_CHECKED * form.size))
        with path.open("rb", buffering=0) as file:
            assert file.read(HEADER_BYTES) == form.header
            for first in range(0, len(keys), _CHECKED):
                some = keys[first : first + _CHECKED]
                raw = buffer[: len(some) * form.size]
                assert file.readinto(raw) == len(raw)
                assert not form.unsound(raw)
                records = np.frombuffer(raw, dtype=form.record)
                assert records["key"].tobytes() == b"".join(some)
                total += float(np.ascontiguousarray(records["vector"])[:, 0].astype(float).sum())
        return {"sum": round(total, 3)}

    return run
