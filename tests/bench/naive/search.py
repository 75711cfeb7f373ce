"""Search the naive way: index and metadata read whole for each question."""

import json
from pathlib import Path
from typing import Any

import faiss

from tests.bench.measure import Timed
from tests.bench.product import _questions, each


def ready(data: Path) -> Timed:
    """Have the questions' vectors, and every file in the page cache."""

    def ask(question: Any) -> list[str]:
        index = faiss.read_index(str(data / "faiss.index"))
        metadata = json.loads((data / "metadata.json").read_text(encoding="utf-8"))
        _, rows = index.search(question.reshape(1, -1), 10)
        return [str(metadata[row]["id"]) for row in rows[0]]

    questions = _questions()[:5]
    ask(questions[0])
    return lambda: each(questions, ask)
