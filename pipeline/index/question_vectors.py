"""Keep the vectors of questions that are asked again and again, so that each is embedded, and paid for, once."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from pipeline.gemini.limits import MAX_EMBED_TEXTS
from pipeline.index.cache import VectorCache, vector_key

if TYPE_CHECKING:
    from pipeline.index.vector_file import Vectors

TASK_TYPE = "RETRIEVAL_QUERY"
T = TypeVar("T")


def question_keys(cache: VectorCache, texts: Iterable[str]) -> list[bytes]:
    """Return the keys of questions in a cache."""
    return [vector_key(text, model=cache.model, dim=cache.dim, task_type=TASK_TYPE) for text in texts]


class QuestionVectors:
    """The vectors of questions by one model: from the cache, or made now and kept there.

    Without a cache none is kept: those of the local engine are quicker made than looked up.
    """

    def __init__(self, cache: VectorCache | None, make: "Callable[[Sequence[str]], Vectors]") -> None:
        """Take the cache, and what embeds at most a hundred questions."""
        self._cache, self._make = cache, make

    def embed(self, texts: Sequence[str]) -> "Vectors":
        """Return the vectors of questions, float32 (len(texts), dim)."""
        import numpy as np

        if self._cache is None:
            return np.concatenate([self._make(page) for page in _pages(texts)])
        keys = question_keys(self._cache, texts)
        for page in _pages(self._cache.missing(keys)):
            self._cache.add([keys[at] for at in page], self._make([texts[at] for at in page]))
        return self._cache.fetch(keys)

    def are_free(self, texts: Sequence[str]) -> bool:
        """Return whether no service is asked for these questions: it is the local engine, or they are in the cache."""
        return self._cache is None or not self._cache.missing(question_keys(self._cache, texts))


def _pages(values: Sequence[T]) -> Iterable[Sequence[T]]:
    """Yield values in slices of which one call embeds each."""
    for start in range(0, len(values), MAX_EMBED_TEXTS):
        yield values[start : start + MAX_EMBED_TEXTS]
