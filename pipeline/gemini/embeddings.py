"""Check vectors as the API gives them, make them unit length, and tell an embedding model its task.

Given a plain list of strings, `gemini-embedding-2` fuses all of them into one vector without a word (seen live by
three projects, 2026-06 to 2026-09), and a reply with fewer vectors than texts passes the SDK; so nothing is believed
here before it is counted.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.gemini.models import Model

if TYPE_CHECKING:
    import numpy as np


def frame_text(text: str, model: Model, *, query: bool) -> str:
    """Return what is sent for a text: as it is, or for a model whose task stands in the text, in Google's words.

    `gemini-embedding-2` knows no task type; for retrieval a query goes out as `task: search result | query: …` and a
    document as `title: none | text: …` (Gemini embeddings guide, read 2026-11).
    """
    if not model.task_in_text:
        return text
    return f"task: search result | query: {text}" if query else f"title: none | text: {text}"


def task_type(model: Model, *, query: bool) -> str | None:
    """Return the task type to send, or None for a model whose task stands in the text."""
    if model.task_in_text:
        return None
    return "RETRIEVAL_QUERY" if query else "RETRIEVAL_DOCUMENT"


def unit_rows(vectors: Sequence[Any], *, count: int, dim: int) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    """Return float32 (count, dim) with rows of unit length, in the order of `vectors`.

    Raises:
        ValueError: there are more or fewer vectors than texts, one has another width, holds what is no finite
            number, or is zero and so points nowhere.
    """
    import numpy as np

    if len(vectors) != count:
        raise ValueError(f"{count} texts gave {len(vectors)} vectors")
    widths = {len(vector) if isinstance(vector, list | tuple) else 0 for vector in vectors}
    if widths - {dim}:
        raise ValueError(f"a vector has {min(widths - {dim})} numbers instead of {dim}")
    rows = np.array(vectors, dtype=np.float64).reshape(count, dim)
    if not np.isfinite(rows).all():
        raise ValueError("a vector holds what is no finite number")
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0.0)
    if not (largest > 0).all():
        raise ValueError("a vector is zero")
    rows = rows / largest  # first to about one, so that squares of very large or small numbers stay finite
    unit: np.ndarray[tuple[int, int], np.dtype[np.float32]]
    unit = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit
