"""Vectors the naive way: lists in memory or blobs in SQLite, indented metadata, all of it read for each question."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench import people, product
from tests.bench.grounds import VECTORS
from tests.bench.measure import Said, Timed, loads

SAMPLE = 64


def index(data: Path, how: str = "") -> Timed:
    """An index of vectors that are in memory, read back and compared; as `lists` of numbers, as an API returns them."""
    import faiss
    from sqlalchemy import select
    from sqlalchemy.orm import Session

    from tests.bench.naive.rows import Expert, engine_of

    engine = engine_of(data)
    vectors = np.load(data / VECTORS)
    if how == "lists":
        vectors = vectors.tolist()

    def run() -> Said:
        with Session(engine) as session:
            experts = session.scalars(select(Expert).where(Expert.tags.is_not(None)).order_by(Expert.id)).all()
            metadata = [people.described(vars(expert), json.loads) for expert in experts]
        matrix = np.array(vectors, dtype=np.float32)
        faiss.normalize_L2(matrix)
        index = faiss.IndexFlatIP(matrix.shape[1])
        index.add(matrix)
        faiss.write_index(index, str(data / "faiss.index"))
        (data / "metadata.json").write_text(json.dumps(metadata, indent=2, ensure_ascii=False), encoding="utf-8")
        _verify(data, matrix, metadata)
        return {"rows": len(metadata)}

    return run


def _verify(data: Path, matrix: Any, metadata: list[dict[str, object]]) -> None:
    """Read both files back, compare them with what was meant, and let a few rows find themselves."""
    index, told = _read(data)
    assert index.ntotal == len(metadata)
    stored = index.reconstruct_n(0, index.ntotal)
    assert np.allclose(np.linalg.norm(stored, axis=1), 1, atol=1e-3)
    assert told == metadata
    sample = np.linspace(0, len(metadata) - 1, min(SAMPLE, len(metadata)), dtype=np.int64)
    similarities, _ = index.search(matrix[sample], 1)
    assert (similarities[:, 0] >= np.einsum("ij,ij->i", matrix[sample], stored[sample]) - 1e-5).all()


def _read(data: Path) -> tuple[Any, list[dict[str, Any]]]:
    """Return index and metadata, read whole."""
    import faiss

    index = faiss.read_index(str(data / "faiss.index"))
    return index, json.loads((data / "metadata.json").read_text(encoding="utf-8"))


def search(data: Path) -> Timed:
    """Index and metadata read whole for each question."""
    loads("faiss")

    def ask(question: Any) -> list[str]:
        index, metadata = _read(data)
        _, rows = index.search(question.reshape(1, -1), 10)
        return [str(metadata[row]["id"]) for row in rows[0]]

    return product.each(product.FEW, ask)


def write(data: Path, at_once: str, synchronous: str) -> Timed:
    """Vectors as blobs, so many a transaction; with NORMAL what was committed last may be lost with the power."""
    keys, vectors = product.loaded(data)
    connection = _connected(data, synchronous)
    most = int(at_once)

    def run() -> Said:
        for start in range(0, len(keys), most):
            some = zip(keys[start : start + most], vectors[start : start + most], strict=True)
            with connection:
                connection.executemany(
                    "INSERT OR IGNORE INTO vectors VALUES (?, ?)", ((key, vector.tobytes()) for key, vector in some)
                )
        return {"rows": connection.execute("SELECT count(*) FROM vectors").fetchone()[0]}

    return run


def scan(data: Path) -> Timed:
    """Every vector, in the order of the rows."""
    write(data, "10000", "NORMAL")()
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
