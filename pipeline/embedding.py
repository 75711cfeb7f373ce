"""Vectors for texts: from the cache where they are known, else from the backend, a hundred texts a call."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from pipeline.gemini.limits import MAX_EMBED_TEXTS
from pipeline.index.vectors import vector_key
from pipeline.runtime import Runtime
from pipeline.task import Entry

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from pipeline.display import Bar

TASK_TYPE = "RETRIEVAL_DOCUMENT"
PAGE = 1000


def key_of(rt: Runtime, text: str) -> bytes:
    """Return the cache's key for a document's text under the model and width in use."""
    return vector_key(text, model=rt.embedding_model.name, dim=rt.settings.dim, task_type=TASK_TYPE)


def embed_missing(rt: Runtime, entries: Iterable[Entry], *, bar: "Bar") -> int:
    """Embed every entry whose vector is not in the cache, each call's vectors kept as they come; return how many.

    A run that is killed half way keeps what it has paid for.
    """
    embedded = seen = 0
    for page in _pages(entries):
        keys = [key_of(rt, entry.text) for entry in page]
        missing = rt.vectors.missing(keys)
        for start in range(0, len(missing), MAX_EMBED_TEXTS):
            some = missing[start : start + MAX_EMBED_TEXTS]
            vectors = _ask(rt, [page[i].text for i in some])
            rt.vectors.add([keys[i] for i in some], vectors)
            embedded += len(some)
            bar.show(seen + some[-1] + 1, note=f"{embedded} embedded")
        seen += len(page)
        bar.show(seen)
    return embedded


def embed_queries(rt: Runtime, texts: "Sequence[str]") -> "NDArray[np.float32]":
    """Return the vectors of at most a hundred questions, float32 (len(texts), dim), rows of unit length."""
    vectors: NDArray[np.float32] = rt.client.embed(rt.embedding_model, texts, dim=rt.settings.dim, query=True)
    return vectors


def _ask(rt: Runtime, texts: "Sequence[str]") -> "NDArray[np.float32]":
    """Embed at most a hundred documents; the workspace is bound before the first vector is kept."""
    vectors = rt.client.embed(rt.embedding_model, texts, dim=rt.settings.dim, query=False)
    if not rt.is_bound:
        with rt.store.write() as tx:
            rt.bind(tx)
        rt.is_bound = True
    return vectors


def _pages(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    iterator = iter(entries)
    while page := list(islice(iterator, PAGE)):
        yield page
