"""Vectors kept the naive way: blobs in a table of SQLite, by key."""

import sqlite3
from pathlib import Path

import numpy as np

from tests.bench import people, product
from tests.bench.measure import Said, Timed


def write_calls(data: Path) -> Timed:
    """A hundred rows a transaction, each on disk before the next."""
    return _write(data, product.CALL, "FULL")


def write_calls_normal(data: Path) -> Timed:
    """A hundred rows a transaction; what was committed last may be lost with the power."""
    return _write(data, product.CALL, "NORMAL")


def write(data: Path) -> Timed:
    """Ten thousand rows a transaction, each on disk before the next."""
    return _write(data, product.BULK, "FULL")


def write_normal(data: Path) -> Timed:
    """Ten thousand rows a transaction; what was committed last may be lost with the power."""
    return _write(data, product.BULK, "NORMAL")


def _write(data: Path, at_once: int, synchronous: str) -> Timed:
    keys, vectors = product.loaded(data)
    connection = _connected(data, synchronous)

    def run() -> Said:
        for start in range(0, len(keys), at_once):
            some = zip(keys[start : start + at_once], vectors[start : start + at_once], strict=True)
            with connection:
                connection.executemany(
                    "INSERT OR IGNORE INTO vectors VALUES (?, ?)", ((key, vector.tobytes()) for key, vector in some)
                )
        return {"rows": connection.execute("SELECT count(*) FROM vectors").fetchone()[0]}

    return run


def scan(data: Path) -> Timed:
    """Every vector, in the order of the rows."""
    write_normal(data)()
    connection = _connected(data, "NORMAL")

    def run() -> Said:
        total = 0.0
        rows = connection.execute("SELECT vector FROM vectors ORDER BY rowid")
        while page := rows.fetchmany(1024):
            vectors = np.frombuffer(b"".join(row[0] for row in page), dtype=np.float32).reshape(-1, people.DIM)
            total += float(vectors[:, 0].astype(float).sum())
        return {"sum": round(total, 3)}

    return run


def _connected(data: Path, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(data / "vectors.db")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL)")
    return connection
