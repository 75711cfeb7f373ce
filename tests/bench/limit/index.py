"""An index at the limit: its bytes and those of the metadata written as they are read, synced, and believed."""

import os
from pathlib import Path

import numpy as np
import orjson

from pipeline.index import flat_file
from tests.bench import people
from tests.bench.grounds import VECTORS
from tests.bench.limit.database import connected
from tests.bench.measure import Said, Timed

_SELECT = "SELECT * FROM experts WHERE tags IS NOT NULL ORDER BY id"
_BLOCK = 1024


def ready(data: Path) -> Timed:
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
