"""Embed: what is asked for a text, vectors that are checked, and the local engine's own encoder in this process.

Given a plain list of strings, `gemini-embedding-2` fuses all of them into one vector without a word (seen live by
three projects, 2026-06 to 2026-09), and a reply with fewer vectors than texts passes the SDK; so each text is a request
of its own, and nothing is believed here before it is counted.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.gemini.models import Model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

SEPARATOR_BYTES = 2  # between two requests of one body


def frame_text(text: str, model: Model, *, query: bool) -> str:
    """Return what is sent for a text: as it is, or for a model without task types, in the words of Google's guide."""
    if not model.task_in_text:
        return text
    return f"task: search result | query: {text}" if query else f"title: none | text: {text}"


def build_embedding_request(text: str, model: Model, *, dim: int, query: bool) -> dict[str, Any]:
    """Return the request for one text of an embedding call, with the task type where the text does not say it."""
    task = (
        {}
        if model.task_in_text
        else {"taskType": "RETRIEVAL_QUERY" if query else "RETRIEVAL_DOCUMENT"}
    )
    content = {"role": "user", "parts": [{"text": frame_text(text, model, query=query)}]}
    return {
        "model": f"models/{model.name}",
        "content": content,
        "outputDimensionality": dim,
        **task,
    }


def max_embedding_bytes(text: str, model: Model, *, dim: int, query: bool) -> int:
    """Return the most bytes that one text takes in the body of an embedding call, whose letters may be escaped."""
    return (
        len(json.dumps(build_embedding_request(text, model, dim=dim, query=query)))
        + SEPARATOR_BYTES
    )


def normalize_vectors(vectors: Sequence[Any], *, count: int, dim: int) -> "Vectors":
    """Return float32 (count, dim) with rows of unit length in the order of `vectors`; ValueError if one is unusable."""
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
    rows = (
        rows / largest
    )  # first to about one, so that squares of very large or small numbers stay finite
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def embed_locally(model: Model, texts: Sequence[str], *, dim: int, query: bool) -> "Vectors":
    """Return float32 (len(texts), dim), rows of unit length in the order of `texts`, by the local engine's encoder.

    A server and the SDK to talk to it would take ten times as long for one short text, and twice as long for a hundred.
    The vectors are the server's, bit for bit: numbers go through the JSON in which it writes them.
    """
    import orjson

    from emulator.embed import embed_texts

    rows = embed_texts(
        [frame_text(text, model, query=query) for text in texts], model.name, width=dim
    )
    written = orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY)
    return normalize_vectors(orjson.loads(written), count=len(texts), dim=dim)
