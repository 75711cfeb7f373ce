"""Keep the vectors of questions that are asked again and again, so that each is embedded, and paid for, once."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pipeline.gemini.limits import MAX_EMBED_TEXTS
from pipeline.index import embed
from pipeline.index.cache import VectorCache, vector_key

if TYPE_CHECKING:
    from pipeline.engine.workspace import OpenWorkspace
    from pipeline.index.vector_file import Vectors

TASK_TYPE = "RETRIEVAL_QUERY"


def question_keys(cache: VectorCache, texts: Iterable[str]) -> list[bytes]:
    """Return the keys of questions in a cache."""
    return [vector_key(text, model=cache.model, dim=cache.dim, task_type=TASK_TYPE) for text in texts]


def embed_questions(ws: "OpenWorkspace", texts: Sequence[str]) -> "Vectors":
    """Return the vectors of questions, float32 (len(texts), dim); those that are not in the cache are embedded now.

    Those of the local engine are quicker made than looked up, and not kept.
    """
    import numpy as np

    pages = [texts[start : start + MAX_EMBED_TEXTS] for start in range(0, len(texts), MAX_EMBED_TEXTS)]
    if ws.backend == "local":
        return np.concatenate([embed.embed_queries(ws, page) for page in pages])
    cache = embed.vector_cache(ws)
    keys = question_keys(cache, texts)
    missing = cache.missing(keys)
    with ws.display.bar("asking", len(missing), late=True) as bar:
        for start in range(0, len(missing), MAX_EMBED_TEXTS):
            some = missing[start : start + MAX_EMBED_TEXTS]
            cache.add([keys[at] for at in some], embed.embed_queries(ws, [texts[at] for at in some]))
            bar.show(start + len(some))
    return cache.fetch(keys)
