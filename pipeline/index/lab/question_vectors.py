"""Keep the vectors of questions that are asked again and again, so that each is embedded, and paid for, once."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from pipeline.gemini.limits import MAX_EMBED_TEXTS
from pipeline.index import embed
from pipeline.index.cache import VectorCache, vector_key

if TYPE_CHECKING:
    from pipeline.engine.workspace import OpenWorkspace
    from pipeline.index.vector_file import Vectors

TASK_TYPE = "RETRIEVAL_QUERY"
T = TypeVar("T")


def question_keys(cache: VectorCache, texts: Iterable[str]) -> list[bytes]:
    """Return the keys of questions in a cache."""
    return [vector_key(text, model=cache.model, dim=cache.dim, task_type=TASK_TYPE) for text in texts]


class QuestionVectors:
    """The vectors of questions by the model and width that are set.

    Those of the local engine are quicker made than looked up, and not kept.
    """

    def __init__(self, ws: "OpenWorkspace") -> None:
        """Embed nothing yet."""
        self._ws = ws

    def embed(self, texts: Sequence[str]) -> "Vectors":
        """Return the vectors of questions, float32 (len(texts), dim); those that are not in the cache are made now."""
        import numpy as np

        if self._ws.backend == "local":
            return np.concatenate([embed.embed_queries(self._ws, page) for page in _pages(texts)])
        cache = embed.vector_cache(self._ws)
        keys, done = question_keys(cache, texts), 0
        missing = cache.missing(keys)
        with self._ws.display.bar("asking", len(missing), late=True) as bar:
            for page in _pages(missing):
                cache.add([keys[at] for at in page], embed.embed_queries(self._ws, [texts[at] for at in page]))
                done += len(page)
                bar.show(done)
        return cache.fetch(keys)

    def are_free(self, texts: Sequence[str]) -> bool:
        """Return whether questions are embedded without asking a service: by the local engine, or long ago."""
        if self._ws.backend == "local":
            return True
        cache = embed.vector_cache(self._ws)
        return not cache.missing(question_keys(cache, texts))


def _pages(values: Sequence[T]) -> Iterable[Sequence[T]]:
    """Yield values in slices of which one call embeds each."""
    for start in range(0, len(values), MAX_EMBED_TEXTS):
        yield values[start : start + MAX_EMBED_TEXTS]
