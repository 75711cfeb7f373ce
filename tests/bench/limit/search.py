"""Search at the limit: one product of a matrix in memory and a vector, the ten highest, and nothing else."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np

from tests.bench.measure import Timed
from tests.bench.product import _questions, each


def ready(data: Path) -> Timed:
    """Have all vectors in memory."""
    index = faiss.read_index(str(data / "faiss.index"))
    matrix = index.reconstruct_n(0, index.ntotal)
    del index

    def ask(question: Any) -> list[str]:
        similarities = matrix @ question
        best = np.argpartition(similarities, -10)[-10:]
        return [str(row + 1) for row in best[np.argsort(-similarities[best])]]

    questions = _questions()
    ask(questions[0])
    return lambda: each(questions, ask)
