"""Vectors for texts: from the cache where they are known, else from the backend, a hundred texts a call.

The calls keep to what the model allows a minute, which counts texts and not calls.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from pipeline.abreast import as_they_end
from pipeline.gemini import catalogue, costs
from pipeline.gemini.costs import Usage, estimate_tokens
from pipeline.gemini.embeddings import framed
from pipeline.gemini.limits import MAX_EMBED_TEXTS
from pipeline.gemini.pacing import Pacing
from pipeline.gemini.tiers import NO_LIMITS
from pipeline.index.vectors import Vectors, vector_key
from pipeline.runtime import Runtime
from pipeline.task import Entry

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from pipeline.display import Bar
    from pipeline.gemini.client import Client

TASK_TYPE = "RETRIEVAL_DOCUMENT"
PAGE = 256
FEW = 5000  # entries without a vector that are noted while a build is begun: 10 MB; more get a pass of their own
END = 1000  # characters of a text's end that are kept where its middle is cut


def key_of(rt: Runtime, text: str) -> bytes:
    """Return the cache's key for a document's text under the model and width in use."""
    return vector_key(text, model=rt.embedding_model.name, dim=rt.settings.dim, task_type=TASK_TYPE)


class TooManyError(Exception):
    """More vectors are missing than are noted by the way."""


def is_paid(rt: Runtime) -> bool:
    """Return whether embedding costs anything."""
    return rt.backend != "local" and rt.embedding_model.prices(batch=False, on=rt.now().date())[0] > 0


def outlook(rt: Runtime, entries: Iterable[Entry], *, bar: "Bar") -> tuple[int, int, float]:
    """Return how many texts are not in the cache, about how many tokens they have, and what those cost, in USD."""
    texts, tokens, seen = 0, 0, 0
    for page in _pages(entries):
        missing = rt.vectors.missing([key_of(rt, entry.text) for entry in page])
        texts += len(missing)
        tokens += sum(_outgoing(rt, page[at])[1] for at in missing)
        seen += len(page)
        bar.show(seen)
    return texts, tokens, costs.cost(rt.embedding_model, Usage(prompt=tokens), batch=False, on=rt.now().date())


def paced(rt: Runtime) -> Pacing:
    """Return what holds the calls of a run to the limits of the model that embeds; the local engine has none."""
    model, settings = rt.embedding_model, rt.settings
    limits = NO_LIMITS if rt.backend == "local" else catalogue.limits(model, tier=settings.tier)
    return Pacing(limits, patience_s=settings.poll_patience, sleep=rt.sleep, monotonic=rt.monotonic)


def embed_missing(rt: Runtime, entries: Iterable[Entry], *, pacing: Pacing, bar: "Bar") -> int:
    """Embed every entry whose vector is not in the cache, several calls at once; return how many.

    The vectors of each call are on disk before the next call begins in its place: a run that is killed keeps what it
    has paid for, but for the calls that were under way.
    """
    embedded, seen = 0, 0
    asked: set[bytes] = set()  # under way; a text that comes again meanwhile is not asked for twice

    def calls() -> Iterator[tuple[list[bytes], Callable[[], Vectors]]]:
        nonlocal seen
        for page in _pages(entries):
            keys = [key_of(rt, entry.text) for entry in page]
            missing = [at for at in rt.vectors.missing(keys) if keys[at] not in asked]
            for some, texts, tokens in _together(rt, page, missing, pacing=pacing):
                asked.update(keys[at] for at in some)
                client = rt.client  # made here, once: from Python 3.12 on, threads would make several
                ask = partial(_ask, rt, client, texts)
                yield [keys[at] for at in some], partial(pacing.call, ask, requests=len(texts), tokens=tokens)
            seen += len(page)
            bar.show(seen, note=f"{embedded} embedded" if embedded else "")

    for keys, vectors in as_they_end(calls(), width=rt.settings.embed_calls):
        _keep(rt, keys, vectors)
        asked.difference_update(keys)
        embedded += len(keys)
        bar.show(seen, note=f"{embedded} embedded")
    return embedded


def keyed(
    rt: Runtime, entries: Iterable[Entry], *, missing: list[Entry], few: int | None, bar: "Bar"
) -> Iterator[tuple[Entry, bytes]]:
    """Yield every entry with the key of its vector, and note in `missing` those whose vector is not in the cache.

    Raises:
        TooManyError: there are more than `few` of those.
    """
    seen = 0
    for page in _pages(entries):
        keys = [key_of(rt, entry.text) for entry in page]
        missing.extend(page[at] for at in rt.vectors.missing(keys))
        if few is not None and len(missing) > few:
            raise TooManyError
        yield from zip(page, keys, strict=True)
        seen += len(page)
        bar.show(seen)


def embed_queries(rt: Runtime, texts: "Sequence[str]") -> "NDArray[np.float32]":
    """Return the vectors of at most a hundred questions, float32 (len(texts), dim), rows of unit length."""
    vectors: NDArray[np.float32] = rt.client.embed(rt.embedding_model, texts, dim=rt.settings.dim, query=True)
    return vectors


def _together(
    rt: Runtime, page: list[Entry], missing: list[int], *, pacing: Pacing
) -> Iterator[tuple[list[int], list[str], int]]:
    """Yield what goes out in one call: the places in the page, the texts, and about how many tokens they have."""
    places, texts, tokens = list[int](), list[str](), 0
    for at in missing:
        text, more = _outgoing(rt, page[at])
        if len(texts) == MAX_EMBED_TEXTS or (texts and not pacing.fits(len(texts) + 1, tokens + more)):
            yield places, texts, tokens
            places, texts, tokens = [], [], 0
        places.append(at)
        texts.append(text)
        tokens += more
    if texts:
        yield places, texts, tokens


def _outgoing(rt: Runtime, entry: Entry) -> tuple[str, int]:
    """Return an entry's text as it goes out, and about how many tokens it has."""
    model = rt.embedding_model
    text = fitted(entry.text, limit=model.input_limit)
    return text, estimate_tokens(framed(text, model, query=False))


def _ask(rt: Runtime, client: "Client", texts: list[str]) -> Vectors:
    """Return the vectors of at most a hundred documents."""
    vectors: Vectors = client.embed(rt.embedding_model, texts, dim=rt.settings.dim, query=False, is_paced=True)
    return vectors


def _keep(rt: Runtime, keys: list[bytes], vectors: Vectors) -> None:
    """Put vectors into the cache; the workspace is bound before the first one."""
    if not rt.is_bound:
        with rt.store.write() as tx:
            rt.bind(tx)
        rt.is_bound = True
    rt.vectors.add(keys, vectors)


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
