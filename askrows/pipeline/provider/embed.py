"""Build embedding requests, check and normalize vectors, and embed with the local engine.

- `gemini-embedding-2` fuses a plain list of strings into a single vector and reports no error (seen
  live by three projects, 2026-06 to 2026-09). So each text is a request of its own.
- The SDK accepts a reply with fewer vectors than texts. So the vectors are counted here.

The local engine runs on this machine and costs nothing; it imitates a model.
"""

import contextlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from askrows.pipeline.core.text import plural
from askrows.pipeline.provider.models import Model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

# Between two requests in a body.
SEPARATOR_BYTES = 2


def add_task_prefix_if_needed(text: str, model: Model, *, is_query: bool) -> str:
    """Return the text to embed, with Google's prefix if the model has no task types.

    Args:
        text: A search query or the text of a document.
        model: The embedding model.
        is_query: The text is a search query, not a document.
    """
    if not model.task_in_text:
        return text
    if is_query:
        return f"task: search result | query: {text}"
    return f"title: none | text: {text}"


def build_embedding_request(text: str, model: Model, *, dim: int, is_query: bool) -> dict[str, Any]:
    """Return the request for a text of an embedding call.

    The request names a task type only if the model does not take it from the text.

    Args:
        text: The text without a prefix.
        model: The embedding model.
        dim: Numbers per vector.
        is_query: The text is a search query, not a document.
    """
    text_to_embed = add_task_prefix_if_needed(text, model, is_query=is_query)
    request = {
        "model": f"models/{model.name}",
        "content": {"role": "user", "parts": [{"text": text_to_embed}]},
        "outputDimensionality": dim,
    }
    if not model.task_in_text:
        request["taskType"] = "RETRIEVAL_QUERY" if is_query else "RETRIEVAL_DOCUMENT"
    return request


def compute_max_embedding_request_bytes(text: str, model: Model, *, dim: int) -> int:
    """Return the maximum size of an entry's request in the body of an embedding call, in bytes.

    It is the size with all characters outside ASCII escaped, and with a separator.
    """
    request = build_embedding_request(text, model, dim=dim, is_query=False)
    return len(json.dumps(request)) + SEPARATOR_BYTES


def check_and_normalize_vectors(
    vectors: Sequence[Any], *, count: int, dim: int, is_query: bool, may_have_gaps: bool = False
) -> "Vectors":
    """Check vectors and scale them to unit length; return float32 (count, dim) in their order.

    Args:
        vectors: JSON values; only a list of `dim` finite numbers is a usable vector.
        count: The expected number of vectors.
        dim: The expected numbers per vector.
        is_query: A vector of zeros is an error. For documents it stays zero.
        may_have_gaps: An unusable vector becomes NaN. Otherwise it is an error.

    Raises:
        ValueError: The number of vectors differs, or a vector is unusable or zero and may not be.
    """
    import numpy as np

    if len(vectors) != count:
        raise ValueError(
            f"the reply has {plural(len(vectors), 'vector')} for {plural(count, 'text')}"
        )
    rows = np.full((count, dim), np.nan)
    for row, vector in zip(rows, vectors, strict=True):
        # Numpy cannot convert each JSON value.
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            numbers = np.array(vector, dtype=np.float64)
            if numbers.shape == (dim,) and np.isfinite(numbers).all():
                row[:] = numbers

    if np.isnan(rows).any() and not may_have_gaps:
        raise ValueError(f"a vector is not a list of {dim} finite numbers")
    max_magnitudes = np.abs(rows).max(axis=1, keepdims=True, initial=0.0)
    if is_query and not max_magnitudes.all():
        raise ValueError("a vector contains only zeros")

    # Scale to about 1 first, so that squares of very large or small numbers stay finite.
    scaled_rows = rows / np.where(max_magnitudes == 0, 1.0, max_magnitudes)
    lengths = np.linalg.norm(scaled_rows, axis=1, keepdims=True)
    unit_rows = scaled_rows / np.where(lengths == 0, 1.0, lengths)
    return np.asarray(unit_rows, dtype=np.float32)


def embed_locally(model: Model, texts: Sequence[str], *, dim: int, is_query: bool) -> "Vectors":
    """Embed texts with the local engine's encoder in this process.

    A server and the SDK would take ten times as long for a short text, and twice as long for a
    hundred texts.

    Args:
        model: The embedding model that the encoder imitates.
        texts: Texts without the prefix that the model needs; it is added here.
        dim: Numbers per vector.
        is_query: The texts are search queries, not documents.

    Returns:
        float32 (len(texts), dim), rows of unit length in the order of `texts`. They are the same,
        bit for bit, as those from a server with this encoder: the numbers are converted to JSON and
        back here, too.
    """
    import orjson

    from askrows.emulator.embed import embed_texts

    texts_to_embed = [add_task_prefix_if_needed(text, model, is_query=is_query) for text in texts]
    rows = embed_texts(texts_to_embed, model.name, width=dim)
    encoded_rows = orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY)
    return check_and_normalize_vectors(
        orjson.loads(encoded_rows), count=len(texts), dim=dim, is_query=is_query
    )
