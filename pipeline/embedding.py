"""Vectors for texts: from the cache where they are known, else from the backend, a hundred texts a call."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from pipeline.gemini.costs import estimate_tokens
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
END = 1000  # characters of a text's end that are kept where its middle is cut


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


def is_any_missing(rt: Runtime, entries: Iterable[Entry], *, bar: "Bar") -> bool:
    """Return whether any entry's vector is not in the cache; nobody is asked for it."""
    seen = 0
    for page in _pages(entries):
        if rt.vectors.missing([key_of(rt, entry.text) for entry in page]):
            return True
        seen += len(page)
        bar.show(seen)
    return False


def embed_queries(rt: Runtime, texts: "Sequence[str]") -> "NDArray[np.float32]":
    """Return the vectors of at most a hundred questions, float32 (len(texts), dim), rows of unit length."""
    vectors: NDArray[np.float32] = rt.client.embed(rt.embedding_model, texts, dim=rt.settings.dim, query=True)
    return vectors


def _ask(rt: Runtime, texts: "Sequence[str]") -> "NDArray[np.float32]":
    """Embed at most a hundred documents; the workspace is bound before the first vector is kept."""
    model = rt.embedding_model
    fitting = [fitted(text, limit=model.input_limit) for text in texts]
    vectors = rt.client.embed(model, fitting, dim=rt.settings.dim, query=False)
    if not rt.is_bound:
        with rt.store.write() as tx:
            rt.bind(tx)
        rt.is_bound = True
    return vectors


def fitted(text: str, *, limit: int | None) -> str:
    """Return a text as a model that reads `limit` tokens is given it: all of it, or without the middle.

    A model drops the end of what is too long for it, or refuses it; and at the end stand the tags. Tokens are
    estimated, so a quarter of the limit is left free.
    """
    cut, keep = text, len(text)
    while limit is not None and keep and estimate_tokens(cut) > limit * 3 // 4:
        keep = keep * 4 // 5
        end = min(END, keep // 2)
        cut = f"{text[: keep - end]} … {text[len(text) - end :]}"
    return cut


def _pages(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    iterator = iter(entries)
    while page := list(islice(iterator, PAGE)):
        yield page
