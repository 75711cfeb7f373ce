"""An index the naive way: vectors as lists of numbers, everything in memory, indented metadata, read back and compared.

The vectors are there as an API returned them; that time is not measured.
"""

import json
from pathlib import Path

import faiss
import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.bench.grounds import VECTORS
from tests.bench.measure import Said, Timed
from tests.bench.naive.orm import Expert, engine_of
from tests.bench.people import described

SAMPLE = 64


def ready(data: Path) -> Timed:
    """Open the database, and have the vectors as lists."""
    engine = engine_of(data)
    vectors: list[list[float]] = np.load(data / VECTORS).tolist()

    def run() -> Said:
        with Session(engine) as session:
            experts = session.scalars(select(Expert).where(Expert.tags.is_not(None)).order_by(Expert.id)).all()
            metadata = [described(vars(expert), json.loads) for expert in experts]
        matrix = np.array(vectors, dtype=np.float32)
        faiss.normalize_L2(matrix)
        index = faiss.IndexFlatIP(matrix.shape[1])
        index.add(matrix)
        faiss.write_index(index, str(data / "faiss.index"))
        (data / "metadata.json").write_text(json.dumps(metadata, indent=2, ensure_ascii=False), encoding="utf-8")
        verify(data, matrix, metadata)
        return {"rows": len(metadata)}

    return run


def verify(data: Path, matrix: np.ndarray, metadata: list[dict[str, object]]) -> None:
    """Read both files back, compare them with what was meant, and let a few rows find themselves."""
    index = faiss.read_index(str(data / "faiss.index"))
    assert index.ntotal == len(metadata)
    stored = index.reconstruct_n(0, index.ntotal)
    assert np.allclose(np.linalg.norm(stored, axis=1), 1, atol=1e-3)
    assert json.loads((data / "metadata.json").read_text(encoding="utf-8")) == metadata
    sample = np.linspace(0, len(metadata) - 1, min(SAMPLE, len(metadata)), dtype=np.int64)
    similarities, _ = index.search(matrix[sample], 1)
    assert (similarities[:, 0] >= np.einsum("ij,ij->i", matrix[sample], stored[sample]) - 1e-5).all()
