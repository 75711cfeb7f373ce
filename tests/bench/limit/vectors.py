"""Vectors at the limit: bytes appended to a file and synced once, and read back in blocks."""

import os
from pathlib import Path

import numpy as np

from tests.bench import people, product
from tests.bench.measure import Said, Timed

_BLOCK = 1024


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
